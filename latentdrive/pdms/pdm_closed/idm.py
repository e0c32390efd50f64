"""PDM-Closed's proposals: 3 paths x 5 cruising speeds, each driven by the Intelligent Driver Model behind whoever is ahead on
the path (PDMS.md, section 9.4).

After centreline.py and forecast.py; reference.py puts them together. A proposal is path * 5 + policy. Its state is arc length on its
path and speed; its record is what it knows of its leader: arc length of the point that it must not reach, speed, and a length to
keep behind that point.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import shapely
from jaxtyping import Bool, Float64, Int64

from latentdrive.boxes import corners, ego_corners
from latentdrive.nuplan_vehicle import HALF_LENGTH_M, WIDTH_M
from latentdrive.pdms.pdm_closed.centreline import LEAST_S_M, TREE_NODE, Path, between
from latentdrive.pdms.pdm_closed.forecast import MAP_STEPS, Forecast
from latentdrive.pdms.scene import STEP_S, STEPS
from latentdrive.types import FROZEN

OFFSETS_M = (0.0, -1.0, 1.0)  # of the paths, to the left
SPEED_SHARES = np.array([0.2, 0.4, 0.6, 0.8, 1.0])  # of the speed limit
MIN_GAP_M, HEADWAY_S, MAX_ACCELERATION, MAX_DECELERATION, EXPONENT = 1.0, 1.5, 1.5, 3.0, 10
CORRIDOR_S = 5.0  # at the highest cruising speed
ALL_STEPS = 51  # of the proposal that is chosen in the end
S_LEAD, V_LEAD, REAR = range(3)


@dataclass(**FROZEN)
class Unrolled:
    """R proposals over K steps. states: arc length, speed. records: what led to the state of the same step."""

    states: Float64[np.ndarray, "R K 2"]
    records: Float64[np.ndarray, "R K 3"]


class Traffic:
    """Everybody expected, as seen from the 3 paths: objects, then red lights, at T moments 0.2 s apart.

    polygons [T, N]: of those anywhere near; places [3, T, N]: arc length on the path of who stands in its corridor, else -inf.
    """

    def __init__(
        self, paths: Sequence[Path], expected: Forecast, starts: Float64[np.ndarray, "3"], reach_m: float
    ) -> None:
        """starts: arc lengths of the ego. reach_m: length of the corridors."""
        self.expected = expected
        self.corridors = [
            path.part(s, s + reach_m).buffer(WIDTH_M / 2, cap_style="square")
            for path, s in zip(paths, starts.tolist(), strict=True)
        ]
        moments, objects = expected.poses.shape[:2]
        count = objects + len(expected.lights)
        self._corners = corners(expected.poses, expected.sizes)
        self.polygons = np.empty((moments, count), object)
        self.polygons[:, objects:] = expected.light_polygons
        near = self._near()
        self.polygons[:, :objects][near] = shapely.polygons(self._corners[near])
        middles = np.concatenate([expected.poses[..., :2], np.zeros((moments, count - objects, 2))], axis=1)
        middles[:, objects:] = shapely.get_coordinates(shapely.centroid(expected.light_polygons))
        shown = np.concatenate([near, np.ones((moments, count - objects), bool)], axis=1)
        shown[:, np.concatenate([expected.touched, expected.light_touched])] = False
        # Who stands is looked at once: most of a crowd does, and projecting is what takes long.
        still = np.concatenate([~expected.velocity.any(1), np.ones(count - objects, bool)])
        shown[1:, still] = False
        self.places = np.full((len(paths), moments, count), -np.inf)
        for number, (path, corridor) in enumerate(zip(paths, self.corridors, strict=True)):
            shapely.prepare(corridor)
            met = shown.copy()
            met[shown] = shapely.intersects(corridor, self.polygons[shown])
            self.places[number][met] = path.project(middles[met])
        self.places[:, 1:, still] = self.places[:, :1, still]

    def leaders(
        self, path: Int64[np.ndarray, "R"], s: Float64[np.ndarray, "R"], poses: Float64[np.ndarray, "R 3"], moment: int
    ) -> tuple[Int64[np.ndarray, "R"], Float64[np.ndarray, "R"]]:
        """Who is nearest ahead of each of R egos at arc lengths s of their paths (-1: nobody), and how far its polygon is away."""
        ahead = self.places[path, moment] > s[:, None]
        away = np.full(ahead.shape, np.inf)
        row, who = np.nonzero(ahead)
        if not len(row):
            return np.full(len(s), -1), np.zeros(len(s))
        egos = shapely.polygons(ego_corners(poses))
        away[row, who] = shapely.distance(egos[row], self.polygons[moment, who])
        nearest = away.min(1)
        leader = np.where(ahead.any(1), away.argmin(1), -1)
        for tied in np.flatnonzero(((away == nearest[:, None]) & ahead).sum(1) > 1).tolist():
            order = np.where(away[tied] == nearest[tied], self._rank(int(path[tied]), moment), ahead.shape[1] + 1)
            leader[tied] = order.argmin()
        return leader, nearest

    def _rank(self, path: int, moment: int) -> Int64[np.ndarray, "N"]:
        """Order in which the devkit's search tree gives what meets a corridor; it settles equal distances."""
        objects = self._corners.shape[1]
        everyone = np.concatenate([shapely.polygons(self._corners[moment]), self.polygons[moment, objects:]])
        found = shapely.STRtree(everyone, node_capacity=TREE_NODE).query(self.corridors[path], "intersects")
        order = np.full(len(everyone), len(everyone))
        order[found] = np.arange(len(found))
        return order

    def _near(self) -> Bool[np.ndarray, "T N"]:
        """Objects whose bounding boxes meet that of the corridors."""
        bounds = shapely.bounds(np.array(self.corridors, object))
        low, high = bounds[:, :2].min(0), bounds[:, 2:].max(0)
        return ((self._corners.max(-2) >= low) & (self._corners.min(-2) <= high)).all(-1)


class IntelligentDrivers:
    """The 15 drivers of one scene. paths: the 3; targets [5]: cruising speeds of the policies, m/s."""

    def __init__(
        self, line: Float64[np.ndarray, "n 3"], speed_limit_mps: float, expected: Forecast, ego_pose: Float64[np.ndarray, "3"],
        speed_mps: float,
    ) -> None:  # fmt: skip
        """line: centre line. expected: for 51 steps. ego_pose: rear axle, global frame. speed_mps: forward, now."""
        centre = Path(line)
        self.paths = [centre.shifted(offset) if offset else centre for offset in OFFSETS_M]
        self.targets = SPEED_SHARES * speed_limit_mps
        self._starts = np.array([path.project(ego_pose[:2]) for path in self.paths])
        self._speed_mps = speed_mps
        self._traffic = Traffic(self.paths, expected, self._starts, float(self.targets.max()) * CORRIDOR_S)
        self._progress = np.stack([path.progress for path in self.paths])
        self._values = np.stack([path.values for path in self.paths])

    @cached_property
    def proposals(self) -> Unrolled:
        """All 15, up to step 40."""
        policies = len(self.targets)
        states = np.zeros((len(self.paths) * policies, STEPS, 2))
        states[:, 0, 0], states[:, 0, 1] = np.repeat(self._starts, policies), self._speed_mps
        made = Unrolled(states=states, records=np.zeros((len(states), STEPS, 3)))
        self._drive(made, np.arange(len(states)), range(1, STEPS))
        return made

    def poses(self) -> Float64[np.ndarray, "15 41 3"]:
        """Of the rear axle, along all proposals."""
        s = np.split(self.proposals.states[..., 0], len(self.paths))
        return np.concatenate([path.at(one) for path, one in zip(self.paths, s, strict=True)])

    def chosen(self, proposal: int) -> Unrolled:
        """One proposal, driven on to step 50: one row of 51 steps."""
        states, records = np.zeros((1, ALL_STEPS, 2)), np.zeros((1, ALL_STEPS, 3))
        states[0, :STEPS] = self.proposals.states[proposal]
        records[0, :STEPS] = self.proposals.records[proposal]
        made = Unrolled(states=states, records=records)
        self._drive(made, np.array([proposal]), range(STEPS, ALL_STEPS))
        return made

    def chosen_poses(self, proposal: int) -> Float64[np.ndarray, "51 3"]:
        """Of the rear axle, along one proposal up to step 50."""
        return self.paths[proposal // len(self.targets)].at(self.chosen(proposal).states[0, :, 0])

    def _drive(self, made: Unrolled, rows: Int64[np.ndarray, "R"], steps: range) -> None:
        """Write the states and records of some steps. rows: which proposals; whole paths, or one alone."""
        path, target = rows // len(self.targets), self.targets[rows % len(self.targets)]
        for step in steps:
            s, speed = made.states[:, step - 1].T
            if step % MAP_STEPS:
                made.records[:, step] = made.records[:, step - 1]
            else:
                made.records[:, step] = self._records(path, s, step // MAP_STEPS)
            made.states[:, step, 0] = s + STEP_S * speed
            made.states[:, step, 1] = speed + STEP_S * acceleration(s, speed, target, made.records[:, step])

    def _records(
        self, path: Int64[np.ndarray, "R"], s: Float64[np.ndarray, "R"], moment: int
    ) -> Float64[np.ndarray, "R 3"]:
        """Who leads proposals that have come to arc lengths s. moment: 0.2 s each, from now.

        The policies of a path write one after the other into one record that is cleared once: what a policy does not write, it
        has from the one before. Nothing is written about the speed of a red light or of an empty road, nor about the length to keep
        where somebody leads.
        """
        traffic, poses = self._traffic, self._poses(path, s)
        leader, gap = traffic.leaders(path, s, poses, moment)
        alone = leader < 0
        told = ~alone & (leader < len(traffic.expected.tokens))
        who = np.where(told, leader, 0)
        records = np.zeros((len(s), 3))
        records[:, S_LEAD] = np.where(alone, self._progress[path, -1], s + gap)
        if told.any():
            turn = traffic.expected.poses[moment, who, 2] - poses[:, 2]
            records[:, V_LEAD] = np.hypot(*traffic.expected.velocity[who].T) * np.cos(turn)
        group = (-1, min(len(s), len(self.targets)))  # the policies of a path
        policies = np.arange(len(s)) % len(self.targets)
        last = np.maximum.accumulate(np.where(told, policies, -1).reshape(group), axis=1)
        speeds = np.take_along_axis(records[:, V_LEAD].reshape(group), last.clip(0), axis=1)
        records[:, V_LEAD] = np.where(last < 0, 0.0, speeds).ravel()
        records[:, REAR] = np.logical_or.accumulate(alone.reshape(group), axis=1).ravel() * HALF_LENGTH_M
        return records

    def _poses(self, path: Int64[np.ndarray, "R"], s: Float64[np.ndarray, "R"]) -> Float64[np.ndarray, "R 3"]:
        """`Path.at` for one arc length on each of several paths: their vertices are equally many."""
        s = np.clip(s, LEAST_S_M, self._progress[path, -1])
        end = np.clip((self._progress[path] < s[:, None]).sum(1), 1, self._progress.shape[1] - 1)
        low, high = self._progress[path, end - 1], self._progress[path, end]
        return between(self._values[path, end - 1], self._values[path, end], low, high, s)


def acceleration(
    s: Float64[np.ndarray, "R"],
    speed: Float64[np.ndarray, "R"],
    target: Float64[np.ndarray, "R"],
    records: Float64[np.ndarray, "R 3"],
) -> Float64[np.ndarray, "R"]:
    """The Intelligent Driver Model, m/s^2: a (1 - (v / target)^10 - (s* / gap)^2), s* = 1 + 1.5 v + v (v - v_lead) / (2 sqrt(a b)),
    the gap at least 1 m, the result between -3 and 1.5."""
    gap = np.maximum(records[:, S_LEAD] - s - records[:, REAR], MIN_GAP_M)
    approach = speed * (speed - records[:, V_LEAD]) / (2.0 * np.sqrt(MAX_ACCELERATION * MAX_DECELERATION))
    wanted = MIN_GAP_M + HEADWAY_S * speed + approach
    free = 1.0 - (speed / target) ** EXPONENT - (wanted / gap) ** 2
    return np.clip(MAX_ACCELERATION * free, -MAX_DECELERATION, MAX_ACCELERATION)

"""PDM-Closed's proposals: 3 paths times 5 cruising speeds, driven by the Intelligent Driver Model.

Each proposal keeps its distance from the leader on its path. Proposal numbers are path * 5 +
policy. A proposal's state is its arc length and speed. Its leader record is the arc length that it
must not reach, the leader's speed, and a length to keep in front of that point. Specified in
docs/pdms.md, section 9.4.
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
from latentdrive.pdms.pdm_closed.forecast import MOMENT_STEPS, Forecast
from latentdrive.pdms.scene import STEP_S, STEPS
from latentdrive.types import FROZEN

OFFSETS_M = (0.0, -1.0, 1.0)  # lateral offsets of the paths; left is positive
SPEED_SHARES = np.array([0.2, 0.4, 0.6, 0.8, 1.0])  # cruising speeds as shares of the speed limit
MIN_GAP_M, HEADWAY_S, MAX_ACCELERATION, MAX_DECELERATION, EXPONENT = 1.0, 1.5, 1.5, 3.0, 10
CORRIDOR_S = 5.0  # length of a corridor, at the highest cruising speed
ALL_STEPS = 51  # steps simulated for the chosen proposal
S_LEAD, V_LEAD, REAR = range(3)


@dataclass(**FROZEN)
class Unrolled:
    """R proposals over K steps.

    states: arc length, speed. records: the leader records that led to the states of the same steps.
    """

    states: Float64[np.ndarray, "R K 2"]
    records: Float64[np.ndarray, "R K 3"]


class Traffic:
    """The forecast as seen from the 3 paths: objects, then red lights, at T moments 0.2 s apart.

    polygons: of objects near a corridor, and of all lights [T, N]. places: arc length on the path
    of each object in its corridor, else -inf [3, T, N].
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
        # Standing objects are looked at once, because they are the majority and projecting takes long.
        still = np.concatenate([~expected.velocity.any(1), np.ones(count - objects, bool)])
        shown[1:, still] = False
        self.places = np.full((len(paths), moments, count), -np.inf)
        for number, (path, corridor) in enumerate(zip(paths, self.corridors, strict=True)):
            shapely.prepare(corridor)
            inside = shown.copy()
            inside[shown] = shapely.intersects(corridor, self.polygons[shown])
            self.places[number][inside] = path.project(middles[inside])
        self.places[:, 1:, still] = self.places[:, :1, still]

    def leaders(
        self, path: Int64[np.ndarray, "R"], s: Float64[np.ndarray, "R"], poses: Float64[np.ndarray, "R 3"], moment: int
    ) -> tuple[Int64[np.ndarray, "R"], Float64[np.ndarray, "R"]]:
        """The nearest object ahead of each of R egos (-1: none), and the distance to its polygon.

        path: of each ego. s: its arc length there. poses: of its rear axle.
        """
        ahead = self.places[path, moment] > s[:, None]
        away = np.full(ahead.shape, np.inf)
        row, candidate = np.nonzero(ahead)
        if not len(row):
            return np.full(len(s), -1), np.zeros(len(s))
        egos = shapely.polygons(ego_corners(poses))
        away[row, candidate] = shapely.distance(egos[row], self.polygons[moment, candidate])
        nearest = away.min(1)
        leader = np.where(ahead.any(1), away.argmin(1), -1)
        for tied in np.flatnonzero(((away == nearest[:, None]) & ahead).sum(1) > 1).tolist():
            order = np.where(away[tied] == nearest[tied], self._rank(int(path[tied]), moment), ahead.shape[1] + 1)
            leader[tied] = order.argmin()
        return leader, nearest

    def _rank(self, path: int, moment: int) -> Int64[np.ndarray, "N"]:
        """The order in which the devkit's search tree returns the objects in a corridor.

        It settles equal distances (docs/pdms.md, section 12).
        """
        objects = self._corners.shape[1]
        everyone = np.concatenate([shapely.polygons(self._corners[moment]), self.polygons[moment, objects:]])
        hits = shapely.STRtree(everyone, node_capacity=TREE_NODE).query(self.corridors[path], "intersects")
        order = np.full(len(everyone), len(everyone))
        order[hits] = np.arange(len(hits))
        return order

    def _near(self) -> Bool[np.ndarray, "T N"]:
        """Whether the bounding box of each object meets that of the corridors."""
        bounds = shapely.bounds(np.array(self.corridors, object))
        low, high = bounds[:, :2].min(0), bounds[:, 2:].max(0)
        return ((self._corners.max(-2) >= low) & (self._corners.min(-2) <= high)).all(-1)


class IntelligentDrivers:
    """The 15 drivers of one scene. paths: the 3 paths. targets: cruising speeds of the policies, m/s [5]."""

    def __init__(
        self,
        line: Float64[np.ndarray, "n 3"],
        speed_limit_mps: float,
        expected: Forecast,
        ego_pose: Float64[np.ndarray, "3"],
        speed_mps: float,
    ) -> None:
        """line: centreline. expected: for 51 steps. ego_pose: rear axle, global. speed_mps: forward, now."""
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
        """All 15 proposals up to step 40."""
        policies = len(self.targets)
        states = np.zeros((len(self.paths) * policies, STEPS, 2))
        states[:, 0, 0], states[:, 0, 1] = np.repeat(self._starts, policies), self._speed_mps
        unrolled = Unrolled(states=states, records=np.zeros((len(states), STEPS, 3)))
        self._unroll(unrolled, np.arange(len(states)), range(1, STEPS))
        return unrolled

    def poses(self) -> Float64[np.ndarray, "15 41 3"]:
        """Poses of the rear axle along all proposals."""
        by_path = np.split(self.proposals.states[..., 0], len(self.paths))
        return np.concatenate([path.at(s) for path, s in zip(self.paths, by_path, strict=True)])

    def chosen(self, proposal: int) -> Unrolled:
        """One proposal, continued to step 50: one row of 51 steps."""
        states, records = np.zeros((1, ALL_STEPS, 2)), np.zeros((1, ALL_STEPS, 3))
        states[0, :STEPS] = self.proposals.states[proposal]
        records[0, :STEPS] = self.proposals.records[proposal]
        unrolled = Unrolled(states=states, records=records)
        self._unroll(unrolled, np.array([proposal]), range(STEPS, ALL_STEPS))
        return unrolled

    def chosen_poses(self, proposal: int) -> Float64[np.ndarray, "51 3"]:
        """Poses of the rear axle along one proposal up to step 50."""
        return self.paths[proposal // len(self.targets)].at(self.chosen(proposal).states[0, :, 0])

    def _unroll(self, unrolled: Unrolled, rows: Int64[np.ndarray, "R"], steps: range) -> None:
        """Write the states and records of some steps. rows: proposals, either whole paths or a single one."""
        path, target = rows // len(self.targets), self.targets[rows % len(self.targets)]
        for step in steps:
            s, speed = unrolled.states[:, step - 1].T
            if step % MOMENT_STEPS:
                unrolled.records[:, step] = unrolled.records[:, step - 1]
            else:
                unrolled.records[:, step] = self._records(path, s, step // MOMENT_STEPS)
            unrolled.states[:, step, 0] = s + STEP_S * speed
            unrolled.states[:, step, 1] = speed + STEP_S * acceleration(s, speed, target, unrolled.records[:, step])

    def _records(
        self, path: Int64[np.ndarray, "R"], s: Float64[np.ndarray, "R"], moment: int
    ) -> Float64[np.ndarray, "R 3"]:
        """Leader records of proposals that have come to arc lengths s. moment: of the forecast, 0.2 s apart.

        The policies of a path write one after the other into one record that is cleared once, so a
        policy inherits whatever it does not write from the policy before. A red light and an empty
        road write no speed, and a leader writes no length to keep.
        """
        traffic, poses = self._traffic, self._poses(path, s)
        leader, gap = traffic.leaders(path, s, poses, moment)
        alone = leader < 0
        by_object = ~alone & (leader < len(traffic.expected.tokens))  # and not by a red light
        lead = np.where(by_object, leader, 0)
        records = np.zeros((len(s), 3))
        records[:, S_LEAD] = np.where(alone, self._progress[path, -1], s + gap)
        if by_object.any():
            turn = traffic.expected.poses[moment, lead, 2] - poses[:, 2]
            records[:, V_LEAD] = np.hypot(*traffic.expected.velocity[lead].T) * np.cos(turn)
        group = (-1, min(len(s), len(self.targets)))  # the policies of a path
        policies = np.arange(len(s)) % len(self.targets)
        last = np.maximum.accumulate(np.where(by_object, policies, -1).reshape(group), axis=1)
        speeds = np.take_along_axis(records[:, V_LEAD].reshape(group), last.clip(0), axis=1)
        records[:, V_LEAD] = np.where(last < 0, 0.0, speeds).ravel()
        records[:, REAR] = np.logical_or.accumulate(alone.reshape(group), axis=1).ravel() * HALF_LENGTH_M
        return records

    def _poses(self, path: Int64[np.ndarray, "R"], s: Float64[np.ndarray, "R"]) -> Float64[np.ndarray, "R 3"]:
        """`Path.at` for one arc length on each of several paths, which have equally many vertices."""
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
    """The Intelligent Driver Model, m/s²: a (1 - (v / target)^10 - (s* / gap)²).

    s* = 1 + 1.5 v + v (v - v_lead) / (2 sqrt(a b)). The gap is at least 1 m, and the result lies
    between -3 and 1.5.
    """
    gap = np.maximum(records[:, S_LEAD] - s - records[:, REAR], MIN_GAP_M)
    approach = speed * (speed - records[:, V_LEAD]) / (2.0 * np.sqrt(MAX_ACCELERATION * MAX_DECELERATION))
    desired_gap = MIN_GAP_M + HEADWAY_S * speed + approach
    free = 1.0 - (speed / target) ** EXPONENT - (desired_gap / gap) ** 2
    return np.clip(MAX_ACCELERATION * free, -MAX_DECELERATION, MAX_ACCELERATION)

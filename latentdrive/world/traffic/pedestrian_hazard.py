"""The hazard of a pedestrian who steps onto a crosswalk ahead of the ego and crosses the whole road."""

import numpy as np
from jaxtyping import Float64

from latentdrive.world.roads.layouts import Layout
from latentdrive.world.traffic.drivers import Driver, QuietRoad, StopLine
from latentdrive.world.traffic.hazards import BEFORE_M, HazardSpec, release, single_agent, stopping_m
from latentdrive.world.traffic.recording import Agents

CLEAR_LANE_M = 0.5  # drivers wait until the walker is this far beyond their lanes
PEDESTRIAN_M = np.array([0.6, 0.6, 1.75])  # length, width, height
START_M = 0.8  # the walker starts this far outside the road


class CrossingPedestrian:
    """A pedestrian who crosses the road at a crosswalk while everybody waits.

    crosswalks_m: positions of the crosswalks along the road. shoulder_m: width of the paved
    shoulders.
    """

    waits_beside = True

    def __init__(
        self,
        rng: np.random.Generator,
        layout: Layout,
        spec: HazardSpec,
        *,
        crosswalks_m: tuple[float, ...],
        shoulder_m: float,
    ) -> None:
        self._margin, self._pace = float(rng.uniform(*spec.margin)), float(rng.uniform(*spec.walk_mps))
        self._lead = float(rng.uniform(*spec.lead_m))
        self._crosswalks, self._from_right = crosswalks_m, bool(rng.random() < 0.5)
        self._lanes = layout.network.lanes_dict()
        self._own_roads = {start.lane[:2] for start in layout.ego_starts}
        self._measure(shoulder_m)
        self._x: float | None = None
        self._began_s: float | None = None
        self._lines: dict[bool, list[StopLine]] = {}  # by whether they lie in the ego's direction
        self.span_s: tuple[float, float] | None = None

    def tick(self, rng: np.random.Generator, world: QuietRoad, ego: Driver, now_s: float) -> None:
        """Start to walk when the ego is near, stop everybody meanwhile, and release those whose lanes are clear."""
        if self._x is None:
            ahead = [x for x in self._crosswalks if x > ego.position[0] + self._lead]
            if not ahead:
                return
            self._x = ahead[0]
        if self._began_s is None:
            gap = self._x - BEFORE_M - ego.position[0] - ego.size[0] / 2
            if now_s > 0 and 0 < gap < self._margin * stopping_m(ego) + 4.0:
                self._began_s = now_s
                self.span_s = now_s, now_s + (self._left - self._right + 4.0) / self._pace
                self._hold_everybody(world)
            return
        y = self._y(np.array([now_s]), self._began_s)[0]
        if self._own_left + CLEAR_LANE_M < y if self._from_right else y < self._lanes_right - CLEAR_LANE_M:
            release(world, self._lines.pop(True, []))
        if y > self._lanes_left + CLEAR_LANE_M if self._from_right else y < self._oncoming_right - CLEAR_LANE_M:
            release(world, self._lines.pop(False, []))

    def agents(self, times_s: Float64[np.ndarray, "T"]) -> Agents | None:
        """Return the walker, who stands beside the road until it begins to walk."""
        return None if self._began_s is None else self.agents_if_begun(times_s, self._began_s)

    def agents_if_begun(self, times_s: Float64[np.ndarray, "T"], began_s: float) -> Agents | None:
        """Return the walker as it moves if it begins to walk at began_s."""
        y = self._y(times_s, began_s)
        heading = np.pi / 2 if self._from_right else -np.pi / 2
        poses = np.stack([np.full(len(y), self._x), y, np.full(len(y), heading)], -1)
        speed = np.where(times_s >= began_s, self._pace, 0.0)
        return single_agent(poses, speed, PEDESTRIAN_M, "pedestrian")

    def _measure(self, shoulder_m: float) -> None:
        """Find the lateral positions (y to the left) of the edges of the lanes, the road and each direction."""
        edges = [
            (index[:2], -float(lane.position(0, 0)[1]), lane.width_at(0) / 2) for index, lane in self._lanes.items()
        ]
        self._lanes_right = min(y - half for _, y, half in edges)
        self._lanes_left = max(y + half for _, y, half in edges)
        self._right, self._left = self._lanes_right - shoulder_m, self._lanes_left + shoulder_m
        self._own_left = max(y + half for road, y, half in edges if road in self._own_roads)
        oncoming = (y - half for road, y, half in edges if road not in self._own_roads)
        self._oncoming_right = min(oncoming, default=self._own_left)

    def _y(self, times_s: Float64[np.ndarray, "T"], began_s: float) -> Float64[np.ndarray, "T"]:
        walked = self._pace * np.maximum(times_s - began_s, 0.0)
        return self._right - START_M + walked if self._from_right else self._left + START_M - walked

    def _hold_everybody(self, world: QuietRoad) -> None:
        """Put a stop line before the crosswalk on every lane."""
        for index, lane in self._lanes.items():
            forward = bool(np.cos(lane.heading_at(0.0)) > 0)
            x = self._x - BEFORE_M if forward else self._x + BEFORE_M
            line = StopLine(world, np.array([x, lane.position(0.0, 0.0)[1]]))
            self._lines.setdefault(index[:2] in self._own_roads, []).append(line)
            world.objects.append(line)

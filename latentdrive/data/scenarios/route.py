"""The lanes that the ego drove on, and what follows from them: the route and the driving commands.

After road_map.py. All of this is knowledge of the future: it belongs into a SceneTruth, and into a
Scene only on request.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import shapely
import shapely.ops
from jaxtyping import Float64

from latentdrive.data.maps.driving_command import command_along, direction_at
from latentdrive.geometry import wrap_angle
from latentdrive.types import Command, MapLane, RoadMap

AGREE_RAD = np.pi / 4  # a lane is driven along, not across
LEAP_M = (
    10.0  # cost of changing to a lane that does not follow, in metres of distance between one pose and a centre line
)


class DrivenLanes:
    """The lanes and connectors under a path, in driving order. poses: rear axle, global frame, in order of time.

    Candidates for a pose are all lanes that contain it and have about its heading. Of all sequences
    of candidates, the one with the least sum of distances to the centre lines is chosen (by dynamic
    programming); moving on to a successor is free, any other change costs LEAP_M. So the way that
    the path takes decides between overlapping connectors.
    """

    def __init__(self, road_map: RoadMap, poses: Float64[np.ndarray, "R 3"]) -> None:
        self._all = (*road_map.lanes, *road_map.connectors)
        self._number = {lane.id: number for number, lane in enumerate(self._all)}
        self._lines = [shapely.LineString(lane.baseline) for lane in self._all]
        self._poses = poses
        self._rows, self._numbers = self._best_sequence()

    @property
    def share(self) -> float:
        """Share of the poses that have a candidate."""
        return len(self._rows) / len(self._poses) if len(self._poses) else 0.0

    @property
    def lanes(self) -> tuple[MapLane, ...]:
        """Every lane and connector, once each time it is entered; short ones between two poses are filled in."""
        return tuple(self._all[number] for number, _, _ in self._stretches())

    @property
    def route(self) -> tuple[str, ...]:
        """Roadblocks and roadblock connectors in driving order; lane changes within one do not repeat it."""
        blocks = [lane.roadblock for lane in self.lanes]
        return tuple(block for k, block in enumerate(blocks) if k == 0 or block != blocks[k - 1])

    def commands(self, poses: Float64[np.ndarray, "F 3"]) -> tuple[Command, ...]:
        """NAVSIM's driving command at each pose, from the centre line of the driven lanes; see `command_along`."""
        line = self.centre_line()
        if line is None:
            return (Command.UNKNOWN,) * len(poses)
        return tuple(command_along(line, pose) for pose in poses)

    def centre_line(self) -> Float64[np.ndarray, "n 2"] | None:
        """The centre lines of the driven lanes as one line, each from where the lane was entered to where it was left.

        The first lane counts from its beginning, and the last one to its end. None if no lane was driven.
        """
        stretches = self._stretches()
        if not stretches:
            return None
        points = []
        for k, (number, first, last) in enumerate(stretches):
            line = self._lines[number]
            start = self._along(number, first) if k > 0 and not self._leads(stretches[k - 1][0], number) else 0.0
            end = line.length
            if k + 1 < len(stretches) and not self._leads(number, stretches[k + 1][0]):
                end = max(start, self._along(number, last))
            points.append(np.array(shapely.ops.substring(line, start, end).coords).reshape(-1, 2))
        line = np.concatenate(points)
        line = line[np.concatenate([[True], np.linalg.norm(np.diff(line, axis=0), axis=1) > 1e-6])]
        return line if len(line) > 1 else None

    def _best_sequence(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the poses that have a candidate, and the number of the lane chosen for each."""
        candidates = self._candidates()
        rows = [row for row, lanes in enumerate(candidates) if lanes]
        if not rows:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        cost, origins = np.array(list(candidates[rows[0]].values())), []
        for before, row in pairwise(rows):
            change = np.array([[self._change(a, b) for a in candidates[before]] for b in candidates[row]], np.float64)
            reached = cost[None] + change
            origins.append(reached.argmin(1))
            cost = reached.min(1) + np.array(list(candidates[row].values()))
        best = [int(cost.argmin())]
        for origin in reversed(origins):
            best.append(int(origin[best[-1]]))
        numbers = [list(candidates[row])[k] for row, k in zip(rows, reversed(best))]
        return np.array(rows, np.int64), np.array(numbers, np.int64)

    def _candidates(self) -> list[dict[int, float]]:
        """For every pose, the numbers of its candidates, with the distance to their centre lines."""
        candidates: list[dict[int, float]] = [{} for _ in self._poses]
        if not self._all or not len(self._poses):
            return candidates
        points = shapely.points(self._poses[:, :2])
        tree = shapely.STRtree([shapely.Polygon(lane.rings[0], lane.rings[1:]) for lane in self._all])
        for row, number in tree.query(points, predicate="intersects").T:
            line = self._all[number].baseline
            heading = direction_at(line, self._lines[number].project(points[row]))
            if abs(wrap_angle(heading - self._poses[row, 2])) < AGREE_RAD:
                candidates[row][int(number)] = float(self._lines[number].distance(points[row]))
        return candidates

    def _change(self, a: int, b: int) -> float:
        return 0.0 if a == b or self._leads(a, b) or self._between(a, b) is not None else LEAP_M

    def _leads(self, a: int, b: int) -> bool:
        return self._all[b].id in self._all[a].outgoing

    def _between(self, a: int, b: int) -> int | None:
        """The first lane that leads from a to b."""
        for name in self._all[a].outgoing:
            if self._leads(self._number[name], b):
                return self._number[name]
        return None

    def _stretches(self) -> list[tuple[int, int, int]]:
        """(lane, first row, last row) in driving order; a lane that was filled in has the rows around it."""
        stretches: list[tuple[int, int, int]] = []
        for row, number in zip(self._rows.tolist(), self._numbers.tolist()):
            if stretches and stretches[-1][0] == number:
                stretches[-1] = (number, stretches[-1][1], row)
                continue
            if stretches and not self._leads(stretches[-1][0], number):
                between = self._between(stretches[-1][0], number)
                if between is not None:
                    stretches.append((between, stretches[-1][2], row))
            stretches.append((number, row, row))
        return stretches

    def _along(self, number: int, row: int) -> float:
        return self._lines[number].project(shapely.Point(self._poses[row, :2]))


def connectors_under(road_map: RoadMap, lights: Sequence[tuple[str, bool]]) -> tuple[tuple[str, bool], ...]:
    """Lights over lanes or connectors as lights of connectors.

    A light over a lane holds for every connector that leaves it.
    """
    states: dict[str, bool] = {}
    for name, red in lights:
        for connector in road_map.connectors:
            unsplit = connector.id.rpartition("#")[0]  # before a connector of several lanes was split
            if connector.has_light and name in (*connector.incoming, connector.id, unsplit):
                states[connector.id] = states.get(connector.id, False) or red
    return tuple(states.items())

"""The semantic bird's-eye view that Transfuser learns to draw: what lies on every cell of the ground ahead of the ego.

Beside targets.py, which asks for it. As NAVSIM draws it: the half ahead of the rear axle, row 0 at the ego, columns from right to left.
"""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import shapely
from jaxtyping import Float64, Int64, UInt8

from latentdrive.errors import ConfigError
from latentdrive.pdms.map.index import MAPS_KEPT, MapIndex, index_of
from latentdrive.types import FROZEN, RoadMap, TrackedObjects

# In this order, later classes over earlier ones; 0 is what nothing was drawn on.
ROAD, WALKWAY, CENTRELINE, STATIC, VEHICLE, PEDESTRIAN = range(1, 7)
BOXES = (
    (STATIC, ("czone_sign", "barrier", "traffic_cone", "generic_object")),
    (VEHICLE, ("vehicle",)),
    (PEDESTRIAN, ("pedestrian",)),
)  # bicycles are not drawn
CORNERS = 0.5 * np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]])  # of a box, as shares of length and width

Points = Float64[np.ndarray, "_ 2"]


@dataclass(**FROZEN)
class BevSemantics:
    """height: cells ahead; width: cells across, half of them left of the ego. centreline_px: thickness of centre lines, cells."""

    height: int
    width: int
    metres_per_cell: float
    centreline_px: int

    def __post_init__(self) -> None:
        if self.width % 2 or min(self.height, self.width, self.centreline_px) < 1 or self.metres_per_cell <= 0:
            raise ConfigError(
                f"batches.targets.semantics: height, centreline_px and metres_per_cell must be positive and width even, got {self}"
            )

    def __call__(
        self, road_map: RoadMap, ego: Float64[np.ndarray, "3"], objects: TrackedObjects
    ) -> UInt8[np.ndarray, "h w"]:
        """The class of every cell. ego: rear axle, global frame, as are the objects. Raises MapError for a map that can't be indexed.

        Map areas are drawn where they meet the square of half side width/2 around the ego, parallel to the map's axes.
        """
        x, y, _ = ego.tolist()
        reach = self.width * self.metres_per_cell / 2
        near = _layers(index_of(road_map)).near(shapely.box(x - reach, y - reach, x + reach, y + reach))
        # OpenCV wants columns before rows: its x is ours, forward, its y runs from right to left.
        picture = np.zeros((self.width, self.height), np.uint8)
        for label, rings in ((ROAD, near.roads), (WALKWAY, near.walkways)):
            for ring in self._cells(rings, ego):
                cv2.fillPoly(picture, [ring], label)
        for line in self._cells(near.lines, ego):
            cv2.polylines(picture, [line], False, CENTRELINE, self.centreline_px)
        corners = _corners(objects)
        for label, names in BOXES:
            boxes = [corner for corner, name in zip(corners, objects.names) if name in names]
            for box in self._cells(boxes, ego):
                cv2.fillPoly(picture, [box], label)
        return np.ascontiguousarray(picture.T)

    def _cells(self, lines: list[Points], ego: Float64[np.ndarray, "3"]) -> list[np.ndarray]:
        """Points of the global frame as cells of the picture, int32, cut towards zero as NAVSIM does."""
        if not lines:
            return []
        cos, sin = np.cos(ego[2]), np.sin(ego[2])
        local = (np.concatenate(lines) - ego[:2]) @ np.array([[cos, -sin], [sin, cos]])
        cells = (local / self.metres_per_cell + (0, self.width / 2)).astype(np.int32)
        return np.split(cells, np.cumsum([len(line) for line in lines])[:-1])


@dataclass(**FROZEN)
class _Near:
    """What is drawn of a map: outlines of areas (holes are filled) and centre lines, global frame."""

    roads: list[Points]
    walkways: list[Points]
    lines: list[Points]


class _Layers:
    """The areas and lines of a map that are drawn, made ready to be asked for by place."""

    def __init__(self, index: MapIndex) -> None:
        self.map, self.trees = index.map, index.trees
        self.walkways = shapely.STRtree([shapely.Polygon(one.rings[0]) for one in index.map.walkways])
        self.connectors = shapely.STRtree([shapely.LineString(one.baseline) for one in index.map.connectors])

    def near(self, square: shapely.Polygon) -> _Near:
        """What meets a square."""
        found = {name: self._found(self.trees[name], square) for name in ("LANE", "INTERSECTION")}
        lanes = [self.map.lanes[i] for i in found["LANE"]]
        crossings = [self.map.intersections[i] for i in found["INTERSECTION"]]
        connectors = [self.map.connectors[i] for i in self._found(self.connectors, square)]
        return _Near(
            roads=[area.rings[0] for area in (*lanes, *crossings)],
            walkways=[self.map.walkways[i].rings[0] for i in self._found(self.walkways, square)],
            lines=[lane.baseline for lane in (*lanes, *connectors)],
        )

    @staticmethod
    def _found(tree: shapely.STRtree, square: shapely.Polygon) -> Int64[np.ndarray, "_"]:
        return np.sort(tree.query(square, "intersects"))


@lru_cache(maxsize=MAPS_KEPT)
def _layers(index: MapIndex) -> _Layers:
    return _Layers(index)


def _corners(objects: TrackedObjects) -> list[Points]:
    """Four corners of every box, global frame."""
    cos, sin = np.cos(objects.poses[:, 2]), np.sin(objects.poses[:, 2])
    local = CORNERS * objects.sizes[:, None, :2]
    turn = np.stack([np.stack([cos, sin], -1), np.stack([-sin, cos], -1)], 1)
    return list(local @ turn + objects.poses[:, None, :2])

"""The semantic bird's-eye view, a training target of Transfuser: a class for every cell of the ground ahead of the ego.

Drawn as in NAVSIM: row 0 lies at the rear axle, later rows farther ahead; columns run from right to left.
"""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import shapely
from jaxtyping import Float64, Int64, UInt8

from latentdrive.boxes import corners
from latentdrive.errors import ConfigError
from latentdrive.pdms.map.index import MAPS_KEPT, MapIndex, index_of
from latentdrive.types import FROZEN, RoadMap, TrackedObjects

# Classes in the order in which they are drawn, each over those before it. Empty cells have class 0.
ROAD, WALKWAY, CENTRELINE, STATIC, VEHICLE, PEDESTRIAN = range(1, 7)
BOXES = (
    (STATIC, ("czone_sign", "barrier", "traffic_cone", "generic_object")),
    (VEHICLE, ("vehicle",)),
    (PEDESTRIAN, ("pedestrian",)),
)  # NAVSIM does not draw bicycles

Points = Float64[np.ndarray, "_ 2"]


@dataclass(**FROZEN)
class BevSemantics:
    """The size of the view and how to draw it.

    height: cells ahead of the ego. width: cells across, half of them on each side. centreline_px:
    thickness of centre lines, in cells.
    """

    height: int
    width: int
    metres_per_cell: float
    centreline_px: int

    def __post_init__(self) -> None:
        if self.width % 2 or min(self.height, self.width, self.centreline_px) < 1 or self.metres_per_cell <= 0:
            raise ConfigError(
                f"batches.targets.semantics: width must be even, and it, height, centreline_px and metres_per_cell "
                f"positive; got {self}"
            )

    def __call__(
        self, road_map: RoadMap, ego: Float64[np.ndarray, "3"], objects: TrackedObjects
    ) -> UInt8[np.ndarray, "h w"]:
        """The class of every cell. ego: pose of the rear axle in the global frame, as the objects.

        Map areas are drawn if they meet a square around the ego that is parallel to the map's axes and
        as wide as the view. Raises MapError for a map that can't be indexed.
        """
        x, y, _ = ego.tolist()
        reach = self.width * self.metres_per_cell / 2
        near = _layers(index_of(road_map)).near(shapely.box(x - reach, y - reach, x + reach, y + reach))
        # OpenCV takes the column first. Drawing the transposed view makes its column our x and its row our y.
        picture = np.zeros((self.width, self.height), np.uint8)
        for label, rings in ((ROAD, near.roads), (WALKWAY, near.walkways)):
            for ring in self._cells(rings, ego):
                cv2.fillPoly(picture, [ring], label)
        for line in self._cells(near.lines, ego):
            cv2.polylines(picture, [line], False, CENTRELINE, self.centreline_px)
        outlines = corners(objects.poses, objects.sizes[:, :2])
        for label, names in BOXES:
            boxes = [corner for corner, name in zip(outlines, objects.names) if name in names]
            for box in self._cells(boxes, ego):
                cv2.fillPoly(picture, [box], label)
        return np.ascontiguousarray(picture.T)

    def _cells(self, lines: list[Points], ego: Float64[np.ndarray, "3"]) -> list[np.ndarray]:
        """Points of the global frame as cells of the transposed view, int32, truncated towards zero as in NAVSIM."""
        if not lines:
            return []
        cos, sin = np.cos(ego[2]), np.sin(ego[2])
        local = (np.concatenate(lines) - ego[:2]) @ np.array([[cos, -sin], [sin, cos]])
        cells = (local / self.metres_per_cell + (0, self.width / 2)).astype(np.int32)
        return np.split(cells, np.cumsum([len(line) for line in lines])[:-1])


@dataclass(**FROZEN)
class _Near:
    """The parts of a map near the ego, in the global frame: outlines of areas, without holes, and centre lines."""

    roads: list[Points]
    walkways: list[Points]
    lines: list[Points]


class _Layers:
    """Spatial index of the areas and lines of a map that are drawn."""

    def __init__(self, index: MapIndex) -> None:
        self.map, self.trees = index.map, index.trees
        self.walkways = shapely.STRtree([shapely.Polygon(area.rings[0]) for area in index.map.walkways])
        self.connectors = shapely.STRtree([shapely.LineString(lane.baseline) for lane in index.map.connectors])

    def near(self, square: shapely.Polygon) -> _Near:
        """The areas and lines that meet a square."""
        lanes = [self.map.lanes[i] for i in _intersecting(self.trees["LANE"], square)]
        crossings = [self.map.intersections[i] for i in _intersecting(self.trees["INTERSECTION"], square)]
        connectors = [self.map.connectors[i] for i in _intersecting(self.connectors, square)]
        return _Near(
            roads=[area.rings[0] for area in (*lanes, *crossings)],
            walkways=[self.map.walkways[i].rings[0] for i in _intersecting(self.walkways, square)],
            lines=[lane.baseline for lane in (*lanes, *connectors)],
        )


def _intersecting(tree: shapely.STRtree, square: shapely.Polygon) -> Int64[np.ndarray, "_"]:
    """Indices of the tree's geometries that meet the square, ascending."""
    return np.sort(tree.query(square, "intersects"))


@lru_cache(maxsize=MAPS_KEPT)
def _layers(index: MapIndex) -> _Layers:
    return _Layers(index)

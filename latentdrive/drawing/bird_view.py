"""A prepared scene from above: roads, lights, road users and plans around the ego, which looks up."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float64, UInt8
from PIL import Image, ImageDraw

from latentdrive.boxes import corners, ego_corners
from latentdrive.drawing.camera_view import thinned
from latentdrive.drawing.colours import (
    COLOURS,
    EGO,
    GROUND,
    JOINT,
    LANE,
    LIGHT,
    ON_ROUTE,
    OUTLINE,
    PAVEMENT,
    RED,
    ROAD,
    ROUTE,
    Colour,
    Plans,
)
from latentdrive.geometry import compose, relative_pose
from latentdrive.pdms.scene import LAYERS, Polygons, ScoringScene

PANEL = 400  # pixels: side of the view, unless its caller says otherwise
FINER = 2  # the view is drawn this many times larger and then shrunk, for smooth lines
MARGIN_M, LEAST_M = 12.0, 50.0  # space around all paths; smallest width of the view
BACK_M, AHEAD_M = -80.0, 160.0  # the view never reaches beyond these, from the ego
STANDS_M = 1.0  # a plan that stays within this distance of the ego stands still


def bev_with_trajectories(scene: ScoringScene, plans: Plans, *, side: int = PANEL) -> UInt8[np.ndarray, "side side 3"]:
    """The scene from above with plans, the last plan on top.

    Other road users stand where they are now; a thin line shows where each of them goes. side: in pixels.
    """
    paths = [(global_path(scene, poses), colour) for poses, colour in plans.values()]
    view = BirdView(scene.ego[:3], [path for path, _ in paths], side=side)
    draw_areas(view, scene)
    for index in range(len(scene.tracks)):
        future = scene.tracks.poses[scene.tracks.present[:, index], index, :2]
        view.line(future, COLOURS.get(scene.tracks.names[index], EGO), 1)
    draw_tracks(view, scene, 0)
    view.polygon(ego_corners(scene.ego[:3]), outline=EGO, width=2)
    for path, colour in paths:
        view.line(path, OUTLINE, 5)
        view.line(path, colour, 3)
        view.dots(thinned(path[1:]), colour)
    for (poses, colour), (path, _) in zip(plans.values(), paths):
        if stands_still(poses):
            view.ring(*view.pixels(path[:1])[0], 7, outline=colour, width=2 * FINER)
    return np.asarray(view.image())


class BirdView:
    """A square view around the ego, which looks up. All points are in global coordinates.

    ego: its pose now. paths: lines that must be in view. side: in pixels.
    """

    def __init__(self, ego: Float64[np.ndarray, "3"], paths: Sequence[Float[np.ndarray, "_ 2"]], *, side: int) -> None:
        self.ego, self.side = ego, side
        points = self._local(np.concatenate([ego[None, :2], *(path[np.isfinite(path).all(-1)] for path in paths)]))
        # A plan in a wrong frame lies kilometres away; the view stays around the ego.
        points = np.clip(points, BACK_M, AHEAD_M)
        low, high = points.min(0), points.max(0)
        self.middle, self.reach = (low + high) / 2, max(LEAST_M, float((high - low).max()) + 2 * MARGIN_M)
        self.scale = side * FINER / self.reach
        self.panel = Image.new("RGB", (side * FINER, side * FINER), GROUND)
        self.draw = ImageDraw.Draw(self.panel)

    def _local(self, points: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
        poses = np.concatenate([points, np.zeros((len(points), 1))], -1)
        return relative_pose(np.broadcast_to(self.ego, poses.shape), poses)[:, :2]

    def pixels(self, points: Float[np.ndarray, "n 2"]) -> list[tuple[float, float]]:
        """Columns and rows of points in the enlarged drawing: the ego's x points up, its y to the left."""
        local, half = self._local(points) - self.middle, self.side * FINER / 2
        return [(half - y * self.scale, half - x * self.scale) for x, y in np.clip(local, -1e4, 1e4).tolist()]

    def near(self, points: Float[np.ndarray, "n 2"]) -> bool:
        """Whether the bounding box of these points overlaps the view."""
        local, half = self._local(points) - self.middle, self.reach / 2
        return bool((local.min(0) < half).all() and (local.max(0) > -half).all())

    def polygon(self, points: Float[np.ndarray, "n 2"], **paint) -> None:
        """Draw a polygon. paint: fill, outline, width in pixels."""
        self.draw.polygon(self.pixels(points), **paint | {"width": paint.get("width", 1) * FINER})

    def line(self, points: Float[np.ndarray, "n 2"], colour: Colour, width: int) -> None:
        """Draw a line through the points; nothing for fewer than two. width: in pixels."""
        if len(points) > 1:
            self.draw.line(self.pixels(points), fill=colour, width=width * FINER, joint="curve")

    def dots(self, points: Float[np.ndarray, "n 2"], colour: Colour) -> None:
        """Draw a dot on every point."""
        for x, y in self.pixels(points):
            self.ring(x, y, 4, fill=colour)

    def ring(self, x: float, y: float, radius: int, **paint) -> None:
        """Draw a circle around a place that `pixels` gave. radius: in pixels of the final view."""
        size = radius * FINER
        self.draw.ellipse((x - size, y - size, x + size, y + size), **paint)

    def image(self) -> Image.Image:
        """The finished view, `side` pixels wide."""
        return self.panel.resize((self.side, self.side), Image.Resampling.LANCZOS)


def draw_areas(view: BirdView, scene: ScoringScene) -> None:
    """Draw roads from the bottom up: car parks, roadblocks, intersections, lanes, red lights, the centre line."""
    fills = {"ROADBLOCK": ROAD, "INTERSECTION": JOINT, "CARPARK_AREA": PAVEMENT}
    areas = list(zip(rings_of(scene.areas.polygons), scene.areas.layers, scene.areas.on_route))
    for kind in ("CARPARK_AREA", "ROADBLOCK", "INTERSECTION"):
        for rings, layer, _ in areas:
            if LAYERS[int(layer)] == kind and view.near(rings[0]):
                view.polygon(rings[0], fill=fills[kind])
                for hole in rings[1:]:
                    view.polygon(hole, fill=GROUND)
    for rings, layer, on_route in sorted(areas, key=lambda area: bool(area[2])):
        if LAYERS[int(layer)] not in fills and view.near(rings[0]):
            connector = LAYERS[int(layer)] == "LANE_CONNECTOR"
            if on_route:
                view.polygon(rings[0], fill=ON_ROUTE, outline=None if connector else LANE)
            elif not connector:
                view.polygon(rings[0], outline=LANE)
    for rings, red in zip(rings_of(scene.lights.polygons), scene.lights.red.any(0)):
        if red:
            view.polygon(rings[0], fill=LIGHT, outline=RED)
    view.line(scene.centreline[:, :2], ROUTE, 1)


def draw_tracks(view: BirdView, scene: ScoringScene, step: int, *, hit: str = "") -> None:
    """Draw road users at a step of 0.1 s, with a line from the middle of each to its front.

    hit: token of a road user that is outlined in red.
    """
    tracks = scene.tracks
    for index in np.flatnonzero(tracks.present[step]):
        pose, size = tracks.poses[step, index], tracks.sizes[index]
        box = corners(pose, size)
        if view.near(box):
            outline, width = (RED, 3) if tracks.tokens[index] == hit else (OUTLINE, 1)
            view.polygon(box, fill=COLOURS.get(tracks.names[index], EGO), outline=outline, width=width)
            view.line(np.stack([pose[:2], (box[0] + box[3]) / 2]), OUTLINE, 1)


def stands_still(poses: Float[np.ndarray, "n 3"]) -> bool:
    """Whether a plan (ego frame of now) stays within STANDS_M of the ego: too short to show as a line."""
    return bool((np.hypot(poses[:, 0], poses[:, 1]) < STANDS_M).all())


def global_path(scene: ScoringScene, poses: Float[np.ndarray, "p 3"]) -> Float64[np.ndarray, "n 2"]:
    """Global positions of the ego now and at the finite poses. poses: in the ego frame of now."""
    local = np.concatenate([np.zeros((1, 3)), poses.astype(np.float64)])
    local = local[np.isfinite(local).all(-1)]
    return compose(np.broadcast_to(scene.ego[:3], local.shape), local)[:, :2]


def rings_of(polygons: Polygons) -> list[list[Float64[np.ndarray, "_ 2"]]]:
    """Rings of each polygon, the exterior first."""
    rings: list[list[np.ndarray]] = [[] for _ in range(int(polygons.owner.max(initial=-1)) + 1)]
    for owner, start, end in zip(polygons.owner, polygons.ends[:-1], polygons.ends[1:]):
        rings[int(owner)].append(polygons.vertices[start:end])
    return rings

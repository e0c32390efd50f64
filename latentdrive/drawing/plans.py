"""Plans as pictures: drawn on the ground of the front camera's picture, and over the scene from above.

Beside the planners, so that training can show what it learns; the report draws its scenes with the same view, projection and colours.
Colours are red, green, blue; pixels are column, row.
"""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from jaxtyping import Float, Float64, UInt8
from PIL import Image, ImageDraw, ImageFont

from latentdrive.data.clips.sidecars import WHOLE
from latentdrive.data.picture_size import scaled_intrinsics
from latentdrive.geometry import compose, relative_pose
from latentdrive.nuplan_vehicle import CORNERS, LENGTH_M, REAR_TO_CENTRE_M, WIDTH_M
from latentdrive.pdms.scene import HEADING, LAYERS, Polygons, ScoringScene
from latentdrive.types import CameraImage

Colour = tuple[int, int, int]
Plans = Mapping[
    str, tuple[Float[np.ndarray, "_ 3"], Colour]
]  # by name: poses in the ego frame of now, and their colour

COLOURS = {
    "vehicle": (70, 130, 255), "pedestrian": (255, 120, 40), "bicycle": (200, 80, 220), "traffic_cone": (255, 200, 0),
    "barrier": (160, 160, 160), "czone_sign": (255, 200, 0), "generic_object": (160, 160, 160),
}  # fmt: skip
ROAD, JOINT, PAVEMENT, GROUND = (96, 96, 100), (120, 120, 126), (70, 84, 78), (38, 44, 40)
LANE, ROUTE, RED, HUMAN, EGO = (150, 150, 155), (60, 200, 120), (240, 50, 50), (255, 230, 60), (255, 255, 255)
ON_ROUTE, LIGHT, OUTLINE = (84, 104, 92), (130, 46, 46), (0, 0, 0)
DRIVER = "human"  # the plan that always has HUMAN's colour
PAINTS = (
    (255, 90, 200),
    (80, 225, 255),
    (255, 140, 40),
    (150, 255, 90),
    (190, 140, 255),
    (255, 110, 100),
)  # of others, in turn

PANEL, LINE = 400, 20  # pixels: height of pictures side by side, and of a line of text below them
FINER = 2  # views from above are drawn this many times larger, for smooth lines
MARGIN_M, LEAST_M = 12.0, 50.0  # around everything that must be seen; width of the view at least
STAYS_M = 1.0  # a plan that gets no further leads nowhere
NEAR_M = 0.5  # before the camera, where what is projected is cut off
FARTHEST_PX = 1e5  # from the corner of the picture; what lies further out is nowhere near it
DOTS = 8  # on a plan at most
SHIFT = 4  # binary digits of a pixel that OpenCV is given


def side_by_side(
    image: CameraImage, scene: ScoringScene, plans: Mapping[str, Float[np.ndarray, "_ 3"]]
) -> UInt8[np.ndarray, "H W 3"]:
    """Camera and view from above with the same plans, and their names below. plans: poses in the ego frame of now, by name."""
    painted = with_colours(plans)
    panels = (camera_with_trajectories(image, painted, height=PANEL), bev_with_trajectories(scene, painted))
    return with_legend(np.concatenate(panels, 1), painted)


def with_colours(plans: Mapping[str, Float[np.ndarray, "_ 3"]]) -> Plans:
    """The plans, each with its colour: the human's own, the others' in turn."""
    others = [name for name in plans if name != DRIVER]
    paints = {name: PAINTS[number % len(PAINTS)] for number, name in enumerate(others)} | {DRIVER: HUMAN}
    return {name: (np.asarray(poses, np.float64), paints[name]) for name, poses in plans.items()}


# ---- the camera ----


def camera_with_trajectories(
    image: CameraImage, plans: Plans, *, height: int | None = None
) -> UInt8[np.ndarray, "H W 3"]:  # fmt: skip
    """The picture with plans on the ground (z = 0 of the ego frame), the last one on top; bare without calibration.

    height: in pixels that the picture is scaled to; None: as it is.
    """
    image = image if height is None else _scaled(image, height)
    pixels = np.ascontiguousarray(image.pixels.transpose(1, 2, 0))
    if image.intrinsics is None or image.camera_to_ego is None:
        return pixels
    width = max(2, round(pixels.shape[0] / 110))
    for poses, colour in plans.values():
        path = _on_the_ground(poses)
        pieces = _fixed(projected_pieces(image, path[:-1], path[1:]))
        for paint, wide in ((OUTLINE, width + 2), (colour, width)):
            cv2.polylines(pixels, list(pieces), False, paint, wide, cv2.LINE_AA, SHIFT)
        for column, row in _fixed(projected(image, few(path[1:])))[:, 0].tolist():
            for paint, radius in ((OUTLINE, width + 2), (colour, width + 1)):
                cv2.circle(pixels, (column, row), radius << SHIFT, paint, -1, cv2.LINE_AA, SHIFT)
    return pixels


def projected(image: CameraImage, points: Float[np.ndarray, "n 3"]) -> Float64[np.ndarray, "seen 2"]:
    """Pixels of those points of the ego frame (metres) that lie at least NEAR_M before the camera, inside the picture or not."""
    seen = _from_camera(image, points)
    return _pixels(image, seen[seen[:, 2] >= NEAR_M])


def projected_pieces(
    image: CameraImage, starts: Float[np.ndarray, "n 3"], ends: Float[np.ndarray, "n 3"], *, far_m: float = np.inf
) -> Float64[np.ndarray, "seen 2 2"]:
    """Straight pieces between points of the ego frame as pixels of both ends, cut off NEAR_M before the camera.

    far_m: pieces whose nearer end lies further before the camera are left out, as is what lies far outside the picture.
    """
    a, b = _from_camera(image, starts), _from_camera(image, ends)
    seen = (np.maximum(a[:, 2], b[:, 2]) > NEAR_M) & (np.minimum(a[:, 2], b[:, 2]) < far_m)
    a, b = _cut(a[seen], b[seen]), _cut(b[seen], a[seen])
    pieces = np.stack([_pixels(image, a), _pixels(image, b)], 1)
    return pieces[(np.abs(pieces) < FARTHEST_PX).all((1, 2))]


def _from_camera(image: CameraImage, points: Float[np.ndarray, "n 3"]) -> Float64[np.ndarray, "n 3"]:
    """Ego frame to the camera's: x right, y down, z ahead."""
    placed = image.camera_to_ego.astype(np.float64)
    return (np.asarray(points, np.float64) - placed[:3, 3]) @ placed[:3, :3]


def _cut(points: Float64[np.ndarray, "n 3"], others: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, "n 3"]:
    """The same where they lie before the camera, else where the way to the others comes before it."""
    depth, behind = points[:, 2:], points[:, 2:] < NEAR_M
    share = np.where(behind, (NEAR_M - depth) / np.where(behind, others[:, 2:] - depth, 1.0), 0.0)
    return points + share * (others - points)


def _pixels(image: CameraImage, points: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, "n 2"]:
    flat = points @ image.intrinsics.astype(np.float64).T
    return flat[:, :2] / flat[:, 2:]


def _fixed(pixels: Float64[np.ndarray, "*n 2"]) -> np.ndarray:
    """As OpenCV takes them: whole numbers of 1/16 of a pixel, an axis more where there are single points."""
    near = np.clip(np.round(pixels * (1 << SHIFT)), -FARTHEST_PX * 16, FARTHEST_PX * 16).astype(np.int32)
    return near if near.ndim == 3 else near[:, None]


def _on_the_ground(poses: Float[np.ndarray, "n 3"]) -> Float64[np.ndarray, "m 3"]:
    """Now and the poses as points with z = 0; what is not finite is left out."""
    kept = poses[np.isfinite(poses).all(-1)]
    return np.concatenate([np.zeros((1, 3)), np.column_stack([kept[:, :2], np.zeros(len(kept))])])


def _stays(poses: Float[np.ndarray, "n 3"]) -> bool:
    """Whether a plan leads nowhere, which no line can show."""
    return bool((np.hypot(poses[:, 0], poses[:, 1]) < STAYS_M).all())


def few(points: Float[np.ndarray, "n axes"]) -> Float[np.ndarray, "m axes"]:
    """At most DOTS of them, the last one among them."""
    return points[::-1][:: max(1, len(points) // DOTS)]


def _scaled(image: CameraImage, height: int) -> CameraImage:
    stored = image.pixels.shape[1:]
    size = (height, round(stored[1] * height / stored[0]))
    how = cv2.INTER_AREA if height < stored[0] else cv2.INTER_LINEAR
    pixels = cv2.resize(np.ascontiguousarray(image.pixels.transpose(1, 2, 0)), size[::-1], interpolation=how)
    intrinsics = image.intrinsics
    if intrinsics is not None:
        intrinsics = scaled_intrinsics(intrinsics.astype(np.float64), view=WHOLE, stored=stored, size=size)
    return CameraImage(pixels=pixels.transpose(2, 0, 1), intrinsics=intrinsics, camera_to_ego=image.camera_to_ego)


# ---- from above ----


def bev_with_trajectories(scene: ScoringScene, plans: Plans, *, side: int = PANEL) -> UInt8[np.ndarray, "side side 3"]:
    """The scene from above with plans, the last one on top; the car of now looks up. Others stand where they are now, and a thin line
    says where they go. side: in pixels."""
    paths = [(absolute(scene, poses), colour) for poses, colour in plans.values()]
    view = BirdView(scene.ego[:3], [path for path, _ in paths], side=side)
    draw_areas(view, scene)
    for index in range(len(scene.tracks)):
        way = scene.tracks.poses[scene.tracks.present[:, index], index, :2]
        view.line(way, COLOURS.get(scene.tracks.names[index], EGO), 1)
    draw_tracks(view, scene, 0)
    view.polygon(car_corners(scene.ego[:3]), outline=EGO, width=2)
    for path, colour in paths:
        view.line(path, OUTLINE, 5)
        view.line(path, colour, 3)
        view.dots(few(path[1:]), colour)
    for (poses, colour), (path, _) in zip(plans.values(), paths):
        if _stays(poses):  # the others' lines begin where it ends
            view.ring(*view.pixels(path[:1])[0], 7, outline=colour, width=2 * FINER)
    return np.asarray(view.image())


class BirdView:
    """A square view around the car of now, which looks up; takes global coordinates. side: in pixels; paths: what must be seen."""

    def __init__(self, ego: Float64[np.ndarray, "3"], paths: Sequence[Float[np.ndarray, "_ 2"]], *, side: int) -> None:
        self.ego, self.side = ego, side
        seen = self._local(np.concatenate([ego[None, :2], *(path[np.isfinite(path).all(-1)] for path in paths)]))
        # A plan in another frame lies kilometres away: the view stays where the car is.
        seen = np.clip(seen, -80.0, 160.0)
        low, high = seen.min(0), seen.max(0)
        self.middle, self.reach = (low + high) / 2, max(LEAST_M, float((high - low).max()) + 2 * MARGIN_M)
        self.scale = side * FINER / self.reach
        self.panel = Image.new("RGB", (side * FINER, side * FINER), GROUND)
        self.draw = ImageDraw.Draw(self.panel)

    def _local(self, points: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
        poses = np.concatenate([points, np.zeros((len(points), 1))], -1)
        return relative_pose(np.broadcast_to(self.ego, poses.shape), poses)[:, :2]

    def pixels(self, points: Float[np.ndarray, "n 2"]) -> list[tuple[float, float]]:
        """x up, y to the left."""
        local, half = self._local(points) - self.middle, self.side * FINER / 2
        return [(half - y * self.scale, half - x * self.scale) for x, y in np.clip(local, -1e4, 1e4).tolist()]

    def near(self, points: Float[np.ndarray, "n 2"]) -> bool:
        """Whether something with these corners can be in view."""
        local, half = self._local(points) - self.middle, self.reach / 2
        return bool((local.min(0) < half).all() and (local.max(0) > -half).all())

    def polygon(self, points: Float[np.ndarray, "n 2"], **paint) -> None:
        self.draw.polygon(self.pixels(points), **paint | {"width": paint.get("width", 1) * FINER})

    def line(self, points: Float[np.ndarray, "n 2"], colour: Colour, width: int) -> None:
        if len(points) > 1:
            self.draw.line(self.pixels(points), fill=colour, width=width * FINER, joint="curve")

    def dots(self, points: Float[np.ndarray, "n 2"], colour: Colour) -> None:
        for x, y in self.pixels(points):
            self.ring(x, y, 4, fill=colour)

    def ring(self, x: float, y: float, radius: int, **paint) -> None:
        """A circle around a place that `pixels` gave."""
        size = radius * FINER
        self.draw.ellipse((x - size, y - size, x + size, y + size), **paint)

    def image(self) -> Image.Image:
        """The view in its own size."""
        return self.panel.resize((self.side, self.side), Image.Resampling.LANCZOS)


def draw_areas(view: BirdView, scene: ScoringScene) -> None:
    """Roads from below: blocks, crossings and car parks, then lanes, then what is red, then the centre line."""
    fills = {"ROADBLOCK": ROAD, "INTERSECTION": JOINT, "CARPARK_AREA": PAVEMENT}
    parts = list(zip(rings_of(scene.areas.polygons), scene.areas.layers, scene.areas.on_route))
    for kind in ("CARPARK_AREA", "ROADBLOCK", "INTERSECTION"):
        for rings, layer, _ in parts:
            if LAYERS[int(layer)] == kind and view.near(rings[0]):
                view.polygon(rings[0], fill=fills[kind])
                for hole in rings[1:]:
                    view.polygon(hole, fill=GROUND)
    for rings, layer, on_route in sorted(parts, key=lambda part: bool(part[2])):
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
    """Others at a step (0.1 s apart), a line to the front of each. hit: token of one that is outlined in red."""
    tracks = scene.tracks
    for index in np.flatnonzero(tracks.present[step]):
        pose, size = tracks.poses[step, index], tracks.sizes[index]
        corners = box_corners(pose, size)
        if view.near(corners):
            struck = tracks.tokens[index] == hit
            outline = RED if struck else OUTLINE
            view.polygon(corners, fill=COLOURS.get(tracks.names[index], EGO), outline=outline, width=3 if struck else 1)
            view.line(np.stack([pose[:2], (corners[0] + corners[3]) / 2]), OUTLINE, 1)


def absolute(scene: ScoringScene, poses: Float[np.ndarray, "p 3"]) -> Float64[np.ndarray, "n 2"]:
    """Now and poses of the ego frame, in global coordinates; what is not finite is left out."""
    local = np.concatenate([np.zeros((1, 3)), poses.astype(np.float64)])
    local = local[np.isfinite(local).all(-1)]
    return compose(np.broadcast_to(scene.ego[:3], local.shape), local)[:, :2]


def car_corners(rear_axle: Float64[np.ndarray, "3"]) -> Float64[np.ndarray, "4 2"]:
    """Of the car, front left first, counter-clockwise."""
    heading = rear_axle[HEADING]
    centre = rear_axle[:2] + REAR_TO_CENTRE_M * np.array([np.cos(heading), np.sin(heading)])
    return box_corners(np.array([*centre, heading]), np.array([LENGTH_M, WIDTH_M]))


def box_corners(pose: Float64[np.ndarray, "3"], size: Float64[np.ndarray, "2"]) -> Float64[np.ndarray, "4 2"]:
    """Of a box around its centre; size: length, width."""
    cos, sin = np.cos(pose[2]), np.sin(pose[2])
    return np.array(CORNERS) / 2 * size @ np.array([[cos, sin], [-sin, cos]]) + pose[:2]


def rings_of(polygons: Polygons) -> list[list[Float64[np.ndarray, "_ 2"]]]:
    """Rings of each polygon, the exterior first."""
    found: list[list[np.ndarray]] = [[] for _ in range(int(polygons.owner.max(initial=-1)) + 1)]
    for owner, start, end in zip(polygons.owner, polygons.ends[:-1], polygons.ends[1:]):
        found[int(owner)].append(polygons.vertices[start:end])
    return found


# ---- names ----


def with_legend(pixels: UInt8[np.ndarray, "h W 3"], plans: Plans) -> UInt8[np.ndarray, "H W 3"]:
    """A picture with a line of each colour and its name below it, in as many rows as they need."""
    font, width = ImageFont.load_default(size=13), pixels.shape[1]
    names = {f"{name} (stays)" if _stays(poses) else name: colour for name, (poses, colour) in plans.items()}
    places, x, row = [], 8, 0
    for name in names:
        wide = 40 + int(font.getlength(name))
        if x > 8 and x + wide > width:
            x, row = 8, row + 1
        places.append((x, pixels.shape[0] + 4 + row * LINE))
        x += wide
    sheet = Image.new("RGB", (width, pixels.shape[0] + (row + 1) * LINE + 6))
    sheet.paste(Image.fromarray(pixels))
    draw = ImageDraw.Draw(sheet)
    for (x, y), (name, colour) in zip(places, names.items()):
        draw.line((x, y + 9, x + 18, y + 9), fill=colour, width=3)
        draw.text((x + 24, y + 1), name, fill=EGO, font=font)
    return np.asarray(sheet)

"""Draws a NAVSIM scene: camera views with projected boxes and lanes, the bird's-eye view, and the LiDAR histogram.

It draws a Scene and a SceneTruth as they were read, so a wrong axis anywhere on the way from the
disk becomes visible.
"""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

from latentdrive.boxes import ego_corners
from latentdrive.drawing.camera_view import projected_pieces
from latentdrive.drawing.colours import COLOURS, EGO, GROUND, HUMAN, JOINT, LANE, PAVEMENT, RED, ROAD, ROUTE
from latentdrive.geometry import relative_pose
from latentdrive.types import CameraImage, Scene, SceneTruth, TrackedObjects
from latentdrive.world.boxes import EDGES, FOOT, solid_corners

VIEW_M, PANEL = 40.0, 540  # reach of the bird's-eye view to every side, and its size in pixels
LIDAR_M, LIDAR_ABOVE_M, LIDAR_CELLS_A_M = 32.0, 0.2, 4  # as in the histogram that Transfuser gets
FULL_CELL = 5  # points of a cell that is drawn white, as many as Transfuser counts
FAR_M = 60.0  # boxes and lanes that are farther away are not drawn in camera views
CROSSWALK = (190, 190, 190)
Colour = tuple[int, int, int]


def scene_picture(scene: Scene, truth: SceneTruth) -> UInt8[np.ndarray, "H W 3"]:
    """Draw the present moment of a scene: cameras in two columns, the bird's-eye view, and the
    LiDAR if there is one.
    """
    grid = [_camera_panel(images[-1], truth) for images in scene.cameras.values()]
    while len(grid) % 2 or not grid:
        grid.append(Image.new("RGB", (PANEL * 8 // 9, PANEL // 2)))
    width, height = grid[0].size
    rows = len(grid) // 2
    above = [_bird_view(truth)] + ([_lidar_panel(scene.lidar)] if scene.lidar is not None else [])
    sheet = Image.new("RGB", (2 * width + PANEL * len(above), max(rows * height, PANEL)))
    for number, view in enumerate(grid):
        sheet.paste(view, (number % 2 * width, number // 2 * height))
    for number, panel in enumerate(above):
        sheet.paste(panel, (2 * width + number * PANEL, 0))
    now = truth.frames[truth.now]
    reds = sum(red for _, red in now.lights)
    text = (
        f"{scene.drive}  {scene.token}  {now.velocity[0]:.1f} m/s  command {scene.ego.command.name.lower()}  "
        f"{reds} red connectors"
    )
    ImageDraw.Draw(sheet).text((6, 4), text, fill=(255, 255, 255), stroke_width=2, stroke_fill=(0, 0, 0))
    return np.asarray(sheet)


def _camera_panel(image: CameraImage, truth: SceneTruth) -> Image.Image:
    """A camera's picture with lanes on the ground and the boxes of nearby objects."""
    panel = Image.fromarray(np.ascontiguousarray(image.pixels.transpose(1, 2, 0)))
    if image.intrinsics is None or image.camera_to_ego is None:
        return panel
    draw, now = ImageDraw.Draw(panel), truth.frames[truth.now]
    for line, colour in _coloured_lanes(truth, FAR_M):
        points = np.concatenate([line, np.zeros((len(line), 1))], -1)
        _project(draw, image, points[:-1], points[1:], colour)
    for corners, name in _boxes(now.objects, now.ego_pose):
        edges = np.array([(corners[a], corners[b]) for a, b in EDGES])
        _project(draw, image, edges[:, 0], edges[:, 1], COLOURS.get(name, EGO))
    return panel


def _project(
    draw, image: CameraImage, starts: Float[np.ndarray, "n 3"], ends: Float[np.ndarray, "n 3"], colour: Colour
) -> None:
    """Draw straight segments of the ego frame, cut off just in front of the camera."""
    for start, end in projected_pieces(image, starts, ends, far_m=FAR_M).tolist():
        draw.line([tuple(start), tuple(end)], fill=colour, width=1)


def _boxes(objects: TrackedObjects, ego: Float[np.ndarray, "3"]) -> Iterable[tuple[Float[np.ndarray, "8 3"], str]]:
    """Corners and names of the objects near the ego, in the ego frame."""
    local = relative_pose(np.broadcast_to(ego, objects.poses.shape), objects.poses)
    for pose, size, centre_z, name in zip(local, objects.sizes, objects.centre_z_m, objects.names):
        if np.hypot(*pose[:2]) < FAR_M:
            yield solid_corners(pose, size, centre_z - size[2] / 2), name


def _coloured_lanes(truth: SceneTruth, reach_m: float) -> Iterable[tuple[Float[np.ndarray, "n 2"], Colour]]:
    """Centre lines of lanes and connectors within reach_m, in the ego frame, and the colour of each."""
    now = truth.frames[truth.now]
    reds = {lane_id for lane_id, red in now.lights if red}
    for lane in (*truth.map.lanes, *truth.map.connectors):
        line = _local(lane.baseline, now.ego_pose)
        if np.hypot(*line.T).min() < reach_m:
            yield line, RED if lane.id in reds else ROUTE if lane.roadblock in truth.route else LANE


def _bird_view(truth: SceneTruth) -> Image.Image:
    """The map, the objects, the route and the human's path from above; the ego points upwards."""
    panel = Image.new("RGB", (PANEL, PANEL), GROUND)
    draw, now = ImageDraw.Draw(panel), truth.frames[truth.now]
    for areas, colour in (
        (truth.map.walkways, PAVEMENT),
        (truth.map.roadblocks, ROAD),
        ((*truth.map.intersections, *truth.map.roadblock_connectors), JOINT),
        (truth.map.crosswalks, CROSSWALK),
    ):
        for area in areas:
            ring = _local(area.rings[0], now.ego_pose)
            if np.abs(ring).min(0).max() < 3 * VIEW_M:
                draw.polygon(_pixels(ring), fill=colour)
    for line, colour in _coloured_lanes(truth, 2 * VIEW_M):
        draw.line(_pixels(line), fill=colour, width=2)
    for corners, name in _boxes(now.objects, now.ego_pose):
        flat = corners[list(FOOT), :2]
        draw.polygon(_pixels(flat), fill=COLOURS.get(name, EGO), outline=(0, 0, 0))
        front = (flat[2] + flat[3]) / 2
        draw.line(_pixels(np.stack([flat.mean(0), front])), fill=(0, 0, 0), width=2)
    draw.polygon(_pixels(ego_corners(np.zeros(3))), outline=EGO, width=2)
    draw.line(_pixels(np.concatenate([np.zeros((1, 2)), truth.human.poses[:, :2]])), fill=HUMAN, width=3)
    return panel


def _lidar_panel(points: Float[np.ndarray, "N 4"]) -> Image.Image:
    """Points above the ground, counted in cells as Transfuser counts them; FULL_CELL and more are white."""
    cells = int(2 * LIDAR_M * LIDAR_CELLS_A_M)
    tall = points[points[:, 2] > LIDAR_ABOVE_M]
    edges = np.linspace(-LIDAR_M, LIDAR_M, cells + 1)
    counts = np.histogramdd(tall[:, :2], bins=(edges, edges))[0]
    shown = (np.clip(counts, 0, FULL_CELL) / FULL_CELL * 255).astype(np.uint8)[::-1, ::-1]  # x up, y to the left
    return Image.fromarray(shown).resize((PANEL, PANEL), Image.Resampling.NEAREST).convert("RGB")


def _local(points: Float[np.ndarray, "n 2"], ego: Float[np.ndarray, "3"]) -> Float[np.ndarray, "n 2"]:
    """Points of the global frame in the ego frame."""
    poses = np.concatenate([points, np.zeros((len(points), 1))], -1)
    return relative_pose(np.broadcast_to(ego, poses.shape), poses)[:, :2]


def _pixels(local: Float[np.ndarray, "n 2"]) -> list[tuple[float, float]]:
    """Pixels of the bird's-eye view from points of the ego frame: x points up, y to the left."""
    scale = PANEL / (2 * VIEW_M)
    return [(PANEL / 2 - y * scale, PANEL / 2 - x * scale) for x, y in local.tolist()]

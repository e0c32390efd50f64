"""A NAVSIM scene as one picture: camera views with projected boxes and lanes, the bird's-eye view, and the LiDAR's histogram.

Made from what the readers give (Scene and SceneTruth), so a wrong axis anywhere on the way from the disk shows here.
"""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

from latentdrive.boxes import ego_corners
from latentdrive.drawing.camera_view import projected_pieces
from latentdrive.drawing.colours import COLOURS, EGO, GROUND, HUMAN, JOINT, LANE, PAVEMENT, RED, ROAD, ROUTE
from latentdrive.geometry import relative_pose
from latentdrive.types import CameraImage, MapArea, Scene, SceneTruth, TrackedObjects

VIEW_M, PANEL = 40.0, 540  # the bird's-eye view shows this far to every side, in this many pixels
LIDAR_M, LIDAR_ABOVE_M, LIDAR_CELLS_A_M = 32.0, 0.2, 4  # the histogram that Transfuser is given
FAR_M = 60.0  # what is projected into pictures
CROSSWALK = (190, 190, 190)
CORNERS = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])
RIMS = [(a, b) for a in range(8) for b in range(a) if (CORNERS[a] != CORNERS[b]).sum() == 1]


def scene_picture(scene: Scene, truth: SceneTruth) -> UInt8[np.ndarray, "H W 3"]:
    """The present moment of a scene: its cameras in two columns, the view from above, the points from above."""
    views = [_camera_panel(images[-1], truth) for images in scene.cameras.values()]
    grid = [view for view in views]
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
    text = f"{scene.drive}  {scene.token}  {now.velocity[0]:.1f} m/s  command {scene.ego.command.name.lower()}  {reds} red connectors"
    ImageDraw.Draw(sheet).text((6, 4), text, fill=(255, 255, 255), stroke_width=2, stroke_fill=(0, 0, 0))
    return np.asarray(sheet)


def _camera_panel(image: CameraImage, truth: SceneTruth) -> Image.Image:
    """A camera's picture with lanes on the ground and boxes of everybody near."""
    panel = Image.fromarray(np.ascontiguousarray(image.pixels.transpose(1, 2, 0)))
    if image.intrinsics is None or image.camera_to_ego is None:
        return panel
    draw, now = ImageDraw.Draw(panel), truth.frames[truth.now]
    reds = {one for one, red in now.lights if red}
    for lane in (*truth.map.lanes, *truth.map.connectors):
        local = _local(lane.baseline, now.ego_pose)
        if np.hypot(*local.T).min() < FAR_M:
            points = np.concatenate([local, np.zeros((len(local), 1))], -1)
            colour = RED if lane.id in reds else ROUTE if lane.roadblock in truth.route else LANE
            _project(draw, image, points[:-1], points[1:], colour)
    for box, name in _boxes(now.objects, now.ego_pose):
        corners = np.array([(box[a], box[b]) for a, b in RIMS])
        _project(draw, image, corners[:, 0], corners[:, 1], COLOURS.get(name, EGO))
    return panel


def _project(
    draw, image: CameraImage, starts: Float[np.ndarray, "n 3"], ends: Float[np.ndarray, "n 3"], colour
) -> None:
    """Straight pieces in the ego frame, cut at a plane before the camera."""
    for start, end in projected_pieces(image, starts, ends, far_m=FAR_M).tolist():
        draw.line([tuple(start), tuple(end)], fill=colour, width=1)


def _boxes(objects: TrackedObjects, ego: Float[np.ndarray, "3"]) -> Iterable[tuple[Float[np.ndarray, "8 3"], str]]:
    """Corners of the boxes near the ego, in its frame."""
    local = relative_pose(np.broadcast_to(ego, objects.poses.shape), objects.poses)
    for pose, size, height, name in zip(local, objects.sizes, objects.centre_z_m, objects.names):
        if np.hypot(*pose[:2]) < FAR_M:
            corners = CORNERS * size
            cos, sin = np.cos(pose[2]), np.sin(pose[2])
            x = pose[0] + cos * corners[:, 0] - sin * corners[:, 1]
            y = pose[1] + sin * corners[:, 0] + cos * corners[:, 1]
            yield np.stack([x, y, height + corners[:, 2]], -1), name


def _bird_view(truth: SceneTruth) -> Image.Image:
    """Map, agents, route and the human's path from above; the ego looks up."""
    panel = Image.new("RGB", (PANEL, PANEL), GROUND)
    draw, now = ImageDraw.Draw(panel), truth.frames[truth.now]
    reds = {one for one, red in now.lights if red}

    def areas(things: Iterable[MapArea], colour) -> None:
        for thing in things:
            local = _local(thing.rings[0], now.ego_pose)
            if np.abs(local).min(0).max() < 3 * VIEW_M:
                draw.polygon(_pixels(local), fill=colour)

    areas(truth.map.walkways, PAVEMENT)
    areas(truth.map.roadblocks, ROAD)
    areas((*truth.map.intersections, *truth.map.roadblock_connectors), JOINT)
    areas(truth.map.crosswalks, CROSSWALK)
    for lane in (*truth.map.lanes, *truth.map.connectors):
        local = _local(lane.baseline, now.ego_pose)
        if np.hypot(*local.T).min() < 2 * VIEW_M:
            colour = RED if lane.id in reds else ROUTE if lane.roadblock in truth.route else LANE
            draw.line(_pixels(local), fill=colour, width=2)
    for corners, name in _boxes(now.objects, now.ego_pose):
        flat = corners[[0, 2, 6, 4], :2]  # around the foot: CORNERS counts z, then y, then x
        draw.polygon(_pixels(flat), fill=COLOURS.get(name, EGO), outline=(0, 0, 0))
        front = (flat[2] + flat[3]) / 2
        draw.line(_pixels(np.stack([flat.mean(0), front])), fill=(0, 0, 0), width=2)
    draw.polygon(_pixels(ego_corners(np.zeros(3))), outline=EGO, width=2)
    draw.line(_pixels(np.concatenate([np.zeros((1, 2)), truth.human.poses[:, :2]])), fill=HUMAN, width=3)
    return panel


def _lidar_panel(points: Float[np.ndarray, "N 4"]) -> Image.Image:
    """Points above the ground, counted in cells as Transfuser counts them: 5 and more are white."""
    cells = int(2 * LIDAR_M * LIDAR_CELLS_A_M)
    tall = points[points[:, 2] > LIDAR_ABOVE_M]
    edges = np.linspace(-LIDAR_M, LIDAR_M, cells + 1)
    counts = np.histogramdd(tall[:, :2], bins=(edges, edges))[0]
    shown = (np.clip(counts, 0, 5) / 5 * 255).astype(np.uint8)[::-1, ::-1]  # x up, y to the left
    return Image.fromarray(shown).resize((PANEL, PANEL), Image.Resampling.NEAREST).convert("RGB")


def _local(points: Float[np.ndarray, "n 2"], ego: Float[np.ndarray, "3"]) -> Float[np.ndarray, "n 2"]:
    poses = np.concatenate([points, np.zeros((len(points), 1))], -1)
    return relative_pose(np.broadcast_to(ego, poses.shape), poses)[:, :2]


def _pixels(local: Float[np.ndarray, "n 2"]) -> list[tuple[float, float]]:
    """Ego frame to the bird's-eye view: x up, y to the left."""
    scale = PANEL / (2 * VIEW_M)
    return [(PANEL / 2 - y * scale, PANEL / 2 - x * scale) for x, y in local.tolist()]

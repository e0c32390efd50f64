"""The truth of a clip: boxes and image motion of every agent, as the camera sees them.

Pure geometry without a renderer. Image positions are shares of the picture's width and height, from
its upper left corner.
"""

import numpy as np
from jaxtyping import Float, Float64

from latentdrive.geometry import relative_pose
from latentdrive.types import ClipTruth
from latentdrive.world.boxes import EDGES, solid_corners
from latentdrive.world.rendering.cameras import CameraSpec
from latentdrive.world.traffic.recording import SimulatedDrive

SEEN_UP_TO_M = 80.0  # agents that are farther away cover a few pixels, and count as out of view
IN_FRONT_M = 0.3  # depth up to which a point counts as behind the camera
# Beside the car, image positions run to infinity. Image motion is therefore computed with a depth of
# at least NEAREST_M, at which an agent on the next lane just leaves the picture, and with positions
# at most BEYOND outside of the picture.
NEAREST_M, BEYOND = 4.0, 0.25


def clip_truth(drive: SimulatedDrive, spec: CameraSpec, *, transition_s: float, rate_hz: float, key: str) -> ClipTruth:
    """Return boxes and image motion of every agent; NaN while it is out of view.

    transition_s: time over which image motion is measured. rate_hz: of the drive's states. key:
    name of the clip.
    """
    step = round(transition_s * rate_hz)
    poses, sizes, ego = drive.agents.poses, drive.agents.sizes, drive.ego
    boxes = np.stack([image_boxes(poses[t], sizes, ego[t], spec) for t in range(len(ego))])
    motion = np.full((*poses.shape[:2], 2), np.nan)
    if len(ego) > step:
        later = _centres(poses[step:], sizes, ego[step:], spec)
        still = _centres(poses[:-step], sizes, ego[step:], spec)
        motion[:-step] = later - still
    motion[np.isnan(boxes[..., 0])] = np.nan
    return ClipTruth(
        times_s=drive.times_s,
        agent_poses=relative_pose(ego[:1, None], poses).astype(np.float32),
        agent_sizes=sizes.astype(np.float32),
        boxes=boxes.astype(np.float32),
        image_motion=motion.astype(np.float32),
        transition_s=step / rate_hz,
        key=key,
    )


def image_boxes(
    poses: Float[np.ndarray, "N 3"], sizes: Float[np.ndarray, "N 3"], ego: Float[np.ndarray, "3"], spec: CameraSpec
) -> Float64[np.ndarray, "N 4"]:
    """Return left, top, right and bottom of each agent's box, cut to the picture; NaN if it is out of view.

    ego: pose of the rear axle.
    """
    boxes = np.full((len(poses), 4), np.nan)
    for row in np.flatnonzero(np.hypot(*(poses[:, :2] - ego[:2]).T) < SEEN_UP_TO_M):
        points = to_camera(solid_corners(poses[row], sizes[row]), ego, spec)
        depth = points[:, 2]
        cut = [
            points[a] + (points[b] - points[a]) * (IN_FRONT_M - depth[a]) / (depth[b] - depth[a])
            for a, b in EDGES
            if (depth[a] < IN_FRONT_M) != (depth[b] < IN_FRONT_M)
        ]
        visible = np.concatenate([points[depth >= IN_FRONT_M], np.array(cut).reshape(-1, 3)])
        if not len(visible):
            continue
        image = to_image(visible, spec)
        low, high = image.min(0), image.max(0)
        if (high > 0).all() and (low < 1).all():
            boxes[row] = np.concatenate([np.clip(low, 0, 1), np.clip(high, 0, 1)])
    return boxes


def to_camera(
    points: Float[np.ndarray, "*n 3"], ego: Float[np.ndarray, "*m 3"], spec: CameraSpec
) -> Float64[np.ndarray, "*n 3"]:
    """Return points (x, y in the plane, z) in camera axes: right, down, forward, metres.

    ego: pose of the rear axle, broadcast against the points.
    """
    delta = points[..., :2] - ego[..., :2]
    cos, sin = np.cos(ego[..., 2]), np.sin(ego[..., 2])
    in_ego_frame = np.stack(
        [cos * delta[..., 0] + sin * delta[..., 1], cos * delta[..., 1] - sin * delta[..., 0], points[..., 2]], -1
    )
    matrix = spec.camera_to_ego
    return (in_ego_frame - matrix[:3, 3]) @ matrix[:3, :3]


def to_image(points: Float[np.ndarray, "*n 3"], spec: CameraSpec) -> Float64[np.ndarray, "*n 2"]:
    """Return the image positions of points in camera axes, whose depth must be positive."""
    pixels = points @ spec.intrinsics.T
    pixels = pixels[..., :2] / pixels[..., 2:]
    return (pixels + 0.5) / np.array([spec.width, spec.height])


def _centres(
    poses: Float[np.ndarray, "T N 3"], sizes: Float[np.ndarray, "N 3"], ego: Float[np.ndarray, "T 3"], spec: CameraSpec
) -> Float64[np.ndarray, "T N 2"]:
    """Image positions of the centres of the boxes, bounded by NEAREST_M and BEYOND."""
    height = np.broadcast_to(sizes[:, 2] / 2, poses.shape[:2])
    points = to_camera(np.stack([poses[..., 0], poses[..., 1], height], -1), ego[:, None], spec)
    points[..., 2] = np.maximum(points[..., 2], NEAREST_M)
    return np.clip(to_image(points, spec), -BEYOND, 1 + BEYOND)

"""What the world knows of a clip: boxes and own motion of every agent, seen from the camera.

Sixth step of the world, beside cameras.py; pure geometry, no renderer. Image positions are shares of width and height
from the picture's upper left corner.
"""

import numpy as np
from jaxtyping import Float, Float64

from latentdrive.geometry import relative_pose
from latentdrive.types import ClipTruth
from latentdrive.world.rendering.cameras import CameraSpec
from latentdrive.world.traffic.recording import Drive

SEEN_UP_TO_M = 80.0  # farther agents are a few pixels: they count as out of view
IN_FRONT_M = 0.3  # what is nearer than this to the camera plane is behind it
# Beside the car the image position runs to infinity. For image motion an agent counts as no nearer than this, where one on
# the next lane is just leaving the picture, and positions are bounded to a quarter beyond the picture.
NEAREST_M, BEYOND = 4.0, 0.25
CORNERS = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (0.0, 1.0)])
RIMS = [(a, b) for a in range(8) for b in range(a) if (CORNERS[a] != CORNERS[b]).sum() == 1]


def clip_truth(drive: Drive, spec: CameraSpec, *, transition_s: float, rate_hz: float, key: str) -> ClipTruth:
    """Boxes and image motion of every agent. Raises nothing: rows out of view are NaN."""
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
    """Left, top, right, bottom of each agent's box cut to the picture; NaN where out of view, behind or too far."""
    result = np.full((len(poses), 4), np.nan)
    for row in np.flatnonzero(np.hypot(*(poses[:, :2] - ego[:2]).T) < SEEN_UP_TO_M):
        corners = _in_plane(CORNERS * sizes[row], poses[row])
        points = to_camera(corners, ego, spec)
        depth = points[:, 2]
        cut = [
            points[a] + (points[b] - points[a]) * (IN_FRONT_M - depth[a]) / (depth[b] - depth[a])
            for a, b in RIMS
            if (depth[a] < IN_FRONT_M) != (depth[b] < IN_FRONT_M)
        ]
        visible = np.concatenate([points[depth >= IN_FRONT_M], np.array(cut).reshape(-1, 3)])
        if not len(visible):
            continue
        image = to_image(visible, spec)
        low, high = image.min(0), image.max(0)
        if (high > 0).all() and (low < 1).all():
            result[row] = np.concatenate([np.clip(low, 0, 1), np.clip(high, 0, 1)])
    return result


def to_camera(
    points: Float[np.ndarray, "*n 3"], ego: Float[np.ndarray, "*m 3"], spec: CameraSpec
) -> Float64[np.ndarray, "*n 3"]:
    """Points of the plane (x, y, z) in camera axes: right, down, forward, metres. ego: rear axle; broadcast."""
    delta = points[..., :2] - ego[..., :2]
    cos, sin = np.cos(ego[..., 2]), np.sin(ego[..., 2])
    own = np.stack(
        [cos * delta[..., 0] + sin * delta[..., 1], cos * delta[..., 1] - sin * delta[..., 0], points[..., 2]], -1
    )
    matrix = spec.camera_to_ego
    return (own - matrix[:3, 3]) @ matrix[:3, :3]


def to_image(points: Float[np.ndarray, "*n 3"], spec: CameraSpec) -> Float64[np.ndarray, "*n 2"]:
    """Shares of width and height at which points in camera axes are seen; depth must be positive."""
    pixels = points @ spec.intrinsics.T
    pixels = pixels[..., :2] / pixels[..., 2:]
    return (pixels + 0.5) / np.array([spec.width, spec.height])


def _centres(
    poses: Float[np.ndarray, "T N 3"], sizes: Float[np.ndarray, "N 3"], ego: Float[np.ndarray, "T 3"], spec: CameraSpec
) -> Float64[np.ndarray, "T N 2"]:
    """Where the middles of the boxes are seen, bounded."""
    height = np.broadcast_to(sizes[:, 2] / 2, poses.shape[:2])
    points = to_camera(np.stack([poses[..., 0], poses[..., 1], height], -1), ego[:, None], spec)
    points[..., 2] = np.maximum(points[..., 2], NEAREST_M)
    return np.clip(to_image(points, spec), -BEYOND, 1 + BEYOND)


def _in_plane(corners: Float[np.ndarray, "8 3"], pose: Float[np.ndarray, "3"]) -> Float64[np.ndarray, "8 3"]:
    cos, sin = np.cos(pose[2]), np.sin(pose[2])
    x = pose[0] + cos * corners[:, 0] - sin * corners[:, 1]
    y = pose[1] + sin * corners[:, 0] + cos * corners[:, 1]
    return np.stack([x, y, corners[:, 2]], -1)

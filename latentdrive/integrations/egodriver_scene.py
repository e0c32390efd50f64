"""What a session of the gRPC contract `egodriver` has seen up to now, as a Scene.

The contract's rig frame is our ego frame: it lies on the ground below the rear axle, x forward, y left.
"""

import bisect
from collections.abc import Mapping

import numpy as np
from carla_driver_interface.driver import CameraFrame, LidarFrame, SessionState
from carla_driver_interface.geometry import Pose
from carla_driver_interface.protocol import AvailableCamera
from jaxtyping import Float32, Float64

from latentdrive.data.maps.driving_command import command_along
from latentdrive.data.navsim.scenes import STEP_S
from latentdrive.errors import UnreadableScene
from latentdrive.geometry import relative_pose
from latentdrive.types import CameraImage, Command, EgoHistory, Scene, camera_key

HISTORY = 4  # moments of a scene, STEP_S apart: NAVSIM's
MICRO = 1e-6
STEP_US = round(STEP_S / MICRO)


def scene_of(session: SessionState, now_us: int, *, cameras: Mapping[str, str], looks_back: bool) -> Scene:
    """What a session has seen up to now, as a Scene. cameras: the simulator's names by NAVSIM's.

    looks_back: also the pictures of the past, as far as the session has them. Raises UnreadableScene before the first
    pose. A camera with a lens that is no pinhole has no intrinsics: planners that project refuse it by name.
    """
    token = token_of(session, now_us)
    with session.lock:
        ego = _ego(session, now_us, token)
        pictures = {
            camera_key(name): [
                _picture(frame, session.cameras[logical_id])
                for frame in _frames(session.frame_history.get(logical_id, []), now_us, HISTORY if looks_back else 1)
            ]
            for name, logical_id in cameras.items()
        }
        sweeps = [frames[-1] for frames in session.frame_history.values() if frames]
        cloud = next((sweep.as_array() for sweep in sweeps if isinstance(sweep, LidarFrame)), None)
    return Scene(token=token, drive=session.scene_id or session.uuid, cameras=pictures, ego=ego, lidar=cloud)


def token_of(session: SessionState, now_us: int) -> str:
    """A scene's name: it does not depend on the session's random number, so that a rerun plans the same."""
    return f"{session.scene_id or session.uuid}@{now_us}"


def _ego(session: SessionState, now_us: int, token: str) -> EgoHistory:
    """The ego's past at NAVSIM's rate, as far as the session goes back."""
    seen = session.ego_trajectory
    if not seen:
        raise UnreadableScene(token, "the simulator has sent no pose yet")
    now_us = min(now_us, seen.timestamps_us[-1])
    past_us = now_us - np.arange(HISTORY)[::-1] * STEP_US
    past_us = past_us[past_us >= seen.timestamps_us[0]]
    poses = np.array([_pose_at(session, moment) for moment in past_us.tolist()])
    motion = np.array([_motion(session, moment) for moment in past_us.tolist()], np.float32)
    return EgoHistory(
        times_s=(past_us - now_us) * MICRO,
        poses=relative_pose(np.broadcast_to(poses[-1], poses.shape), poses).astype(np.float32),
        poses_known=True,
        velocity=motion[:, 0],
        velocity_known=True,
        acceleration=motion[:, 1],
        acceleration_known=True,
        command=_command(session, now_us),
        command_known=True,
    )


def _motion(session: SessionState, moment_us: int) -> tuple[Float64[np.ndarray, "2"], Float64[np.ndarray, "2"]]:
    """Velocity and acceleration, forward and left. Some simulators send none: then they follow from the poses."""
    row = bisect.bisect_right(session.ego_trajectory.timestamps_us, moment_us) - 1
    state = session.dynamic_states[row]
    velocity = np.array([state.linear_velocity.x, state.linear_velocity.y])
    acceleration = np.array([state.linear_acceleration.x, state.linear_acceleration.y])
    if not velocity.any():
        velocity = _mean_velocity(session, moment_us)
    if not acceleration.any():
        acceleration = (_mean_velocity(session, moment_us) - _mean_velocity(session, moment_us - STEP_US)) / STEP_S
    return velocity, acceleration


def _mean_velocity(session: SessionState, end_us: int) -> Float64[np.ndarray, "2"]:
    """Over the step before `end_us`, in the ego frame at its end. Before the session it is that of its first step."""
    times_us = session.ego_trajectory.timestamps_us
    start_us = max(end_us - STEP_US, times_us[0])
    end_us = min(max(end_us, times_us[0] + STEP_US), times_us[-1])
    if end_us <= start_us:
        return np.zeros(2)
    start, end = _pose_at(session, start_us), _pose_at(session, end_us)
    return -relative_pose(end, start)[:2] / ((end_us - start_us) * MICRO)


def _pose_at(session: SessionState, moment_us: int) -> Float64[np.ndarray, "3"]:
    pose = session.ego_trajectory.interpolate(moment_us)
    return np.array([*pose.position[:2], pose.yaw])


def _command(session: SessionState, now_us: int) -> Command:
    """NAVSIM's driving command from the route that was sent last, which is moved into the ego frame of now."""
    route = session.route_waypoints_in_rig
    if len(route) < 2:
        return Command.UNKNOWN
    sent, now = (session.ego_trajectory.interpolate(moment) for moment in (session.route_timestamp_us, now_us))
    line = (now.inverse() @ sent).transform_points(route)[:, :2]
    return command_along(line, np.zeros(3))


def _frames(frames: list[CameraFrame], now_us: int, count: int) -> list[CameraFrame]:
    """The frames nearest to the last `count` moments, STEP_S apart, oldest first; those before the first gap are left
    out. None lies after now."""
    seen = [frame for frame in frames if frame.timestamp_us <= now_us]
    picked: list[CameraFrame] = []
    for step in range(count if seen else 0):
        wanted = seen[-1].timestamp_us - step * STEP_US
        nearest = min(seen, key=lambda frame: abs(frame.timestamp_us - wanted))
        if abs(nearest.timestamp_us - wanted) * MICRO > STEP_S / 2:
            break
        picked.insert(0, nearest)
    return picked


def _picture(frame: CameraFrame, camera: AvailableCamera) -> CameraImage:
    pixels = np.ascontiguousarray(frame.as_array().transpose(2, 0, 1))
    mount = Pose.from_proto(camera.rig_to_camera).as_matrix().astype(np.float32)
    return CameraImage(pixels=pixels, intrinsics=_intrinsics(camera, pixels.shape[1:]), camera_to_ego=mount)


def _intrinsics(camera: AvailableCamera, size: tuple[int, int]) -> Float32[np.ndarray, "3 3"] | None:
    """The pinhole matrix in pixels of a picture of this height and width; None for another lens or one that bends."""
    spec = camera.intrinsics
    lens = spec.opencv_pinhole_param
    bends = any(any(numbers) for numbers in (lens.radial_coeffs, lens.tangential_coeffs, lens.thin_prism_coeffs))
    if not spec.HasField("opencv_pinhole_param") or bends or not (spec.resolution_h and spec.resolution_w):
        return None
    tall, wide = size[0] / spec.resolution_h, size[1] / spec.resolution_w
    return np.array(
        [
            [lens.focal_length_x * wide, 0.0, lens.principal_point_x * wide],
            [0.0, lens.focal_length_y * tall, lens.principal_point_y * tall],
            [0.0, 0.0, 1.0],
        ],
        np.float32,
    )

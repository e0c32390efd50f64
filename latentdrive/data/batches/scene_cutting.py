"""A scene cut from a clip: what the car sees at t0, and nothing later.

Teacher and student get clips of every source as this one type. Only rows of the clip up to t0 are
indexed here, and the pose at t0 is that of DrivingClip.known_poses, so nothing later can leak.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64

from latentdrive.checkpoint_parts import checkpoint_part
from latentdrive.data.batches.transitions import WindowSpec
from latentdrive.data.picture_size import sized
from latentdrive.errors import ConfigError, WrongShape
from latentdrive.geometry import interpolate_poses, relative_pose
from latentdrive.types import FRONT, CameraImage, Command, DrivingClip, EgoHistory, PoseSource, Scene, SceneBatch

SLACK_S = 0.02  # how far outside the shot a time of the ego history may lie, because files round times


@checkpoint_part
@dataclass(frozen=True, kw_only=True)
class SceneSpec:
    """The past that a scene holds: history_frames earlier images, history_step_s apart, and
    ego_frames states at ego_hz.
    """

    history_frames: int
    history_step_s: float
    ego_frames: int
    ego_hz: float

    def __post_init__(self) -> None:
        if self.history_frames < 0 or self.ego_frames < 2 or self.ego_hz <= 0:
            raise ConfigError(
                "a scene needs history_frames of 0 or more, ego_frames of 2 or more and a positive ego_hz; "
                f"got {self.history_frames}, {self.ego_frames}, {self.ego_hz}"
            )

    def images(self, rate_hz: float) -> Int64[np.ndarray, "T"]:
        """Frames of the scene's images relative to t0, oldest first, 0 last."""
        if self.history_frames == 0:
            return np.zeros(1, np.int64)
        step = WindowSpec(transitions=1, transition_s=self.history_step_s, rate_hz=rate_hz).transition_frames
        return np.arange(-self.history_frames, 1) * step

    def starts(self, clip: DrivingClip, rate_hz: float) -> Int64[np.ndarray, "S"]:
        """Every frame that may be t0, because its earlier images lie in the same shot. A scene needs nothing later."""
        reach = -int(self.images(rate_hz)[0])
        if len(clip) <= reach:
            return np.zeros(0, np.int64)
        return np.flatnonzero(clip.shots[reach:] == clip.shots[: len(clip) - reach]) + reach


def cut_scene(
    clip: DrivingClip,
    now: int,
    spec: SceneSpec,
    *,
    rate_hz: float,
    camera_to_ego: Float[np.ndarray, "4 4"] | None = None,
) -> Scene:
    """The scene at frame `now` of a clip, from this frame and earlier ones alone. Raises WrongShape
    if they are too few.
    """
    picked = now + spec.images(rate_hz)
    if picked[0] < 0 or now >= len(clip) or clip.shots[picked[0]] != clip.shots[now]:
        raise WrongShape(
            f"{clip.key} has no scene at frame {now}: it needs {-int(spec.images(rate_hz)[0])} frames before it in "
            "its shot"
        )
    mount = None if camera_to_ego is None else np.asarray(camera_to_ego, np.float32)
    images = [
        CameraImage(pixels=np.array(clip.frames[k]), intrinsics=clip.intrinsics, camera_to_ego=mount) for k in picked
    ]
    return Scene(
        token=f"{clip.key}@{clip.times_s[now]:.3f}",
        drive=clip.drive,
        cameras={FRONT: images},
        ego=ego_history(clip, now, spec),
    )


def ego_history(clip: DrivingClip, now: int, spec: SceneSpec) -> EgoHistory:
    """The ego's last states: as the car recorded them, or from recorded poses by backward differences over one frame.

    The velocity (forward, left) of each state is in that state's own frame. The acceleration is the
    change of velocity over the last 1 / ego_hz seconds. Poses of visual odometry count as unknown,
    because they have no metric scale and are smoothed over neighbours on both sides. So do the
    states at a frame that no recorded pose shortly precedes (where poses are sparser than frames).
    States before the start of the shot are 0 and flagged unknown. The command is known if
    the clip has commands.
    """
    other_shots = np.flatnonzero(clip.shots[:now] != clip.shots[now])
    first = int(other_shots[-1]) + 1 if len(other_shots) else 0
    times = clip.times_s[first : now + 1]
    state_times = clip.times_s[now] - np.arange(spec.ego_frames - 1, -1, -1) / spec.ego_hz
    shape = (spec.ego_frames, 2)
    poses, velocity, acceleration = np.zeros((spec.ego_frames, 3)), np.zeros(shape), np.zeros(shape)
    poses_known = velocity_known = acceleration_known = False
    if clip.pose_source == PoseSource.RECORDED and clip.poses_causal[now]:
        recorded = np.array(clip.ego_poses[first : now + 1], np.float64)
        if clip.known_poses is not None:  # earlier rows depend on no pose after now: see known_poses
            recorded[-1] = clip.known_poses[now]
        poses_known = bool(state_times[0] >= times[0] - SLACK_S)
        poses = relative_pose(
            np.broadcast_to(recorded[-1], (spec.ego_frames, 3)), interpolate_poses(times, recorded, state_times)
        )
        if len(times) >= 2:
            velocity_known = True
            velocity = _velocity(times, recorded, state_times)
            acceleration_known = bool(state_times[-2] >= times[0] - SLACK_S + (times[1] - times[0]))
        if acceleration_known:
            acceleration[1:] = np.diff(velocity, axis=0) * spec.ego_hz
            acceleration[0] = acceleration[1]
    if clip.ego_motion is not None:
        rows = np.maximum(np.searchsorted(times, state_times + SLACK_S, side="right") - 1, 0)
        velocity, acceleration = np.split(clip.ego_motion[first : now + 1][rows], 2, axis=1)
        velocity_known = acceleration_known = True
    return EgoHistory(
        times_s=state_times - clip.times_s[now],
        poses=(poses if poses_known else np.zeros_like(poses)).astype(np.float32),
        poses_known=poses_known,
        velocity=velocity.astype(np.float32),
        velocity_known=velocity_known,
        acceleration=acceleration.astype(np.float32),
        acceleration_known=acceleration_known,
        command=Command.UNKNOWN if clip.commands is None else Command(int(clip.commands[now])),
        command_known=clip.commands is not None,
    )


def scene_batch(scenes: Sequence[Scene], *, height: int, width: int) -> SceneBatch:
    """Scenes as tensors: the front camera's images at (height, width), and the ego's state now."""
    images = np.stack([[sized(image.pixels, height, width) for image in scene.cameras[FRONT]] for scene in scenes])
    ego = [scene.ego for scene in scenes]
    return SceneBatch(
        images=torch.from_numpy(images),
        velocity=torch.from_numpy(np.stack([history.velocity[-1] for history in ego])),
        velocity_known=torch.tensor([history.velocity_known for history in ego]),
        acceleration=torch.from_numpy(np.stack([history.acceleration[-1] for history in ego])),
        acceleration_known=torch.tensor([history.acceleration_known for history in ego]),
        command=torch.tensor([int(history.command) for history in ego]),
        command_known=torch.tensor([history.command_known for history in ego]),
    )


def _velocity(times: np.ndarray, poses: np.ndarray, state_times: np.ndarray) -> Float[np.ndarray, "T 2"]:
    """Velocity at each of `state_times`, from the last two frames at or before it (or else the first two frames)."""
    later = np.clip(np.searchsorted(times, state_times + 1e-6, side="right") - 1, 1, len(times) - 1)
    back = relative_pose(poses[later], poses[later - 1])  # the earlier pose, seen from the later
    return -back[:, :2] / (times[later] - times[later - 1])[:, None]

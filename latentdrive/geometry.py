"""SE(2), angles and resampling of poses: the geometry that all stages share.

A pose is x, y in metres and heading in radians, counter-clockwise, in the last axis; poses
broadcast over leading axes. Functions take numpy arrays or torch tensors (all operands of one kind)
and return the same kind, except that `interpolate_poses`, `backward_speed`, `planar_poses` and
`nearest_rows` take numpy only.
"""

from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from latentdrive.counting import counted
from latentdrive.errors import WrongShape

Array = TypeVar("Array", np.ndarray, np.floating, Tensor)  # numpy returns scalars for arrays without axes


def wrap_angle(angle: Array) -> Array:
    """The same angle in (-pi, pi], radians."""
    xp = _library(angle)
    turn = 2.0 * np.pi
    wrapped = xp.remainder(angle + np.pi, turn) - np.pi
    # remainder gives [-pi, pi): move the closed end to the other side.
    return xp.where(wrapped <= -np.pi, wrapped + turn, wrapped)


def compose(a: Array, b: Array) -> Array:
    """Pose `b`, given in the frame of `a`, in the frame that `a` is given in. a, b: [..., 3]."""
    _check(a, b)
    xp = _library(a)
    cos, sin = xp.cos(a[..., 2]), xp.sin(a[..., 2])
    x = a[..., 0] + cos * b[..., 0] - sin * b[..., 1]
    y = a[..., 1] + sin * b[..., 0] + cos * b[..., 1]
    return xp.stack([x, y, wrap_angle(a[..., 2] + b[..., 2])], -1)


def inverse(a: Array) -> Array:
    """The pose that undoes `a`: compose(a, inverse(a)) is the origin. a: [..., 3]."""
    _check(a)
    xp = _library(a)
    cos, sin = xp.cos(a[..., 2]), xp.sin(a[..., 2])
    x = -cos * a[..., 0] - sin * a[..., 1]
    y = sin * a[..., 0] - cos * a[..., 1]
    return xp.stack([x, y, wrap_angle(-a[..., 2])], -1)


def relative_pose(a: Array, b: Array) -> Array:
    """Pose `b` seen from `a`, both given in one common frame. a, b: [..., 3]."""
    _check(a, b)
    xp = _library(a)
    cos, sin = xp.cos(a[..., 2]), xp.sin(a[..., 2])
    dx, dy = b[..., 0] - a[..., 0], b[..., 1] - a[..., 1]
    return xp.stack([cos * dx + sin * dy, -sin * dx + cos * dy, wrap_angle(b[..., 2] - a[..., 2])], -1)


def interpolate_poses(
    times: Float64[np.ndarray, "T"], poses: Float[np.ndarray, "P 3"], at: Float64[np.ndarray, "N"]
) -> Float64[np.ndarray, "N 3"]:
    """Poses at the times `at`: positions linearly, headings along the shorter turn; clamped at both ends.

    times: ascending seconds. Neighbouring rows must turn by less than half a circle.
    """
    if len(times) != len(poses) or len(times) == 0:
        raise WrongShape(
            f"interpolate_poses: {counted(len(times), 'time')} for {counted(len(poses), 'pose')}; give one pose "
            "for each time, at least one"
        )
    poses = np.asarray(poses, np.float64)
    heading = np.interp(at, times, np.unwrap(poses[:, 2]))
    columns = [np.interp(at, times, poses[:, 0]), np.interp(at, times, poses[:, 1]), wrap_angle(heading)]
    return np.stack(columns, -1)


def backward_speed(times: Float64[np.ndarray, "T"], poses: Float[np.ndarray, "T 3"]) -> Float64[np.ndarray, "T"]:
    """Forward speed in m/s at each pose, from the step that led to it; 0 for a single pose.

    Only the first row uses a later pose than its own: no step led to it, so it repeats the second row.
    """
    if len(poses) < 2:
        return np.zeros(len(poses))
    step = relative_pose(np.asarray(poses[:-1], np.float64), np.asarray(poses[1:], np.float64))
    # The heading in the middle of the step has half the turn: measure the chord along it.
    along = step[:, 0] * np.cos(step[:, 2] / 2) + step[:, 1] * np.sin(step[:, 2] / 2)
    speed = along / np.diff(times)
    return np.concatenate([speed[:1], speed])


def planar_poses(camera: Float[np.ndarray, "T 3 4"]) -> Float64[np.ndarray, "T 3"]:
    """Planar poses of camera-to-world matrices, relative to the first camera's frame as in KITTI odometry.

    Camera axes are x right, y down, z forward; the poses are x forward, y left, heading. The
    camera's height, roll and pitch are dropped.
    """
    x, y = camera[:, 2, 3], -camera[:, 0, 3]
    # The third column is the viewing direction as (right, down, forward) of the first frame.
    heading = np.arctan2(-camera[:, 0, 2], camera[:, 2, 2])
    return np.stack([x, y, heading], -1).astype(np.float64)


def nearest_rows(times_s: np.ndarray, at: np.ndarray) -> Int64[np.ndarray, "N"]:
    """For each time in `at`, the row of `times_s` (ascending) that is nearest to it."""
    after = np.clip(np.searchsorted(times_s, at), 1, max(1, len(times_s) - 1))
    before = after - 1
    return np.where(
        at - times_s[before] <= times_s[np.minimum(after, len(times_s) - 1)] - at,
        before,
        np.minimum(after, len(times_s) - 1),
    )


def _library(array: np.ndarray | np.floating | Tensor):
    return torch if isinstance(array, Tensor) else np


def _check(*poses: np.ndarray | Tensor) -> None:
    for pose in poses:
        if pose.shape[-1] != 3:
            raise WrongShape(f"a pose is x, y, heading in the last axis; got shape {tuple(pose.shape)}")

"""From clips to batches of windows: frames, motion and patch weights of T = transitions + 1 frames of one shot.

transition_stream.py chooses the windows of training, held_out.py those of evaluation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64

from latentdrive.counting import counted
from latentdrive.data.batches.augmentation import NO_AUGMENTATION, Augmentation, crop, mirror
from latentdrive.data.batches.transitions import TransitionBatch, WindowSpec
from latentdrive.data.clips.clip_source import ClipFacts, ReadableSource
from latentdrive.data.picture_size import WHOLE
from latentdrive.errors import ConfigError, TooShort
from latentdrive.geometry import nearest_rows, relative_pose
from latentdrive.types import ClipTruth, DrivingClip

POINTS = 8  # points a patch, in each direction, at which the share under boxes is counted


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A clip that is read once for all its windows. clip: the part that is used; whole, facts: as the source read it.

    truth: the built-in world's ground truth; None for recordings, and where it was not asked for.
    """

    clip: DrivingClip
    whole: DrivingClip
    facts: ClipFacts | None
    truth: ClipTruth | None


def open_clip(source: ReadableSource, index: int, *, with_truth: bool = False) -> Opened:
    """Read one clip. Raises UnreadableClip, and TooShort if nothing of it belongs to the part."""
    whole, facts = source.read(index)
    clip = source.part.of(whole, source.location(index), piece=source.is_piece(index))
    return Opened(clip=clip, whole=whole, facts=facts, truth=source.truth(index) if with_truth else None)


def make_batch(
    source: ReadableSource,
    windows: Sequence[tuple[int, int]],
    spec: WindowSpec,
    *,
    take: str,
    patch_grid: tuple[int, int] | None,
    augmentation: Augmentation = NO_AUGMENTATION,
    draws: Float32[np.ndarray, "B draws"] | None = None,
    opened: Mapping[int, Opened] | None = None,
) -> TransitionBatch:
    """The batch of the given (clip, start) windows. take: frames, features or both.

    patch_grid: patches (down, across) of `moving`, or None. draws: at least four uniform numbers a
    window, which decide the augmentation. opened: clips that were read already, with their truth if
    there is a patch grid; the others are read here, once each.
    """
    if take not in ("frames", "features", "both"):
        raise ConfigError(f"take must be frames, features or both; got {take}")
    if take != "frames" and augmentation != NO_AUGMENTATION:
        raise ConfigError(
            "cached features can't be mirrored or cropped: use data.cache=frames, or switch the augmentation off"
        )
    indices, with_truth = dict.fromkeys(index for index, _ in windows), patch_grid is not None
    ready = {i: (opened or {}).get(i) or open_clip(source, i, with_truth=with_truth) for i in indices}
    stored = {} if take == "frames" else {index: source.features(index, clip.whole) for index, clip in ready.items()}
    rows = []
    for row, (index, start) in enumerate(windows):
        clip = ready[index].clip
        picked = np.arange(start, start + spec.span + 1, spec.transition_frames)
        frames = None if take == "features" else np.asarray(clip.frames[picked])
        motion = _motion(clip, picked)
        view = WHOLE
        if augmentation.crop_share < 1.0:
            share, right, down = (float(draw) for draw in draws[row, 1:4])
            share = augmentation.crop_share + share * (1 - augmentation.crop_share)
            frames, view = crop(frames, share=share, right=right, down=down)
        moving = None if patch_grid is None else _moving(ready[index], clip.times_s[picked], view, patch_grid)
        if augmentation.flip and draws[row, 0] < 0.5:
            frames, motion, moving = mirror(frames, motion, moving)
        features = None if take == "frames" else np.asarray(stored[index][picked])
        rows.append((frames, features, motion, moving))
    frames, features, motion, moving = zip(*rows)
    return TransitionBatch(
        frames=None if take == "features" else torch.from_numpy(np.stack(frames)),
        features=None if take == "frames" else torch.from_numpy(np.stack(features)),
        motion=torch.from_numpy(np.stack(motion)),
        motion_known=torch.tensor([ready[index].clip.ego_poses is not None for index, _ in windows]),
        moving=None if patch_grid is None else torch.from_numpy(np.stack(moving)),
        clip=torch.tensor([index for index, _ in windows]),
        start=torch.tensor([start for _, start in windows]),
    )


def window_starts(source: ReadableSource, spec: WindowSpec, index: int, clip: DrivingClip) -> Int64[np.ndarray, "S"]:
    """Frames of a clip at which a window may start. Raises TooShort if there are none."""
    starts = spec.starts(clip)
    if len(starts) == 0:
        longest = int(np.bincount(clip.shots - clip.shots.min()).max())
        raise TooShort(
            source.location(index),
            f"its longest shot has {counted(longest, 'frame')} at {spec.rate_hz:g} Hz, a window needs {spec.span + 1} "
            f"({counted(spec.transitions, 'transition')} of {spec.transition_s:g} s): use fewer or shorter "
            "transitions, or remove the clip",
        )
    return starts


def _motion(clip: DrivingClip, picked: Int64[np.ndarray, "T"]) -> Float32[np.ndarray, "M 4"]:
    """Motion over each transition as in TransitionBatch; 0 where it is unknown."""
    motion = np.zeros((len(picked) - 1, 4), np.float32)
    if clip.ego_poses is not None:
        poses = np.asarray(clip.ego_poses[picked], np.float64)
        motion[:, :3] = relative_pose(poses[:-1], poses[1:])
    if clip.ego_speed_mps is not None:
        motion[:, 3] = clip.ego_speed_mps[picked[:-1]]
    return motion


def _moving(
    opened: Opened, times_s: Float64[np.ndarray, "T"], view: tuple[float, float, float, float], grid: tuple[int, int]
) -> Float32[np.ndarray, "M gh gw"]:
    """Share of each patch that agents' boxes cover at the start or the end of each transition; 0 without truth.

    view: the cut of the augmentation, as shares of the training picture.
    """
    truth = opened.truth
    if truth is None:
        return np.zeros((len(times_s) - 1, *grid), np.float32)
    rows = nearest_rows(truth.times_s, times_s)
    left, top, right, bottom = opened.facts.view
    width, height = right - left, bottom - top
    used = (left + view[0] * width, top + view[1] * height, left + view[2] * width, top + view[3] * height)
    covered = covered_share(truth.boxes[rows], used, grid)
    return np.maximum(covered[:-1], covered[1:])


def covered_share(
    boxes: Float32[np.ndarray, "T N 4"], view: tuple[float, float, float, float], grid: tuple[int, int]
) -> Float32[np.ndarray, "T gh gw"]:
    """Which share of each patch lies under any box. grid: patches (down, across).

    boxes: left, top, right, bottom as shares of the stored picture, NaN where out of view. view:
    the part of the picture that is used, in the same shares. Overlaps count once; the share is
    counted on POINTS x POINTS points a patch.
    """
    rows, columns = grid
    left, top, right, bottom = view
    x = left + (np.arange(columns * POINTS) + 0.5) / (columns * POINTS) * (right - left)
    y = top + (np.arange(rows * POINTS) + 0.5) / (rows * POINTS) * (bottom - top)
    # Comparisons with NaN are false: absent agents cover nothing.
    across = (x >= boxes[..., 0, None]) & (x <= boxes[..., 2, None])
    down = (y >= boxes[..., 1, None]) & (y <= boxes[..., 3, None])
    under = np.zeros((len(boxes), len(y), len(x)), bool)
    for agent in np.flatnonzero((across.any(-1) & down.any(-1)).any(0)):
        under |= down[:, agent, :, None] & across[:, agent, None, :]
    return under.reshape(len(boxes), rows, POINTS, columns, POINTS).mean((2, 4), dtype=np.float32)

"""The built-in world's ground truth of a clip, for probes and for patch weights: never an input of a network.

The world writes DRIVE.truth.npz beside each video. This file reads it, and turns it into how other
road users move in the thirds of the picture. data/batches turns their boxes into patch weights.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int64

from latentdrive.errors import UnreadableClip, raise_if_out_of_files
from latentdrive.files import read_arrays
from latentdrive.lru_cache import LruCache
from latentdrive.types import ClipTruth

ARRAYS = {"times_s": "f8", "agent_poses": "f4", "agent_sizes": "f4", "boxes": "f4", "image_motion": "f4"}
WIDTHS = {"agent_poses": 3, "boxes": 4, "image_motion": 2}  # numbers of each agent in each frame
THIRDS = 3
RASTER = (96, 96)  # rows and columns of the raster that boxes are drawn on; divisible by the thirds
OPEN_TRUTHS = 1024  # clips whose truth a process keeps in memory


class SidecarTruth:
    """Reads the truth beside clips; the last 1024 stay in memory. A VideoFolder is given one."""

    def __init__(self) -> None:
        self._open: LruCache[Path, ClipTruth] = LruCache(OPEN_TRUTHS)

    def __call__(self, path: Path, key: str) -> ClipTruth | None:
        """The truth in a file, under the clip's key; None if there is no such file. Raises UnreadableClip."""
        if path not in self._open and not path.is_file():
            return None
        return self._open.get(path, lambda: replace(read_truth(path), key=key))


def read_truth(path: Path) -> ClipTruth:
    """The truth in a file. Raises UnreadableClip if the file is damaged or its arrays do not belong together."""
    try:
        content = read_arrays(path)
        arrays = {name: content[name].astype(kind) for name, kind in ARRAYS.items()}
        transition_s, key = float(content["transition_s"]), str(content["key"])
        frames, agents = len(arrays["times_s"]), len(arrays["agent_sizes"])
    except (OSError, KeyError, ValueError, TypeError) as error:  # TypeError: an array without axes
        raise_if_out_of_files(error)
        raise UnreadableClip(
            path, f"no truth can be read ({error}): write the world again or remove the file"
        ) from None
    shapes = {"times_s": (frames,), "agent_sizes": (agents, 3)}
    shapes |= {name: (frames, agents, width) for name, width in WIDTHS.items()}
    for name, shape in shapes.items():
        if arrays[name].shape != shape:
            raise UnreadableClip(path, f"{name} has shape {arrays[name].shape}, expected {shape}")
    return ClipTruth(**arrays, transition_s=transition_s, key=key)


def others_motion(truth: ClipTruth, frames: Int64[np.ndarray, "n"]) -> Float32[np.ndarray, "n 3 2"]:
    """Mean image motion that the agents' own motion causes in the left, middle and right third of the picture.

    frames: numbers of the first frames of transitions. The motion of a pixel is that of the agent
    whose box contains the pixel (the nearest if boxes overlap), and 0 outside all boxes. The
    result is its mean over all pixels of a third, right and down, in per cent of the picture's
    width and height.
    """
    result = np.zeros((len(frames), THIRDS, 2), np.float32)
    for row, frame in enumerate(frames):
        boxes, motion = truth.boxes[frame], truth.image_motion[frame]
        field = np.zeros((*RASTER, 2))
        for agent in _far_to_near(truth, int(frame)):
            if not np.isnan(motion[agent]).any():
                field[_cells(boxes[agent])] = motion[agent]
        thirds = field.reshape(RASTER[0], THIRDS, RASTER[1] // THIRDS, 2)
        result[row] = 100.0 * thirds.mean((0, 2))
    return result


def _far_to_near(truth: ClipTruth, frame: int) -> list[int]:
    """Agents in view, the farthest first. The ground is flat, so the lower a box ends in the
    picture, the nearer it is.
    """
    boxes = truth.boxes[frame]
    in_view = np.flatnonzero(~np.isnan(boxes).any(1))
    return [int(agent) for agent in in_view[np.argsort(boxes[in_view, 3], kind="stable")]]


def _cells(box: Float32[np.ndarray, "4"]) -> tuple[slice, slice]:
    """Cells of the raster whose centre lies in the box."""
    left, top, right, bottom = box
    rows = [int(np.ceil(edge * RASTER[0] - 0.5)) for edge in (top, bottom)]
    columns = [int(np.ceil(edge * RASTER[1] - 0.5)) for edge in (left, right)]
    return slice(*rows), slice(*columns)

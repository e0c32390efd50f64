"""What the world knows of a clip, read for probes and for patch weights: never an input of a network.

The world writes DRIVE.truth.npz beside each video; this file reads it and turns it into how the others moved in the thirds of
the picture. Which patches their boxes cover is read where batches are made, with their crops.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int64

from latentdrive.errors import UnreadableClip, raise_if_out_of_files
from latentdrive.files import read_arrays
from latentdrive.types import ClipTruth

ARRAYS = {"times_s": "f8", "agent_poses": "f4", "agent_sizes": "f4", "boxes": "f4", "image_motion": "f4"}
THIRDS = 3
RASTER = (96, 96)  # rows and columns at which boxes are drawn; divisible by the thirds


def read_truth(path: Path) -> ClipTruth:
    """The truth beside a clip. Raises UnreadableClip if the file is damaged or its arrays do not belong together."""
    try:
        content = read_arrays(path)
        arrays = {name: content[name].astype(kind) for name, kind in ARRAYS.items()}
        transition_s, key = float(content["transition_s"]), str(content["key"])
    except (OSError, KeyError, ValueError) as error:
        raise_if_out_of_files(error)
        raise UnreadableClip(
            path, f"no truth can be read ({error}): write the world again or remove the file"
        ) from None
    frames, agents = len(arrays["times_s"]), len(arrays["agent_sizes"])
    for name, width in (("agent_poses", 3), ("boxes", 4), ("image_motion", 2)):
        if arrays[name].shape != (frames, agents, width):
            raise UnreadableClip(path, f"{name} has shape {arrays[name].shape}, expected {(frames, agents, width)}")
    return ClipTruth(**arrays, transition_s=transition_s, key=key)


def others_motion(truth: ClipTruth, frames: Int64[np.ndarray, "n"]) -> Float32[np.ndarray, "n 3 2"]:
    """Mean image motion that the agents' own motion causes in the left, middle and right third of the picture.

    frames: numbers of the first frames of transitions. The field is each agent's motion inside its box (the nearer one's
    where boxes overlap) and 0 elsewhere; its mean over all pixels of a third, right and down, in per cent of the picture's
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
    """Agents in view, the farthest first. A box's lower rim is nearer the lower it is: the ground is flat."""
    boxes = truth.boxes[frame]
    seen = np.flatnonzero(~np.isnan(boxes).any(1))
    return [int(agent) for agent in seen[np.argsort(boxes[seen, 3], kind="stable")]]


def _cells(box: Float32[np.ndarray, "4"]) -> tuple[slice, slice]:
    """Raster cells whose centre is inside the box."""
    left, top, right, bottom = box
    rows = [int(np.ceil(edge * RASTER[0] - 0.5)) for edge in (top, bottom)]
    columns = [int(np.ceil(edge * RASTER[1] - 0.5)) for edge in (left, right)]
    return slice(*rows), slice(*columns)

"""The ego's own past, as the score's comfort terms see it. Before prepare.py; the specification's sections 3 and 6.8.

A logged frame knows neither steering nor rotation: those columns are 0, now and in the past, as in NAVSIM.
"""

import numpy as np
from jaxtyping import Float64

from latentdrive.errors import UnreadableScene
from latentdrive.pdms.scene import AX, HEADING, VX, YAW_ACCELERATION
from latentdrive.types import LoggedFrame, SceneTruth

PAST_FRAMES = 3  # that the history is read from, beside now
STEP_US = 100_000
COLUMNS = YAW_ACCELERATION + 1


def ego_state(frame: LoggedFrame) -> Float64[np.ndarray, "11"]:
    """The ego at a frame: pose, velocity and acceleration as logged, everything else 0. Row 0 of every simulation."""
    state = np.zeros(COLUMNS)
    state[: HEADING + 1] = frame.ego_pose
    state[VX : VX + 2] = frame.velocity  # float32 in the log, so float32 in value
    state[AX : AX + 2] = frame.acceleration
    return state


def ego_history(truth: SceneTruth) -> Float64[np.ndarray, "h 11"]:
    """States before now, 0.1 s apart from the third frame before now on, by the frames' true time stamps.

    The last one before now is left out, so now follows after 0.1 to 0.2 s: frames of exactly 0.5 s give 14 rows (-1.5 to -0.2 s), a little
    more 15, and a gap in the log more. Raises UnreadableScene where fewer than 3 frames lie before now (a shorter history
    would be another score under the same name), or where time stamps do not rise.
    """
    if truth.now < PAST_FRAMES:
        raise UnreadableScene(
            truth.drive,
            f"scene {truth.token} has {truth.now} frames before now; EPDMS's history comfort needs {PAST_FRAMES}: "
            f"use scenes with num_history_frames={PAST_FRAMES + 1} or more",
        )
    frames = truth.frames[truth.now - PAST_FRAMES : truth.now + 1]
    stamps = np.array([frame.timestamp_us for frame in frames])
    if (np.diff(stamps) <= 0).any():
        raise UnreadableScene(truth.drive, f"scene {truth.token}: time stamps of frames do not rise: {stamps.tolist()}")
    states = np.stack([ego_state(frame) for frame in frames])
    states[:, HEADING] = np.unwrap(states[:, HEADING])
    # Integers count from the first frame: microseconds since 1970 are too long for exact differences of floats.
    times = stamps - stamps[0]
    at = np.arange(0, times[-1], STEP_US)[:-1]
    history = np.stack([np.interp(at, times, column) for column in states.T], axis=-1)
    history[:, HEADING] = np.arctan2(np.sin(history[:, HEADING]), np.cos(history[:, HEADING]))
    return history

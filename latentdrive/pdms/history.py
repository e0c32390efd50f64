"""The ego's state now and its past, as the score sees them; specified in docs/pdms.md, sections 3 and 6.8.

A logged frame knows neither steering nor rotation. Those columns are 0, now and in the past, as in
NAVSIM.
"""

import numpy as np
from jaxtyping import Float64

from latentdrive.counting import counted
from latentdrive.errors import UnreadableScene
from latentdrive.pdms.scene import AX, HEADING, VX, YAW_ACCELERATION
from latentdrive.types import LoggedFrame, SceneTruth

PAST_FRAMES = 3  # the history starts this many frames before now
STEP_US = 100_000
COLUMNS = YAW_ACCELERATION + 1


def ego_state(frame: LoggedFrame) -> Float64[np.ndarray, "11"]:
    """The ego at a frame: pose, velocity and acceleration as logged, and 0 elsewhere.

    This is row 0 of every simulation.
    """
    state = np.zeros(COLUMNS)
    state[: HEADING + 1] = frame.ego_pose
    state[VX : VX + 2] = frame.velocity  # float32 in the log, so float32 in value
    state[AX : AX + 2] = frame.acceleration
    return state


def ego_history(truth: SceneTruth) -> Float64[np.ndarray, "h 11"]:
    """States before now, 0.1 s apart, from the third frame before now on, at the frames' true time stamps.

    The last state before now is left out, so 0.1 to 0.2 s lie between the last row and now. Frames
    exactly 0.5 s apart give 14 rows (-1.5 to -0.2 s), slightly more give 15, and a gap in the log
    gives more. Raises UnreadableScene if fewer than 3 frames lie before now, because a shorter
    history would be another score under the same name, or if time stamps do not rise.
    """
    if truth.now < PAST_FRAMES:
        raise UnreadableScene(
            truth.drive,
            f"scene {truth.token} has {counted(truth.now, 'frame')} before now, but EPDMS's history comfort "
            f"needs {PAST_FRAMES}: use scenes with num_history_frames={PAST_FRAMES + 1} or more",
        )
    frames = truth.frames[truth.now - PAST_FRAMES : truth.now + 1]
    stamps = np.array([frame.timestamp_us for frame in frames])
    if (np.diff(stamps) <= 0).any():
        raise UnreadableScene(truth.drive, f"scene {truth.token}: time stamps of frames do not rise: {stamps.tolist()}")
    states = np.stack([ego_state(frame) for frame in frames])
    states[:, HEADING] = np.unwrap(states[:, HEADING])
    # Counted from the first frame, because floats lack the digits for microseconds since 1970.
    times = stamps - stamps[0]
    at = np.arange(0, times[-1], STEP_US)[:-1]
    history = np.stack([np.interp(at, times, column) for column in states.T], axis=-1)
    history[:, HEADING] = np.arctan2(np.sin(history[:, HEADING]), np.cos(history[:, HEADING]))
    return history

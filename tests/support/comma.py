"""A segment of comma2k19 made up: an arc in ECEF with the car's own speed, and raw hevc video."""

from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from tests.support.data import passing, write_video

STARTED_S, STEP_S = 46408.5, 0.05
LATITUDE, LONGITUDE = np.radians(37.5), np.radians(-122.4)


def east_north_up() -> np.ndarray:
    """Rows: east, north, up of a place in California, in ECEF."""
    (sin_a, cos_a), (sin_o, cos_o) = [(np.sin(angle), np.cos(angle)) for angle in (LATITUDE, LONGITUDE)]
    return np.array(
        [[-sin_o, cos_o, 0], [-sin_a * cos_o, -sin_a * sin_o, cos_a], [cos_a * cos_o, cos_a * sin_o, sin_a]]
    )


def write_segment(folder: Path, *, count: int = 60, speed_mps: float = 20.0, radius_m: float = 100.0) -> Path:
    """A left arc that begins to the north; no video, a car that says it drives 0.5 m/s faster."""
    east, north, up = east_north_up()
    times = STARTED_S + np.arange(count) * STEP_S
    angle = speed_mps * (times - STARTED_S) / radius_m
    normal_m = 6378137.0 / np.sqrt(1 - 0.00669437999 * np.sin(LATITUDE) ** 2)
    origin = normal_m * up - np.array([0, 0, 0.00669437999 * normal_m * np.sin(LATITUDE)])
    ahead = np.cos(angle)[:, None] * north - np.sin(angle)[:, None] * east
    left = -np.sin(angle)[:, None] * north - np.cos(angle)[:, None] * east
    axes = np.stack([ahead, -left, np.broadcast_to(-up, ahead.shape)], -1)
    arrays = {
        "frame_times": times,
        "frame_positions": origin + radius_m * (np.sin(angle)[:, None] * north - (1 - np.cos(angle))[:, None] * east),
        "frame_orientations": Rotation.from_matrix(axes).as_quat()[:, [3, 0, 1, 2]],
        "frame_velocities": speed_mps * ahead,
    }
    can = folder / "processed_log" / "CAN" / "speed"
    (folder / "global_pose").mkdir(parents=True)
    can.mkdir(parents=True)
    for name, array in arrays.items():
        save(folder / "global_pose" / name, array)
    clock = np.arange(times[0] - 0.02, times[-1] + 0.05, 0.0125)
    save(can / "t", clock)
    save(can / "value", np.full((len(clock), 1), speed_mps + 0.5))
    return folder


def save(path: Path, array: np.ndarray) -> None:
    with open(path, "wb") as file:
        np.save(file, array)


def film(folder: Path, *, count: int = 60) -> Path:
    """Raw hevc, as comma2k19 has it: no container, no presentation times."""
    frames = passing(0, np.arange(count) * 3.0)
    video = write_video(folder / "made.hevc", frames, np.arange(count) / 20, codec="libx265")
    video.rename(folder / "video.hevc")
    return folder

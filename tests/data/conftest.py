"""Fixtures of the data tests."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.support.data import passing, write_poses, write_video


@pytest.fixture
def drive(tmp_path: Path) -> Callable[..., Path]:
    """Writes tmp_path/clips/NAME.mp4: `seconds` of passing a wall at 30 Hz, and poses at 10 m/s straight on."""

    def make(name: str = "a", *, seconds: float = 4.0, seed: int = 0, poses: bool = True, hz: float = 30.0) -> Path:
        times = np.arange(round(seconds * hz)) / hz
        path = write_video(tmp_path / "clips" / f"{name}.mp4", passing(seed, np.arange(len(times)) * 90 / hz), times)
        if poses:
            track = np.stack([10 * times, 0 * times, 0 * times], -1)
            write_poses(path.with_name(f"{name}.poses.csv"), times, track, np.full(len(times), 10.0))
        return path

    return make

"""A tiny codebook that is trained once for all tests of commands; tests that change its folder take a copy."""

from pathlib import Path

import pytest

from tests.support.command import train_codebook, write_clips


@pytest.fixture(scope="session")
def wall_clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a few short clips with poses."""
    return write_clips(tmp_path_factory.mktemp("walls") / "clips")


@pytest.fixture(scope="session")
def whole(wall_clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of 10 steps that nobody interrupted; it saves after step 7 and after the last one."""
    out = tmp_path_factory.mktemp("whole")
    train_codebook(wall_clips, out, "save_every_steps=7", "trainer.val_check_interval=3")
    return out

"""A small world, stores of embeddings for it, and finished runs, made once and shared by the tests of learned planners.

Tests read these and change nothing, or undo their changes.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from latentdrive.build import build
from latentdrive.config import compose
from latentdrive.planners.sampling import NO_SENSORS
from tests.support.planner import train_planner, write_store, write_world


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the world `navsim`, its caches and its scoring stores."""
    return tmp_path_factory.mktemp("planners")


@pytest.fixture(scope="session")
def words(home: Path) -> list[str]:
    """The words of every command that name the world."""
    return write_world(home)


@pytest.fixture(scope="session")
def windows(words: list[str]) -> list[tuple[str, float]]:
    """Drive and time of every scene."""
    data = build(compose("train_planner", words).data)
    sources = [data.open_scenes(split=split, needs=NO_SENSORS) for split in ("train", "val", "test")]
    return [(source.drive(token), source.time_s(token)) for source in sources for token in source.tokens]


@pytest.fixture(scope="session")
def store(home: Path, windows: list[tuple[str, float]]) -> Path:
    """A teacher's store of embeddings for all scenes."""
    return write_store(home / "teacher", windows)


@pytest.fixture(scope="session")
def trained(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """The folder of a finished run with these words; every combination is trained once."""
    runs: dict[tuple[str, ...], Path] = {}

    def folder(*changed: str) -> Path:
        if changed not in runs:
            runs[changed] = tmp_path_factory.mktemp("run")
            train_planner(words, runs[changed], *changed)
        return runs[changed]

    return folder

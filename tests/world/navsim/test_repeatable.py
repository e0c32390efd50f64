"""The NAVSIM world depends on its settings alone: neither processes nor interruptions change a byte."""

import shutil
from pathlib import Path

import pytest

from latentdrive.errors import ConfigError
from latentdrive.world.navsim.data_set import NavsimWorld
from tests.support.navsim_world import contents, small_world

SPLITS = {
    "train": ("trainval", {"curves": {"none": 1.0}}, 1),
    "longtail": ("test", {"tail_street": {"pedestrian": 1.0}}, 1),
}


@pytest.fixture(scope="module")
def world() -> NavsimWorld:
    return small_world(SPLITS, drive_s=9.0)


@pytest.fixture(scope="module")
def first(world: NavsimWorld, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("first")
    world.write(folder, processes=1)
    return folder


def test_two_processes_write_the_same_bytes_as_one(world: NavsimWorld, first: Path, tmp_path: Path):
    world.write(tmp_path, processes=2)
    assert contents(tmp_path) == contents(first)


def test_an_interrupted_run_is_finished_with_the_same_bytes(world: NavsimWorld, first: Path, tmp_path: Path):
    folder = tmp_path / "world"
    shutil.copytree(first, folder)
    (folder / "navsim_logs" / "trainval" / "latentdrive_train_00000.pkl").unlink()
    blobs = sorted(path for path in (folder / "sensor_blobs" / "trainval").rglob("*") if path.is_file())
    for path in blobs[::2]:
        path.unlink()
    (folder / "drives" / "latentdrive_train_00000.json").unlink()
    (folder / "drives" / "latentdrive_longtail_00000.scores.json").unlink()
    shutil.rmtree(folder / "maps")
    shutil.rmtree(folder / "splits")
    assert len(contents(folder)) < len(contents(first)) - len(blobs) // 2
    world.write(folder, processes=1)
    assert contents(folder) == contents(first)


def test_finished_files_are_not_written_again(world: NavsimWorld, first: Path):
    written = {
        path: path.stat().st_mtime_ns for path in first.rglob("*.*") if path.suffix in (".pkl", ".jpg", ".pcd", ".json")
    }
    written = {path: when for path, when in written.items() if path.parent.name != "maps" and path.name != "world.json"}
    world.write(first, processes=1)
    assert written == {path: path.stat().st_mtime_ns for path in written}


def test_another_world_is_refused_before_anything_is_written(first: Path):
    before = contents(first)
    with pytest.raises(ConfigError, match="world made with other settings"):
        small_world(SPLITS, drive_s=8.0).write(first, processes=1)
    assert contents(first) == before

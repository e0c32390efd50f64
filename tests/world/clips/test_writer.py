"""Writing clips: always the same bytes, interrupted runs are finished, and data/ reads the files like any video."""

import errno
import json
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from latentdrive.data.clips.clip_truth import read_truth
from latentdrive.data.clips.sidecars import read_camera, read_track
from latentdrive.errors import ConfigError, DiskFull
from latentdrive.world.clips.writer import Split, World

ROADS = {"curves": 0.5, "intersection": 0.5}
SPLITS = {
    "train": Split(drives=2, roads=ROADS, decorrelated_share=0.5),
    "probe": Split(drives=2, roads=ROADS, decorrelated_share=1.0),
}


@pytest.fixture(scope="module")
def short_world(tiny_world: World) -> World:
    return replace(tiny_world, drive_s=2.0, splits=SPLITS)


@pytest.fixture(scope="module")
def folder(short_world: World, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    counts = short_world.write(folder, processes=1)
    assert counts == {"train": {"drives": 2, "frames": 16}, "probe": {"drives": 2, "frames": 16}}
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def test_videos_may_stand_alone(folder: Path, short_world: World, tmp_path: Path):
    single = {"train": replace(SPLITS["train"], drives=1)}
    replace(short_world, sidecars=False, splits=single).write(tmp_path, processes=1)
    assert sorted(path.name for path in (tmp_path / "train").iterdir()) == ["card.json", "curves_natural_00000.mp4"]
    video = "train/curves_natural_00000.mp4"
    assert contents(tmp_path)[video] == contents(folder)[video]


def test_two_processes_write_the_same_bytes_as_one(folder: Path, short_world: World, tmp_path: Path):
    short_world.write(tmp_path, processes=2)
    assert contents(tmp_path) == contents(folder)


def test_an_interrupted_world_is_finished_and_nothing_is_written_twice(
    folder: Path, short_world: World, tmp_path: Path
):
    for name, data in contents(folder).items():
        if not name.endswith("00001.mp4"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes(data)
    finished = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*00000.mp4")}
    short_world.write(tmp_path, processes=1)
    assert contents(tmp_path) == contents(folder)
    assert all(path.stat().st_mtime_ns == before for path, before in finished.items())


def test_a_full_disk_is_named_and_leaves_no_half_written_drive(short_world: World, tmp_path: Path, monkeypatch):
    def full(self: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DiskFull, match="free space"):
        short_world.write(tmp_path, processes=1)
    assert not list(tmp_path.rglob("*.mp4")) and not list(tmp_path.rglob("*.new"))


def test_another_world_is_refused_in_the_same_folder(folder: Path, short_world: World):
    with pytest.raises(ConfigError, match="other settings"):
        replace(short_world, seed=1).write(folder, processes=1)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"drives": 3},
            r"train holds a world .* settings of split \(drives 2, not 3\): give another path=FOLDER, or remove",
        ),
        ({"decorrelated_share": 1.0}, r"decorrelated_share 0\.5, not 1\.0"),
    ],
)
def test_a_split_with_other_settings_is_refused_and_nothing_is_touched(
    folder: Path, short_world: World, changed, message
):
    before = contents(folder)
    with pytest.raises(ConfigError, match=message):
        splits = {"probe": SPLITS["probe"], "train": replace(SPLITS["train"], **changed)}
        replace(short_world, splits=splits).write(folder, processes=1)
    assert contents(folder) == before


def test_foreign_drives_are_named(short_world: World, tmp_path: Path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "holiday.mp4").touch()
    with pytest.raises(ConfigError, match=r"train holds 1 drive of another world, for example holiday: remove"):
        short_world.write(tmp_path, processes=1)
    assert not (tmp_path / "train" / "card.json").exists()


def test_an_unknown_type_of_road_is_named(short_world: World, tmp_path: Path):
    with pytest.raises(ConfigError, match=r"world\.splits\.train\.roads names unknown types of road: motorway"):
        split = Split(drives=1, roads={"motorway": 1.0}, decorrelated_share=0.0)
        replace(short_world, splits={"train": split}).write(tmp_path, processes=1)


def test_splits_share_no_drive_and_keep_their_shares(folder: Path):
    names = {path.parent.name: [] for path in folder.rglob("*.mp4")}
    for path in sorted(folder.rglob("*.mp4")):
        names[path.parent.name].append(path.stem)
    assert names["train"] == ["curves_natural_00000", "intersection_decorrelated_00001"]
    assert all("decorrelated" in name for name in names["probe"])
    tracks = [path.read_bytes() for path in folder.rglob("*.poses.csv")]
    assert len(set(tracks)) == len(tracks)
    card = json.loads((folder / "probe" / "card.json").read_text())
    assert card["split"]["drives"] == 2 and card["world"]["rate_hz"] == 4.0 and len(card["intrinsics"]) == 3


def test_a_drive_is_an_ordinary_video_with_poses_camera_and_truth_beside_it(folder: Path, short_world: World):
    for path in sorted(folder.rglob("*.mp4")):
        with av.open(str(path)) as container:
            times = [float(frame.pts * frame.time_base) for frame in container.decode(video=0)]
        np.testing.assert_allclose(times, np.arange(8) / 4, atol=1e-9)
        beside = path.with_suffix("")
        track = read_track(Path(f"{beside}.poses.csv"), first_s=times[0], last_s=times[-1], slack_s=0.0)
        truth = read_truth(Path(f"{beside}.truth.npz"))
        camera = read_camera(Path(f"{beside}.camera.json"))
        np.testing.assert_allclose(track.times_s, times, atol=1e-6)
        np.testing.assert_allclose(truth.times_s, times, atol=1e-6)
        np.testing.assert_allclose(camera.intrinsics, short_world.camera.intrinsics)
        assert truth.key == path.stem and truth.transition_s == 0.5 and truth.boxes.shape[1] > 0


@pytest.mark.parametrize("text", ["{", "[]", '{"world": 1, "split": 2}'])
def test_a_damaged_card_is_named(short_world: World, tmp_path: Path, text: str):
    (tmp_path / "train").mkdir()
    (tmp_path / "train/card.json").write_text(text)
    with pytest.raises(ConfigError, match=r"card\.json|other settings of world and split"):
        short_world.write(tmp_path, processes=1)

"""The frame cache: every clip is decoded once and stored whole, within a bound, and survives a full disk."""

import errno
import multiprocessing
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest

from latentdrive.data.clips.frame_cache import CachedClips
from latentdrive.errors import ConfigError, DiskFull, StoreError, TooManyOpenFiles
from tests.support.data import folder
from tests.support.paths import ROOT


def cached(source, where: Path, **changed) -> CachedClips:
    options = {"cache": "frames", "cache_gb": 1.0, "features": None, "features_id": None}
    return CachedClips(source=source, folder=where, **(options | changed))


def refuse(index: int):
    raise AssertionError(f"clip {index} was decoded again")


def bytes_below(where: Path) -> int:
    return sum(file.stat().st_size for file in where.rglob("*.npy"))


def test_a_clip_is_decoded_once_and_comes_back_the_same(drive: Callable[..., Path], tmp_path: Path):
    path = drive()
    source = folder(path)
    direct = source[0]
    cached(source, tmp_path / "cache").prepare()
    source.read = refuse
    again = cached(source, tmp_path / "cache")[0]
    for name in ("frames", "times_s", "shots", "ego_poses", "ego_speed_mps"):
        np.testing.assert_array_equal(getattr(again, name), getattr(direct, name))
    assert (again.key, again.drive, again.pose_source) == ("a.mp4", "a", "recorded")


def test_train_and_test_share_one_entry(drive: Callable[..., Path], tmp_path: Path):
    path = drive()
    cached(folder(path, times="train"), tmp_path / "cache").prepare()
    test_part = folder(path, times="test")
    test_part.read = refuse
    clip = cached(test_part, tmp_path / "cache")[0]
    assert clip.times_s[0] > 0.7 * 3.9 + 0.5
    np.testing.assert_allclose(clip.ego_poses[0], 0.0, atol=1e-6)


def test_an_entry_is_named_by_the_folder_it_is_read_through(drive: Callable[..., Path], tmp_path: Path):
    path = drive()
    cached(folder(path), tmp_path / "cache").prepare()
    above = folder(tmp_path)
    above.read = refuse
    clip = cached(above, tmp_path / "cache")[0]
    assert (clip.key, clip.drive) == (above.key(0), above.drive(0)) == ("clips/a.mp4", "clips/a")


def test_a_changed_file_is_decoded_anew(drive: Callable[..., Path], tmp_path: Path):
    path = drive()
    before = cached(folder(path), tmp_path / "cache")[0].frames.copy()
    drive(seed=5)
    assert not np.array_equal(cached(folder(path), tmp_path / "cache")[0].frames, before)


def test_other_options_have_other_entries(drive: Callable[..., Path], tmp_path: Path):
    path = drive()
    cached(folder(path), tmp_path / "cache").prepare()
    assert cached(folder(path, width=64), tmp_path / "cache")[0].frames.shape[-1] == 64


@pytest.mark.parametrize("damage", ["short frames", "no facts", "half an archive", "half a draft"])
def test_an_interrupted_entry_is_noticed_and_made_again(drive: Callable[..., Path], tmp_path: Path, damage: str):
    path, where = drive(), tmp_path / "cache"
    direct = folder(path)[0]
    cached(folder(path), where).prepare()
    (frames,) = where.rglob("frames.npy")
    if damage == "short frames":
        os.truncate(frames, frames.stat().st_size // 2)
    elif damage == "no facts":
        (frames.parent / "facts.json").unlink()
    elif damage == "half an archive":
        os.truncate(frames.parent / "clip.npz", 400)
    else:
        shutil.move(frames.parent, frames.parent.with_name(f".{frames.parent.name}.killed_1.new"))
    np.testing.assert_array_equal(cached(folder(path), where)[0].frames, direct.frames)
    source = folder(path)
    source.read = refuse
    np.testing.assert_array_equal(cached(source, where)[0].frames, direct.frames)


def test_no_altered_bit_of_an_entry_goes_unnoticed_and_what_was_altered_is_made_anew(
    drive: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    path, where, draws = drive(), tmp_path / "cache", np.random.default_rng(0)
    options = {"cache": "features", "features_id": "abc", "features": lambda frames: frames[:, 0, 0].astype(np.float16)}
    direct = folder(path).read(0)
    cached(folder(path), where, **options).prepare()
    entry = {file.name: file for file in where.rglob("*") if file.is_file() and file.name != "ledger.txt"}
    whole = {name: file.read_bytes() for name, file in entry.items()}
    decoded = 0
    for number in range(100):
        name = list(whole)[number % len(whole)]
        damaged = bytearray(whole[name])
        damaged[draws.integers(len(damaged))] ^= 1 << int(draws.integers(8))
        entry[name].write_bytes(damaged)
        clips = cached(folder(path), where, **options)
        clips.source.read = read = Mock(side_effect=clips.source.read)
        clip, facts = clips.read(0)
        rows = draws.permutation(40)
        np.testing.assert_array_equal(clip.frames[rows], direct[0].frames[rows])
        for field in ("times_s", "shots", "ego_poses", "ego_speed_mps"):
            np.testing.assert_array_equal(getattr(clip, field), getattr(direct[0], field))
        assert facts == direct[1]
        np.testing.assert_array_equal(clips.features(0)[rows], direct[0].frames[rows, 0, 0].astype(np.float16))
        decoded += read.called
        for kept, content in whole.items():
            entry[kept].write_bytes(content)
    assert decoded > 50 and "a.mp4 was altered on the disk, and is made anew" in capsys.readouterr().err


def test_an_altered_frame_is_made_anew_on_the_disk_where_its_part_is_read(drive: Callable[..., Path], tmp_path: Path):
    path, where = drive(), tmp_path / "cache"
    direct = folder(path, times="test")[0].frames
    cached(folder(path), where).prepare()
    (frames,) = where.rglob("frames.npy")
    content = bytearray(frames.read_bytes())
    content[-12 - 40 * 4 - 1] ^= 1  # the last byte of the last frame
    frames.write_bytes(content)
    clip = cached(folder(path, times="test"), where)[0]
    np.testing.assert_array_equal(clip.frames[0], direct[0])
    assert bytes(content) == frames.read_bytes(), "nobody has read the altered frame yet"
    np.testing.assert_array_equal(clip.frames[[0, -1]], direct[[0, -1]])
    source = folder(path)
    source.read = refuse
    np.testing.assert_array_equal(cached(source, where)[0].frames[-1], direct[-1])


def fill_and_compare(path: Path, where: Path) -> None:
    clips = cached(folder(path), where)
    assert clips.prepare() == []
    for clip, direct in zip(clips, folder(path)):
        np.testing.assert_array_equal(clip.frames[:], direct.frames)


def test_several_processes_fill_one_cache(drive: Callable[..., Path], tmp_path: Path):
    paths, where = [drive(name) for name in "abc"], tmp_path / "cache"
    context = multiprocessing.get_context("fork")
    fillers = [context.Process(target=fill_and_compare, args=(paths[0].parent, where)) for _ in range(3)]
    for filler in fillers:
        filler.start()
    for filler in fillers:
        filler.join(timeout=120)
    assert [filler.exitcode for filler in fillers] == [0, 0, 0]
    assert not [entry for entry in where.glob("*/*") if entry.name.startswith(".")]


def test_drafts_of_a_killed_run_are_cleared_away_and_those_of_others_left_alone(
    drive: Callable[..., Path], tmp_path: Path
):
    path, where = drive(), tmp_path / "cache"
    cached(folder(path), where).prepare()
    (frames,) = where.rglob("frames.npy")
    entry = frames.parent
    old, young = (entry.with_name(f".{entry.name}.{name}.new") for name in ("killed_1", "living_2"))
    shutil.move(entry, old)
    young.mkdir()
    os.utime(old, (0, 0))
    cached(folder(path), where).prepare()
    assert entry.is_dir() and young.is_dir() and not old.exists()


def test_beyond_the_bound_clips_are_decoded_on_the_fly(drive: Callable[..., Path], tmp_path: Path):
    paths = [drive(name) for name in "abc"]
    size = folder(paths[0])[0].frames.nbytes
    clips = cached(folder(paths[0].parent), tmp_path / "cache", cache_gb=1.5 * size / 1e9)
    clips.prepare()
    assert len(list((tmp_path / "cache").rglob("frames.npy"))) == 1
    assert [len(clip) for clip in clips] == [40, 40, 40]
    assert bytes_below(tmp_path / "cache") <= 1.5 * size


def test_the_size_is_estimated_before_anything_is_decoded(drive: Callable[..., Path], tmp_path: Path):
    paths = [drive(name, seconds=4.0) for name in "ab"]
    source = folder(paths[0].parent)
    source.read = refuse
    clips = cached(source, tmp_path / "cache")
    size, hours = clips.estimate()
    assert size == pytest.approx(2 * 40 * 3 * 48 * 80, rel=0.05)
    assert hours == pytest.approx(8 / 3600, rel=0.05)


def test_features_are_computed_once_and_follow_the_part(drive: Callable[..., Path], tmp_path: Path):
    path, calls = drive(), []

    def brightness(frames: np.ndarray) -> np.ndarray:
        calls.append(len(frames))
        return frames.mean((1, 2, 3), dtype=np.float32)[:, None].astype(np.float16)

    options = {"cache": "features", "features": brightness, "features_id": "abc"}
    cached(folder(path), tmp_path / "cache", **options).prepare()
    clips = cached(folder(path, times="test"), tmp_path / "cache", **options)
    assert calls == [40]
    assert clips.features(0).dtype == np.float16 and len(clips.features(0)) == len(clips[0])
    np.testing.assert_allclose(clips.features(0)[:, 0], clips[0].frames.mean((1, 2, 3)), rtol=1e-3)
    assert calls == [40]


def test_features_without_an_extractor_are_refused(drive: Callable[..., Path], tmp_path: Path):
    with pytest.raises(ConfigError, match="feature extractor"):
        cached(folder(drive()), tmp_path / "cache", cache="features")


def test_a_write_that_meets_a_full_disk_names_it_and_leaves_nothing_half(
    drive: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    paths = [drive(name) for name in "ab"]
    clips = cached(folder(paths[0].parent), tmp_path / "cache")
    first = clips[0].frames.copy()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", full)
        with pytest.raises(DiskFull, match=r"intact.*data\.cache_gb.*same command again"):
            clips[1]
    assert len(list((tmp_path / "cache").rglob("frames.npy"))) == 1
    assert not list((tmp_path / "cache").rglob("*.new"))
    again = cached(folder(paths[0].parent), tmp_path / "cache")
    np.testing.assert_array_equal(again[0].frames, first)
    assert len(again[1]) == 40, "the same command goes on"


def test_the_bound_counts_what_was_stored_anew_once_and_tells_whose_it_is(drive: Callable[..., Path], tmp_path: Path):
    paths, where = [drive(name) for name in "abc"], tmp_path / "cache"
    sevens = lambda frames: np.zeros((len(frames), 7), np.float16)  # noqa: E731
    options = {"cache": "features", "features": sevens, "features_id": "x"}
    for _ in range(3):
        clips = cached(folder(paths[0].parent), where, **options)
        assert clips.prepare() == []
        for stored in where.rglob("*.npy"):
            os.truncate(stored, 100)
    frames, features = 128 + 40 * 3 * 48 * 80 + 40 * 4 + 12, 128 + 40 * 7 * 2 + 40 * 4 + 12
    assert clips.used(with_features=True) == (3 * (frames + features), 3 * (frames + features))
    assert clips.used(with_features=False) == (3 * frames, 3 * (frames + features))
    assert cached(folder(paths[1]), where).used(with_features=False) == (frames, 3 * (frames + features))
    assert cached(folder(paths[1], width=64), where).used(with_features=True) == (0, 3 * (frames + features))


@pytest.mark.parametrize(
    "torn", [b"0123456789abcdef", b"name 12 34\n", b"\xff\xfe 12", b"name\n", b"a 9999999999999999999999\n"]
)
def test_a_line_that_a_full_disk_tore_costs_no_later_use(drive: Callable[..., Path], tmp_path: Path, torn: bytes):
    paths, where = [drive(name) for name in "ab"], tmp_path / "cache"
    cached(folder(paths[0]), where).prepare()
    (one,) = cached(folder(paths[0]), where)._ledger.sizes().values()
    with (where / "ledger.txt").open("ab") as ledger:
        ledger.write(torn)
    clips = cached(folder(paths[0].parent), where)
    assert clips.prepare() == []
    assert clips.used(with_features=False) == (2 * one, 2 * one)


def test_a_process_that_may_open_no_more_files_says_so_and_leaves_the_cache_alone(
    drive: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path, where = drive(), tmp_path / "cache"
    cached(folder(path), where).prepare()
    source, unreadable = folder(path), []
    source.read = refuse

    def exhausted(*_, **__):
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as broken:
        broken.setattr(np, "load", exhausted)
        with pytest.raises(TooManyOpenFiles, match="ulimit -n"):
            unreadable += cached(source, where).prepare()
    assert unreadable == [] and len(cached(source, where)[0]) == 40


def test_an_entry_that_may_not_be_read_is_not_taken_for_absent(drive, tmp_path: Path, monkeypatch):
    path, where = drive(), tmp_path / "cache"
    cached(folder(path), where).prepare()
    source = folder(path)
    source.read = refuse

    def denied(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(np, "load", denied)
    with pytest.raises(StoreError, match=r"Permission denied.*data\.cache_folder"):
        cached(source, where)[0]


MANY_CLIPS = """
import resource, sys
from tests.support.windows import FakeSource
from latentdrive.data.clips.frame_cache import CachedClips
resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
parts = [
    CachedClips(
        source=FakeSource(clips=40), folder=sys.argv[1], cache="features", cache_gb=1.0, features_id="x",
        features=lambda frames: frames.mean((1, 2, 3)).astype("f2"),
    )
    for _ in ("train", "val", "probe")
]
assert [clips.prepare() for clips in parts] == [[], [], []]
assert [len(clips[index]) for clips in parts for index in (0, 39)] == [40] * 6
"""


def test_more_clips_than_files_that_may_be_open(tmp_path: Path):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", MANY_CLIPS, str(tmp_path)], env=environment, check=True, timeout=120)


def test_a_disk_that_really_fills_keeps_the_clips_it_has(drive: Callable[..., Path], tiny_disk: Path):
    paths = [drive(name) for name in "ab"]  # 461 kB each
    clips = cached(folder(paths[0].parent), tiny_disk)
    first = clips[0].frames.copy()
    with pytest.raises(DiskFull, match="disk is full"):
        clips[1]
    np.testing.assert_array_equal(cached(folder(paths[0].parent), tiny_disk)[0].frames, first)
    assert len(list(tiny_disk.rglob("frames.npy"))) == 1

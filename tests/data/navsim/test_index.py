"""Which scenes a filter selects, why others are left out, and that a split of 100,000 scenes opens in seconds."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from latentdrive.data.navsim.index import NavsimIndex
from latentdrive.data.navsim.log_folder import LogFolder
from latentdrive.data.navsim.log_reading import current_index
from latentdrive.data.navsim.scene_filter import SceneFilter
from latentdrive.errors import NoScenes, TooManyUnreadable
from tests.support.navsim_fixture import frame, frames, token, write_log, write_openscene

ROOT = Path(__file__).resolve().parents[3]


def folder(root: Path, cache: Path | None = None) -> LogFolder:
    return LogFolder(root / "navsim_logs" / "mini", cache=cache or root / "cache")


def index_of(root: Path, cache: Path | None = None, **changed) -> NavsimIndex:
    options = {"processes": 1, "max_unreadable": 0.0} | changed
    return current_index(folder(root, cache), **options)


def names(index: NavsimIndex, filter: SceneFilter) -> list[str]:
    return [index.tokens[row].decode() for row in index.select(filter).rows]


def test_scenes_are_cut_as_navsim_cuts_them(tmp_path: Path):
    index = index_of(write_openscene(tmp_path, sensors=False))
    # 20 frames of each log: starts 0 ... 6 are long enough for 14, now is 3 frames later; frame 9 has no route.
    expected = [token(log, k) for log in ("east", "north") for k in (3, 4, 5, 6, 7, 8)]
    assert names(index, SceneFilter(frame_interval=1)) == expected
    assert index.select(SceneFilter(frame_interval=1)).left_out == {"too short": 26, "no route now": 2}
    assert names(index, SceneFilter(frame_interval=1, has_route=False))[6] == token("east", 9)
    # Without an interval, scenes start 14 frames apart, and the second one of each log is too short.
    assert names(index, SceneFilter()) == [token("east", 3), token("north", 3)]
    few = SceneFilter(num_history_frames=1, num_future_frames=4, frame_interval=3, has_route=False)
    assert names(index, few)[:6] == [token("east", k) for k in (0, 3, 6, 9, 12, 15)]
    assert len(names(index, SceneFilter(frame_interval=1, max_scenes=8))) == 8


@pytest.mark.parametrize("history", [1, 4])
def test_a_log_without_annotations_needs_neither_route_nor_future(tmp_path: Path, history: int):
    def private(content):
        for entry in content[:6]:
            del entry["anns"]
            entry["roadblock_ids"] = []
        return content[:6]

    index = index_of(write_openscene(tmp_path, sensors=False, change=private))
    filter = SceneFilter(frame_interval=1, num_history_frames=history)
    here = [token("north", k) for k in range(history - 1, 6)]
    assert [name for name in names(index, filter) if name in [token("north", k) for k in range(6)]] == here
    # In the other log, a scene needs both, as in NAVSIM.
    assert names(index, filter)[-len(here) - 1] == token("east", 8)


def test_a_route_that_the_recording_does_not_name_is_not_a_missing_one(tmp_path: Path):
    def nameless(content):
        for entry in content:
            del entry["roadblock_ids"]

    index = index_of(write_openscene(tmp_path, sensors=False, change=nameless))
    assert names(index, SceneFilter(frame_interval=1))[6:] == [token("north", k) for k in (3, 4, 5, 6, 7, 8, 9)]


def test_log_names_and_tokens_select_scenes_and_absent_ones_are_named(tmp_path: Path):
    index = index_of(write_openscene(tmp_path, sensors=False))
    selection = index.select(
        SceneFilter(
            frame_interval=1, log_names=("north", "south"), tokens=(token("north", 4), token("north", 19), "f" * 16)
        )
    )
    assert [index.tokens[row].decode() for row in selection.rows] == [token("north", 4)]
    assert selection.absent_logs == ("south",) and selection.absent_tokens == ("f" * 16,)
    assert selection.left_out == {"too short": 13, "not in the filter's tokens": 6}


def test_scenes_with_a_bad_frame_are_left_out_by_reason(tmp_path: Path):
    def spoil(content):
        content[16]["ego2global_translation"][0] = np.nan
        content[18]["timestamp"] = 5

    index = index_of(write_openscene(tmp_path, sensors=False, change=spoil))
    selection = index.select(SceneFilter(frame_interval=1, log_names=("north",)))
    # Scenes that start at 3 ... 6 reach frame 16, those at 5 and 6 frame 18 as well (frame 9 is now of 6: no route).
    assert [index.tokens[row].decode() for row in selection.rows] == [token("north", k) for k in (3, 4, 5)]
    assert selection.left_out == {"too short": 13, "no route now": 1, "bad frame: not finite": 3}
    assert index.bad_frames() == {"not finite": 1, "time does not grow": 1}
    assert index.examples[1].startswith(b"frame 16, ego2global_translation")


def test_a_token_that_comes_twice_is_used_once(tmp_path: Path):
    write_log(tmp_path, "a", frames("north"))
    write_log(tmp_path, "b", frames("north"))
    selection = index_of(tmp_path).select(SceneFilter(frame_interval=1))
    assert len(selection.rows) == 6 and selection.left_out["token twice"] == 6 and selection.rows.max() < 20


def test_missing_frames_are_counted_and_used(tmp_path: Path):
    write_log(tmp_path, "a", [frame("north", k) for k in range(21) if k != 16])
    selection = index_of(tmp_path).select(SceneFilter(frame_interval=1, has_route=False))
    # Frame 17 stands at row 16; the step to it lies in the scenes that start at rows 3 ... 6.
    assert len(selection.rows) == 7 and selection.uneven == 4


def test_only_changed_logs_are_read_again(tmp_path: Path):
    logs = folder(write_openscene(tmp_path, sensors=False))
    first = index_of(tmp_path)
    cached = {path.stem: path.stat().st_mtime_ns for path in (logs.cache / "logs").iterdir()}
    write_log(tmp_path, "north", frames("north", 15))
    (logs.cache / "logs" / "east.npz").unlink()  # reading "east" again would restore it
    second = index_of(tmp_path)
    assert np.diff(first.ends).tolist() == [20, 20] and np.diff(second.ends).tolist() == [20, 15]
    assert [path.stem for path in (logs.cache / "logs").iterdir()] == ["north"]
    assert (logs.cache / "logs" / "north.npz").stat().st_mtime_ns > cached["north"]
    (tmp_path / "navsim_logs" / "mini" / "north.pkl").unlink()
    assert index_of(tmp_path).names.tolist() == [b"east"]


def test_an_index_that_is_read_back_is_the_one_that_was_made(tmp_path: Path):
    index, stored = index_of(write_openscene(tmp_path, sensors=False)), index_of(tmp_path)
    for name in index.__slots__:
        np.testing.assert_array_equal(getattr(index, name), getattr(stored, name))
    folder(tmp_path).cache.joinpath("index.npz").write_bytes(b"PK")
    again = index_of(tmp_path)
    np.testing.assert_array_equal(again.tokens, index.tokens)


def test_several_processes_make_the_same_index_and_show_their_progress(tmp_path: Path):
    for k in range(6):
        write_log(tmp_path, f"log{k}", frames("north", 5 + k))
    shown = []

    def progress(items, *, what, total):
        for item in items:
            shown.append((what, total))
            yield item

    alone = index_of(tmp_path)
    together = index_of(tmp_path, cache=tmp_path / "other", processes=2, progress=progress)
    assert together.names.tolist() == alone.names.tolist() and together.ends.tolist() == [0, 5, 11, 18, 26, 35, 45]
    np.testing.assert_array_equal(alone.tokens, together.tokens)
    assert shown == [("reading logs", 6)] * 6


def test_an_unreadable_log_is_named_and_bounded_and_the_others_go_on(tmp_path: Path):
    write_openscene(tmp_path, sensors=False)
    path = tmp_path / "navsim_logs" / "mini" / "north.pkl"
    path.write_bytes(path.read_bytes()[:2000])
    index = index_of(tmp_path, max_unreadable=0.5)
    assert index.unreadable[0] == b"" and b"cut short" in index.unreadable[1]
    assert len(names(index, SceneFilter(frame_interval=1))) == 6
    with pytest.raises(TooManyUnreadable, match=r"1 of 2 .* north\.pkl|1 of 2 .*north\.pkl"):
        index_of(tmp_path, max_unreadable=0.1)


def test_a_log_that_could_not_be_read_is_tried_again_the_next_time(tmp_path: Path, monkeypatch):
    write_openscene(tmp_path, sensors=False)
    read = Path.read_bytes

    def locked(self: Path) -> bytes:
        if self.name == "north.pkl":
            raise PermissionError(13, "Permission denied")
        return read(self)

    monkeypatch.setattr(Path, "read_bytes", locked)
    index = index_of(tmp_path, max_unreadable=0.5)
    assert "Permission denied" in index.unreadable_logs()["north"]
    monkeypatch.undo()  # the same file, of the same size and time
    assert not index_of(tmp_path, max_unreadable=0.5).unreadable_logs()


def test_a_folder_without_logs_says_so(tmp_path: Path):
    (tmp_path / "navsim_logs" / "mini").mkdir(parents=True)
    (tmp_path / "navsim_logs" / "mini" / "readme.txt").touch()
    with pytest.raises(NoScenes, match=r"holds no log \(NAME\.pkl\) among its 1 entry: unpack OpenScene"):
        index_of(tmp_path)


def test_a_split_of_100_000_scenes_opens_in_seconds_and_in_less_than_2_gb(tmp_path: Path):
    def many(*words: str) -> str:
        command = [sys.executable, str(ROOT / "tools" / "many_scenes.py"), *words]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        return subprocess.run(
            command, env=environment, stdout=subprocess.PIPE, text=True, timeout=120, check=True
        ).stdout

    many("write", str(tmp_path / "many"), "--scenes", "100000", "--logs", "1200")
    report = json.loads(many("open", str(tmp_path / "many")))
    assert (report["scenes"], report["logs"]) == (100_000, 1200)
    assert report["peak_memory_gb"] < 2 and report["seconds"] < 30

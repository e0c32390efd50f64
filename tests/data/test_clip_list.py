"""Lists of clips: order, what counts as a clip, and a million of them without opening one."""

import tracemalloc
from pathlib import Path

import pytest
from data_helpers import folder
from test_batches import stream

from latentdrive.data.clip_list import ClipList
from latentdrive.data.frame_cache import CachedClips
from latentdrive.data.unreadable import UnreadableLog


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def keys(path: Path) -> list[str]:
    clips = ClipList(path)
    return [clips.key(index) for index in range(len(clips))]


def test_folders_are_searched_in_sorted_order_and_other_files_left_out(tmp_path: Path):
    touch(tmp_path, "b.mp4", "a/z.mkv", "a/notes.txt", "a/a.GIF", "c.poses.csv", ".hidden/x.mp4", ".d.mp4")
    assert keys(tmp_path) == ["a/a.GIF", "a/z.mkv", "b.mp4"]


def test_a_folder_of_numbered_images_is_one_clip_and_other_images_are_none(tmp_path: Path):
    touch(tmp_path, "drive/000001.png", "drive/000002.png", "pictures/map.png", "v.mp4")
    assert keys(tmp_path) == ["drive", "v.mp4"]
    assert keys(tmp_path / "drive") == ["drive"]


def test_a_single_file_is_a_list_of_one(tmp_path: Path):
    assert keys(touch(tmp_path, "v.mp4") / "v.mp4") == ["v.mp4"]


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_a_text_list_keeps_its_order_and_skips_blank_lines(tmp_path: Path, ending: str):
    listed = tmp_path / "clips.txt"
    listed.write_bytes(ending.join(["z.mp4", "", "sub/a b.mp4", "é.mp4"]).encode())
    assert keys(listed) == ["z.mp4", "sub/a b.mp4", "é.mp4"]
    assert ClipList(listed)[1] == tmp_path / "sub" / "a b.mp4"


def test_a_million_clips_are_listed_below_2_gb_and_none_is_opened_before_the_first_batch(tmp_path: Path):
    listed = tmp_path / "clips.txt"
    with open(listed, "w", encoding="utf-8") as file:
        file.writelines(f"videos/{number // 1000:05d}/drive_{number:08d}.mp4\n" for number in range(1_000_000))
    tracemalloc.start()
    source = folder(listed)
    opened = []
    source.frames = lambda index, *_: opened.append(index)  # decoding would come through here
    cached = CachedClips(
        source=source, folder=tmp_path / "cache", cache="frames", cache_gb=1.0, features=None, features_id=None
    )
    made = stream(cached, unreadable=UnreadableLog(clips=len(cached), max_unreadable=0.01, file=None))
    chosen = [made.clip_at(number) for number in range(64)]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(cached) == 1_000_000 and peak < 0.2e9
    assert opened == [] and not (tmp_path / "cache").exists()
    assert len(set(chosen)) == 64
    assert source.location(999_999).name == "drive_00999999.mp4"

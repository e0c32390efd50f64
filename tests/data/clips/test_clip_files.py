"""Lists of clips: their order, what counts as a clip, and a million clips of which none is opened."""

import tracemalloc
from functools import partial
from pathlib import Path

import pytest

from latentdrive.data.batches.augmentation import NO_AUGMENTATION
from latentdrive.data.batches.clip_batches import ClipBatches
from latentdrive.data.clips.clip_files import ClipList
from latentdrive.data.clips.clip_source import Part
from latentdrive.data.clips.data_set import DataSet
from latentdrive.data.clips.video import VideoFolder
from tests.support.data import folder
from tests.support.windows import FakeSource


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


def test_clips_are_called_the_same_however_their_folder_is_spelt(tmp_path: Path, monkeypatch):
    touch(tmp_path, "clips/sub/v.mp4")
    (tmp_path / "clips/list.txt").write_text("sub/v.mp4\n")
    monkeypatch.chdir(tmp_path)
    for path in ("clips", "./clips/", "clips/../clips", tmp_path / "clips", "clips/list.txt"):
        assert keys(Path(path)) == ["sub/v.mp4"]


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


def test_of_a_million_clips_only_those_of_a_batch_are_opened(tmp_path: Path):
    listed = tmp_path / "clips.txt"
    with open(listed, "w", encoding="utf-8") as file:
        file.writelines(f"videos/{number // 1000:05d}/drive_{number:08d}.mp4\n" for number in range(1_000_000))
    opened: list[int] = []

    def source(**_) -> VideoFolder:
        clips = folder(listed)
        clips.read = lambda index: opened.append(index) or FakeSource().read(0)
        return clips

    tracemalloc.start()
    data = DataSet(
        path=str(listed),
        rate_hz=10.0,
        height=4,
        width=6,
        cache="none",
        cache_gb=1.0,
        cache_folder="",
        max_unreadable=0.01,
        block_s=None,
        train={},
        val={},
        probe=None,
        source=source,
        scenes=None,
        splits=None,
        part=partial(Part, path="", times="all", train_share=0.7, gap_s=0.5),
    )
    batches = ClipBatches(
        data=data,
        window_transitions=2,
        transition_s=0.5,
        batch_size=8,
        pairs_per_clip=2,
        held_out_windows=100,
        patch_grid=(2, 2),
        augmentation=NO_AUGMENTATION,
        workers=0,
        seed=0,
        out=str(tmp_path),
    )
    train, held_out = batches.train_batches(0), batches.validation_batches()
    assert len(batches.train) == 1_000_000 and opened == []
    assert len(next(iter(train))) == 8 and len(opened) == 4
    opened.clear()
    assert len(next(iter(held_out))) == 8
    assert len(set(opened[:25])) == 25 and len(opened) <= 25 + 8  # 4 windows a clip; then those of the batch
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 0.2e9

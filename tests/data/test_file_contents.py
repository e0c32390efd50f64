"""The content of files is known wherever they lie, and only then read again when they were touched."""

import os
from pathlib import Path

import pytest

from latentdrive.data import file_contents
from latentdrive.data.file_contents import changed_files, contents_of, from_plain


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """A video, poses that are not there, and a folder of pictures."""
    (tmp_path / "a.mp4").write_bytes(b"video")
    (tmp_path / "pictures").mkdir()
    for number in range(3):
        (tmp_path / "pictures" / f"{number}.jpg").write_bytes(b"picture %d" % number)
    return [tmp_path / "a.mp4", tmp_path / "a.poses.csv", tmp_path / "pictures"]


def test_contents_come_back_from_json_and_are_those_of_the_files(files: list[Path]):
    noted = contents_of(files)
    assert from_plain([content.plain() for content in noted]) == noted
    assert changed_files(noted, files) == []


def test_files_that_moved_or_were_touched_are_the_same(files: list[Path], tmp_path: Path):
    noted = contents_of(files)
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for file in files:
        if file.exists():
            file.rename(moved / file.name)
    os.utime(moved / "a.mp4", (1, 1))
    os.utime(moved / "pictures" / "1.jpg", (1, 1))
    (moved / "pictures" / ".thumbnails").write_bytes(b"left behind by a program that shows pictures")
    assert changed_files(noted, [moved / file.name for file in files]) == []


@pytest.mark.parametrize(
    "change", ["byte", "exchange", "picture", "renamed picture", "fewer", "more", "sidecar", "gone"]
)
def test_every_change_is_named(files: list[Path], change: str):
    noted, (video, poses, pictures) = contents_of(files), files
    expected = ["pictures"]
    if change in ("byte", "exchange"):
        stat, expected = video.stat(), ["a.mp4"]
        content = b"vidEo" if change == "byte" else b"other"
        video.unlink()
        video.write_bytes(content)
        os.utime(video, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # same path, size and time of change
    elif change == "picture":
        (pictures / "1.jpg").write_bytes(b"picture 9")
    elif change == "renamed picture":
        (pictures / "1.jpg").rename(pictures / "9.jpg")
    elif change == "fewer":
        (pictures / "2.jpg").unlink()
    elif change == "more":
        (pictures / "3.jpg").write_bytes(b"picture 3")
    elif change == "sidecar":
        poses.write_text("t,x,y,heading\n")
        expected = ["a.poses.csv"]
    else:
        video.unlink()
        expected = ["a.mp4"]
    assert changed_files(noted, files) == expected


def test_another_first_file_is_another_clip(files: list[Path], tmp_path: Path):
    assert changed_files(contents_of(files), [tmp_path / "b.mp4"]) == ["a.mp4"]


def test_a_file_that_only_one_reader_looks_at_tells_nothing(files: list[Path]):
    noted = contents_of(files)
    assert changed_files(noted[:2], files) == changed_files(noted, files[:1]) == []


def test_an_unchanged_file_is_not_read_again(files: list[Path], monkeypatch: pytest.MonkeyPatch):
    noted = contents_of(files)
    monkeypatch.setattr(file_contents, "_digest", lambda path: pytest.fail(f"{path} was read again"))
    assert changed_files(noted, files) == []


@pytest.mark.parametrize("rows", [None, {}, [["a", "b"]], [["a", "b", 3]], ["abc"]])
def test_what_is_no_list_of_contents_is_refused(rows):
    with pytest.raises(ValueError, match="lists of name, stamp and digest"):
        from_plain(rows)

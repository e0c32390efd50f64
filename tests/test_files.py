"""Archives of arrays: read whole, or refused with one error, whichever byte is wrong."""

import os
import stat
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from latentdrive.files import atomic_folder, inflate, read_arrays, write_atomic

ARRAYS = {"times": np.arange(50.0), "key": np.array("k"), "boxes": np.zeros((3, 4), np.uint8)}


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_a_cut_or_altered_archive_is_a_value_error_and_never_another_content(write, tmp_path: Path):
    path = tmp_path / "a.npz"
    write(path, **ARRAYS)
    whole = path.read_bytes()
    assert {name: array.tolist() for name, array in read_arrays(path).items()} == {
        name: array.tolist() for name, array in ARRAYS.items()
    }
    cut = [whole[:length] for length in range(0, len(whole), 11)]
    altered = [whole[:at] + bytes([whole[at] ^ 0x80]) + whole[at + 1 :] for at in range(0, len(whole), 3)]
    refused = 0
    for damaged in cut + altered:
        path.write_bytes(damaged)
        try:
            content = read_arrays(path)
        except ValueError as error:
            assert "no intact archive" in str(error)
            refused += 1
        else:  # the byte is part of a name, or is never read
            assert all(np.array_equal(array, ARRAYS[name]) for name, array in content.items() if name in ARRAYS)
    assert refused > len(cut)


def test_a_missing_archive_is_an_os_error(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        read_arrays(tmp_path / "a.npz")


def test_a_small_archive_that_stands_for_gigabytes_is_refused_before_it_is_read(tmp_path: Path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, zeros=np.zeros(100_000_000, np.uint8))
    assert path.stat().st_size < 200_000
    with pytest.raises(ValueError, match=r"its arrays need 100,000,\d+ bytes, and a file of its size holds at most"):
        read_arrays(path)


def test_an_archive_whose_array_says_that_it_is_huge_is_refused(tmp_path: Path):
    path = tmp_path / "a.npz"
    head = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000000,), }"
    head += b" " * (117 - len(head)) + b"\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head)
    with pytest.raises(ValueError, match="no intact archive"):
        read_arrays(path)


def test_what_was_compressed_comes_back_and_a_bomb_does_not():
    content = bytes(range(256)) * 1000
    assert inflate(zlib.compress(content)) == content
    bomb = zlib.compress(bytes(200_000_000), 9)
    with pytest.raises(ValueError, match=r"compressed bytes stand for more than 1\d\d,\d+,\d+"):
        inflate(bomb)
    with pytest.raises(ValueError, match="cut short"):
        inflate(zlib.compress(content)[:-3])


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077, 0o002])
def test_what_is_finished_has_the_permissions_of_the_users_umask(tmp_path: Path, mask: int):
    before = os.umask(mask)
    try:
        with atomic_folder(tmp_path / "folder") as draft:
            save_file({"a": torch.zeros(2)}, draft / "a.safetensors")
            (draft / "files").mkdir()
            (draft / "files" / "a.txt").write_text("a")
        write_atomic(tmp_path / "b.safetensors", lambda new: save_file({"b": torch.zeros(2)}, new))
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    folder, file = 0o777 & ~mask, 0o666 & ~mask
    assert modes == {"folder": folder, "files": folder, "a.txt": file, "a.safetensors": file, "b.safetensors": file}


WRITE_AND_LOOK = """
import sys
from latentdrive.files import atomic_folder, reading
folder, name, times = sys.argv[1], sys.argv[2], int(sys.argv[3])
for number in range(times):
    with atomic_folder(folder) as draft:
        for part in "ab":
            (draft / part).write_text(f"{name} {number}")
    with reading(folder) as standing:
        print(*((standing / part).read_text().replace(" ", ":") for part in "ab"))
"""
LOOK = """
import sys
from latentdrive.files import reading
seen = set()
for _ in range(int(sys.argv[2])):
    with reading(sys.argv[1]) as standing:
        seen.add(tuple((standing / part).read_text() for part in "ab"))
assert all(first == second for first, second in seen), seen
"""


def test_no_folder_vanishes_or_is_mixed_while_several_processes_write_and_read_it(tmp_path: Path):
    folder, times = tmp_path / "folder", 150
    with atomic_folder(folder) as draft:
        for part in "ab":
            (draft / part).write_text("first")

    def start(script: str, *words: str) -> subprocess.Popen:
        return subprocess.Popen([sys.executable, "-c", script, str(folder), *words], stdout=subprocess.PIPE, text=True)

    writers = [start(WRITE_AND_LOOK, name, str(times)) for name in ("one", "two")]
    readers = [start(LOOK, str(times * 4)) for _ in range(2)]
    lines = [writer.communicate(timeout=120)[0].splitlines() for writer in writers]
    assert [process.wait(timeout=120) for process in (*writers, *readers)] == [0, 0, 0, 0]
    for name, seen in zip(("one", "two"), lines):
        for number, line in enumerate(seen):
            first, second = line.split()
            assert first == second
            writer, _, written = first.partition(":")
            assert writer != name or int(written) == number, "a write of its own was lost to an older one"
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit, ValueError])
def test_whatever_interrupts_a_write_leaves_the_old_file_and_no_other(tmp_path: Path, interruption: type):
    def write(new: Path) -> None:
        new.write_text("half")
        raise interruption

    write_atomic(tmp_path / "a.txt", lambda new: new.write_text("old"))
    with pytest.raises(interruption):
        write_atomic(tmp_path / "a.txt", write)
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"] and (tmp_path / "a.txt").read_text() == "old"

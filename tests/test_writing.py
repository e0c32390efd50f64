"""What the system refuses while something is written becomes one sentence with the place and a remedy."""

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from latentdrive.errors import ConfigError, DiskFull, NotWritable, TooManyOpenFiles
from latentdrive.files import atomic_folder, write_atomic
from latentdrive.locks import one_writer
from latentdrive.stages.state import AtomicFiles
from latentdrive.trainer import _Events, silence_lightning
from latentdrive.writing import append_line, writing
from tests.support.paths import ROOT


def _file(folder: Path) -> None:
    write_atomic(folder / "a.txt", lambda new: new.write_text("new"))


def _folder(folder: Path) -> None:
    with atomic_folder(folder / "a.txt") as draft:
        (draft / "b").write_text("new")


def _line(folder: Path) -> None:
    append_line(folder / "a.txt", "line")


def _lock(folder: Path) -> None:
    with one_writer(folder / "a.txt"):
        pass


def test_a_line_is_not_appended_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("of somebody else")
    (tmp_path / "log.txt").symlink_to(tmp_path / "precious")
    with pytest.raises(NotWritable, match="a link stands where a file is needed"):
        append_line(tmp_path / "log.txt", "a line")
    assert (tmp_path / "precious").read_text() == "of somebody else"


@pytest.mark.parametrize("write", [_file, _folder, _line, _lock])
def test_a_file_where_a_folder_is_needed_is_named(tmp_path: Path, write: Callable[[Path], None]):
    (tmp_path / "taken").write_text("")
    with pytest.raises(NotWritable, match=r"taken/.*can't be written \(.*\): a file stands where a folder is needed"):
        write(tmp_path / "taken" / "deeper")


@pytest.mark.parametrize(
    ("number", "error", "words"),
    [
        (errno.ENOSPC, DiskFull, "the disk is full while writing .*a.txt.*intact"),
        (errno.EDQUOT, DiskFull, "the disk is full while writing .*a.txt"),
        (errno.EROFS, NotWritable, r"a.txt can't be written \(Read-only file system\): name a folder on another disk"),
        (errno.EACCES, NotWritable, r"a.txt can't be written \(Permission denied\): change its permissions"),
        (errno.EIO, NotWritable, r"a.txt can't be written \(Input/output error\): check the disk"),
        (errno.EMFILE, TooManyOpenFiles, "ulimit -n"),
    ],
)
@pytest.mark.parametrize("write", [_file, _folder])
def test_every_refusal_has_a_sentence(tmp_path: Path, monkeypatch, number: int, error: type, words: str, write):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(error, match=words):
        write(tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_error_of_ours_and_a_bug_stay_what_they_are(tmp_path: Path):
    for error in (ConfigError("a"), KeyError("b"), RuntimeError("c")):
        with pytest.raises(type(error)) as raised, writing(tmp_path):
            raise error
        assert raised.value is error


LIMITED = """
import resource, sys, torch
from pathlib import Path
from safetensors.torch import save_file
from latentdrive.errors import NotWritable
from latentdrive.files import atomic_folder, write_atomic
from latentdrive.stages.state import AtomicFiles
folder = Path(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

def checkpoint():
    with atomic_folder(folder / "checkpoint") as draft:
        save_file({"a": torch.zeros(100_000)}, draft / "a.safetensors")

for write in (
    checkpoint,
    lambda: write_atomic(folder / "a.safetensors", lambda new: save_file({"a": torch.zeros(100_000)}, new)),
    lambda: AtomicFiles().save_checkpoint({"a": torch.zeros(100_000)}, folder / "last.ckpt"),
):
    try:
        write()
    except NotWritable as error:
        print(error)
"""


def test_safetensors_and_torch_that_are_stopped_in_the_middle_leave_nothing(tmp_path: Path):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", LIMITED, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 3 and all("can't be written (File too large" in line for line in lines)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_told_by_the_device_that_is_always_full():
    with pytest.raises(DiskFull, match="/dev/full"):
        append_line("/dev/full", "line")


def test_a_disk_that_really_fills_leaves_what_was_there(tiny_disk: Path):
    weights = {"a": torch.zeros(100_000)}
    write_atomic(tiny_disk / "a", lambda new: save_file(weights, new))
    before = (tiny_disk / "a").read_bytes()
    for save in (
        lambda: write_atomic(tiny_disk / "a", lambda new: save_file(weights, new)),
        lambda: AtomicFiles().save_checkpoint(weights, tiny_disk / "last.ckpt"),
    ):
        with pytest.raises(DiskFull, match="the disk is full while writing"):
            save()
    assert (tiny_disk / "a").read_bytes() == before and [path.name for path in tiny_disk.iterdir()] == ["a"]


def test_tensorboards_events_on_a_full_disk_are_one_sentence(tiny_disk: Path, capfd: pytest.CaptureFixture[str]):
    silence_lightning()
    events = _Events(str(tiny_disk), name="", version="")
    with pytest.raises(DiskFull, match=r"the disk is full while writing .*disk"):
        for step in range(100_000):
            events.log_metrics({"loss": 1.0}, step)
    assert "Traceback" not in capfd.readouterr().err


def test_a_torn_line_costs_no_other_line(tmp_path: Path):
    file = tmp_path / "log.txt"
    append_line(file, "one")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file.stat().st_size + 3, limits[1]))
        with pytest.raises(NotWritable):
            append_line(file, "torn in the middle")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    append_line(file, "two")
    assert file.read_text() == "one\ntor\ntwo\n"

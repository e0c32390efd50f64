import subprocess
import sys
import threading
from pathlib import Path

import pytest

from latentdrive.errors import InUse, NotWritable
from latentdrive.locks import LOCK, one_writer

HOLD = """
import sys
from latentdrive.locks import one_writer
with one_writer(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def _holder(folder: Path) -> subprocess.Popen:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "held\n"
    return holder


def test_the_second_writer_is_told_who_the_first_is(tmp_path: Path) -> None:
    with _holder(tmp_path / "run") as holder, pytest.raises(InUse) as refused:
        try:
            with one_writer(tmp_path / "run"):
                pytest.fail("two writers hold one folder")
        finally:
            holder.stdin.close()
    assert str(holder.pid) in str(refused.value) and str(tmp_path / "run") in str(refused.value)


@pytest.mark.parametrize("target", ["precious", "gone/precious"])
def test_a_lock_file_that_is_a_link_is_refused_and_its_target_stays(tmp_path: Path, target: str) -> None:
    (tmp_path / "precious").write_text("of somebody else")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / LOCK).symlink_to(tmp_path / target)
    refused = pytest.raises(NotWritable, match=r"\.lock\): a link stands where a file is needed")
    with refused, one_writer(tmp_path / "run"):
        pytest.fail("a link was taken for a lock")
    assert (tmp_path / "precious").read_text() == "of somebody else"


def test_a_killed_writer_holds_nothing(tmp_path: Path) -> None:
    with _holder(tmp_path) as holder:
        holder.kill()
    with one_writer(tmp_path):
        assert (tmp_path / LOCK).is_file()


def test_a_folder_can_be_held_again_after_the_block_even_one_that_failed(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), one_writer(tmp_path):
        raise ZeroDivisionError
    with one_writer(tmp_path):
        pass


def test_threads_and_blocks_of_one_process_are_writers_too(tmp_path: Path) -> None:
    refused = []

    def second() -> None:
        try:
            with one_writer(tmp_path):
                pass
        except InUse as error:
            refused.append(str(error))

    with one_writer(tmp_path):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
        second()
    assert len(refused) == 2


def test_a_note_that_is_damaged_does_not_hide_the_lock(tmp_path: Path) -> None:
    with one_writer(tmp_path):
        (tmp_path / LOCK).write_bytes(b"\xff{")
        with pytest.raises(InUse, match="another process"), one_writer(tmp_path):
            pass


def test_who_waits_is_told_once_and_gets_its_turn(tmp_path: Path) -> None:
    told: list[str] = []
    with _holder(tmp_path) as holder:

        def waiting(sentence: str) -> None:
            told.append(sentence)
            threading.Timer(0.5, holder.stdin.close).start()

        with one_writer(tmp_path, waiting=waiting):
            pass
    assert len(told) == 1 and str(holder.pid) in told[0] and "waiting until it has ended" in told[0]


FORKED = """
import os, sys, time
from latentdrive.locks import one_writer
with one_writer(sys.argv[1]):
    if os.fork() == 0:
        os.close(1)
        time.sleep(float(sys.argv[2]))
        os._exit(0)
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("ends", ["killed", "by itself"])
def test_forked_children_of_a_writer_that_has_ended_keep_nobody_out(tmp_path: Path, ends: str) -> None:
    command = [sys.executable, "-c", FORKED, str(tmp_path), "1.5" if ends == "killed" else "5"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        if ends == "killed":
            holder.kill()
        holder.stdin.close()
        holder.wait(timeout=10)
    with one_writer(tmp_path):
        pass


def test_a_folder_that_the_block_made_and_left_empty_is_removed(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), one_writer(tmp_path / "new" / "deeper"):
        raise ZeroDivisionError
    with one_writer(tmp_path / "kept"):
        (tmp_path / "kept" / "a").touch()
    (tmp_path / "old").mkdir()
    with one_writer(tmp_path / "old"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", "old"]

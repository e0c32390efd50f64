import subprocess
import sys
import threading
from pathlib import Path

import pytest

from latentdrive.errors import InUse
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

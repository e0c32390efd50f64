"""Sums beside files: what was altered is not read, and sha256sum itself can tell."""

import shutil
import subprocess
from pathlib import Path

import pytest

from latentdrive.sums import require_sums, write_sums


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.csv", "b.json"):
        (tmp_path / name).write_text(name)
    write_sums(tmp_path / "sums.txt", ("a.csv", "b.json"))
    return tmp_path


def test_files_as_they_were_written_pass_and_so_do_those_without_sums(folder: Path):
    require_sums(folder / "sums.txt", ("a.csv", "b.json"))
    require_sums(folder / "none.txt", ("a.csv",))


@pytest.mark.parametrize("altered", ["a.csv", "b.json", "sums.txt"])
def test_an_altered_file_is_named(folder: Path, altered: str):
    (folder / altered).write_text("other")
    with pytest.raises(ValueError, match=r"a\.csv or b\.json is not the file whose sum stands in sums\.txt"):
        require_sums(folder / "sums.txt", ("a.csv", "b.json"))


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="no sha256sum here")
def test_the_usual_program_checks_the_sums_too(folder: Path):
    assert subprocess.run(["sha256sum", "-c", "sums.txt"], cwd=folder, capture_output=True).returncode == 0

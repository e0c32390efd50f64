"""Folders in the Hugging Face layout: nothing in them runs, and what does not fit is named."""

import json
from pathlib import Path

import pytest

from latentdrive.errors import CheckpointError
from latentdrive.teacher.hugging_face import load_qwen, load_without_weights, write
from latentdrive.teacher.tiny import load_tiny_qwen
from tests.support.teacher import PIXELS, SHAPE


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The files of a tiny teacher beside a Python file that says when it runs."""
    files = tmp_path / "files"
    write(files, load_tiny_qwen(folder=str(tmp_path / "made"), shape=SHAPE, seed=0, **PIXELS))
    code = f"open({str(tmp_path / 'ran')!r}, 'w').close()\n"
    (files / "mine.py").write_text(f"{code}class Config: pass\nclass Model: pass\nclass Processor: pass\n")
    return files


def name_code(file: Path, **more: str) -> None:
    """Let a file of the folder name classes of mine.py."""
    content = json.loads(file.read_text()) if file.is_file() else {}
    classes = {"AutoConfig": "mine.Config", "AutoModel": "mine.Model", "AutoProcessor": "mine.Processor"}
    file.write_text(json.dumps(content | {"auto_map": classes} | more))


def test_a_configuration_that_needs_code_of_its_own_is_refused(folder: Path, tmp_path: Path):
    name_code(folder / "config.json", model_type="mine")
    with pytest.raises(CheckpointError, match=r"config\.json describes no qwen2_5_vl"):
        load_without_weights(folder)
    with pytest.raises(CheckpointError, match=r"no Qwen2\.5-VL could be loaded from here"):
        load_qwen(path=str(folder), dtype="float32", **PIXELS)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["config.json", "processor_config.json", "preprocessor_config.json"])
def test_code_that_a_folder_names_beside_a_known_model_never_runs(folder: Path, tmp_path: Path, name: str):
    name_code(folder / name)
    try:
        load_without_weights(folder)
    except CheckpointError as error:
        assert "\n" not in str(error)
    assert not (tmp_path / "ran").exists()

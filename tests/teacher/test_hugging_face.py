"""Folders in the Hugging Face layout: nothing in them runs, and what does not fit is named."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from latentdrive.errors import CheckpointError
from latentdrive.teacher.hugging_face import load_qwen, load_without_weights, write
from latentdrive.teacher.model_folder import INDEX
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
    with pytest.raises(CheckpointError, match=r"describes a model of type mine, expected qwen2_5_vl"):
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


# ---- half-finished and wrong downloads ----

LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 3982999\n"
SHARD = "model-00002-of-"  # the beginning of a shard's name


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole folder in the layout of the published models: weights in several shards with an index."""
    root = tmp_path_factory.mktemp("sharded")
    parts = load_tiny_qwen(folder=str(root / "made"), shape=SHAPE, seed=0, **PIXELS)
    parts.network.save_pretrained(root / "whole", max_shard_size="60KB")
    parts.processor.save_pretrained(root / "whole")
    assert len(list((root / "whole").glob("model-*.safetensors"))) > 2
    return root / "whole"


def shard_of(folder: Path) -> Path:
    return next(folder.glob(f"{SHARD}*"))


def change_json(file: Path, **changes: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def give_a_weight_another_size(folder: Path) -> None:
    weights = load_file(shard_of(folder))
    first = sorted(weights)[0]
    save_file(weights | {first: torch.zeros(*(size + 1 for size in weights[first].shape))}, shard_of(folder))


def lose_a_weight(folder: Path) -> None:
    weights = load_file(shard_of(folder))
    save_file({name: weights[name] for name in sorted(weights)[1:]}, shard_of(folder))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda f: shard_of(f).write_text(LFS), r"model-00002.* is a note of Git LFS that stands for the file"),
        (lambda f: cut(shard_of(f)), r"model-00002.* is cut short or damaged"),
        (lambda f: shard_of(f).write_bytes(b""), r"model-00002.* is empty"),
        (lambda f: shard_of(f).write_text("<!DOCTYPE html><html>"), r"model-00002.* is a web page"),
        (lambda f: shard_of(f).unlink(), r"model-00002.* is missing: download the model"),
        (lose_a_weight, r"model-00002.* lacks .*, which model\.safetensors\.index\.json says it holds"),
        (give_a_weight_another_size, r"1 weights do not fit: they have another size than config\.json says"),
        (lambda f: cut(f / INDEX), r"index\.json is cut short or damaged"),
        (lambda f: (f / INDEX).unlink(), r"model\.safetensors is missing"),
        (lambda f: change_json(f / INDEX, weight_map={"a": "../a.safetensors"}), r"is no file of its own folder"),
        (lambda f: change_json(f / INDEX, weight_map=[1]), r"index\.json lists no weights"),
        (
            lambda f: change_json(f / "config.json", model_type="qwen2_vl"),
            r"a model of type qwen2_vl, expected qwen2_5",
        ),
        (lambda f: (f / "config.json").write_text("[]"), r"config\.json holds no JSON object"),
        (lambda f: (f / "tokenizer.json").unlink(), r"lacks its tokenizer \(tokenizer\.json or vocab\.json \+ merges"),
        (lambda f: cut(f / "tokenizer.json"), r"tokenizer\.json is cut short or damaged"),
        (lambda f: (f / "tokenizer.json").write_text(LFS), r"tokenizer\.json is a note of Git LFS"),
        (lambda f: (f / "processor_config.json").unlink(), r"lacks its image processor"),
    ],
)
def test_each_file_of_a_wrong_download_is_named_in_one_sentence(
    sharded: Path, tmp_path: Path, damage: Callable[[Path], None], said: str
):
    folder = tmp_path / "folder"
    shutil.copytree(sharded, folder)
    damage(folder)
    with pytest.raises(CheckpointError, match=said) as error:
        load_qwen(path=str(folder), dtype="float32", **PIXELS)
    assert "\n" not in str(error.value) and "hf download Qwen/Qwen2.5-VL-3B-Instruct" in str(error.value)


def test_a_whole_folder_of_shards_is_loaded(sharded: Path):
    network, processor = load_qwen(path=str(sharded), dtype="float32", **PIXELS)
    assert network.config.model_type == "qwen2_5_vl" and processor.tokenizer("left")["input_ids"]

"""A checkpoint holds all its weights: loading it reaches neither the network nor files outside its folder."""

import json
from pathlib import Path

import pytest
import torch

from latentdrive import checkpoint
from latentdrive.build import build
from latentdrive.checkpoint import Card
from latentdrive.config import compose
from latentdrive.errors import CheckpointError
from latentdrive.teacher.hugging_face import load_without_weights, write
from latentdrive.teacher.tiny import load_tiny_qwen
from tests.support.no_network import no_network
from tests.support.teacher import PIXELS, SHAPE

FROM_HUB = {  # models that a configuration lets start from weights of the hub
    "codebook": ("train_codebook", ["data=world", "model.width=32", "model.layers=1", "model.features.weights=hub"]),
    "student": ("distill", ["latents=none", "model.images.weights=hub"]),
    "transfuser": ("train_planner", ["data=navsim", "planner=ltf_tiny", "model.backbone.image_weights=hub"]),
    "ipad": ("train_planner", ["data=navsim", "planner=ipad_tiny", "model.weights=hub"]),
}


def saved(folder: Path, model: torch.nn.Module, config: dict) -> Path:
    checkpoint.save(folder, model, config=config, card=Card(kind=config["_target_"], parents={"codebook": "b"}))
    return folder


@pytest.mark.parametrize("name", list(FROM_HUB))
def test_weights_of_the_hub_are_not_fetched_for_a_checkpoint_that_holds_its_own(name: str, tmp_path: Path):
    verb, words = FROM_HUB[name]
    config = compose(verb, words).model.plain()
    assert "hub" in json.dumps(config)
    model = build(config)
    with torch.no_grad():
        for weight in model.parameters():
            weight.fill_(0.5)
    saved(tmp_path / "c", model, config)
    with no_network() as attempts:
        loaded, _ = checkpoint.load(tmp_path / "c")
    assert not attempts
    assert all(bool((weight == 0.5).all()) for weight in loaded.parameters())


@pytest.mark.parametrize(
    "backbone", ["hf-hub:timm/resnet18.a1_in1k", "hf_hub:timm/resnet18", "local-dir:/tmp", "https://example.org/net"]
)
def test_a_backbone_whose_description_lies_elsewhere_is_refused(backbone: str, tmp_path: Path):
    verb, words = FROM_HUB["student"]
    config = compose(verb, words).model.plain()
    model = build(config)
    config["images"]["backbone"] = backbone
    saved(tmp_path / "c", model, config)
    with no_network() as attempts, pytest.raises(CheckpointError, match=r"config\.yaml: timm has no model"):
        checkpoint.load(tmp_path / "c")
    assert not attempts


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that a tiny teacher keeps."""
    folder = tmp_path_factory.mktemp("teacher")
    write(folder / "files", load_tiny_qwen(folder=str(folder / "made"), shape=SHAPE, seed=0, **PIXELS))
    return folder / "files"


def test_a_teacher_is_loaded_without_network(parts: Path):
    with no_network() as attempts:
        load_without_weights(parts)
    assert not attempts


ELSEWHERE = {"audio_tokenizer_class": "DacModel", "audio_tokenizer_name_or_path": "descript/dac_16khz"}


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("processor_config.json", {"audio_tokenizer": ELSEWHERE}),
        ("audio_tokenizer_config.json", ELSEWHERE),
        ("config.json", {"_name_or_path": "Qwen/Qwen2.5-VL-3B-Instruct", "attn_implementation": "kernels-community/x"}),
        ("tokenizer_config.json", {"tokenizer_file": "/etc/hostname", "vocab_file": "/etc/hostname"}),
    ],
    ids=["audio", "audio file", "kernels", "tokenizer"],
)
def test_files_of_a_teacher_that_name_others_reach_nothing(parts: Path, tmp_path: Path, file: str, change: dict):
    for source in parts.iterdir():
        (tmp_path / source.name).write_bytes(source.read_bytes())
    path = tmp_path / file
    path.write_text(json.dumps((json.loads(path.read_text()) if path.is_file() else {}) | change))
    with no_network() as attempts:
        try:
            load_without_weights(tmp_path)
        except CheckpointError as error:
            assert "audio" in file + json.dumps(change) and "\n" not in str(error)
        else:
            assert "audio" not in file + json.dumps(change)
    assert not attempts

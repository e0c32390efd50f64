"""NAVSIM's weights as a checkpoint folder of ours, and as the start of a training."""

from pathlib import Path

import pytest
import torch

from latentdrive import checkpoint
from latentdrive.build import build
from latentdrive.commands import convert
from latentdrive.config import compose
from latentdrive.errors import CheckpointError, ConfigError
from latentdrive.planners.transfuser.model import Transfuser
from latentdrive.stages.start import Start
from tests.support.transfuser import official_state


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, torch.Tensor]]:
    """A file as NAVSIM's training writes it, of a small LTF; and the weights under our names."""
    torch.manual_seed(3)
    model = build(compose("train_planner", ["planner=ltf_tiny"]).model)
    path = tmp_path_factory.mktemp("official") / "ltf.ckpt"
    torch.save({"epoch": 3, "state_dict": official_state(model.state_dict())}, path)
    return path, model.state_dict()


def words(*changed: str, out: Path) -> list[str]:
    return ["planner=ltf_tiny", f"out={out}", *changed]


def test_the_checkpoint_holds_the_same_weights_and_says_where_they_are_from(official, tmp_path: Path):
    file, weights = official
    place = convert.run(compose("convert", words(f"navsim_checkpoint={file}", out=tmp_path)))
    model, card = checkpoint.load(place, expect=Transfuser)
    assert all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())
    assert (
        card.parents == {"navsim": checkpoint.file_fingerprint(file)} and card.data["published_weights"] == "ltf.ckpt"
    )


def test_training_starts_from_the_same_file(official):
    file, weights = official
    torch.manual_seed(4)
    model = build(compose("train_planner", ["planner=ltf_tiny"]).model)
    start = Start(checkpoint=None, without=[], navsim_checkpoint=str(file))
    assert start.load(model, codebook=None, former_ids={}) == []
    assert start.fingerprint == checkpoint.file_fingerprint(file)
    assert all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())


def test_weights_of_another_planner_are_refused_and_nothing_is_written(official, tmp_path: Path):
    with pytest.raises(CheckpointError, match="planner=ltf"):
        convert.run(
            compose("convert", ["planner=transfuser_tiny", f"navsim_checkpoint={official[0]}", f"out={tmp_path}"])
        )
    assert not (tmp_path / "checkpoint").exists()


def test_a_planner_without_published_weights_a_missing_file_and_two_starts_are_refused(official, tmp_path: Path):
    with pytest.raises(ConfigError, match="NAVSIM publishes no weights of a EgoMlp"):
        convert.run(compose("convert", ["planner=ego_mlp", f"navsim_checkpoint={official[0]}", f"out={tmp_path}"]))
    with pytest.raises(CheckpointError, match="is no file"):
        convert.run(compose("convert", words("navsim_checkpoint=nowhere.ckpt", out=tmp_path)))
    with pytest.raises(ConfigError, match="a run starts from one of them"):
        Start(checkpoint="a", without=[], navsim_checkpoint="b")

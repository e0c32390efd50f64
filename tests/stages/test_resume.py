"""What a resumed run may change, and what it must not."""

import random

import lightning as L
import pytest
import torch
from torch import nn

from latentdrive.config import compose, to_yaml
from latentdrive.data.batches.clip_batches import ClipBatches
from latentdrive.data.batches.scene_batches import SceneBatches
from latentdrive.errors import CheckpointError, ConfigError
from latentdrive.planners.inputs.scene_batches import PlannerBatches
from latentdrive.stages.resume import SETTINGS, resume
from latentdrive.stages.state import STATE


class Module(L.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Linear(1, 1)


@pytest.mark.parametrize(
    ("verb", "words", "batches"),
    [
        ("train_codebook", [], ClipBatches),
        ("train_teacher", ["latents=stores/codebook"], SceneBatches),
        ("train_planner", ["planner=ltf_tiny"], PlannerBatches),
    ],
)
def test_the_split_to_evaluate_and_the_machine_may_change_but_no_split_to_learn_from(
    verb, words, batches, tmp_path, monkeypatch
):
    def settings(*changes: str) -> dict:
        return {"batches": compose(verb, ["data=navsim", *words, *changes, "out=run"]).batches.plain()}

    state = tmp_path / "run/resume" / STATE
    state.parent.mkdir(parents=True)
    torch.save({"state_dict": Module().state_dict(), "global_step": 3}, state)
    (state.parent / SETTINGS).write_text(to_yaml(settings()), encoding="utf-8")
    free = settings("data.split.test=another", "data.cache_gb=1", "data.cache_folder=elsewhere")
    assert resume(Module(), state, free, free=batches.free_settings).steps == 3
    with pytest.raises(ConfigError, match=r"unfinished run with another batches\.data\.split\.train"):
        resume(Module(), state, settings("data.split.train=another"), free=batches.free_settings)


def test_no_altered_bit_of_a_state_goes_unnoticed(tmp_path):
    module = Module()
    state = tmp_path / "run/resume" / STATE
    state.parent.mkdir(parents=True)
    saved = {"state_dict": module.state_dict(), "global_step": 3, "moments": [torch.arange(100.0)]}
    torch.save(saved, state)
    (state.parent / SETTINGS).write_text(to_yaml({"seed": 0}), encoding="utf-8")
    whole, draws, refused = state.read_bytes(), random.Random(0), 0
    for _ in range(200):
        damaged = bytearray(whole)
        damaged[draws.randrange(len(whole))] ^= 1 << draws.randrange(8)
        state.write_bytes(damaged)
        try:
            resume(Module(), state, {"seed": 0}, free=())
        except CheckpointError as error:
            assert f"{state} can't be read: remove {state.parent} to start again" in str(error)
            refused += 1
        else:  # the bit is one that nobody reads, between the records
            read = torch.load(state, weights_only=True)
            assert read["global_step"] == 3 and torch.equal(read["moments"][0], saved["moments"][0])
            assert all(torch.equal(read["state_dict"][name], value) for name, value in module.state_dict().items())
    assert refused > 100


def test_how_drives_are_told_apart_changes_no_weight(tmp_path):
    """A run of a version that resampled blocks, and did not say which files are of one recording, can be resumed."""

    def settings(*words: str) -> dict:
        return {"batches": compose("train_codebook", ["data=video", "data.path=x", *words, "out=run"]).batches.plain()}

    before = settings("data.block_s=2.0")
    del before["batches"]["data"]["source"]["drives"]
    state = tmp_path / "run/resume" / STATE
    state.parent.mkdir(parents=True)
    torch.save({"state_dict": Module().state_dict(), "global_step": 3}, state)
    (state.parent / SETTINGS).write_text(to_yaml(before), encoding="utf-8")
    assert resume(Module(), state, settings(), free=ClipBatches.free_settings).steps == 3

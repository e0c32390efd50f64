"""A checkpoint whose configuration asks for far more than its weights file holds is refused at once."""

import hashlib
import json
import re
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from latentdrive import checkpoint
from latentdrive.build import AllowList
from latentdrive.checkpoint import CARD, CONFIG, WEIGHTS, Card
from latentdrive.checkpoint_parts import checkpoint_part
from latentdrive.config import from_yaml, to_yaml
from latentdrive.errors import CheckpointError
from latentdrive.weight_budget import MORE_NUMBERS, MORE_TENSORS, weights_within


@checkpoint_part
class Layers(nn.Module):
    """Layers of one width, and a table."""

    def __init__(self, *, layers: int = 1, width: int = 4, table: int = 1) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(nn.Linear(width, width) for _ in range(layers)))
        self.register_buffer("table", torch.zeros(table))


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("latentdrive.checkpoint.CHECKPOINT_PARTS", AllowList(prefixes=(__name__,), parts_only=True))
    config = {"_target_": f"{__name__}.Layers"}
    checkpoint.save(tmp_path / "made", Layers(), config=config, card=Card(kind="Layers"))
    return tmp_path / "made"


def ask_for(folder: Path, **sizes: int) -> None:
    """Have the configuration ask for other sizes, with sums that are right."""
    config = from_yaml((folder / CONFIG).read_text()) | sizes
    (folder / CONFIG).write_text(to_yaml(config))
    weights = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    card = json.loads((folder / CARD).read_text()) | {"card_sha256": ""}
    (folder / CARD).write_text(json.dumps(card | {"fingerprint": checkpoint.fingerprint(weights, {}, config)}))


@pytest.mark.parametrize("sizes", [{"layers": 10**7}, {"width": 20_000}, {"table": MORE_NUMBERS + 1_000}])
def test_a_configuration_that_asks_for_much_more_is_refused_at_once(saved: Path, sizes: dict[str, int]) -> None:
    ask_for(saved, **sizes)
    began = time.process_time()
    with pytest.raises(CheckpointError, match=r"describes a model of more than .* holds 3 with 21; copy the folder"):
        checkpoint.load(saved)
    assert time.process_time() - began < 5


def test_a_configuration_that_asks_for_a_little_more_is_told_what_does_not_fit(saved: Path) -> None:
    ask_for(saved, layers=2)
    with pytest.raises(CheckpointError, match="the weights do not fit the model"):
        checkpoint.load(saved)
    ask_for(saved, layers=1)
    assert len(checkpoint.load(saved)[0].layers) == 1


def test_what_is_built_elsewhere_has_no_bound(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2)}, str(tmp_path / WEIGHTS))
    with weights_within(tmp_path / WEIGHTS):
        nn.Linear(3, 3)
    for _ in range(MORE_TENSORS + 10):
        nn.Linear(1, 1)


def test_a_file_that_holds_no_weights_is_named(tmp_path: Path) -> None:
    (tmp_path / WEIGHTS).write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match=re.escape(str(tmp_path / WEIGHTS))), weights_within(tmp_path / WEIGHTS):
        pytest.fail("built beside damaged weights")

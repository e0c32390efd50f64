"""What lies in checkpoints/ loads as it is, is listed there, and tells nothing of the machine that made it."""

from pathlib import Path

import pytest

from latentdrive import checkpoint

SHIPPED = Path(__file__).resolve().parents[1] / "checkpoints"
FOLDERS = sorted(file.parent for file in SHIPPED.glob("*/card.json"))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_shipped_checkpoint_loads_and_is_listed(folder: Path):
    model, card = checkpoint.load(folder)
    assert sum(weight.numel() for weight in model.parameters()) > 0
    assert any(name.startswith("held_out/") for name in card.metrics)
    assert f"`{folder.name}`" in (SHIPPED / "README.md").read_text(encoding="utf-8")
    for name in ("card.json", "config.yaml", "README.md"):
        assert "=/" not in (folder / name).read_text(encoding="utf-8")


def test_the_world_codebook_is_shipped():
    assert "world_codebook" in [folder.name for folder in FOLDERS]

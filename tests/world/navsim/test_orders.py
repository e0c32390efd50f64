"""What is on disk of a drive: a damaged card is named, and damaged scores are made again."""

from pathlib import Path

import numpy as np
import pytest

from latentdrive.errors import ConfigError
from latentdrive.world.navsim.drive_writer import LogFiles
from latentdrive.world.navsim.log_frames import LogPlace
from latentdrive.world.navsim.orders import Order
from latentdrive.world.traffic.hazards import HazardKind

DAMAGED = ["", "{", "[1]", "null", '{"points": 5}', "[" * 100_000]


@pytest.fixture
def order(tmp_path: Path) -> Order:
    files = LogFiles(root=tmp_path, logs=tmp_path, blobs=tmp_path, name="drive")
    files.card.parent.mkdir()
    files.log.touch()
    place = LogPlace(log="drive", map_name="a", pose=np.zeros(3), start_us=0, key="k")
    return Order(
        files=files, split="val", road_type="curves", hazard=HazardKind.NONE, seed=(1,), first_id=0, place=place
    )


@pytest.mark.parametrize("text", DAMAGED)
def test_a_damaged_card_is_named(order: Order, text: str):
    order.files.card.write_text(text)
    with pytest.raises(ConfigError, match=r"drive\.json is damaged .* remove .*drive\.pkl"):
        order.card()


@pytest.mark.parametrize("text", DAMAGED)
def test_damaged_scores_are_made_again(order: Order, text: str):
    order.files.card.write_text('{"points": [[3, 0.0]], "attempt": 0}')
    order.files.scores.write_text(text)
    assert order.scores() is None and not order.finished()

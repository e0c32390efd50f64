"""Ids that decide whether content is the same: they must not depend on where a class lives."""

import re
from collections import defaultdict
from pathlib import Path

import pytest

from latentdrive.config import configs_folder
from latentdrive.identity import are_former_ids, digest, identity_of, own_name, same_id

CHECKPOINTS = configs_folder().parent / "checkpoints"


def test_a_class_goes_by_its_own_name_and_foreign_classes_keep_their_module():
    assert own_name("latentdrive.student.model.Student") == "Student"
    assert own_name("latentdrive.world.traffic.recording.Body.of_nuplan") == "Body.of_nuplan"
    assert own_name("latentdrive.teacher.hugging_face.load_qwen") == "load_qwen"
    assert own_name("torch.optim.AdamW") == "torch.optim.AdamW"


def test_a_digest_stays_when_a_module_moves_and_changes_with_the_class_and_with_every_number():
    def node(target: str, width: int = 4) -> dict:
        return {"parts": [{"_target_": target, "width": width}]}

    before = digest(node("latentdrive.backbones.PixelFeatures"))
    assert digest(node("latentdrive.backbones.PixelFeatures")) == before
    assert digest(node("latentdrive.backbones.TimmFeatures")) != before
    assert digest(node("latentdrive.backbones.PixelFeatures", 5)) != before
    assert identity_of(("a", 1)) == ["a", 1]


def test_keys_of_mixed_kinds_have_a_digest_and_words_keep_theirs():
    assert digest({"b": 1, "a": {3: 4, "c": None, None: 5}}) == digest({"a": {"c": None, "3": 4, "None": 5}, "b": 1})
    assert digest({"b": 1, "a": [2.5]}) == "e29416a8e9008a7c"


def test_own_names_in_the_configurations_and_shipped_checkpoints_are_unique():
    targets = defaultdict(set)
    for file in [*configs_folder().rglob("*.yaml"), *CHECKPOINTS.rglob("*.yaml")]:
        for target in re.findall(r"_target_:\s*(latentdrive\.[\w.]+)", file.read_text(encoding="utf-8")):
            targets[own_name(target)].add(target)
    assert len(targets) > 40
    assert {name: places for name, places in targets.items() if len(places) > 1} == {}


@pytest.mark.parametrize(
    "one, other, former, same",
    [
        ("a", "a", [], True),
        ("a", "b", [], False),
        ("new", "old", [{"new": ["older", "old"]}], True),
        ("old", "new", [{}, {"new": ["old"]}], True),
        ("older", "old", [{"new": ["older", "old"]}], False),
        ("A", "B", [{"third": ["A", "B"]}], False),
        ("new", "old", [{"another": ["old"]}], False),
    ],
)
def test_ids_are_the_same_where_a_card_lists_one_as_a_former_id_of_the_other(one, other, former, same):
    assert same_id(one, other, *former) is same


def test_the_shipped_codebook_is_known_by_the_id_it_had_before_ids_left_module_paths_out():
    from latentdrive import checkpoint

    model, card = checkpoint.load(Path(CHECKPOINTS / "world_codebook"))
    assert model.codebook_id == card.fingerprint
    assert same_id("c21d1766261a0ea3", model.codebook_id, model.former_ids)


@pytest.mark.parametrize("value", [3, ["x"], {"x": 3}, {"x": "abcdef"}, {"x": [1]}, {"x": [""]}, {"x": ["y"] * 17}])
def test_a_table_of_former_ids_holds_short_lists_of_text(value):
    assert are_former_ids({"new": ["old"]}) and are_former_ids({})
    assert not are_former_ids(value)

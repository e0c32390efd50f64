"""NAVSIM's scene filters and splits as its devkit has them, and the messages for wrong ones."""

from pathlib import Path

import pytest

from latentdrive.data.navsim.scene_filter import SceneFilter, SecondStage, read_scene_filter, read_split
from latentdrive.errors import ConfigError
from tests.support.navsim_fixture import write_split

TWO_STAGE = """reactive_all_mapping:
- - '6e3cf172a2755fae'
  - '67bce1e28df25eaa'
  - - - '55ae0fb023dccdeef'
      - 'cfc3b4fce5ba4db5c'
    - - 'e484a9def4ccefd34'
      - '151061d0d63eb2be6'
"""


def test_a_split_names_its_data_and_its_filter(tmp_path: Path):
    write_split(tmp_path, "navtest", data_split="test", log_names=["a", "b"], tokens=["0123456789abcdef"])
    split = read_split(tmp_path, "navtest")
    assert (split.name, split.data_split, split.second_stages) == ("navtest", "test", ())
    assert split.filter == SceneFilter(frame_interval=1, log_names=("a", "b"), tokens=("0123456789abcdef",))
    assert (split.filter.num_frames, split.filter.interval) == (14, 1)


def test_without_an_interval_scenes_do_not_overlap():
    assert SceneFilter(num_history_frames=2, num_future_frames=3).interval == 5


def test_a_two_stage_split_says_what_follows_each_scene(tmp_path: Path):
    write_split(
        tmp_path,
        "warmup",
        more=TWO_STAGE,
        num_future_frames=8,
        include_synthetic_scenes=True,
        all_mapping={"a": ["b"]},
        synthetic_scene_tokens=["c"],
        reactive_synthetic_initial_tokens=["d"],
        non_reactive_synthetic_initial_tokens=None,
    )
    split = read_split(tmp_path, "warmup")
    pairs = (("55ae0fb023dccdeef", "cfc3b4fce5ba4db5c"), ("e484a9def4ccefd34", "151061d0d63eb2be6"))
    assert split.second_stages == (SecondStage(now="6e3cf172a2755fae", previous="67bce1e28df25eaa", followers=pairs),)
    assert split.filter.reactive_synthetic_initial_tokens == ("d",) and split.filter.include_synthetic_scenes


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("num_histroy_frames: 4", r"f\.yaml: unknown key num_histroy_frames; a scene filter has num_history_frames, "),
        (
            "num_history_frames: 0",
            "num_history_frames must be a whole number of at least 1, and at most 1000000000, got 0",
        ),
        ("frame_interval: 1.5", "frame_interval must be a whole number"),
        ("has_route: 1", "has_route must be true or false, got 1"),
        ("tokens: 0123456789abcdef", "tokens must be a list or null, got str"),
        ("tokens: [0123456712345671]", "tokens holds 5744370502585, which is no text: write it in quotes"),
        ("- a", "must hold keys and values, it holds list"),
        ("a: [", "can't be read as YAML"),
    ],
)
def test_a_wrong_filter_names_the_key(tmp_path: Path, text: str, words: str):
    path = tmp_path / "f.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words):
        read_scene_filter(path)


def test_an_unknown_split_says_where_it_was_looked_for_and_what_is_there(tmp_path: Path):
    write_split(tmp_path, "navtest")
    with pytest.raises(ConfigError, match=r"no split 'navtets'.*navtets\.yaml; it holds navtest\. A split is"):
        read_split(tmp_path, "navtets")
    with pytest.raises(ConfigError, match="that folder is not there"):
        read_split(tmp_path / "nowhere", "navtest")


def test_a_split_with_a_foreign_key_or_without_its_filter_is_refused(tmp_path: Path):
    write_split(tmp_path, "old", more="two_stage_mapping: {}\n")
    with pytest.raises(ConfigError, match=r"old\.yaml: unknown key two_stage_mapping"):
        read_split(tmp_path, "old")
    write_split(tmp_path, "odd", more="reactive_all_mapping: [[a, b]]\n")
    with pytest.raises(ConfigError, match="entry 1 of reactive_all_mapping"):
        read_split(tmp_path, "odd")
    write_split(tmp_path, "lone")
    (tmp_path / "scene_filter" / "lone.yaml").unlink()
    with pytest.raises(ConfigError, match=r"lone\.yaml can't be opened"):
        read_split(tmp_path, "lone")
    (tmp_path / "bare.yaml").write_text("data_split: test\n")
    with pytest.raises(ConfigError, match="it must name one filter"):
        read_split(tmp_path, "bare")

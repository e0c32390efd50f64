"""Composing a configuration, reading it strictly, writing it back."""

import pytest
from hydra.core.hydra_config import HydraConfig

from latentdrive.build import build
from latentdrive.cli import run_verb
from latentdrive.config import Config, compose, from_yaml, references, to_yaml
from latentdrive.errors import ConfigError
from latentdrive.explain import unknown

WINDOWS = {
    "_target_": "latentdrive.data.batches.transitions.WindowSpec",
    "transitions": 3,
    "transition_s": 0.5,
    "rate_hz": 10.0,
}


def test_a_key_counts_as_read_once_it_is_looked_at():
    cfg = Config({"a": 1, "b": {"c": 2, "d": 3}})
    assert (cfg.a, cfg.b.c) == (1, 2)
    assert cfg.unread() == ["b.d"]
    with pytest.raises(ConfigError, match=r"nothing reads b\.d: remove it"):
        cfg.require_all_read()
    assert cfg.b.plain() == {"c": 2, "d": 3}
    cfg.require_all_read()


def test_a_key_that_others_refer_to_counts_as_read_with_all_below_it():
    node = {
        "data": {"rate_hz": 10, "train": {"path": "x"}},
        "batches": {"rate_hz": "${data.rate_hz}", "t": "${data.train}"},
    }
    cfg = Config(node)
    cfg.mark_read(references(node))
    assert cfg.unread() == ["batches.rate_hz", "batches.t"]


def test_a_missing_key_lists_what_is_there():
    with pytest.raises(ConfigError, match=r"data\.pth is not in the configuration; here are: path, rate_hz"):
        _ = Config({"data": {"path": "x", "rate_hz": 1}}).data.pth


def test_a_value_that_nobody_gave_says_how_to_give_it():
    with pytest.raises(ConfigError, match=r"data\.path has no value: give it on the command line, as data\.path="):
        _ = Config({"data": {"path": "???"}}).data.path
    with pytest.raises(ConfigError, match=r"transitions has no value"):
        build(WINDOWS | {"transitions": "???"})


def test_yaml_comes_back_as_it_was_written():
    node = {"b": [1, 2.5, None], "a": {"text": "a: b # c", "flag": True}}
    assert from_yaml(to_yaml(node)) == node and list(from_yaml(to_yaml(node))) == ["b", "a"]


def test_composing_gives_what_the_command_line_gives_and_knows_its_command(tmp_path):
    cfg = compose("train_codebook", ["data=world", f"data.path={tmp_path}", "seed=5"])
    assert (cfg.seed, cfg.batches.seed, cfg.data.part.path) == (5, 5, str(tmp_path))
    assert cfg.command == f"latentdrive train codebook data=world data.path={tmp_path} seed=5"
    assert cfg.data_words == f"data=world data.path={tmp_path}"


def test_a_verb_may_compose_others_while_hydra_runs_it(monkeypatch, tmp_path):
    runs = []

    def outer(cfg):
        inner = compose("train_codebook", ["data=world", "seed=5"])
        runs.append((cfg.title, inner.seed, inner.data_words, HydraConfig.get().job.config_name))

    monkeypatch.setattr("latentdrive.commands.report.run", outer)
    run_verb("report", ["title=outer", f"out={tmp_path}"])
    assert runs[0][0::3] == ("outer", "report") and runs[0][1] == 5 and "data=world" in runs[0][2]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.widht=3", r"unknown key model\.widht; did you mean model\.width\?"),
        ("featurs=pixels", r"unknown key featurs; did you mean features\?"),
        ("codebook=tinny", r"codebook may be .*tiny.*; did you mean codebook=tiny\?"),
        ("~model.widht", r"unknown key model\.widht; did you mean model\.width\?"),
        ("seed=[1", r"no viable alternative|mismatched input|extraneous"),
    ],
)
def test_a_wrong_override_is_explained(override, message):
    with pytest.raises(ConfigError, match=message):
        compose("train_codebook", [override])


def test_a_key_that_only_other_options_have_is_not_guessed_to_be_itself():
    told = unknown("data.train.path", known=["data.train", "data.train.path"])
    assert told == "this command has no key data.train.path as it is typed: +data.train.path=... adds it"


@pytest.mark.parametrize(
    ("verb", "old", "new"),
    [
        ("train_codebook", "data.source.images_hz", "data.options.images_hz"),
        ("train_codebook", "data.source.gap_s", "data.part.gap_s"),
        ("train_codebook", "data.source.part", "data.part.times"),
        ("train_codebook", "data.val.part", "data.val.times"),
        ("train_codebook", "training.weights.moving", "training.loss.moving"),
        ("train_planner", "model.eyes.lidar", "model.sensors.lidar"),
        ("world", "world.traffic.replay.own_way.hold_s", "world.traffic.replay.ego_motion.hold_s"),
        ("evaluate", "split", "data.split.test"),
        ("evaluate", "data.scenes.split", "data.split.test"),
    ],
)
def test_a_key_of_an_earlier_version_is_answered_with_its_new_name(verb, old, new):
    for word in (f"{old}=1", f"+{old}=1", f"~{old}"):
        with pytest.raises(ConfigError) as error:
            compose(verb, [word])
        assert str(error.value) == f"unknown key {old}: it is called {new} now; type {new}=..."

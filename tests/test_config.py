"""Reading a configuration strictly, and building what it describes."""

import pytest
from hydra.core.hydra_config import HydraConfig

from latentdrive.cli import run_verb
from latentdrive.config import Config, build, compose, from_yaml, locate, references, to_yaml
from latentdrive.errors import ConfigError

WINDOWS = {
    "_target_": "latentdrive.data.batches.WindowSpec", "transitions": 3, "transition_s": 0.5, "rate_hz": 10.0,
}  # fmt: skip


def test_a_key_counts_as_read_once_it_is_looked_at():
    cfg = Config({"a": 1, "b": {"c": 2, "d": 3}})
    assert (cfg.a, cfg.b.c) == (1, 2)
    assert cfg.unread() == ["b.d"]
    with pytest.raises(ConfigError, match=r"nobody reads b\.d: remove it"):
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


@pytest.mark.parametrize("target", ["os.system", "builtins.eval", "latentdrivex.model", "subprocess.run", "torch.load"])
def test_only_targets_of_the_allow_list_are_built(target):
    with pytest.raises(ConfigError, match=f"{target} is refused"):
        build({"_target_": target, "command": "true"})


@pytest.mark.parametrize(
    "target",
    [
        "latentdrive.files.os.system", "latentdrive.files.shutil.rmtree", "latentdrive.checkpoint.subprocess.run",
        "latentdrive.config.importlib.import_module", "latentdrive.checkpoint.safetensors.torch.load_file",
        "torch.optim.sgd.torch.load", "latentdrive.files.os", "latentdrive.files.Path", "latentdrive.files.Path.unlink",
        "latentdrive.checkpoint.load_model", "latentdrive.codebook.model.F.relu",
        "latentdrive.codebook.model.Codebook.load_state_dict",
    ],
)  # fmt: skip
def test_what_a_module_only_imports_or_inherits_is_not_reached_through_it(target, tmp_path):
    with pytest.raises(ConfigError, match=r"is refused|there is no module"):
        build({"_target_": target, "command": f"touch {tmp_path}/reached"})
    assert list(tmp_path.iterdir()) == []


def test_a_classmethod_of_ours_is_a_target():
    assert locate("latentdrive.codebook.dictionary.Dictionary.load")
    with pytest.raises(ConfigError, match=r"has no lod; did you mean load\?"):
        locate("latentdrive.codebook.dictionary.Dictionary.lod")


def test_a_nested_node_can_not_widen_a_narrower_allow_list():
    node = {"_target_": "latentdrive.data.batches.WindowSpec", "transitions": {"_target_": "latentdrive.config.build"}}
    with pytest.raises(ConfigError, match=r"latentdrive\.config\.build is refused"):
        build(node, ("latentdrive.data.",))


def test_a_nested_target_outside_the_allow_list_is_refused_too():
    with pytest.raises(ConfigError, match=r"os\.system is refused"):
        build(WINDOWS | {"rate_hz": {"_target_": "os.system", "command": "true"}})


def test_a_misspelt_target_gets_the_nearest_name():
    with pytest.raises(ConfigError, match=r"has no WindowSpek; did you mean WindowSpec\?"):
        locate("latentdrive.data.batches.WindowSpek")
    with pytest.raises(ConfigError, match=r"there is no module latentdrive\.daten"):
        locate("latentdrive.daten.batches.WindowSpec")


def test_a_key_that_the_signature_does_not_have_gets_the_nearest_name():
    with pytest.raises(ConfigError, match=r"has no argument transition; did you mean transitions\?"):
        build(WINDOWS | {"transition": 3})


def test_an_incomplete_node_names_what_it_lacks():
    with pytest.raises(ConfigError, match=r"WindowSpec needs rate_hz: the configuration is not complete"):
        build({key: value for key, value in WINDOWS.items() if key != "rate_hz"})


def test_given_arguments_replace_nodes_and_nested_nodes_are_built():
    assert build(WINDOWS, transitions=5).transitions == 5
    waiting = build(WINDOWS | {"_partial_": True})
    assert waiting(rate_hz=20.0).transition_frames == 10


def sized(*, grid: tuple[int, int], names: list[str], seconds: float, share: float | None) -> list:
    return [grid, names, seconds, share]


def test_lists_become_tuples_and_whole_numbers_floats_where_the_signature_says_so():
    node = {"_target_": f"{__name__}.sized", "grid": [2, 3], "names": ["a"], "seconds": 4, "share": 1}
    assert list(map(repr, build(node, (__name__,)))) == ["(2, 3)", "['a']", "4.0", "1.0"]


def test_yaml_comes_back_as_it_was_written():
    node = {"b": [1, 2.5, None], "a": {"text": "a: b # c", "flag": True}}
    assert from_yaml(to_yaml(node)) == node and list(from_yaml(to_yaml(node))) == ["b", "a"]


def test_composing_gives_what_the_command_line_gives_and_knows_its_command(tmp_path):
    cfg = compose("train_codebook", ["data=world", f"data.path={tmp_path}", "seed=5"])
    assert (cfg.seed, cfg.batches.seed, cfg.data.source.path) == (5, 5, str(tmp_path))
    assert cfg.command == f"latentdrive train codebook data=world data.path={tmp_path} seed=5"
    assert cfg.data_words == f"data=world data.path={tmp_path}"


def test_a_verb_may_compose_others_while_hydra_runs_it(monkeypatch, tmp_path):
    said = []

    def outer(cfg):
        inner = compose("train_codebook", ["data=world", "seed=5"])
        said.append((cfg.title, inner.seed, inner.data_words, HydraConfig.get().job.config_name))

    monkeypatch.setattr("latentdrive.commands.report.run", outer)
    run_verb("report", ["title=outer", f"out={tmp_path}"])
    assert said[0][0::3] == ("outer", "report") and said[0][1] == 5 and "data=world" in said[0][2]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("model.widht=3", r"unknown key model\.widht; did you mean model\.width\?"),
        ("featurs=pixels", r"unknown key featurs; did you mean features\?"),
        ("codebook=tinny", r"codebook may be .*tiny.*; did you mean codebook=tiny\?"),
        ("seed=[1", r"no viable alternative|mismatched input|extraneous"),
    ],
)
def test_a_wrong_override_is_explained(override, said):
    with pytest.raises(ConfigError, match=said):
        compose("train_codebook", [override])

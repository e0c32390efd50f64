"""Building what a configuration describes, and nothing that the allow-list does not admit."""

import pytest
import torch

from latentdrive.build import CHECKPOINT_PARTS, AllowList, build, locate
from latentdrive.config import Config
from latentdrive.errors import ConfigError

WINDOWS = {
    "_target_": "latentdrive.data.batches.transitions.WindowSpec",
    "transitions": 3,
    "transition_s": 0.5,
    "rate_hz": 10.0,
}


@pytest.mark.parametrize("target", ["os.system", "builtins.eval", "latentdrivex.model", "subprocess.run", "torch.load"])
def test_only_targets_of_the_allow_list_are_built(target):
    with pytest.raises(ConfigError, match=f"{target} is refused"):
        build({"_target_": target, "command": "true"})


@pytest.mark.parametrize(
    "target",
    [
        "latentdrive.files.os.system",
        "latentdrive.files.shutil.rmtree",
        "latentdrive.checkpoint.subprocess.run",
        "latentdrive.build.importlib.import_module",
        "latentdrive.checkpoint.safetensors.torch.load_file",
        "torch.optim.sgd.torch.load",
        "latentdrive.files.os",
        "latentdrive.files.Path",
        "latentdrive.files.Path.unlink",
        "latentdrive.checkpoint.load_model",
        "latentdrive.codebook.model.F.relu",
        "latentdrive.codebook.model.Codebook.load_state_dict",
    ],
)
def test_what_a_module_only_imports_or_inherits_is_not_reached_through_it(target, tmp_path):
    with pytest.raises(ConfigError, match=r"is refused|there is no module"):
        build({"_target_": target, "command": f"touch {tmp_path}/reached"})
    assert list(tmp_path.iterdir()) == []


def test_a_classmethod_of_ours_is_a_target():
    assert locate("latentdrive.codebook.judging.dictionary.Dictionary.load")
    with pytest.raises(ConfigError, match=r"has no lod; did you mean load\?"):
        locate("latentdrive.codebook.judging.dictionary.Dictionary.lod")


def test_a_nested_node_can_not_widen_a_narrower_allow_list():
    node = {
        "_target_": "latentdrive.data.batches.transitions.WindowSpec",
        "transitions": {"_target_": "latentdrive.build.build"},
        "transition_s": 0.5,
        "rate_hz": 10.0,
    }
    with pytest.raises(ConfigError, match=r"latentdrive\.build\.build is refused"):
        build(node, AllowList(prefixes=("latentdrive.data.",)))


def test_a_nested_target_outside_the_allow_list_is_refused_too():
    with pytest.raises(ConfigError, match=r"os\.system is refused"):
        build(WINDOWS | {"rate_hz": {"_target_": "os.system", "command": "true"}})


def test_a_misspelt_target_gets_the_nearest_name():
    with pytest.raises(ConfigError, match=r"has no WindowSpek; did you mean WindowSpec\?"):
        locate("latentdrive.data.batches.transitions.WindowSpek")
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
    assert list(map(repr, build(node, AllowList(prefixes=(__name__,))))) == ["(2, 3)", "['a']", "4.0", "1.0"]


@pytest.mark.parametrize("target", [5, None, ["os.system"]])
def test_a_target_that_is_no_text_is_refused_in_a_nested_node_too(target):
    with pytest.raises(ConfigError, match="is no name of a class or function"):
        build(WINDOWS | {"rate_hz": {"_target_": target}})


def test_a_key_that_is_no_word_is_no_argument():
    with pytest.raises(ConfigError, match="WindowSpec has no argument 3: names of arguments are words"):
        build(WINDOWS | {3: 4})


def test_a_whole_checkpoint_cannot_be_a_waiting_callable():
    with pytest.raises(ConfigError, match="_partial_ at the top of a configuration from a file"):
        build({"_target_": "latentdrive.student.model.Student", "_partial_": True}, CHECKPOINT_PARTS)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"transitions": "four"}, "spec.transitions=four: expected a whole number"),
        ({"transitions": [1]}, r"spec.transitions=\[1\]: expected a whole number"),
        ({"rate_hz": True}, "spec.rate_hz=true: expected a number"),
    ],
)
def test_a_value_of_another_kind_is_named_by_its_key(changed, said):
    with pytest.raises(ConfigError, match=f"^{said}$"):
        build(Config({"spec": WINDOWS | changed}).spec)


def test_a_node_without_a_name_says_what_it_would_build():
    with pytest.raises(ConfigError, match=r"WindowSpec: transitions=four: expected a whole number"):
        build(WINDOWS | {"transitions": "four"})


def test_values_that_a_class_of_torch_refuses_are_said_in_a_sentence():
    layer = {"_target_": "latentdrive.codebook.transformer.SpatialBlock", "width": 15, "heads": 2}
    with pytest.raises(
        ConfigError, match=r"^m: no SpatialBlock can be built from these values \(AssertionError: embed_dim must"
    ):
        build(Config({"m": layer}).m)


def test_what_is_built_later_says_its_place_too():
    node = {"_target_": "torch.optim.SGD", "_partial_": True, "lr": -1.0}
    later = build(Config({"training": {"optimizer": node}}).training.optimizer)
    with pytest.raises(ConfigError, match=r"^training\.optimizer: no SGD can be built .*Invalid learning rate: -1"):
        later([torch.zeros(1, requires_grad=True)])

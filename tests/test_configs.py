"""Every configuration composes with every option, fits the signatures it names, and every tiny one builds."""

import inspect
import re
import shlex
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from latentdrive import cli
from latentdrive.build import CHECKPOINT_PARTS, PARTIAL, TARGET, build, locate
from latentdrive.config import Config, compose, configs_folder, from_yaml
from latentdrive.verb_help import takes

FOLDER = configs_folder()
NAMES = {name: verb for verb, (_, name, _) in cli.VERBS.items()}
NEEDED = {  # values that only the user can know
    "label": ["model=checkpoint"],
    "train_teacher": ["latents=store"],
    "distill": ["latents=store"],
    "convert": ["navsim_checkpoint=file.ckpt"],
}
NEED_A_PATH = ("data=video", "data=kitti", "data=comma2k19", "data=scenarios")
GIVEN = {"model", "params"}  # what a verb adds to a node when it builds it


def groups_of(name: str) -> list[str]:
    """Groups in a verb's defaults list."""
    entries = from_yaml((FOLDER / f"{name}.yaml").read_text())["defaults"]
    return [group for entry in entries if isinstance(entry, Mapping) for group in entry]


CASES = [
    (name, group, option.stem)
    for name in NAMES
    for group in groups_of(name)
    for option in sorted((FOLDER / group).glob("*.yaml"))
    if takes(NAMES[name], group, option)
]


@cache  # composing takes most of the time, and two tests look at the same configurations
def composed(name: str, *overrides: str) -> Config:
    """A verb's configuration, with the values that only the user can know."""
    needed = [*NEEDED.get(name, [])]
    if any(word in NEED_A_PATH or word.startswith("experiment=") for word in overrides):
        needed.append("data.path=clips")
    return compose(name, [*needed, *overrides])


def nodes(value: Any, where: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every node that builds something, with its place."""
    if isinstance(value, Mapping):
        if TARGET in value:
            yield where, value
        for key, entry in value.items():
            yield from nodes(entry, f"{where}.{key}".lstrip("."))
    elif isinstance(value, list):
        for number, entry in enumerate(value):
            yield from nodes(entry, f"{where}[{number}]")


def test_every_verb_has_a_configuration_of_its_name():
    assert set(NAMES) == {path.stem for path in FOLDER.glob("*.yaml")} - {"base"}


@pytest.mark.parametrize("name", NAMES)
def test_a_verb_is_what_its_configuration_says_it_is(name):
    cfg = composed(name)
    assert cfg.verb == name and cfg.command.startswith(f"latentdrive {NAMES[name]}")


@pytest.mark.parametrize(("name", "group", "option"), CASES)
def test_every_option_fits_the_signatures_that_it_names(name, group, option):
    for where, node in nodes(composed(name, f"{group}={option}").plain()):
        target = locate(node[TARGET])
        parameters = inspect.signature(target).parameters
        keys = set(node) - {TARGET, PARTIAL}
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
            assert keys <= set(parameters), f"{where}: {node[TARGET]} has no {keys - set(parameters)}"
        if not node.get(PARTIAL):
            needed = {
                key
                for key, parameter in parameters.items()
                if parameter.default is parameter.empty and parameter.kind is parameter.KEYWORD_ONLY
            }
            assert needed - keys <= GIVEN, f"{where}: {node[TARGET]} needs {needed - keys}"


@pytest.mark.parametrize(
    ("name", "group", "option"), [case for case in CASES if "train" in case[0] or case[0] in ("distill", "convert")]
)
def test_every_model_can_come_back_from_its_checkpoint(name, group, option):
    for where, node in nodes(composed(name, f"{group}={option}").model.plain()):
        if where != "parts":  # the teacher's network and processor come back from the checkpoint's files
            assert locate(node[TARGET], CHECKPOINT_PARTS), where


def test_every_experiment_is_one_of_some_verb():
    tested = {option for _, group, option in CASES if group == "experiment"}
    assert tested == {path.stem for path in (FOLDER / "experiment").glob("*.yaml")}


def test_an_experiment_has_the_last_word():
    cfg = composed("train_codebook", "experiment=paper_codebook")
    assert (cfg.model.height, cfg.batches.batch_size, cfg.trainer.devices) == (224, 64, 8)
    assert composed("distill", "experiment=paper_student").model.width == 768


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ([], "data=world"),
        (["data.rate_hz=4", "data.height=96", "seed=3"], "data=world"),  # what is so anyway need not be said
        (["paths.data=/big/data"], "data=world paths.data=/big/data"),
        (["experiment=paper_codebook", "data.path=clips"], "data=video data.path=clips data.height=224 data.width=224"),
        (["data=video", "data.path=clips/", "data.rate_hz=5"], "data=video data.path=clips/ data.rate_hz=5"),
        (["data=video", "data.path='2024'"], """data=video 'data.path='"'"'2024'"'"''"""),
        (
            ["data=video", "data.path=my clips", "data.options.images_hz=30", "data.part.gap_s=1"],
            "data=video 'data.path=my clips' data.options.images_hz=30 data.part.gap_s=1",
        ),
        (
            [
                "data=video",
                "data.path='a/it\\'s'",
                "data.block_s=null",
                "data.probe={path:b,times:all}",
                "+data.val.gap_s=2.0",
            ],
            None,
        ),
        (["data=kitti", "data.path='x{1},[y]'", "data.cache_folder=${paths.runs}/c"], None),
    ],
)
def test_what_is_to_be_typed_next_reads_the_same_data(overrides, words):
    cfg = compose("train_codebook", overrides)
    if words is not None:
        assert cfg.data_words == words
    again = compose("label", ["model=x", *shlex.split(cfg.data_words)])
    assert (again.data.plain(), again.paths.plain()) == (cfg.data.plain(), cfg.paths.plain())


@pytest.mark.parametrize("name", ["doctor", "label", "train_codebook", "train_teacher", "distill", "train_planner"])
def test_every_hint_at_a_verb_that_reads_clips_says_where_they_are(name):
    hints = composed(name).next
    for hint in [hints] if isinstance(hints, str) else hints.plain().values():
        assert "{data}" in hint or hint.startswith("latentdrive report")


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.yaml")), ids=lambda path: path.relative_to(FOLDER).as_posix())
def test_every_file_opens_with_what_it_makes(path):
    lines = [line for line in path.read_text().splitlines() if not line.startswith("# @package")]
    assert lines[0].startswith("# ") and len(lines[0]) > 20


@pytest.mark.parametrize("name", NAMES)
def test_every_verbs_file_opens_with_its_command(name):
    head = re.match(r"(#.*\n)+", (FOLDER / f"{name}.yaml").read_text())[0]
    assert f"\n# latentdrive {NAMES[name]}" in head


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.yaml")), ids=lambda path: path.relative_to(FOLDER).as_posix())
def test_only_the_paths_group_reads_the_environment(path):
    assert ("oc.env" in path.read_text()) == (path.parent.name == "paths")


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("train_codebook", ["codebook=tiny", "features=pixels"]),
        ("train_codebook", ["codebook=tiny", "features=efficientnet_lite0"]),
        ("train_codebook", ["codebook=one_stage", "features=pixels"]),
        ("train_codebook", ["codebook=twelve_by_one", "features=pixels"]),
        ("train_codebook", ["codebook=constant", "features=pixels"]),
        ("train_teacher", ["teacher=tiny"]),
        ("distill", ["student=tiny"]),
        ("train_planner", ["planner=ego_mlp"]),
        ("train_planner", ["planner=ltf_tiny", "fusion=latent_tiny"]),
        ("train_planner", ["planner=transfuser_tiny"]),
        ("train_planner", ["planner=ipad_tiny", "fusion=latent_tiny"]),
    ],
)
def test_every_tiny_model_builds(name, overrides, tmp_path: Path):
    cfg = composed(name, *overrides, f"paths.data={tmp_path}")
    assert isinstance(build(cfg.model), nn.Module)
    assert callable(build(cfg.training.optimizer))


@pytest.mark.parametrize("world", ["default", "tiny"])
def test_every_world_builds(world):
    cfg = composed("world", f"world={world}")
    assert build(cfg.world).rate_hz > 0 and build(cfg.world.plain()).splits["train"].drives > 0


@pytest.mark.parametrize("name", ["train_codebook", "train_teacher", "distill", "train_planner"])
def test_the_trainer_of_every_stage_builds(name, tmp_path):
    trainer = build(
        composed(name).trainer, max_steps=1, default_root_dir=str(tmp_path), logger=False, accelerator="cpu"
    )
    assert trainer.max_steps == 1


def test_every_step_of_the_demo_composes(tmp_path):
    """Those of demo=smoke do so in tests/commands/test_demo.py."""
    from latentdrive.commands.demo import plan

    steps = plan(compose("demo", ["demo=default", f"out={tmp_path}"]))
    assert [step.cfg.verb for step in steps] == [
        "world",
        "world",
        "world",
        "train_codebook",
        "label",
        "train_teacher",
        "label",
        "distill",
        "label",
        "label",
        "train_planner",
        "evaluate",
        "evaluate",
        "evaluate",
        "report",
    ]

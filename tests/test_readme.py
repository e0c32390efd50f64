"""Every command of the README runs, in order and in one folder.

Overrides make the commands small; those that need big machines are composed only.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from latentdrive import cli
from latentdrive.config import compose
from tests.support.comma import film, write_segment
from tests.support.data import passing, write_video
from tests.support.map_file import FILE_VERSION, PLACE, small_map, write_index, write_map_file
from tests.support.navsim_fixture import write_openscene, write_split
from tests.support.paths import ROOT
from tests.support.scenario import scenario, write_scenario
from tests.support.street import street

README = (ROOT / "README.md").read_text(encoding="utf-8")
FENCED = re.findall(r"^```(\w*)\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
BLOCKS = "\n".join(text for language, text in FENCED if language in ("", "bash"))
COMMANDS = [
    line.split("#")[0].strip()
    for line in BLOCKS.splitlines()
    if re.match(r"(latentdrive|make|python tools/\S+) ", line)
]
PICTURE = ["data.height=48", "data.width=80", "data.max_unreadable=0"]
TRAINER = ["trainer.enable_progress_bar=false", "trainer.accelerator=cpu", "threads=1", "batches.held_out_windows=8"]
PREDICTOR = ["training.schedule.steps=2", "training.schedule.warmup=1", "batches.batch_size=4", *PICTURE, *TRAINER]
NAVSIM = [
    "processes=1",
    "world.drive_s=8",
    "world.sensors.cameras.CAM_F0.width=64",
    "world.sensors.cameras.CAM_F0.height=36",
    "world.sensors.cameras.CAM_F0.oversampling=1",
    "world.sensors.lidar.columns=40",
]
NAVSIM += [f"world.splits.{split}.drives=2" for split in ("train", "val", "test", "longtail")]
SMALL = {
    "demo": ["dry_run=true"],  # walked by tests/walks/test_walk_demo.py
    "world": [
        "world=tiny",
        "processes=1",
        "world.splits.train.drives=4",
        "world.splits.val.drives=3",
        "world.splits.probe.drives=6",
    ],
    "doctor": ["sample=2", *PICTURE],
    "train codebook": [
        "features=pixels",
        "model.width=32",
        "model.layers=1",
        "model.heads=2",
        "training.calibration_frames=16",
        "training.judges.probes.reader_steps=2",
        "training.judges.probes.windows=16",
        "training.schedule.warmup=1",
        "training.schedule.ego=2",
        "batches.batch_size=4",
        "batches.workers=0",
        *PICTURE,
        *TRAINER,
    ],
    "label": ["batch_size=8", "device=cpu", *PICTURE],
    "train teacher": PREDICTOR,
    "train planner": [
        "training.schedule.steps=2",
        "training.schedule.warmup=1",
        "batches.batch_size=2",
        "batches.held_out_scenes=2",
        "batches.processes=1",
        "batches.workers=0",
        "trainer.enable_progress_bar=false",
        "trainer.accelerator=cpu",
        "threads=1",
    ],
    "distill": PREDICTOR,
    "evaluate": ["processes=1", "pictures=1", "device=cpu"],
    "run": ["realtime=false"],
    "drive": ["drives=1", "hazards=1"],
    "export": ["scenes=2", "repeats=2", "processes=1"],
    "compare-backends": ["scenes=2", "repeats=2", "processes=1"],
    "bench": ["repeats=2"],
    "report": ["windows=8", "examples=1"],
}
TOOLS = {"tools/divide_split.py": ["--share", "0.5"]}  # the made-up navtrain has two logs
TWO_STAGES = [f"training.schedule.{phase}=2" for phase in ("motion", "environment", "reader")]
FULL_SIZE = (
    "experiment=paper_",
    "model=runs/full",
    "navsim_checkpoint=",
    "init.navsim_checkpoint=",
)  # composed, not run


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that all commands run in, with clips of its own and KITTI's layout."""
    folder = tmp_path_factory.mktemp("readme")
    times = np.arange(90) / 10
    for number in range(3):
        write_video(folder / f"clips/{number}.mp4", passing(number, times * (15 + 9 * number), (48, 80)), times)
    images = folder / "kitti/dataset/sequences/00/image_0"
    images.mkdir(parents=True)
    for number, frame in enumerate(passing(7, np.arange(90) * 3.0, (48, 80))):
        cv2.imwrite(str(images / f"{number:06d}.png"), frame)
    np.savetxt(images.parent / "times.txt", np.arange(90) / 10)
    (images.parent / "calib.txt").write_text("P0: 60 0 40 0 0 60 24 0 0 0 1 0\n")
    poses = folder / "kitti/dataset/poses/00.txt"
    poses.parent.mkdir()
    write_openscene(folder / "openscene")
    write_map_file(folder / "maps" / PLACE / FILE_VERSION / "map.gpkg", small_map())
    write_index(folder / "maps")
    (folder / "openscene/splits").rename(folder / "splits")
    write_split(folder / "splits", "navtrain", log_names=["north", "east"])
    write_scenario(folder / "scenarios/sd_made_scene-0001.pkl", scenario())
    film(write_segment(folder / "comma2k19/Chunk_1/b0c9_2018/40"))
    np.savetxt(poses, np.tile(np.eye(4)[:3].ravel(), (90, 1)) + np.eye(12)[11] * np.arange(90)[:, None])
    return folder


def verb_of(words: list[str]) -> tuple[str, list[str]]:
    verb = next(verb for verb in (" ".join(words[:2]), words[0]) if verb in cli.VERBS)
    return verb, words[len(verb.split()) :]


def test_the_readme_shows_every_verb():
    shown = {verb_of(shlex.split(command)[1:])[0] for command in COMMANDS if command.startswith("latentdrive")}
    assert shown == set(cli.VERBS)


@pytest.mark.parametrize("command", dict.fromkeys(COMMANDS))
def test_the_command_runs(command: str, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    monkeypatch.chdir(home)
    words = shlex.split(command)[1:]
    if command.startswith("make"):
        assert re.search(rf"^{words[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
        return
    if command.startswith("python"):
        words = [str(ROOT / words[0]), *words[1:], *TOOLS.get(words[0], [])]
        subprocess.run([sys.executable, *words], check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
        return
    verb, overrides = verb_of(words)
    if any(word.startswith(FULL_SIZE) for word in overrides):
        full_size(verb, overrides)
        return
    paths = [str(path) for word in overrides if "*" in word for path in sorted(home.glob(word))]  # as a shell would
    overrides = [word for word in overrides if "*" not in word] + paths
    saves = "save=latentdrive.yaml" in overrides
    serves = any(word.startswith("source=egodriver") for word in overrides)  # by tests/integrations/test_egodriver.py
    small = NAVSIM if "world=small" in overrides else ["dry_run=true"] if serves else SMALL[verb]
    stages = TWO_STAGES if verb == "train codebook" and "codebook=one_stage" not in overrides else []
    cli.main([*verb.split(), *overrides, *small, *stages])
    output = capsys.readouterr().out
    assert "Next: " in output or "dry_run=true" in small
    if saves:
        assert compose("evaluate", ["data=navsim"]).data.path == str(home / "openscene")
        (home / "latentdrive.yaml").unlink()  # the next sections go on with the built-in world


def test_the_first_screen_says_who_needs_only_the_score_and_its_ten_lines_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    screen = "\n".join(README.splitlines()[:40])
    (program,) = [text for language, text in FENCED if language == "python" and text in screen]
    assert "Only here for the score?" in screen and len([line for line in program.splitlines() if line]) == 10
    root = street(tmp_path / "openscene")
    (root / "splits/test.yaml").rename(root / "splits/navtest.yaml")
    monkeypatch.chdir(tmp_path)
    exec(compile(program, "README.md", "exec"), {})
    # The human drives through a standing car in this made-up scene.
    assert capsys.readouterr().out.strip().endswith("tensor([[0.]], dtype=torch.float64)")


def full_size(verb: str, overrides: list[str]) -> None:
    """Composes; models that need no download are built without memory for their weights."""
    cfg = compose(cli.VERBS[verb][1], overrides)
    assert cfg.verb == verb.replace(" ", "_")
    if verb in ("train codebook", "distill", "train planner", "convert"):
        from latentdrive.build import build

        with torch.device("meta"):
            model = build(cfg.model)
        assert sum(weight.numel() for weight in model.parameters()) > 40e6

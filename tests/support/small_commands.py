"""The smallest command of every verb that makes something, and what tells whether two results are the same.

In the words, {given} is the folder of finished results that later commands build on, {home} that of the
command's own results, {caches} that of what may be made anew.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from latentdrive.checkpoint import load
from latentdrive.data.latent_store import LatentStore
from latentdrive.evaluation.summary import read_evaluation
from tests.support.command import TINY, write_clips
from tests.support.forked import start

LONGEST_S = 900  # of a command on a machine that does other things as well
SHORT = (
    "training.schedule.steps=4",
    "training.schedule.warmup=1",
    "batches.batch_size=4",
    "batches.workers=0",
    "trainer.accelerator=cpu",
    "trainer.enable_progress_bar=false",
    "threads=1",
    "save_every_steps=1",
)
CLIPS = (
    "data=video",
    "data.path={given}/clips",
    "data.height=32",
    "data.width=64",
    "data.options.poses=recorded",
    "data.part.train_share=0.5",
    "data.part.gap_s=0.1",
    "data.cache_folder={caches}/frames",
    "paths.data={home}/data",
    "paths.runs={home}/runs",
    "paths.stores={home}/stores",
)
WORLD = (
    "world=small",
    "processes=1",
    "world.drive_s=8",
    "world.sensors.pictures=[CAM_F0]",
    "world.sensors.cameras.CAM_F0.width=64",
    "world.sensors.cameras.CAM_F0.height=36",
    "world.sensors.cameras.CAM_F0.oversampling=1",
    "world.sensors.lidar.rings=2",
    "world.sensors.lidar.columns=8",
    "~world.splits.test",
    "~world.splits.longtail",
    "world.splits.train.drives=1",
    "world.splits.train.points=4",
    "world.splits.val.drives=1",
    "world.splits.val.points=4",
)
SCENES = (
    "data=navsim",
    "data.path={given}/world/made",
    "data.cache_folder={caches}/logs",
    "paths.data={home}/data",
    "paths.runs={home}/runs",
    "paths.stores={home}/stores",
)
Result = Mapping[str, str]  # digests of what counts, by name


@dataclass(frozen=True, kw_only=True)
class Verb:
    """A command. name: also that of the folder that holds all of its results. result: what these are."""

    name: str
    words: tuple[str, ...]
    result: Callable[[Path], Result]

    def filled(self, *, given: Path, home: Path, caches: Path) -> list[str]:
        """The words with the folders in them."""
        own = (*self.words, f"out={home / self.name / 'run'}")
        return [word.format(given=given, home=home, caches=caches) for word in own]


def files_below(folder: Path) -> Result:
    """Digests of all files."""
    found = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(found)}


def weights(folder: Path) -> Result:
    """Sums of a checkpoint's weights and files, once it is loaded; its fingerprint also covers where a teacher's
    parts lie. And that the numbers are there.
    """
    _, card = load(folder / "run/checkpoint")
    numbers = json.loads((folder / "run/metrics.json").read_text())
    return {"weights": card.weights_sha256, "steps": str(numbers["steps"]), **card.files}


def labels(folder: Path) -> Result:
    """The fingerprints of the stores, and digests of their codes."""
    stores = {part: LatentStore(folder / "store" / part) for part in ("train", "val")}
    return {
        part: f"{store.fingerprint} {hashlib.sha256(store.codes().tobytes()).hexdigest()} {len(store)}"
        for part, store in stores.items()
    }


def scores(folder: Path) -> Result:
    """scores.csv, once it can be read together with its summary."""
    read_evaluation(folder / "run")
    return {"scores": hashlib.sha256((folder / "run/scores.csv").read_bytes()).hexdigest()}


def page(folder: Path) -> Result:
    """Whether the report is whole; it names times."""
    pages = [path.read_text(encoding="utf-8") for path in (folder / "run").glob("*.html")]
    if not pages:
        raise FileNotFoundError(f"{folder} holds no report")
    return {"whole": str(all(text.rstrip().endswith("</html>") for text in pages))}


VERBS = (
    Verb(
        name="world",
        words=("world", *WORLD, "path={home}/world/made"),
        result=lambda folder: files_below(folder / "made"),
    ),
    Verb(name="codebook", words=("train", "codebook", *CLIPS, *TINY), result=weights),
    Verb(
        name="codes",
        words=("label", *CLIPS, "model={given}/codebook/run/checkpoint", "store={home}/codes/store", "device=cpu"),
        result=labels,
    ),
    Verb(
        name="teacher",
        words=(
            "train",
            "teacher",
            *CLIPS,
            "latents={given}/codes/store",
            "model.codes=4",
            *SHORT,
            "batches.held_out_windows=4",
        ),
        result=weights,
    ),
    Verb(
        name="expected",
        words=("label", *CLIPS, "model={given}/teacher/run/checkpoint", "store={home}/expected/store", "device=cpu"),
        result=labels,
    ),
    Verb(
        name="student",
        words=(
            "distill",
            *CLIPS,
            "latents={given}/expected/store",
            "model.codes=4",
            *SHORT,
            "batches.held_out_windows=4",
        ),
        result=weights,
    ),
    Verb(
        name="planner",
        words=("train", "planner", *SCENES, "planner=ego_mlp", *SHORT, "batches.held_out_scenes=4"),
        result=weights,
    ),
    Verb(
        name="scores",
        words=(
            "evaluate",
            *SCENES,
            "planner=constant_velocity",
            "data.split.test=val",
            "stores={home}/scores/stores",
            "processes=1",
            "device=cpu",
            "pictures=1",
        ),
        result=scores,
    ),
    Verb(name="report", words=("report", "{given}/scores/run", "{given}/codebook/run"), result=page),
)


def undisturbed(verb: Verb, given: Path) -> tuple[float, Result]:
    """How long the verb takes, and what it makes; its results stay for the verbs after it."""
    words, before = verb.filled(given=given, home=given, caches=given / "caches" / verb.name), time.monotonic()
    shutil.rmtree(given / verb.name, ignore_errors=True)
    (given / verb.name).mkdir(parents=True)
    running = start(words, given / verb.name, given / f"{verb.name}.log")
    status = running.wait(LONGEST_S)
    if status != 0:
        raise SystemExit(f"{verb.name} does not run: {status}\n{running.log.read_text()[-3000:]}")
    return time.monotonic() - before, verb.result(given / verb.name)


def write_given(folder: Path) -> None:
    """What the first commands read."""
    write_clips(folder / "clips")

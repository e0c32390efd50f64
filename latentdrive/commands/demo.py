"""`demo`: the whole walk on the built-in world, minutes on a CPU; ends with a report.

    latentdrive demo

Calls the other verbs with configurations that anybody could type: each step prints its command first. Everything lies below
one folder. Repeating the command skips what is finished and goes on where it stopped; a step whose settings have changed
since, and every step after it, is removed and made again.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from latentdrive.commands import evaluate, label, report, train, world
from latentdrive.config import Config, compose, from_yaml, to_yaml
from latentdrive.errors import ConfigError
from latentdrive.identity import identity_of
from latentdrive.run_folder import CONFIG, METRICS, RunFolder

PLANNERS = {
    "constant_velocity": "a car that goes straight on",
    "fused": "the planner, with the student beside it,",
    "human": "the human driver",
}


@dataclass(frozen=True, kw_only=True)
class Step:
    """says: what it is for. run: the verb's function; config: its configuration, with overrides; out: its folder; makes: what
    it leaves elsewhere, or None."""

    says: str
    run: Callable[[Config], Any]
    config: str
    overrides: Sequence[str]
    out: Path
    makes: Path | None = None

    @cached_property
    def cfg(self) -> Config:
        """The configuration as the command line would compose it."""
        return compose(self.config, [*self.overrides, f"out={self.out}"])

    @property
    def fits(self) -> bool:
        """Whether its folder holds a run, finished or not, of exactly this configuration: numbers in YAML may have changed."""
        file = self.out / CONFIG
        if not file.is_file():
            return False
        return identity_of(from_yaml(file.read_text(encoding="utf-8"))) == identity_of(from_yaml(to_yaml(self.cfg)))

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return self.fits and (self.out / METRICS).is_file() and (self.makes is None or self.makes.exists())

    def remove(self) -> bool:
        """Remove all that it left; whether there was anything."""
        there = [path for path in (self.out, self.makes) if path is not None and path.exists()]
        for path in there:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        return bool(there)


def run(cfg: Config) -> Path:
    """Walk every step that is not finished; returns the report."""
    _require_own(Path(cfg.out))
    folder = RunFolder(cfg, verb=cfg.verb)
    steps, page = plan(cfg), folder.path / "report.html"
    then, dry_run = cfg.next, cfg.dry_run
    cfg.require_all_read()
    for number, step in enumerate(steps, 1):
        one = step.cfg
        folder.say(f"\nStep {number} of {len(steps)}: {step.says}\n  {one.command}")
        if dry_run:
            continue
        if step.finished:
            folder.say("  finished before")
            continue
        if removed := _clear(steps[number - 1 :]):
            folder.say(f"  no longer fits, removed: {', '.join(removed)}")
        step.run(one)
    if dry_run:
        return page
    numbers = summary(folder.path)
    folder.say("")
    for line in numbers:
        folder.say(f"  {line}")
    folder.say(f"  pictures of NAVSIM scenes: {folder.path / 'pictures'}")
    folder.metrics({"page": str(page)})
    folder.finish(page, then.format(page=page))
    return page


def _require_own(out: Path) -> None:
    """Raise ConfigError where folders lie that no demo made: what no longer fits is removed there."""
    file = out / CONFIG
    verb = from_yaml(file.read_text(encoding="utf-8")).get("verb") if file.is_file() else None
    if verb != "demo" and out.is_dir() and any(entry.is_dir() for entry in out.iterdir()):
        raise ConfigError(
            f"out={out} holds folders that no demo made, and would remove: give the demo its own, out=FOLDER"
        )


def _clear(steps: Sequence[Step]) -> list[str]:
    """Remove what was made from what the first of these steps will make anew, and its own rest unless it can go on from it.

    The last first: an interruption leaves the reason in place. Returns the names of the steps that lost something.
    """
    gone = [step.out.name for step in reversed(steps) if not (step is steps[0] and step.fits) and step.remove()]
    return gone[::-1]


def plan(cfg: Config) -> list[Step]:
    """The walk in order; `cfg.demo` holds what makes each step small."""
    out, demo = Path(cfg.out), cfg.demo
    shared = [f"paths.data={out / 'data'}", f"paths.stores={out / 'stores'}", f"seed={cfg.seed}"]
    data = [*shared, "data=world", *demo.data]
    stores = {who: out / "stores" / who for who in ("codebook", "teacher", "student", "expected")}
    student = out / "student/checkpoint"
    planners = {name: [f"planner={name}"] for name in PLANNERS} | {
        "fused": ["planner=checkpoint", f"planner.folder={out / 'planner/checkpoint'}", f"planner.predictor={student}"]
    }

    def step(
        says: str, function: Callable[[Config], Any], config: str, name: str, overrides: Sequence[str],
        makes: Path | None = None,
    ) -> Step:  # fmt: skip
        return Step(says=says, run=function, config=config, overrides=overrides, out=out / name, makes=makes)

    return [
        step("clips of the built-in world", world.run, "world", "world", [*shared, *demo.world], out / "data/world"),
        step("scenes of the same world as NAVSIM has them: logs, cameras, LiDAR, maps, splits", world.run, "world", "navsim",
             [*shared, *demo.navsim], out / "data/navsim"),
        step("pictures of these scenes", world.run, "world", "pictures", [*shared, *demo.navsim, "preview=true"]),
        step("a codebook of latent actions: what others did, then what the driver did", train.run, "train_codebook",
             "codebook", [*data, *demo.codebook]),
        step("label the clips: what happened, as codes", label.run, "label", "label_codebook",
             [*data, f"model={out / 'codebook/checkpoint'}", f"store={stores['codebook']}", *demo.label],
             stores["codebook"]),
        step("a tiny teacher learns to expect these codes from the present picture", train.run, "train_teacher", "teacher",
             [*data, f"latents={stores['codebook']}", *demo.teacher]),
        step("label the clips again: what the teacher expects", label.run, "label", "label_teacher",
             [*data, f"model={out / 'teacher/checkpoint'}", f"store={stores['teacher']}", *demo.label],
             stores["teacher"]),
        step("distil a tiny student from these labels; the teacher is not loaded", train.run, "distill", "student",
             [*data, f"latents={stores['teacher']}", *demo.student]),
        step("label held-out clips once more: what the student expects", label.run, "label", "label_student",
             [*data, f"model={student}", f"store={stores['student']}", "parts=[val]", *demo.label], stores["student"]),
        step("label the NAVSIM scenes: what the student expects there", label.run, "label", "label_expected",
             [*shared, "data=navsim", *demo.data, f"model={student}", "parts=[train,val]", f"store={stores['expected']}"],
             stores["expected"]),
        step("a small Latent Transfuser learns to drive, and looks at what the student expects", train.run, "train_planner", "planner",
             [*shared, "data=navsim", "planner=ltf_tiny", "fusion=latent_tiny", f"latents={stores['expected']}", *demo.planner]),
        *(step(f"what {told} scores on these scenes, as NAVSIM counts", evaluate.run, "evaluate", f"score_{planner}",
               [*shared, "data=navsim", *planners[planner], *demo.evaluate])
          for planner, told in PLANNERS.items()),
        step("a report about all of it", report.run, "report", "report",
             [f"page={out / 'report.html'}", f"title='latentdrive {demo.folder}'", f"runs=[{_runs(out)}]", *demo.report],
             out / "report.html"),
    ]  # fmt: skip


def summary(out: Path) -> list[str]:
    """What the numbers say, one line each."""
    found = {
        name: json.loads((out / name / METRICS).read_text())["metrics"] for name in ("codebook", "teacher", "student")
    }
    scores = {
        planner: json.loads((out / f"score_{planner}" / METRICS).read_text())["metrics"].get("evaluate/score")
        for planner in PLANNERS
    }
    lines = [
        ("codebook", "held_out/cost_ego_shuffled", "ego codes of another clip make the predicted frame {:.0%} worse"),
        ("teacher", "held_out/nats", "teacher's surprise by the true codes: {:.2f} nats a slot"),
        ("teacher", "held_out/baseline_marginal_nats", "  (knowing only how often each code occurs: {:.2f})"),
        ("student", "held_out/top1", "student and teacher agree on {:.0%} of the slots"),
    ]
    told = [text.format(found[run][key]) for run, key, text in lines if key in found[run]]
    return [
        *told,
        *(
            f"{PLANNERS[planner]} scores {score:.2f} on the NAVSIM scenes"
            for planner, score in scores.items()
            if score is not None
        ),
    ]


def _runs(out: Path) -> str:
    names = ("codebook", "teacher", "student", "planner", "label_codebook", "label_teacher", "label_student")
    names += tuple(f"score_{planner}" for planner in PLANNERS)
    return ",".join(f"'{out / name}'" for name in names)

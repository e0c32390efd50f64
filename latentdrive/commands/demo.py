"""`demo`: the whole walk on the built-in world, minutes on a CPU; ends with a report.

    latentdrive demo

Calls the other verbs with configurations that anybody could type: each step prints its command first. Everything lies below
one folder. Repeating the command skips what is finished and goes on where it stopped.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentdrive.commands import label, report, train, world
from latentdrive.config import Config, compose
from latentdrive.run_folder import METRICS, RunFolder


@dataclass(frozen=True, kw_only=True)
class Step:
    """says: what it is for. run: the verb's function; config: its configuration, with overrides; out: its folder."""

    says: str
    run: Callable[[Config], Any]
    config: str
    overrides: Sequence[str]
    out: Path

    @property
    def cfg(self) -> Config:
        """The configuration as the command line would compose it."""
        return compose(self.config, [*self.overrides, f"out={self.out}"])


def run(cfg: Config) -> Path:
    """Walk every step that is not finished; returns the report."""
    folder = RunFolder(cfg, verb=cfg.verb)
    steps, page = plan(cfg), folder.path / "report.html"
    then, dry_run = cfg.next, cfg.dry_run
    cfg.require_all_read()
    again = False
    for number, step in enumerate(steps, 1):
        one = step.cfg
        folder.say(f"\nStep {number} of {len(steps)}: {step.says}\n  {one.command}")
        if dry_run:
            continue
        if finished(one) and not again:
            folder.say("  finished before")
            continue
        if finished(one) or again:
            shutil.rmtree(step.out, ignore_errors=True)  # it was made from what has changed since
        again = True
        step.run(one)
    if dry_run:
        return page
    numbers = summary(folder.path)
    folder.say("")
    for line in numbers:
        folder.say(f"  {line}")
    folder.metrics({"page": str(page)})
    folder.finish(page, then.format(page=page))
    return page


def plan(cfg: Config) -> list[Step]:
    """The walk in order; `cfg.demo` holds what makes each step small."""
    out, demo = Path(cfg.out), cfg.demo
    shared = [f"paths.data={out / 'data'}", f"paths.stores={out / 'stores'}", f"seed={cfg.seed}"]
    data = [*shared, "data=world", f"data.rate_hz={demo.rate_hz}", *demo.data]
    stores = {who: out / "stores" / who for who in ("codebook", "teacher", "student")}

    def step(says: str, function: Callable[[Config], Any], config: str, name: str, overrides: Sequence[str]) -> Step:
        return Step(says=says, run=function, config=config, overrides=overrides, out=out / name)

    return [
        step("clips of the built-in world", world.run, "world", "world", [*shared, *demo.world]),
        step("a codebook of latent actions: what others did, then what the driver did", train.run, "train_codebook",
             "codebook", [*data, *demo.codebook]),
        step("label the clips: what happened, as codes", label.run, "label", "label_codebook",
             [*data, f"model={out / 'codebook/checkpoint'}", f"store={stores['codebook']}", *demo.label]),
        step("a tiny teacher learns to expect these codes from the present picture", train.run, "train_teacher", "teacher",
             [*data, f"latents={stores['codebook']}", *demo.teacher]),
        step("label the clips again: what the teacher expects", label.run, "label", "label_teacher",
             [*data, f"model={out / 'teacher/checkpoint'}", f"store={stores['teacher']}", *demo.label]),
        step("distil a tiny student from these labels; the teacher is not loaded", train.run, "distill", "student",
             [*data, f"latents={stores['teacher']}", *demo.student]),
        step("label held-out clips once more: what the student expects", label.run, "label", "label_student",
             [*data, f"model={out / 'student/checkpoint'}", f"store={stores['student']}", "parts=[val]", *demo.label]),
        step("a report about all of it", report.run, "report", "report",
             [f"page={out / 'report.html'}", f"title='latentdrive {demo.folder}'", f"runs=[{_runs(out)}]", *demo.report]),
    ]  # fmt: skip


def finished(cfg: Config) -> bool:
    """Whether the step's folder holds a finished run of exactly this command."""
    file = Path(cfg.out) / METRICS
    return file.is_file() and json.loads(file.read_text(encoding="utf-8")).get("command") == cfg.command


def summary(out: Path) -> list[str]:
    """What the numbers say, one line each."""
    found = {
        name: json.loads((out / name / METRICS).read_text())["metrics"] for name in ("codebook", "teacher", "student")
    }
    lines = [
        ("codebook", "held_out/cost_ego_shuffled", "ego codes of another clip make the predicted frame {:.0%} worse"),
        ("teacher", "held_out/nats", "teacher's surprise by the true codes: {:.2f} nats a slot"),
        ("teacher", "held_out/baseline_marginal_nats", "  (knowing only how often each code occurs: {:.2f})"),
        ("student", "held_out/top1", "student and teacher agree on {:.0%} of the slots"),
    ]
    return [text.format(found[run][key]) for run, key, text in lines if key in found[run]]


def _runs(out: Path) -> str:
    names = ("codebook", "teacher", "student", "label_codebook", "label_teacher", "label_student")
    return ",".join(f"'{out / name}'" for name in names)

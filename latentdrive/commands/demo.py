"""`demo`: the whole walk on the built-in world, in minutes on a CPU. It ends with a report.

    latentdrive demo

Runs the other verbs with configurations that anybody could type; dry_run=true prints them. Each step is
one line on the terminal, and logs all else in its own folder. Everything lies below one folder. The same
command again skips what is finished and continues where it stopped. A step whose settings have changed
since is removed and run again, and so is every step after it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from latentdrive.commands import evaluate, label, report, train, world
from latentdrive.commands.time_left import TimeLeft
from latentdrive.config import Config
from latentdrive.data.latent_store import LatentStore
from latentdrive.errors import ConfigError
from latentdrive.pipeline import Step, pending, read_config, remove_outdated
from latentdrive.plain_files import read_json
from latentdrive.report.agreement import agreement_of, pairs_of
from latentdrive.run_folder import CONFIG, METRICS, RunFolder, inside_another_run
from latentdrive.stages.best import KEPT_STEP
from latentdrive.types import Origin

VERBS = {
    "world": world,
    "label": label,
    "evaluate": evaluate,
    "report": report,
    "train codebook": train,
    "train teacher": train,
    "distill": train,
    "train planner": train,
}
PLANNERS = {
    "constant_velocity": "a car that goes straight on",
    "fused": "the planner, with the student beside it,",
    "human": "the human driver",
}
REPORTED = ("codebook", "teacher", "student", "planner", "label_codebook", "label_teacher", "label_student")
STORES = ("codebook", "teacher", "student")
NAMED = {  # a pair of stores: what the model of the second one names
    (Origin.INVERSE_DYNAMICS, Origin.TEACHER): "the teacher names {:.1%} of the codes of what happened",
    (Origin.TEACHER, Origin.STUDENT): "the student names {:.1%} of the teacher's codes",
    (Origin.INVERSE_DYNAMICS, Origin.STUDENT): "the student names {:.1%} of the codes of what happened",
}


def run(cfg: Config) -> Path:
    """Run every step that is not finished. Returns the path of the report."""
    _require_own_folder(Path(cfg.out))
    with RunFolder(cfg, verb=cfg.verb) as folder:
        return _walk(cfg, folder)


def _walk(cfg: Config, folder: RunFolder) -> Path:
    steps, page = plan(cfg), folder.path / "report.html"
    template, dry_run, time_left = cfg.next, cfg.dry_run, TimeLeft(cfg.demo.seconds.plain())
    cfg.require_all_read()
    if dry_run:
        for number, step in enumerate(steps, 1):
            folder.say(f"Step {number} of {len(steps)}: {step.about}\n  {step.cfg.command}")
        return page
    unfinished = pending(steps)
    for number, step in enumerate(steps, 1):
        title = f"Step {number:>2} of {len(steps)}"
        if step in unfinished:
            removed = remove_outdated(steps[number - 1 :])
            left = time_left.words(later.name for later in steps[number - 1 :])
            folder.say(f"{title}, {left}: {step.about}")
            if removed:
                folder.say(f"  no longer fits, removed: {', '.join(removed)}")
            with inside_another_run():
                VERBS[step.verb].run(step.cfg)
        else:
            folder.say(f"{title}, finished before: {step.about}")
        time_left.done(step.name, read_json(step.out / METRICS).get("seconds", 0.0))
    folder.say("")
    for line in summary(folder.path):
        folder.say(f"  {line}")
    folder.say(f"  pictures of NAVSIM scenes: {folder.path / 'pictures'}")
    folder.metrics({"page": str(page)})
    folder.finish(page, template.format(page=page))
    return page


def _require_own_folder(out: Path) -> None:
    """Raise ConfigError if `out` has folders that no demo made, because the demo removes folders there."""
    file = out / CONFIG
    config = read_config(file) if file.is_file() else None
    if (config or {}).get("verb") != "demo" and out.is_dir() and any(entry.is_dir() for entry in out.iterdir()):
        raise ConfigError(
            f"out={out} holds folders that no demo made, and the demo would remove some: give it a folder of its own, "
            "out=FOLDER"
        )


class _Plan:
    """Makes the steps of a demo. Each step has its run folder in `out`."""

    def __init__(self, cfg: Config) -> None:
        self.out, self.demo = Path(cfg.out), cfg.demo
        self.shared = [f"paths.data={self.out / 'data'}", f"paths.stores={self.out / 'stores'}", f"seed={cfg.seed}"]
        self.clips = [*self.shared, "data=world", *self.demo.data]
        self.navsim = [*self.shared, "data=navsim", f"data.path={self.out / 'data/navsim'}"]
        self.stores = {name: self.out / "stores" / name for name in ("codebook", "teacher", "student", "expected")}

    def step(self, verb: str, name: str, about: str, overrides: list[str], makes: Path | None = None) -> Step:
        return Step(name=name, verb=verb, overrides=tuple(overrides), out=self.out / name, makes=makes, about=about)

    def checkpoint(self, name: str) -> Path:
        return self.out / name / "checkpoint"

    def worlds(self) -> list[Step]:
        """The data: clips, and NAVSIM scenes of the same world."""
        scenes = [*self.shared, *self.demo.navsim]
        return [
            self.step(
                "world",
                "world",
                "clips of the built-in world",
                [*self.shared, *self.demo.world],
                self.out / "data/world",
            ),
            self.step(
                "world",
                "navsim",
                "scenes of the same world in NAVSIM's form: logs, cameras, LiDAR, maps, splits",
                scenes,
                self.out / "data/navsim",
            ),
            self.step("world", "pictures", "pictures of these scenes", [*scenes, "preview=true"]),
        ]

    def latents(self) -> list[Step]:
        """Codebook, teacher and student, each followed by the labels that the next one learns from."""
        return [
            self.step(
                "train codebook",
                "codebook",
                "a codebook of latent actions: what others did, then what the driver did",
                [*self.clips, *self.demo.codebook],
            ),
            self.label("codebook", "label the clips: what happened, as codes"),
            self.step(
                "train teacher",
                "teacher",
                "a tiny teacher learns to expect these codes from the present picture",
                [*self.clips, f"latents={self.stores['codebook']}", *self.demo.teacher],
            ),
            self.label("teacher", "label the clips again: what the teacher expects"),
            self.step(
                "distill",
                "student",
                "distil a tiny student from these labels; the teacher is not loaded",
                [*self.clips, f"latents={self.stores['teacher']}", *self.demo.student],
            ),
            self.label("student", "label held-out clips once more: what the student expects", "parts=[val]"),
        ]

    def label(self, model: str, about: str, *more: str) -> Step:
        """Label the clips with a model of an earlier step."""
        store = self.stores[model]
        words = [*self.clips, f"model={self.checkpoint(model)}", f"store={store}", *more, *self.demo.label]
        return self.step("label", f"label_{model}", about, words, store)

    def planners(self) -> list[Step]:
        """A planner that looks at what the student expects, and the scores of all planners."""
        store, student = self.stores["expected"], self.checkpoint("student")
        chosen = {name: [f"planner={name}"] for name in PLANNERS}
        chosen["fused"] = [
            "planner=checkpoint",
            f"planner.folder={self.checkpoint('planner')}",
            f"planner.predictor={student}",
        ]
        return [
            self.step(
                "label",
                "label_expected",
                "label the NAVSIM scenes: what the student expects there",
                [*self.navsim, *self.demo.data, f"model={student}", "parts=[train,val]", f"store={store}"],
                store,
            ),
            self.step(
                "train planner",
                "planner",
                "a small Latent Transfuser learns to drive, and looks at what the student expects",
                [*self.navsim, "planner=ltf_tiny", "fusion=latent_tiny", f"latents={store}", *self.demo.planner],
            ),
            *(
                self.step(
                    "evaluate",
                    f"score_{name}",
                    f"what {words} scores on these scenes, as NAVSIM counts",
                    [*self.navsim, *chosen[name], *self.demo.evaluate],
                )
                for name, words in PLANNERS.items()
            ),
        ]

    def report(self) -> Step:
        """The page about all runs."""
        page, runs = self.out / "report.html", [*REPORTED, *(f"score_{name}" for name in PLANNERS)]
        listed = ",".join(f"'{self.out / name}'" for name in runs)
        words = [
            f"page={page}",
            f"title='latentdrive {self.demo.folder}'",
            f"runs=[{listed}]",
            "opens=true",
            *self.demo.report,
        ]
        return self.step("report", "report", "a report about all of it", words, page)


def plan(cfg: Config) -> list[Step]:
    """All steps in order. `cfg.demo` holds the overrides that make each of them small."""
    steps = _Plan(cfg)
    return [*steps.worlds(), *steps.latents(), *steps.planners(), steps.report()]


def summary(out: Path) -> list[str]:
    """The results of the finished steps, one sentence a line."""
    return [*_predictor_lines(out), *_agreement_lines(out), *_planner_lines(out)]


def _predictor_lines(out: Path) -> Iterator[str]:
    codebook, teacher = _metrics(out / "codebook"), _metrics(out / "teacher")
    if (cost := codebook.get("held_out/cost_ego_shuffled")) is not None:
        yield f"ego codes of another clip make the predicted frame {abs(cost):.0%} {'worse' if cost >= 0 else 'better'}"
    if (nats := teacher.get("held_out/nats")) is not None:
        known = teacher.get("held_out/baseline_marginal_nats")
        beside = "" if known is None else f" (knowing only how often each code occurs: {known:.2f})"
        yield f"the teacher's surprise by the true codes is {nats:.2f} nats a slot{beside}"
    for name in ("teacher", "student"):
        if (step := _metrics(out / name).get(KEPT_STEP)) is not None:
            yield f"the {name}'s held-out loss rose: its checkpoint holds the weights of step {step:.0f}"


def _agreement_lines(out: Path) -> Iterator[str]:
    """How far the labels agree, on held-out clips. Each model decodes alone."""
    stores = [LatentStore(folder) for name in STORES if (folder := out / "stores" / name / "val").is_dir()]
    for first, second in pairs_of(stores):
        if (agreement := agreement_of(first, second)) is not None:
            named = NAMED[first.info.origin, second.info.origin].format(agreement.shares["both agree"].mean())
            yield f"{named}, decoding alone ({agreement.guesses})"


def _planner_lines(out: Path) -> Iterator[str]:
    for planner, words in PLANNERS.items():
        if (score := _metrics(out / f"score_{planner}").get("evaluate/score")) is not None:
            yield f"{words} scores {score:.2f} on the NAVSIM scenes"


def _metrics(folder: Path) -> dict[str, Any]:
    return read_json(folder / METRICS).get("metrics", {})

"""`demo`: the whole walk on the built-in world, in minutes on a CPU. It ends with a report.

    latentdrive demo

Runs the other verbs with configurations that anybody could type; each step prints its command
first. Everything lies below one folder. The same command again skips what is finished and continues
where it stopped. A step whose settings have changed since is removed and run again, and so is every
step after it.
"""

from pathlib import Path
from typing import Any

from latentdrive.commands import evaluate, label, report, train, world
from latentdrive.config import Config
from latentdrive.errors import ConfigError
from latentdrive.pipeline import Step, pending, read_config, remove_outdated
from latentdrive.plain_files import read_json
from latentdrive.run_folder import CONFIG, METRICS, RunFolder

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
# (step, metric, sentence): the numbers that the demo prints at its end
SENTENCES = (
    ("codebook", "held_out/cost_ego_shuffled", "ego codes of another clip make the predicted frame {:.0%} worse"),
    ("teacher", "held_out/nats", "teacher's surprise by the true codes: {:.2f} nats a slot"),
    ("teacher", "held_out/baseline_marginal_nats", "  (knowing only how often each code occurs: {:.2f})"),
    ("student", "held_out/top1", "student and teacher agree on {:.0%} of the slots"),
)


def run(cfg: Config) -> Path:
    """Run every step that is not finished. Returns the path of the report."""
    _require_own_folder(Path(cfg.out))
    with RunFolder(cfg, verb=cfg.verb) as folder:
        return _walk(cfg, folder)


def _walk(cfg: Config, folder: RunFolder) -> Path:
    steps, page = plan(cfg), folder.path / "report.html"
    template, dry_run = cfg.next, cfg.dry_run
    cfg.require_all_read()
    unfinished = [] if dry_run else pending(steps)
    for number, step in enumerate(steps, 1):
        folder.say(f"\nStep {number} of {len(steps)}: {step.about}\n  {step.cfg.command}")
        if dry_run:
            continue
        if step not in unfinished:
            folder.say("  finished before")
            continue
        if removed := remove_outdated(steps[number - 1 :]):
            folder.say(f"  no longer fits, removed: {', '.join(removed)}")
        VERBS[step.verb].run(step.cfg)
    if dry_run:
        return page
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
    codes = {step: _metrics(out / step) for step, _, _ in SENTENCES}
    lines = [text.format(codes[step][key]) for step, key, text in SENTENCES if codes[step].get(key) is not None]
    for planner, words in PLANNERS.items():
        if (score := _metrics(out / f"score_{planner}").get("evaluate/score")) is not None:
            lines.append(f"{words} scores {score:.2f} on the NAVSIM scenes")
    return lines


def _metrics(folder: Path) -> dict[str, Any]:
    return read_json(folder / METRICS).get("metrics", {})

"""`evaluate`: a planner's NAVSIM score on a split, with intervals, an audit, and pictures of the worst scenes.

    latentdrive evaluate planner=human data=navsim split=val scorer=epdms_v2.2

What the score needs of each scene is prepared once, into a store that all planners share. A scene that fails anywhere on the way
scores 0 in everything, is counted and named. data=navhard evaluates two stages: what a plan leads to counts, too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from latentdrive.build import build
from latentdrive.config import Config
from latentdrive.data.navsim.submission import write_submission
from latentdrive.errors import ConfigError
from latentdrive.evaluation.audit import audit
from latentdrive.evaluation.driving import Course, Driven, drive_as_human, progress_of
from latentdrive.evaluation.scores_file import SCORES, write_scores
from latentdrive.evaluation.scoring import with_extended_comfort
from latentdrive.evaluation.second_stage import TRAFFIC, second_stages
from latentdrive.evaluation.split import Scenes, open_split
from latentdrive.evaluation.summary import SUMMARY, as_text, flat, summarise
from latentdrive.evaluation.terminal import audit_lines, failure_lines, latency_lines, mapping_lines, score_table
from latentdrive.evaluation.trajectories_file import TRAJECTORIES, write_trajectories
from latentdrive.evaluation.worst import worst
from latentdrive.files import write_atomic
from latentdrive.pdms.prepare import prepare_scene
from latentdrive.pdms.storage.store import ScoringStore, build_store, store_name
from latentdrive.pdms.versions import Version
from latentdrive.planners.baselines.submitted import Submitted
from latentdrive.planners.latents.source import StoredLatents
from latentdrive.planners.learned import LearnedPlanner
from latentdrive.planners.sampling import NO_SENSORS
from latentdrive.report.evaluation_charts import PICTURES
from latentdrive.report.score_picture import score_picture
from latentdrive.run_folder import RunFolder, progress
from latentdrive.types import FROZEN


@dataclass(**FROZEN)
class _Order:
    """The verb's own keys, see configs/evaluate.yaml."""

    version: Version
    split: str | None
    limit: int | None
    store: Path | None
    stores: Path
    processes: int
    memory_gb: float
    batch: int
    device: str
    human: bool
    pictures: int
    submission: str | None
    about: dict[str, Any]


def run(cfg: Config) -> Path:
    """Score the planner on every scene; returns the folder that holds scores.csv and summary.json."""
    folder, order, data = RunFolder(cfg, verb=cfg.verb), _order(cfg), build(cfg.data)
    settings, planner, then, dry_run = _settings(cfg), build(_planner_node(cfg)), cfg.next, cfg.dry_run
    about = {"planner": cfg.planner.plain(), "data": cfg.data_words, "split": order.split}
    cfg.require_all_read()
    needs = getattr(planner, "needs", NO_SENSORS)  # the privileged look at no sensor
    scenes = open_split(
        data, settings, split=order.split, version=order.version, needs=needs, limit=order.limit, progress=progress
    )
    if isinstance(planner, LearnedPlanner) and isinstance(planner.latents, StoredLatents):
        planner.latents.require_scenes(scenes.source, scenes.tokens)
    place = order.store or order.stores / store_name(data.scenes_id(order.split), order.version.rules)
    drives = len(set(scenes.drives))
    folder.say(f"{type(planner).__name__} on {len(scenes.tokens):,} scenes of {drives:,} drives, {order.version}")
    if stages := len(getattr(getattr(scenes.source, "split", None), "second_stages", ())):
        folder.say(
            f"the split has {stages:,} second stages: not driven here, this is the score of one; data=navhard drives both"
        )
    if dry_run:
        folder.say(f"dry run: would prepare what {place} lacks, and write {folder.path / SCORES}")
        return folder.path
    course = _prepare(place, scenes, order, folder)
    driven = course.drive(planner, what=type(planner).__name__)
    human = drive_as_human(course, driven, planner) if order.human else None
    results, plans = driven.scored.results, driven.plans
    findings = audit(results, driven.scored.states, plans.trajectories, progress_of(human, results.tokens))
    mapping = _mapping(course.scenes)
    about |= {"planner_class": type(planner).__name__, "privileged": getattr(planner, "privileged", False) is True}
    about |= planner.provenance() if isinstance(planner, LearnedPlanner) else {}
    summary = summarise(results, findings, {**about, **mapping, **_strangers(planner, scenes, folder)})
    if (latency := course.latency(planner, driven)) is not None:
        summary |= {"latency": latency}
    write_scores(folder.path / SCORES, results)
    write_trajectories(folder.path / TRAJECTORIES, plans.trajectories)
    folder.write(SUMMARY, as_text(summary))
    told = (
        score_table(summary), *mapping_lines(mapping.get("mapping")), *failure_lines(summary),
        *latency_lines(latency, reads_store="store" in about.get("latents", {})),
    )  # fmt: skip
    for line in (*told, "Audit", *audit_lines(findings)):
        folder.say(line)
    if order.submission is not None:
        _submit(order, course.scenes, driven, folder)
    _draw(folder, course, driven, human, count=order.pictures)
    folder.metrics({"scorer": str(order.version), **mapping, "store": str(place), "metrics": flat(summary)})
    folder.finish(folder.path / SUMMARY, then.format(out=folder.path))
    return folder.path


def _order(cfg: Config) -> _Order:
    try:
        version = Version(cfg.scorer)
    except ValueError:
        raise ConfigError(f"scorer={cfg.scorer}: there is no such score; there are {', '.join(Version)}") from None
    return _Order(
        version=version,
        split=cfg.split,
        limit=cfg.limit,
        store=None if cfg.store is None else Path(cfg.store).expanduser(),
        stores=Path(cfg.stores).expanduser(),
        processes=cfg.processes,
        memory_gb=float(cfg.memory_gb),
        batch=cfg.batch_size,
        device=("cuda" if torch.cuda.is_available() else "cpu") if cfg.device == "auto" else cfg.device,
        human=cfg.human,
        pictures=cfg.pictures,
        submission=cfg.submission,
        about=cfg.about.plain(),
    )


def _planner_node(cfg: Config) -> Config:
    """What builds the planner. Raises ConfigError where the option is a network that is yet to be trained."""
    if "planner" not in cfg:
        raise ConfigError(
            "this planner learns: latentdrive train planner planner=... makes a checkpoint, and planner=FOLDER evaluates that"
        )
    return cfg.planner


def _settings(cfg: Config) -> Mapping[str, Any]:
    """Of data.scenes, as configured; empty where the data hold clips only."""
    found = cfg.data.scenes
    return found.plain() if isinstance(found, Config) else {}


def _prepare(place: Path, scenes: Scenes, order: _Order, folder: RunFolder) -> Course:
    """Prepare what the store lacks; scenes that can't be are named."""
    rules = order.version.rules
    report = build_store(
        place, scenes.source, scenes.tokens, partial(prepare_scene, rules=rules), rules=rules, processes=order.processes,
        memory_gb=order.memory_gb, progress=progress,
    )  # fmt: skip
    for line in report.lines():
        folder.say(f"{place}: {line}")
    prepared, complete = ScoringStore(place, rules=rules).get, with_extended_comfort
    if scenes.entries:
        scenes, complete = second_stages(scenes, prepared, report.failed)
    return Course(
        scenes=scenes, prepared=prepared, unprepared=report.failed, complete=complete, version=order.version,
        batch=order.batch, device=order.device,
    )  # fmt: skip


def _mapping(scenes: Scenes) -> dict[str, Any]:
    """What the results say of two stages, nothing where there is one."""
    if not scenes.entries:
        return {}
    return {"mapping": {"entries": len(scenes.entries), "left_out": scenes.left_out, "traffic": TRAFFIC}}


def _strangers(planner: Any, scenes: Scenes, folder: RunFolder) -> dict[str, Any]:
    """What a submission holds beyond the scenes: counted and named, nothing else."""
    if not isinstance(planner, Submitted):
        return {}
    strangers = planner.strangers(scenes.tokens)
    if strangers:
        folder.say(
            f"{len(strangers):,} trajectories of the submission are of no scene here, the first one: {strangers[0]}"
        )
    return {"submission": {"extra_tokens": strangers, "unusable": planner.submission.unusable}}


def _submit(order: _Order, scenes: Scenes, driven: Driven, folder: RunFolder) -> None:
    """Write the trajectories for NAVSIM's server."""
    planned, original = driven.plans.trajectories, scenes.first_stage().tokens
    first = {token: planned[token] for token in original if token in planned}
    second = {token: plan for token, plan in planned.items() if token not in first}
    one_stage = order.version is Version.PDMS_V1_1
    left_out = write_submission(order.submission, first, about=order.about, second_stage=None if one_stage else second)
    folder.say(f"submission: {len(planned) - len(left_out):,} trajectories in {order.submission}")
    if missing := [token for token in scenes.tokens if token not in planned]:
        folder.say(f"  {len(missing):,} scenes have none, and the server asks for all: {missing[0]} is the first")
    for token, reason in left_out.items():
        folder.say(f"  left out: {token}: {reason}")


def _draw(folder: RunFolder, course: Course, driven: Driven, human: Driven | None, *, count: int) -> None:
    """Pictures of the scenes with the lowest scores, worst first."""
    results, paths = driven.scored.results, []
    for place, row in enumerate(worst(results, count)):
        token = results.tokens[row]
        pixels = score_picture(
            course.prepared(token), results, row, states=driven.scored.states[row],
            planned=driven.plans.trajectories.get(token), human=None if human is None else human.plans.trajectories.get(token),
        )  # fmt: skip
        paths.append(folder.path / PICTURES / f"{place + 1:02d}_{_file_name(token)}.png")
        write_atomic(paths[-1], lambda new, pixels=pixels: Image.fromarray(pixels).save(new, format="png"))
    if paths:
        folder.say(f"{len(paths)} pictures of the worst scenes in {folder.path / PICTURES}")


def _file_name(token: str) -> str:
    return "".join(sign if sign.isalnum() or sign in "-_.@" else "_" for sign in token)

"""`evaluate`: a planner's NAVSIM score on a split, with intervals, an audit, and pictures of the
worst scenes.

    latentdrive evaluate planner=human data=navsim data.split.test=val scorer=epdms_v2.2

What the score needs of each scene is prepared once, into a store that all planners share. A scene
that fails at any step scores 0, is counted, and is listed with its reason. data=navhard evaluates
two stages: the scenes that follow a plan count as well. Where nothing can be scored, as in NAVSIM's
private test data, every scene is planned all the same, and the submission is the result.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentdrive.build import build
from latentdrive.commands.submitting import Submitting, require_plans
from latentdrive.config import Config
from latentdrive.counting import counted
from latentdrive.devices import choose_device
from latentdrive.errors import ConfigError
from latentdrive.evaluation.annotated_boxes import annotated_boxes, box_lines
from latentdrive.evaluation.audit import audit
from latentdrive.evaluation.pictures import PICTURES, write_worst_pictures
from latentdrive.evaluation.planned_split import (
    PlannedSplit,
    PreparedSplit,
    latency_on,
    plan_split,
    plan_split_as_human,
    progress_of,
)
from latentdrive.evaluation.planning import AnyPlanner, is_privileged, sensors_of
from latentdrive.evaluation.preparing import prepare_split, version_of
from latentdrive.evaluation.scores_file import SCORES, write_scores
from latentdrive.evaluation.second_stage import TRAFFIC
from latentdrive.evaluation.split import SplitScenes, open_split
from latentdrive.evaluation.stamp import incomplete_lines, stamp, stamp_lines
from latentdrive.evaluation.summary import SUMMARY, as_text, flat, summarise, write_evaluation_sums
from latentdrive.evaluation.terminal import audit_lines, failure_lines, latency_lines, mapping_lines, score_table
from latentdrive.evaluation.trajectories_file import TRAJECTORIES, write_trajectories
from latentdrive.evaluation.uncertainty import uncertainty_lines
from latentdrive.kinds import Count
from latentdrive.pdms.storage.store import store_name
from latentdrive.pdms.versions import Version
from latentdrive.planners.baselines.submitted import Submitted
from latentdrive.planners.learned import LearnedPlanner
from latentdrive.run_folder import RunFolder, progress
from latentdrive.statistics import recordings
from latentdrive.types import FROZEN


@dataclass(**FROZEN)
class _Options:
    """The keys of configs/evaluate.yaml that the command itself uses."""

    version: Version
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
    """Score the planner on every scene; returns the folder that holds scores.csv and summary.json.

    Raises NoPlans where no scene can be planned.
    """
    with RunFolder(cfg, verb=cfg.verb) as folder:
        return _evaluate(cfg, folder)


def _evaluate(cfg: Config, folder: RunFolder) -> Path:
    options, data = _options(cfg), build(cfg.data)
    planner, then, dry_run = build(_planner_node(cfg)), cfg.next, cfg.dry_run
    about = {"planner": cfg.planner.plain(), "data": cfg.data_words, "split": data.test_split}
    cfg.require_all_read()
    needs = sensors_of(planner)
    scenes = open_split(
        data, split=data.test_split, version=options.version, needs=needs, limit=options.limit, progress=progress
    )
    if isinstance(planner, LearnedPlanner):
        planner.require_scenes(scenes.source, scenes.tokens)
    store = options.store or options.stores / store_name(data.scenes.id_of(data.test_split), options.version.rules)
    name, drives = type(planner).__name__, len(recordings(scenes.drives)[0])
    where = f"{counted(len(scenes.tokens), 'scene')} of {counted(drives, 'drive')}"
    folder.say(f"{name} on {where}, {options.version}")
    if skipped := scenes.skipped_second_stages:
        folder.say(
            f"the split has {counted(skipped, 'second stage')}, which this one-stage score leaves out; data=navhard "
            "scores both"
        )
    if dry_run:
        folder.say(f"dry run: would prepare the scenes that {store} lacks, and write {folder.path / SCORES}")
        return folder.path
    split = prepare_split(
        store,
        scenes,
        version=options.version,
        processes=options.processes,
        memory_gb=options.memory_gb,
        batch=options.batch,
        device=options.device,
        say=folder.say,
    )
    stamped = stamp(
        split.scenes, planner, options.version, split=data.test_split, limit=options.limit, code=folder.commit
    )
    for line in (*incomplete_lines(stamped), *_unscorable_lines(split)):
        folder.say(line)
    planned = plan_split(split, planner, label=name)
    require_plans(planned, name)
    about |= {"planner_class": name, "privileged": is_privileged(planner), "stamp": stamped}
    about |= planner.provenance() if isinstance(planner, LearnedPlanner) else {}
    about |= _unused_plans(planner, scenes, folder)
    handing_in = Submitting(file=options.submission, version=options.version, team=options.about)
    if split.unscorable:
        handing_in.finish_unscored(split.scenes, planned, folder, about=about, reason=split.unscorable)
        return folder.path
    about |= _mapping(split.scenes) | annotated_boxes(split.scenes, split.unprepared)
    summary = _score(split, planner, planned, options, folder, about)
    if options.submission is not None:
        handing_in.submit(options.submission, split.scenes, planned, folder)
    folder.metrics(
        {"scorer": str(options.version), **_mapping(split.scenes), "store": str(store), "metrics": flat(summary)}
    )
    folder.finish(folder.path / SUMMARY, then.format(out=folder.path))
    return folder.path


def _score(
    split: PreparedSplit,
    planner: AnyPlanner,
    planned: PlannedSplit,
    options: _Options,
    folder: RunFolder,
    about: dict[str, Any],
) -> dict[str, Any]:
    """Report the scores beside those of the human driver, and draw the worst scenes; returns the summary."""
    human = plan_split_as_human(split, planner, planned) if options.human else None
    summary = _report(folder, about, planned, human, latency_on(split, planner, planned))
    if pictures := write_worst_pictures(folder.path / PICTURES, split, planned, human, count=options.pictures):
        folder.say(f"{len(pictures)} pictures of the worst scenes in {folder.path / PICTURES}")
    return summary


def _unscorable_lines(split: PreparedSplit) -> list[str]:
    reason = split.unscorable
    return [f"NOTHING CAN BE SCORED: {reason}. The scenes are planned for a submission"] if reason else []


def _options(cfg: Config) -> _Options:
    return _Options(
        version=version_of(cfg.scorer),
        limit=cfg.value("limit", Count | None),
        store=None if (store := cfg.value("store", str | None)) is None else Path(store).expanduser(),
        stores=Path(cfg.stores).expanduser(),
        processes=cfg.processes,
        memory_gb=float(cfg.memory_gb),
        batch=cfg.value("batch_size", Count),
        device=choose_device(cfg.device),
        human=cfg.human,
        pictures=cfg.pictures,
        submission=cfg.value("submission", str | None),
        about=cfg.about.plain(),
    )


def _planner_node(cfg: Config) -> Config:
    """The node that builds the planner. Raises ConfigError where the option is a network that must
    first be trained."""
    if "planner" not in cfg:
        raise ConfigError(
            "planner=... names a network without weights: train it with latentdrive train planner planner=..., then "
            "evaluate its checkpoint with planner=FOLDER"
        )
    return cfg.planner


def _mapping(scenes: SplitScenes) -> dict[str, Any]:
    """The entries of summary and metrics about two stages; empty for one stage."""
    if not scenes.entries:
        return {}
    return {"mapping": {"entries": len(scenes.entries), "left_out": scenes.left_out, "traffic": TRAFFIC}}


def _unused_plans(planner: AnyPlanner, scenes: SplitScenes, folder: RunFolder) -> dict[str, Any]:
    """What summary.json records about a submission: entries for scenes outside the split, and
    unusable ones."""
    if not isinstance(planner, Submitted):
        return {}
    extra = planner.strangers(scenes.tokens)
    if extra:
        folder.say(
            f"{counted(len(extra), 'trajectory', 'trajectories')} of the submission for no scene of this split, the "
            f"first is {extra[0]}"
        )
    return {"submission": {"extra_tokens": extra, "unusable": planner.submission.unusable}}


def _report(
    folder: RunFolder,
    about: dict[str, Any],
    planned: PlannedSplit,
    human: PlannedSplit | None,
    latency: dict[str, float | int | str] | None,
) -> dict[str, Any]:
    """Write scores, trajectories and summary, and print them; returns the summary."""
    results, trajectories = planned.scored.results, planned.plans.trajectories
    findings = audit(results, planned.scored.states, trajectories, progress_of(human, results.tokens))
    summary = summarise(results, findings, about) | ({} if latency is None else {"latency": latency})
    write_scores(folder.path / SCORES, results)
    write_trajectories(folder.path / TRAJECTORIES, trajectories)
    folder.write(SUMMARY, as_text(summary))
    write_evaluation_sums(folder.path)
    lines = [score_table(summary), *mapping_lines(about.get("mapping")), *failure_lines(summary)]
    lines += [*box_lines(about.get("boxes")), *stamp_lines(about["stamp"])]
    lines += uncertainty_lines(summary.get("refined"))
    lines += latency_lines(latency, reads_store="store" in about.get("latents", {}))
    for line in (*lines, "Audit", *audit_lines(findings)):
        folder.say(line)
    return summary

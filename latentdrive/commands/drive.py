"""`drive`: a planner drives in the built-in world in closed loop, and the traffic reacts.

    latentdrive drive planner=runs/planner/checkpoint drives=50

Each drive is a file below drives/; the same command in the same folder drives only what is missing.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from latentdrive import checkpoint
from latentdrive.build import build
from latentdrive.closed_loop.summary import difference, summary
from latentdrive.closed_loop.work import DriveWork, read_result
from latentdrive.config import Config
from latentdrive.counting import counted
from latentdrive.csv_cells import cell
from latentdrive.errors import ConfigError, WorkerDied
from latentdrive.evaluation.planning import AnyPlanner, is_privileged
from latentdrive.export import runtime
from latentdrive.kinds import Count
from latentdrive.pdms.scene import ScoringScene
from latentdrive.plain_files import as_json
from latentdrive.planners.baselines.submitted import Submitted
from latentdrive.planners.latents.stored import StoredLatents
from latentdrive.planners.learned import LearnedPlanner
from latentdrive.run_folder import RunFolder, progress
from latentdrive.worker_pool import run_jobs
from latentdrive.world.navsim.orders import Order

DRIVES, SUMMARY, TABLE = "drives", "summary.json", "drives.csv"


def run(cfg: Config) -> Path:
    """Drive what is missing, and sum up; returns the run's folder."""
    with RunFolder(cfg, verb=cfg.verb) as folder:
        return _run(cfg, folder)


def _run(cfg: Config, folder: RunFolder) -> Path:
    config, settings, world = cfg.planner.plain(), build(cfg.closed_loop), build(cfg.world)
    processes, against, dry_run, then = cfg.value("processes", Count), cfg.against, cfg.dry_run, cfg.next
    _require_driver(build(config))  # a planner that can't be built is said before the first drive
    cfg.require_all_read()
    orders = list(world.orders(folder.path))
    if not orders:
        raise ConfigError("drives=0 hazards=0: give at least one drive")
    plans = json.dumps([config, _content_of(config)], default=str, sort_keys=True)
    work = DriveWork(world, config, settings, folder.path / DRIVES, plans=plans)
    others = None if against is None else _others(Path(against), {order.name: work.course(order) for order in orders})
    missing = [order for order in orders if work.result(order) is None]
    folder.say(f"{counted(len(orders), 'drive')} of {world.drive_s:g} s, {counted(len(missing), 'drive')} to go")
    if dry_run:
        return folder.path
    _drive(work, missing, folder, processes)
    results = [result for order in orders if (result := work.result(order)) is not None]
    _say(folder, results, others)
    folder.write(TABLE, _table(results))
    folder.finish(folder.path / SUMMARY, then.format(out=folder.path))
    return folder.path


def _content_of(planner: Mapping[str, Any]) -> list[str]:
    """What lies in the folders that a planner is built from: a network that was trained anew drives anew."""
    folders = [Path(planner[name]) for name in ("folder", "predictor", "path") if planner.get(name)]
    cards = [file for folder in folders for file in (folder / checkpoint.CARD, folder / runtime.CARD) if file.is_file()]
    return [hashlib.sha256(file.read_bytes()).hexdigest() for file in cards]


def _require_driver(planner: AnyPlanner) -> None:
    """Raise ConfigError for a planner that only repeats a recording or a file."""
    if (is_privileged(planner) and planner.takes is not ScoringScene) or isinstance(planner, Submitted):
        raise ConfigError(
            f"planner: {type(planner).__name__} repeats what was recorded or written before, and a closed loop goes on "
            "differently: choose a planner that plans from what it sees, or planner=pdm_closed"
        )
    if isinstance(planner, LearnedPlanner) and isinstance(planner.latents, StoredLatents):
        raise ConfigError(
            "planner.latents names a store, and a store holds no embeddings of a drive that is still to come: give "
            "planner.predictor=CHECKPOINT, a student that runs live"
        )


def _drive(work: DriveWork, missing: Sequence[Order], folder: RunFolder, processes: int) -> None:
    """Drive these orders. Raises WorkerDied, once all others are driven, if a worker died on one."""
    (folder.path / DRIVES).mkdir(parents=True, exist_ok=True)
    jobs = run_jobs(work, missing, processes=min(processes, len(missing)), progress=progress, what="drives")
    lost = [(order.name, result) for order, result in jobs if isinstance(result, WorkerDied)]
    if lost:
        raise WorkerDied(f"drive {lost[0][0]}: {lost[0][1]}; finished drives are kept, repeat the command")


def _say(folder: RunFolder, results: list[dict[str, Any]], others: dict[str, dict[str, Any]] | None) -> None:
    """Print the table and the failures, and write the summary."""
    content: dict[str, Any] = {}
    for split in dict.fromkeys(result["split"] for result in results):
        own = [result for result in results if result["split"] == split]
        intervals = summary(own)
        if others is not None and (gap := difference(own, others)) is not None:
            intervals["score_difference"] = gap
        folder.say(f"{split}: {counted(len(own), 'drive')}, 95 % intervals by drive")
        for name, interval in intervals.items():
            folder.say(f"  {name:<20} {interval.within('.3f')}")
        content[split] = {name: asdict(interval) for name, interval in intervals.items()}
        content[split]["ended"] = {
            why: sum(r["ended"] == why for r in own) for why in sorted({r["ended"] for r in own})
        }
    for result in results:
        if result["failure"]:
            folder.say(f"failed, scores 0: {result['drive']}: {result['failure']}")
    folder.write(SUMMARY, as_json(content, default=float))
    folder.metrics({"drives": len(results), **content})


def _table(results: list[dict[str, Any]]) -> str:
    names = [name for name in results[0] if name not in ("key", "course", "settings", "pdm")]
    rows = [names, *([result[name] for name in names] for result in results)]
    return "".join(",".join(cell(value) for value in row) + "\n" for row in rows)


def _others(folder: Path, courses: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """The results of another run, by drive. Raises ConfigError if there are none, or they are of other drives."""
    try:
        results = [read_result(path) for path in sorted((folder / DRIVES).glob("*.json"))]
        names = [result["drive"] for result in results]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"against={folder}: its results can't be read ({error}): drive there again") from None
    if not results:
        raise ConfigError(f"against={folder} holds no drives: give the folder of a run of `latentdrive drive`")
    if any(result.get("course") != courses.get(result["drive"], result.get("course")) for result in results):
        raise ConfigError(
            f"against={folder} drove in another world, or ended its drives by other rules: drive there again with the "
            "world.* and closed_loop.* of this command"
        )
    return dict(zip(names, results))

"""`latentdrive world`: write clips of the built-in world, for training, for validation, and a decorrelated set for probes."""

from latentdrive.build import build
from latentdrive.config import Config
from latentdrive.run_folder import RunFolder
from latentdrive.world.writer import WorldSummary, write_world


def run(cfg: Config) -> WorldSummary | None:
    """Write every split into cfg.path; the same command finishes an interrupted one. Nothing is written in a dry run."""
    folder = RunFolder(cfg, verb=cfg.verb)
    world = build(cfg.world)
    splits = {name: build(cfg.splits[name]) for name in cfg.splits}
    path, processes, then = cfg.path, cfg.processes, cfg.next
    dry_run = cfg.dry_run
    cfg.require_all_read()
    for name, split in splits.items():
        folder.say(
            f"{name}: {split.drives:,} drives of {world.drive_s:g} s, {split.decorrelated_share:.0%} of them decorrelated"
        )
    if dry_run:
        folder.say(f"dry run: would write them below {path}")
        return None
    summary = write_world(folder=path, splits=splits, world=world, processes=processes)
    folder.metrics({"drives": summary.drives, "frames": summary.frames, "frames_per_second": summary.frames_per_second})
    folder.say(
        f"{sum(summary.frames.values()):,} frames on disk; {summary.frames_per_second:.0f} frames a second in this run"
    )
    folder.finish(path, then)
    return summary

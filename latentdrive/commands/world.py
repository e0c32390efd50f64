"""`latentdrive world`: write the built-in world, as clips for the codebook or as a NAVSIM data set, perhaps with video beside it."""

import time
from pathlib import Path

from latentdrive.build import build
from latentdrive.config import Config
from latentdrive.run_folder import RunFolder

VIDEO = "video"  # folder of the clips beside a NAVSIM data set
Counts = dict[str, dict[str, int]]


def run(cfg: Config) -> dict[str, Counts] | None:
    """Write the world into cfg.path, and the clips beside it, if there are any, into cfg.path/video.

    The same command finishes an interrupted one. Returns counts by part and split. Nothing is written in a dry run.
    """
    folder, started = RunFolder(cfg, verb=cfg.verb), time.monotonic()
    path, processes, then, dry_run = Path(cfg.path), cfg.processes, cfg.next, cfg.dry_run
    folder.say(f"World {cfg.name}, in {path}")
    parts = {path: build(cfg.world.plain())}
    if cfg.video is not None:
        parts[path / VIDEO] = build(cfg.video.plain())
    cfg.require_all_read()
    counts: dict[str, Counts] = {}
    for place, world in parts.items():
        for line in world.lines():
            folder.say(line)
        if dry_run:
            folder.say(f"dry run: would write them below {place}")
            continue
        counts[place.name] = world.write(place, processes)
        for name, numbers in counts[place.name].items():
            folder.say(f"{name}: {', '.join(f'{value:,} {what}' for what, value in numbers.items())}")
    if dry_run:
        return None
    folder.metrics({"parts": counts, "seconds": round(time.monotonic() - started, 1)})
    folder.finish(path, then)
    return counts

"""`latentdrive world`: write the built-in world, as clips for the codebook or as a NAVSIM data set, perhaps with video beside it.

    latentdrive world world=small preview=true

draws a few scenes of a NAVSIM data set that was written before, as `data=navsim` reads them.
"""

import time
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from latentdrive.build import build
from latentdrive.config import Config, compose
from latentdrive.drawing.scenes import scene_picture
from latentdrive.files import write_atomic
from latentdrive.overrides import quoted
from latentdrive.run_folder import RunFolder, progress
from latentdrive.types import SensorNeeds
from latentdrive.world.navsim.data_set import UNFILTERED

PREVIEWED = ("cam_l0", "cam_f0", "cam_r0", "cam_b0")
VIDEO = "video"  # folder of the clips beside a NAVSIM data set
Counts = dict[str, dict[str, int]]


def run(cfg: Config) -> dict[str, Counts] | None:
    """Write the world into cfg.path, and the clips beside it, if there are any, into cfg.path/video.

    The same command finishes an interrupted one. Returns counts by part and split. Nothing is written in a dry run.
    """
    folder, started = RunFolder(cfg, verb=cfg.verb), time.monotonic()
    path, processes, then, dry_run = Path(cfg.path), cfg.processes, cfg.next, cfg.dry_run
    preview, previews = cfg.preview, cfg.previews
    folder.say(f"World {cfg.name}, in {path}")
    parts = {path: build(cfg.world.plain())}
    if cfg.video is not None:
        parts[path / VIDEO] = build(cfg.video.plain())
    cfg.require_all_read()
    if preview and not dry_run:
        return _preview(
            folder, [f"data.path={quoted(str(path))}", f"paths.data={quoted(cfg.paths.data)}"], previews, then
        )
    counts: dict[str, Counts] = {}
    for place, world in parts.items():
        for line in world.lines():
            folder.say(line)
        if dry_run:
            folder.say(f"dry run: would write them below {place}")
            continue
        counts[place.name] = world.write(place, processes)
        for name, numbers in counts[place.name].items():
            told = [f"{value:,} {what.replace('_', ' ')}" for what, value in numbers.items()]
            folder.say(f"{name}: {', '.join(told)}")
            if numbers.get("points", 0) < numbers.get("points_wanted", 0):
                folder.say(
                    "  fewer scenes than wanted: too few moments count, or the score drops too many of them "
                    f"(world.points): raise world.splits.{name}.drives"
                )
    if dry_run:
        return None
    folder.metrics({"parts": counts, "seconds": round(time.monotonic() - started, 1)})
    folder.finish(path, then)
    return counts


def _preview(folder: RunFolder, where: list[str], previews: int, then: str) -> None:
    """Draw scenes of every split (what the score dropped is not drawn), of as many drives, into the run's folder. where: overrides that say where the data is."""
    data = build(compose("doctor", ["data=navsim", *where]).data)
    drawn = []
    for split in [name for name in data.splits() if not name.endswith(UNFILTERED)] or [None]:
        source = data.open_scenes(split=split, needs=SensorNeeds(cameras=PREVIEWED, frames="now", lidar=True))
        drives: dict[str, list[str]] = {}
        for token in source.tokens:
            drives.setdefault(source.drive(token), []).append(token)
        picked = np.unique(np.linspace(0, len(drives) - 1, min(previews, len(drives))).astype(int))
        for drive in progress([list(drives)[int(one)] for one in picked], what=f"drawing {split}"):
            token = drives[drive][len(drives[drive]) // 2]
            picture = scene_picture(source[token], source.truth(token))
            folder.path.mkdir(parents=True, exist_ok=True)
            write_atomic(folder.path / f"{drive}.png", partial(_save, picture))
            drawn.append(f"{drive}.png")
    folder.metrics({"pictures": drawn})
    folder.finish(folder.path, then)


def _save(picture: np.ndarray, path: Path) -> None:
    with path.open("wb") as file:
        Image.fromarray(picture).save(file, "PNG")

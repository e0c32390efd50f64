"""`latentdrive world`: write the built-in world as clips or as a NAVSIM data set, perhaps with videos beside it.

    latentdrive world world=small preview=true

only draws a few scenes of a NAVSIM data set that was written earlier, as `data=navsim` reads them.
"""

import time
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from latentdrive.build import build
from latentdrive.config import Config, compose
from latentdrive.counting import noun_of
from latentdrive.drawing.scenes import scene_picture
from latentdrive.files import write_atomic
from latentdrive.overrides import quoted
from latentdrive.run_folder import RunFolder, progress
from latentdrive.types import SensorNeeds
from latentdrive.world.navsim.split_files import UNFILTERED

PREVIEWED = ("cam_l0", "cam_f0", "cam_r0", "cam_b0")
VIDEO = "video"  # folder of the clips beside a NAVSIM data set
Counts = dict[str, dict[str, int]]


def run(cfg: Config) -> dict[str, Counts] | None:
    """Write the world into cfg.path and its videos, if there are any, into cfg.path/video.

    The same command finishes an interrupted one. A dry run writes nothing. Returns counts by world
    and split; None for a dry run and for a preview.
    """
    with RunFolder(cfg, verb=cfg.verb) as folder:
        return _write(cfg, folder)


def _write(cfg: Config, folder: RunFolder) -> dict[str, Counts] | None:
    started = time.monotonic()
    path, processes, next_command, dry_run = Path(cfg.path), cfg.processes, cfg.next, cfg.dry_run
    preview, previews = cfg.preview, cfg.previews
    folder.say(f"World {cfg.name}, in {path}")
    worlds = {path: build(cfg.world)}
    if cfg.video is not None:
        worlds[path / VIDEO] = build(cfg.video)
    cfg.require_all_read()
    if preview and not dry_run:
        overrides = [f"data.path={quoted(str(path))}", f"paths.data={quoted(cfg.paths.data)}"]
        return _preview(folder, overrides, previews, next_command)
    counts: dict[str, Counts] = {}
    for world_path, world in worlds.items():
        for line in world.lines():
            folder.say(line)
        if dry_run:
            folder.say(f"dry run: would write these below {world_path}")
            continue
        counts[world_path.name] = world.write(world_path, processes)
        _say_counts(folder, counts[world_path.name])
    if dry_run:
        return None
    folder.metrics({"parts": counts, "seconds": round(time.monotonic() - started, 1)})
    folder.finish(path, next_command)
    return counts


def _say_counts(folder: RunFolder, counts: Counts) -> None:
    """Print the counts of each split, and what to do where it has fewer scenes than wanted."""
    for split, numbers in counts.items():
        facts = [f"{value:,} {noun_of(value, name)}" for name, value in numbers.items()]
        folder.say(f"{split}: {', '.join(facts)}")
        if numbers.get("points", 0) < numbers.get("points_wanted", 0):
            folder.say(
                "  fewer scenes than wanted: there are too few candidate moments, or the score drops too many of them "
                f"(world.points). Raise world.splits.{split}.drives."
            )


def _preview(folder: RunFolder, overrides: list[str], previews: int, next_command: str) -> None:
    """Draw one scene of each of `previews` drives of every split into the run's folder.

    Scenes that the score has dropped are not drawn. overrides: say where the data is.
    """
    data = build(compose("doctor", ["data=navsim", *overrides]).data)
    pictures = []
    for split in [name for name in data.splits() if not name.endswith(UNFILTERED)] or [None]:
        source = data.open_scenes(split=split, needs=SensorNeeds(cameras=PREVIEWED, frames="now", lidar=True))
        tokens: dict[str, list[str]] = {}
        for token in source.tokens:
            tokens.setdefault(source.drive(token), []).append(token)
        evenly = np.unique(np.linspace(0, len(tokens) - 1, min(previews, len(tokens))).astype(int))
        for drive in progress([list(tokens)[index] for index in evenly.tolist()], what=f"drawing {split}"):
            token = tokens[drive][len(tokens[drive]) // 2]
            picture = scene_picture(source[token], source.truth(token))
            folder.path.mkdir(parents=True, exist_ok=True)
            write_atomic(folder.path / f"{drive}.png", partial(_save, picture))
            pictures.append(f"{drive}.png")
    folder.metrics({"pictures": pictures})
    folder.finish(folder.path, next_command)


def _save(picture: np.ndarray, path: Path) -> None:
    with path.open("wb") as file:
        Image.fromarray(picture).save(file, "PNG")

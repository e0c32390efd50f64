"""`doctor`: what is there, what is missing, what to type next.

    latentdrive doctor data=video data.path=clips/

Looks at this machine and at the clips and scenes that a data configuration names: counts them, reads a sample, and estimates what
reading all of them takes. Changes nothing but its own run folder, and the index of NAVSIM logs in data.cache_folder.
"""

import importlib.metadata
import importlib.util
import math
import os
import platform
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from latentdrive.build import build
from latentdrive.commands.scene_survey import Finding, survey
from latentdrive.config import Config
from latentdrive.data.batches.windows import WindowSpec
from latentdrive.data.clips.clip_source import ClipFacts
from latentdrive.data.clips.data_set import PARTS, DataSet
from latentdrive.data.clips.frame_cache import CachedClips
from latentdrive.errors import NoClips, TooManyUnreadable, TooShort, UnreadableClip
from latentdrive.run_folder import RunFolder, progress
from latentdrive.statistics import chance_of_as_many
from latentdrive.types import DrivingClip, PoseSource

GOOD, LACKING, WRONG = "  ok ", "  -- ", "  !! "
MARKS = {Finding.GOOD: GOOD, Finding.LACKING: LACKING, Finding.WRONG: WRONG}
SCENES = 200  # of each split, whose sensor files are looked for
ACCIDENT = 0.001  # a sample that is rarer than this among data within the limits is no accident
PACKAGES = ("torch", "torchvision", "lightning", "timm", "transformers", "av", "panda3d", "highway-env")
EXTRAS = {"export": ("onnx", "onnxruntime"), "teacher": ("peft",)}  # as in pyproject.toml
POSES = {
    PoseSource.RECORDED: "recorded poses",
    PoseSource.VISUAL_ODOMETRY: "poses by visual odometry, without scale",
    PoseSource.NONE: "no poses",
}


@dataclass
class Examined:
    """What a sample of one part showed. fresh: clips read for it, in `seconds`; the others were known from another part."""

    clips: int
    looked_at: int
    read: list[tuple[DrivingClip, ClipFacts]] = field(default_factory=list)
    unreadable: list[UnreadableClip] = field(default_factory=list)
    too_short: int = 0
    with_truth: int = 0
    windows: int = 0
    fresh: int = 0
    seconds: float = 0.0


def run(cfg: Config) -> dict[str, Any]:
    """Print the findings; returns the counts by part. Raises NoClips without clips, TooManyUnreadable beyond the bound."""
    folder, data = RunFolder(cfg, verb=cfg.verb), build(cfg.data)
    sample, then, dry_run = cfg.sample, cfg.next, cfg.dry_run
    spec = WindowSpec(transitions=cfg.transitions, transition_s=cfg.transition_s, rate_hz=data.rate_hz)
    cfg.require_all_read()
    folder.say("This machine")
    for line in _machine(folder.path):
        folder.say(line)
    if dry_run:
        return {}
    folder.say(f"\nData: {data.path}")
    found: dict[str, Examined] = {}
    seen: dict[Path, tuple[DrivingClip, ClipFacts, bool] | UnreadableClip] = {}
    for part in (part for part in PARTS if data.has(part)):
        try:
            clips = data.open(part)
        except NoClips as error:
            if part == "train":
                raise NoClips(f"{error}. Clips without a download: latentdrive world path=FOLDER") from None
            folder.say(f"{LACKING}{part}: {error}")
            continue
        found[part] = _examine(clips, spec, seen, sample=sample, what=part)
        for line in _findings(part, found[part], clips, spec):
            folder.say(line)
    if any(data.has(part) for part in PARTS):
        folder.say(f"{GOOD}{data.estimate(found, features_a_frame=None)}")
        for line in _doubts(found, data):
            folder.say(line)
    scenes: dict[str, int] = {}
    if data.has_scenes:
        folder.say("\nScenes")
        for finding, text in survey(data, sample=SCENES, progress=progress, counts=scenes):
            folder.say(f"{MARKS[finding]}{text}")
    counts: dict[str, Any] = {
        part: {
            "clips": one.clips,
            "looked_at": one.looked_at,
            "unreadable": len(one.unreadable),
            "too_short": one.too_short,
        }
        for part, one in found.items()
    }
    folder.metrics({"parts": counts, "scenes": scenes})
    counts |= {"scenes": scenes} if data.has_scenes else {}
    # Decision points without pictures teach nothing: what comes next then is data that does.
    folder.finish(folder.path, then.format(data=cfg.data_words) if found else "latentdrive world world=small")
    return counts


def _machine(folder: Path) -> Iterator[str]:
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    yield f"{GOOD}{os.cpu_count()} CPU cores, {memory_gb:.0f} GB memory, {shutil.disk_usage(folder).free / 1e9:.0f} GB free on disk"
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            card = torch.cuda.get_device_properties(index)
            yield f"{GOOD}GPU {index}: {card.name}, {card.total_memory / 1e9:.0f} GB"
    else:
        yield f"{LACKING}no GPU: the tiny configurations run on the CPU, the full-size ones need one"
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    yield f"{GOOD}Python {platform.python_version()}, {versions}"
    for extra, modules in EXTRAS.items():
        if missing := [name for name in modules if importlib.util.find_spec(name) is None]:
            yield f"{LACKING}extra {extra} is not installed ({', '.join(missing)}): pip install 'latentdrive[{extra}]'"
        else:
            yield f"{GOOD}extra {extra}: {', '.join(modules)}"


def _examine(
    clips: CachedClips,
    spec: WindowSpec,
    seen: dict[Path, tuple[DrivingClip, ClipFacts, bool] | UnreadableClip],
    *,
    sample: int,
    what: str,
) -> Examined:
    """Read some clips, spread evenly over all, past the cache. seen: what was read before, by place: parts may share files."""
    picked = np.unique(np.linspace(0, len(clips) - 1, min(sample, len(clips))).astype(int)).tolist()
    found, begun = Examined(clips=len(clips), looked_at=len(picked)), time.monotonic()
    for index in progress(picked, what=f"reading {what}"):
        place = clips.location(index)
        try:
            if place not in seen:
                clip, facts = clips.source.read(index)
                seen[place] = clip, facts, clips.source.truth(index) is not None
                found.fresh += 1
            if isinstance(seen[place], UnreadableClip):
                raise seen[place]
            clip, facts, with_truth = seen[place]
            used = clips.part.of(clip, place)
        except UnreadableClip as error:
            if isinstance(error, TooShort):  # the part of this clip is empty; another part of it may not be
                found.too_short += 1
                continue
            seen.setdefault(place, error)
            found.unreadable.append(error)
            continue
        windows = len(spec.starts(used))
        found.read.append((used, facts))
        found.with_truth += with_truth
        found.too_short += not windows
        found.windows += windows
    found.seconds = time.monotonic() - begun
    return found


def _findings(part: str, found: Examined, clips: CachedClips, spec: WindowSpec) -> Iterator[str]:
    yield f"{GOOD}{part}: {found.clips:,} clips; {found.looked_at} of them looked at"
    for error in found.unreadable[:3]:
        yield f"{WRONG}unreadable: {error}"
    if len(found.unreadable) > 3:
        yield f"{WRONG}and {len(found.unreadable) - 3} more"
    if found.too_short:
        yield f"{LACKING}{found.too_short} of them too short for a window of {spec.transitions} transitions of {spec.transition_s:g} s"
    if not found.read:
        return
    used, facts = zip(*found.read)
    rates = sorted({round(one.source_hz, 1) for one in facts})
    sizes = sorted({f"{one.source_width} x {one.source_height}" for one in facts})
    yield (
        f"{GOOD}{_span(rates)} frames a second, read at {spec.rate_hz:g}; {_some(sizes)} pixels, read at {clips.width} x {clips.height}; "
        f"{np.mean([one.duration_s for one in facts]):.1f} s a clip"
    )
    counted = {"cuts": "cuts", "repeated": "repeated frames", "holes": "gaps"}
    counts = [f"{sum(getattr(one, name) for one in facts):,} {text}" for name, text in counted.items()]
    yield f"{GOOD}{', '.join(counts)}, {sum(one.standstill_s for one in facts):.1f} s of standstill"
    poses = sorted({POSES[one.pose_source] for one in used})
    kind = LACKING if any(one.pose_source == PoseSource.NONE for one in used) else GOOD
    cameras = "camera known" if all(one.intrinsics is not None for one in used) else "camera guessed for some or all"
    truth = "; truth about the others" if found.with_truth else ""
    yield f"{kind}{' and '.join(poses)}; {cameras}{truth}"
    each = found.windows / found.looked_at
    kind = GOOD if found.windows else WRONG
    advice = "" if found.windows else ": give longer clips, or lower transitions or transition_s"
    yield f"{kind}about {each * found.clips:,.0f} windows of {spec.transitions} transitions of {spec.transition_s:g} s{advice}"
    if found.fresh:
        yield f"{GOOD}reading all of them takes about {_duration(found.seconds / found.fresh * found.clips)} on one core"


def _doubts(found: dict[str, Examined], data: DataSet) -> Iterator[str]:
    """Parts whose sample holds more unreadable clips than data.max_unreadable allows.

    Raises TooManyUnreadable where that can't be an accident of the sample, NoClips where no clip serves.
    """
    for part, one in found.items():
        bad, allowed = len(one.unreadable), math.floor(min(data.max_unreadable, 1.0) * one.clips)
        said = (
            f"{part}: {bad} of {one.looked_at} clips looked at can't be read, data.max_unreadable allows "
            f"{data.max_unreadable:.2%}"
        )
        if chance_of_as_many(bad, drawn=one.looked_at, marked=allowed, of=one.clips) < ACCIDENT:
            raise TooManyUnreadable(f"{said}: repair or remove them, or raise data.max_unreadable")
        if bad > data.max_unreadable * one.looked_at:
            yield f"{WRONG}{said} of all {one.clips:,}: repair or remove them; sample={one.clips} looks at every clip"
    if not any(one.windows for one in found.values()):
        raise NoClips(f"{data.path}: no clip is long enough for one window: give longer clips, or lower transitions")


def _span(values: list[float]) -> str:
    return f"{values[0]:g}" if len(values) == 1 else f"{values[0]:g} to {values[-1]:g}"


def _some(texts: list[str]) -> str:
    return ", ".join(texts[:3]) + (f" and {len(texts) - 3} other sizes" if len(texts) > 3 else "")


def _duration(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )

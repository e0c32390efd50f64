"""What clips a data set holds, judged by a sample that is read: findings for `doctor`."""

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from latentdrive.counting import counted
from latentdrive.data.batches.transitions import WindowSpec
from latentdrive.data.clips.clip_source import ClipFacts
from latentdrive.data.clips.data_set import DataSet
from latentdrive.data.clips.frame_cache import CachedClips
from latentdrive.errors import LatentDriveError, NoClips, TooManyUnreadable, TooShort, UnreadableClip
from latentdrive.findings import Finding, good, lacking, wrong
from latentdrive.run_folder import progress
from latentdrive.statistics import recordings, upper_tail_probability
from latentdrive.types import DrivingClip, PoseSource

ACCIDENT = 0.001  # a sample that is rarer than this among data within the limits is no accident
NAMED = 3  # how many unreadable clips are named
POSES = {
    PoseSource.RECORDED: "recorded poses",
    PoseSource.VISUAL_ODOMETRY: "poses by visual odometry, without scale",
    PoseSource.NONE: "no poses",
}


@dataclass(frozen=True)
class ReadClip:
    """A clip as its source gave it, before it is cut to a part. has_truth: whether others' boxes are known."""

    clip: DrivingClip
    facts: ClipFacts
    has_truth: bool


@dataclass
class PartSample:
    """Counts from a sample of one part.

    clips: how many the part has. looked_at: size of the sample. read: the clips, cut to the part.
    unreadable, too_short: of the sample. with_truth: clips with the truth about others. windows: in
    the sample. fresh: clips that were read for this part, in `seconds`; other clips were known from
    another part that shares the files.
    """

    clips: int
    looked_at: int
    read: list[tuple[DrivingClip, ClipFacts]] = field(default_factory=list)
    unreadable: list[UnreadableClip] = field(default_factory=list)
    too_short: int = 0
    with_truth: int = 0
    windows: int = 0
    fresh: int = 0
    seconds: float = 0.0

    def counts(self) -> dict[str, int]:
        """The numbers that doctor keeps."""
        return {
            "clips": self.clips,
            "looked_at": self.looked_at,
            "unreadable": len(self.unreadable),
            "too_short": self.too_short,
        }


class ClipSurvey:
    """Reads samples of the parts of a data set, past the cache. size: clips that are looked at,
    spread evenly over all.
    """

    def __init__(self, spec: WindowSpec, *, size: int) -> None:
        self.spec, self.size = spec, size
        self._known: dict[Path, ReadClip | UnreadableClip] = {}  # by place, because parts may share files

    def sample(self, clips: CachedClips, *, part: str) -> PartSample:
        """Read a sample of one part."""
        picked = np.unique(np.linspace(0, len(clips) - 1, min(self.size, len(clips))).astype(int)).tolist()
        sample, started = PartSample(clips=len(clips), looked_at=len(picked)), time.monotonic()
        for index in progress(picked, what=f"reading {part}"):
            self._look_at(clips, index, sample)
        sample.seconds = time.monotonic() - started
        return sample

    def _look_at(self, clips: CachedClips, index: int, sample: PartSample) -> None:
        place = clips.location(index)
        try:
            if place not in self._known:
                clip, facts = clips.source.read(index)
                self._known[place] = ReadClip(clip, facts, clips.source.truth(index) is not None)
                sample.fresh += 1
            known = self._known[place]
            if isinstance(known, UnreadableClip):
                raise known
            used = clips.part.of(known.clip, place, piece=clips.is_piece(index))
        except TooShort:  # this part of the clip is empty, another part of it may not be
            sample.too_short += 1
            return
        except UnreadableClip as error:
            self._known.setdefault(place, error)
            sample.unreadable.append(error)
            return
        windows = len(self.spec.starts(used))
        sample.read.append((used, known.facts))
        sample.with_truth += known.has_truth
        sample.too_short += not windows
        sample.windows += windows

    def findings(self, part: str, sample: PartSample, clips: CachedClips) -> Iterator[Finding]:
        """Findings about a part, from its sample."""
        spec = f"{counted(self.spec.transitions, 'transition')} of {self.spec.transition_s:g} s"
        yield good(f"{part}: {counted(sample.clips, 'clip')}; {sample.looked_at} of them looked at")
        for error in sample.unreadable[:NAMED]:
            yield wrong(f"unreadable: {error}")
        if len(sample.unreadable) > NAMED:
            yield wrong(f"and {len(sample.unreadable) - NAMED} more")
        if sample.too_short:
            yield lacking(f"{sample.too_short} of them too short for a window of {spec}")
        if not sample.read:
            return
        drives, _ = recordings([clip.drive for clip, _ in sample.read])
        yield good(f"those that can be read come from {counted(len(drives), 'drive')}")
        yield from self._picture_findings(sample, clips)
        yield self._pose_finding(sample)
        count = sample.windows / sample.looked_at * sample.clips
        if sample.windows:
            yield good(f"about {counted(round(count), 'window')} of {spec}")
        else:
            yield wrong(f"no windows of {spec}: give longer clips, or lower transitions or transition_s")
        if sample.fresh:
            total_s = sample.seconds / sample.fresh * sample.clips
            yield good(f"reading all of them takes about {_duration(total_s)} on one core")

    def _picture_findings(self, sample: PartSample, clips: CachedClips) -> Iterator[Finding]:
        facts = [facts for _, facts in sample.read]
        rates = sorted({round(fact.source_hz, 1) for fact in facts})
        sizes = sorted({f"{fact.source_width} x {fact.source_height}" for fact in facts})
        mean_s = np.mean([fact.duration_s for fact in facts])
        yield good(
            f"{_span(rates)} frames a second, read at {self.spec.rate_hz:g}; {_first(sizes)} pixels, "
            f"read at {clips.width} x {clips.height}; {mean_s:.1f} s a clip"
        )
        cuts, repeated, gaps = (sum(counts) for counts in zip(*((f.cuts, f.repeated, f.holes) for f in facts)))
        damaged = [f"{clip.key}: {fact.damage_note}" for clip, fact in sample.read if fact.damage_note]
        if damaged:
            yield wrong(f"{len(damaged)} damaged, what is intact of them is used: {damaged[0]}; copy them again")
        standstill_s = sum(fact.standstill_s for fact in facts)
        if lost := [note for fact in facts for note in fact.pose_note.split("; ") if " images are " in note]:
            yield lacking(f"{len(lost):,} of the clips looked at lack images, the first one: {lost[0]}")
        yield good(
            f"{counted(cuts, 'cut')}, {counted(repeated, 'repeated frame')}, {counted(gaps, 'gap')}, "
            f"{standstill_s:.1f} s of standstill"
        )

    def _pose_finding(self, sample: PartSample) -> Finding:
        used = [clip for clip, _ in sample.read]
        poses = " and ".join(sorted({POSES[clip.pose_source] for clip in used}))
        known = all(clip.intrinsics is not None for clip in used)
        text = f"{poses}; {'camera known' if known else 'camera guessed for some or all'}"
        text += "; truth about the others" if sample.with_truth else ""
        return lacking(text) if any(clip.pose_source == PoseSource.NONE for clip in used) else good(text)


def doubts(samples: Mapping[str, PartSample], data: DataSet, problems: list[LatentDriveError]) -> Iterator[Finding]:
    """Parts whose sample holds more unreadable clips than data.max_unreadable allows.

    Added to `problems` are a TooManyUnreadable for each part in which that can't be an accident of the
    sample, and a NoClips if no clip gives a window.
    """
    for part, sample in samples.items():
        bad, allowed = len(sample.unreadable), math.floor(min(data.max_unreadable, 1.0) * sample.clips)
        text = (
            f"{part}: {bad} of {counted(sample.looked_at, 'clip')} looked at can't be read, data.max_unreadable allows "
            f"{data.max_unreadable:.2%}"
        )
        if upper_tail_probability(bad, drawn=sample.looked_at, marked=allowed, of=sample.clips) < ACCIDENT:
            problems.append(TooManyUnreadable(f"{text}: repair or remove them, or raise data.max_unreadable"))
            yield wrong(str(problems[-1]))
        elif bad > data.max_unreadable * sample.looked_at:
            remedy = f"repair or remove them; sample={sample.clips} looks at every clip"
            yield wrong(f"{text} of all {sample.clips:,}: {remedy}")
    if not any(sample.windows for sample in samples.values()):
        read = any(sample.read for sample in samples.values())
        reason = (
            "no clip is long enough for one window: give longer clips, or lower transitions"
            if read or any(sample.too_short for sample in samples.values())
            else "none of the clips looked at can be read"
        )
        problems.append(NoClips(f"{data.path}: {reason}"))
        yield wrong(str(problems[-1]))


def _span(values: list[float]) -> str:
    return f"{values[0]:g}" if len(values) == 1 else f"{values[0]:g} to {values[-1]:g}"


def _first(texts: list[str]) -> str:
    return ", ".join(texts[:3]) + (f" and {len(texts) - 3} other sizes" if len(texts) > 3 else "")


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"

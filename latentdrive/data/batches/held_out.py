"""The fixed windows that a codebook is evaluated on, as batches.

No clip is opened before a batch or the length is asked for, and then only as many as are needed:
choosing 1,000 windows of a million clips opens 250.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from itertools import chain

import numpy as np

from latentdrive.counting import counted
from latentdrive.data.batches.augmentation import NO_AUGMENTATION
from latentdrive.data.batches.streams import shuffled
from latentdrive.data.batches.transitions import TransitionBatch, WindowSpec
from latentdrive.data.batches.windows import make_batch, open_clip, window_starts
from latentdrive.data.clips.clip_source import ReadableSource
from latentdrive.data.clips.frame_cache import CachedClips
from latentdrive.data.unreadable import UnreadableLog
from latentdrive.errors import NoClips, UnreadableClip

WINDOWS_A_CLIP = 4  # of many clips, each gives this many windows, because its windows resemble each other
LONG = 100  # progress is shown for more clips than this
Watch = Callable[[range], Iterable[int]]


class HeldOut:
    """A fixed list of at most `most` windows as batches, in an order that mixes clips; the last batch may be smaller.

    watch: shows the progress of opening clips, if they are many.
    """

    def __init__(
        self,
        *,
        clips: CachedClips,
        spec: WindowSpec,
        most: int,
        batch_size: int,
        patch_grid: tuple[int, int],
        take: str,
        unreadable: UnreadableLog,
        watch: Watch,
    ) -> None:
        self.clips, self.spec, self.batch_size, self.patch_grid, self.take = clips, spec, batch_size, patch_grid, take
        self.most, self.unreadable, self.watch = most, unreadable, watch

    @cached_property
    def windows(self) -> list[tuple[int, int]]:
        """(clip, start) of each window. Raises NoClips if no clip holds one."""
        return pick_windows(
            self.clips,
            self.spec,
            most=self.most,
            unreadable=self.unreadable,
            watch=self.watch,
            with_truth=self.patch_grid is not None,
        )

    def __len__(self) -> int:
        return -(-len(self.windows) // self.batch_size)

    def __getitem__(self, number: int) -> TransitionBatch:
        if number >= len(self):
            raise IndexError(number)
        picked = self.windows[number * self.batch_size : (number + 1) * self.batch_size]
        return make_batch(
            self.clips, picked, self.spec, take=self.take, patch_grid=self.patch_grid, augmentation=NO_AUGMENTATION
        )

    def __iter__(self) -> Iterator[TransitionBatch]:
        return (self[number] for number in range(len(self)))


def pick_windows(
    source: ReadableSource, spec: WindowSpec, *, most: int, unreadable: UnreadableLog, watch: Watch, with_truth: bool
) -> list[tuple[int, int]]:
    """At most `most` windows as (clip, start), in a mixed order that is the same for the same clips.

    If clips are few, all of them are opened, and every window is equally likely to be chosen. If
    they are many, a shuffled walk takes WINDOWS_A_CLIP of each clip and ends when there are enough;
    if there are never enough, more windows of these clips fill up. Clips that can't be read, or
    hold no window, go to `unreadable`. with_truth: a clip with an unreadable truth is unreadable,
    too.
    """
    many = len(source) * WINDOWS_A_CLIP > most
    needed = min(len(source), -(-most // WINDOWS_A_CLIP)) if many else len(source)
    shown = watch(range(needed)) if needed > LONG else range(needed)
    taken, spare = [], []
    for place in chain(shown, range(needed, len(source))):
        if many and len(taken) >= most:
            break
        index = shuffled(place, len(source), key=(0, 0))
        try:
            starts = window_starts(source, spec, index, open_clip(source, index, with_truth=with_truth).clip)
        except UnreadableClip as error:
            unreadable.add(index, error)
            continue
        candidates = [(index, int(start)) for start in np.random.default_rng([0, index]).permutation(starts)]
        share = WINDOWS_A_CLIP if many else len(candidates)
        taken += candidates[:share]
        spare += candidates[share:]
    windows = sorted(taken if len(taken) >= most else taken + spare)
    if not windows:
        raise NoClips(
            f"no held-out clip is long enough for {counted(spec.transitions, 'transition')} of {spec.transition_s:g} s "
            f"({unreadable.summary()}; the last one: {unreadable.last}): give longer clips, or fewer transitions"
        )
    return [windows[i] for i in np.random.default_rng(0).permutation(len(windows))[:most]]

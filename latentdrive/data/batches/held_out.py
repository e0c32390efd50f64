"""The fixed windows that a model is judged on: which there are, and their batches.

After batches.py. Nothing is opened before the first batch or the length is asked for, and then only as many clips as are
needed: choosing 1,000 windows of a million clips opens 250.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from itertools import chain

import numpy as np

from latentdrive.data.batches.transitions import TransitionBatch, WindowSpec
from latentdrive.data.batches.windows import NO_AUGMENTATION, make_batch, open_clip, shuffled, window_starts
from latentdrive.data.clips.clip_source import ReadableSource
from latentdrive.data.clips.frame_cache import CachedClips
from latentdrive.data.unreadable import UnreadableLog
from latentdrive.errors import NoClips, UnreadableClip

WINDOWS_A_CLIP = 4  # taken of each clip where there are more clips than needed: windows of one clip resemble each other
LONG = 100  # clips to open beyond which progress is shown
Watch = Callable[[range], Iterable[int]]


class HeldOut:
    """A fixed list of at most `most` windows as batches, in an order that mixes clips; the last batch may be smaller.

    watch: shows the progress of opening clips where they are many.
    """

    def __init__(
        self, *, clips: CachedClips, spec: WindowSpec, most: int, batch_size: int, patch_grid: tuple[int, int],
        take: str, unreadable: UnreadableLog, watch: Watch,
    ) -> None:  # fmt: skip
        self.clips, self.spec, self.batch_size, self.patch_grid, self.take = clips, spec, batch_size, patch_grid, take
        self.most, self.unreadable, self.watch = most, unreadable, watch

    @cached_property
    def windows(self) -> list[tuple[int, int]]:
        """(clip, start) of each window. Raises NoClips where no clip holds one."""
        return pick_windows(
            self.clips, self.spec, most=self.most, unreadable=self.unreadable, watch=self.watch,
            with_truth=self.patch_grid is not None,
        )  # fmt: skip

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
    """At most `most` (clip, start), mixed, the same for the same clips.

    Few clips: every one is opened and the choice is even over all of their windows. Many: a shuffled walk takes
    WINDOWS_A_CLIP of each clip and ends when there are enough; further windows of these clips fill up if there never are.
    Clips that can't be read (with_truth: together with their truth), or hold no window, go to `unreadable`.
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
        own = [(index, int(start)) for start in np.random.default_rng([0, index]).permutation(starts)]
        share = WINDOWS_A_CLIP if many else len(own)
        taken += own[:share]
        spare += own[share:]
    windows = sorted(taken if len(taken) >= most else taken + spare)
    if not windows:
        raise NoClips(
            f"no held-out clip is long enough for {spec.transitions} transitions of {spec.transition_s:g} s "
            f"({unreadable.summary()}; the last one: {unreadable.last}): give longer clips, or lower the number of transitions"
        )
    return [windows[i] for i in np.random.default_rng(0).permutation(len(windows))[:most]]

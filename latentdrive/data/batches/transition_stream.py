"""The training batches of a codebook: each a function of (seed, step, rank) alone.

A run that is killed and resumed at a step sees the same batches, and nothing about the sampler is
ever saved.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Int64
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from latentdrive.counting import counted
from latentdrive.data.batches.augmentation import Augmentation
from latentdrive.data.batches.streams import shuffled
from latentdrive.data.batches.transitions import TransitionBatch, WindowSpec
from latentdrive.data.batches.windows import Opened, make_batch, open_clip, window_starts
from latentdrive.data.clips.clip_source import ReadableSource
from latentdrive.data.unreadable import UnreadableLog
from latentdrive.errors import ConfigError, NoClips, UnreadableClip


class TransitionStream(IterableDataset):
    """Training batches from `start_step` up to `steps`; `batch(step)` is a function of (seed, step, rank).

    source: clips, cached or not. batch_size: windows of one rank's batch. pairs_per_clip: windows
    drawn from each clip that is opened; more than 1 saves decoding where nothing is cached. Every
    epoch visits the clips in another shuffled order. Ranks visit disjoint clips, and each of n
    workers makes every n-th step.
    """

    def __init__(
        self,
        *,
        source: ReadableSource,
        spec: WindowSpec,
        batch_size: int,
        pairs_per_clip: int,
        seed: int,
        start_step: int,
        steps: int,
        take: str,
        patch_grid: tuple[int, int] | None,
        augmentation: Augmentation,
        unreadable: UnreadableLog,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        if batch_size % pairs_per_clip:
            raise ConfigError(f"batch_size={batch_size} must be a multiple of pairs_per_clip={pairs_per_clip}")
        if len(source) == 0:
            raise NoClips("the source holds no clip: give another folder with data.path=FOLDER")
        self.source, self.spec, self.seed, self.take = source, spec, seed, take
        self.batch_size, self.pairs_per_clip = batch_size, pairs_per_clip
        self.start_step, self.steps, self.rank, self.ranks = start_step, steps, rank, ranks
        self.patch_grid, self.augmentation, self.unreadable = patch_grid, augmentation, unreadable

    def __iter__(self) -> Iterator[TransitionBatch]:
        worker = get_worker_info()
        first, stride = (0, 1) if worker is None else (worker.id, worker.num_workers)
        # A loader takes its workers' batches in turn, so steps come out in order.
        for step in range(self.start_step + first, self.steps, stride):
            yield self.batch(step)

    def __len__(self) -> int:
        return max(0, self.steps - self.start_step)

    def batch(self, step: int) -> TransitionBatch:
        """The batch of one step of this rank."""
        draws = np.random.default_rng([self.seed, step, self.rank]).random((self.batch_size, 5), np.float32)
        windows, opened = [], {}
        clips = self.batch_size // self.pairs_per_clip
        first = (step * self.ranks + self.rank) * clips
        for number in range(first, first + clips):
            index, starts = self._clip(number, opened)
            for row in range(len(windows), len(windows) + self.pairs_per_clip):
                windows.append((index, int(starts[min(int(draws[row, 4] * len(starts)), len(starts) - 1)])))
        return make_batch(
            self.source,
            windows,
            self.spec,
            take=self.take,
            patch_grid=self.patch_grid,
            augmentation=self.augmentation,
            draws=draws,
            opened=opened,
        )

    def clip_at(self, number: int, further: int = 0) -> int:
        """Index of the `number`-th clip that all ranks together visit, or of the one `further`
        places on in its epoch.
        """
        epoch, place = divmod(number, len(self.source))
        return shuffled((place + further) % len(self.source), len(self.source), key=(self.seed, epoch))

    def _clip(self, number: int, opened: dict[int, Opened]) -> tuple[int, Int64[np.ndarray, "S"]]:
        """Index and window starts of the `number`-th clip, or of the next usable one in its epoch;
        it is put into `opened`.
        """
        clips = len(self.source)
        for further in range(clips):
            index = self.clip_at(number, further)
            if index in self.unreadable:
                continue
            try:
                if index not in opened:
                    opened[index] = open_clip(self.source, index, with_truth=self.patch_grid is not None)
                return index, window_starts(self.source, self.spec, index, opened[index].clip)
            except UnreadableClip as error:
                self.unreadable.add(index, error)
        raise NoClips(
            f"none of the {counted(clips, 'clip')} can be used: {self.unreadable.summary()}. The last one: "
            f"{self.unreadable.last}"
        )


def loader(stream: TransitionStream, *, workers: int, pin_memory: bool) -> DataLoader:
    """Batches of the stream, made ahead by worker processes. Their number changes neither batches nor order."""
    return DataLoader(
        stream,
        batch_size=None,
        num_workers=workers,
        pin_memory=pin_memory,
        persistent_workers=workers > 0,
        prefetch_factor=4 if workers > 0 else None,
    )

"""Which scenes a batch holds: endless shuffled streams for training, fixed lists for evaluation.

Shared by teacher, student and planners; the codebook has a stream of its own
(transition_stream.py). A training batch is a function of (seed, step, rank) alone: nothing about
the sampler is saved, and a resumed run sees the same batches.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from latentdrive.errors import WrongShape


@runtime_checkable
class Batchable(Protocol):
    """A list of scenes that batches are made of: labelled windows, or scenes for planners."""

    def __len__(self) -> int: ...

    def batch(self, picked: Sequence[int]) -> tuple[Any, Any]: ...


class SceneStream(IterableDataset):
    """Endless training batches: every epoch has every scene once, in an order shuffled by (seed, epoch).

    batch_size: scenes of one rank's batch; ranks read disjoint parts of the epoch.
    """

    def __init__(
        self, scenes: Batchable, *, batch_size: int, seed: int, start_step: int, rank: int = 0, ranks: int = 1
    ) -> None:
        if batch_size < 1:
            raise WrongShape(f"batch_size must be at least 1, got {batch_size}")
        self.scenes, self.batch_size, self.seed, self.start_step = scenes, batch_size, seed, start_step
        self.rank, self.ranks = rank, ranks

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        worker = get_worker_info()
        first, stride = (0, 1) if worker is None else (worker.id, worker.num_workers)
        for step in count(self.start_step + first, stride):
            yield self.batch(step)

    def batch(self, step: int) -> tuple[Any, Any]:
        """The batch of one step of this rank."""
        picked, size = [], len(self.scenes)
        first = (step * self.ranks + self.rank) * self.batch_size
        for number in range(first, first + self.batch_size):
            epoch, place = divmod(number, size)
            picked.append(shuffled(place, size, key=(self.seed, epoch)))
        return self.scenes.batch(picked)


class _Picked:
    """Batches of a fixed list of scenes."""

    def __init__(self, scenes: Batchable, picks: list[int], batch_size: int) -> None:
        self.scenes, self.picks, self.batch_size = scenes, picks, batch_size

    def __len__(self) -> int:
        return -(-len(self.picks) // self.batch_size)

    def __getitem__(self, number: int) -> tuple[Any, Any]:
        return self.scenes.batch(self.picks[number * self.batch_size : (number + 1) * self.batch_size])


def endless(scenes: Batchable, *, batch_size: int, seed: int, start_step: int, workers: int) -> DataLoader:
    """Training batches of this rank from `start_step` on, see SceneStream."""
    rank, ranks = rank_now()
    stream = SceneStream(scenes, batch_size=batch_size, seed=seed, start_step=start_step, rank=rank, ranks=ranks)
    return DataLoader(
        stream, batch_size=None, collate_fn=_whole_batch, num_workers=workers, persistent_workers=workers > 0
    )


def in_order(scenes: Batchable, picks: list[int], batch_size: int) -> DataLoader:
    """Batches of the picked scenes, in order; the last one may be smaller."""
    return DataLoader(_Picked(scenes, picks, batch_size), batch_size=None, collate_fn=_whole_batch)


def mixed_choice(count: int, most: int) -> list[int]:
    """At most `most` of `count` rows, in order: a random choice that is the same every time."""
    return sorted(np.random.default_rng(0).permutation(count)[:most].tolist())


def rank_now() -> tuple[int, int]:
    """Rank of this process and number of ranks, as they are known at this moment."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return 0, 1
    return torch.distributed.get_rank(), torch.distributed.get_world_size()


def shuffled(place: int, count: int, *, key: Iterable[int]) -> int:
    """Where a keyed shuffle of `count` items puts the item at `place`: a permutation that is never written out.

    A four-round Feistel network over the next even power of two. A value beyond `count` is
    encrypted again until it falls below it.
    """
    half = max(1, (max(1, count - 1).bit_length() + 1) // 2)
    mask = (1 << half) - 1
    rounds = np.random.SeedSequence(list(key)).generate_state(4, np.uint64)
    value = place
    while True:
        left, right = value >> half, value & mask
        for secret in rounds:
            mixed = (right + int(secret)) * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
            mixed = (mixed ^ mixed >> 29) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
            left, right = right, left ^ (mixed >> 32 & mask)
        value = left << half | right
        if value < count:
            return value


def _whole_batch(batch: tuple[Any, Any]) -> tuple[Any, Any]:
    """The batch as it is; torch's own function would turn the tuple into a list."""
    return batch

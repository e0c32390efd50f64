"""What the training of a codebook and its judges ask of the batches; ClipBatches gives it."""

from collections.abc import Iterable, Sequence
from typing import Protocol, runtime_checkable

from latentdrive.backbones import CachedMaps
from latentdrive.data.batches.transitions import TransitionBatch
from latentdrive.progress import Progress
from latentdrive.types import ClipTruth, DrivingClip


@runtime_checkable
class TrueClips(Protocol):
    """Clips, their drives, and what the built-in world knows of them (None where no world wrote them)."""

    rate_hz: float

    def __getitem__(self, index: int) -> DrivingClip: ...

    def drive(self, index: int) -> str: ...

    def truth(self, index: int) -> ClipTruth | None: ...


@runtime_checkable
class FixedWindows(Protocol):
    """A fixed list of windows as batches. clips: the clips that `TransitionBatch.clip` numbers."""

    clips: TrueClips

    def __len__(self) -> int: ...

    def __getitem__(self, number: int) -> TransitionBatch: ...


@runtime_checkable
class ClipFacts(Protocol):
    """The data set behind the batches. block_s: intervals resample blocks of so many seconds; None: whole drives."""

    rate_hz: float
    block_s: float | None

    def has(self, part: str) -> bool:
        """Whether the data set has this part (`probe`, for example)."""
        ...


@runtime_checkable
class CodebookBatches(Protocol):
    """Batches of transitions. takes_features: whether they hold features, computed by what `use_features` is given."""

    data: ClipFacts
    takes_features: bool
    watch: Progress

    def use_features(self, extractor: CachedMaps, fingerprint: str) -> None: ...

    def fill(self) -> None: ...

    def train_batches(self, start_step: int) -> Iterable[TransitionBatch]: ...

    @property
    def held_out(self) -> FixedWindows:
        """The windows of `validation_batches`."""
        ...

    def validation_batches(self) -> Iterable[TransitionBatch]: ...

    def windows_of(self, part: str, *, transitions: int, most: int | None = None) -> FixedWindows:
        """A fixed, mixed list of a part's windows; at most `most`, or as many as validation looks at."""
        ...


Windows = Sequence[TransitionBatch] | FixedWindows

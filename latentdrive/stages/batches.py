"""The base of every stage's batches: what `commands/train.py` asks of them, with defaults that do nothing.

Free of Lightning, so that the data rooms can subclass it. Subclasses: ClipBatches (codebook),
SceneBatches (teacher and student), PlannerBatches (planners).
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from latentdrive.identity import FormerIds
from latentdrive.progress import Progress, unwatched


class StageBatches(ABC):
    """Training batches, held-out batches, and what the checkpoint's card says about them.

    parents: role → fingerprint of everything that the batches were made from; the card lists them.
    former_ids: earlier ids of these parents. watch: shows the progress of long work; the command sets
    it to a progress bar.
    """

    # Settings, named relative to the node `batches`, on which no weight depends. A resumed run may
    # change them.
    free_settings: ClassVar[tuple[str, ...]] = ()

    def __init__(self, *, parents: Mapping[str, str], former_ids: FormerIds) -> None:
        self.parents, self.former_ids = dict(parents), former_ids
        self.watch: Progress = unwatched

    @abstractmethod
    def estimate(self, model: Any) -> str:
        """Estimate of the cost of reading the data, in one line. Called before anything is prepared."""

    @abstractmethod
    def train_batches(self, start_step: int) -> Iterable[Any]:
        """Endless batches, beginning with that of `start_step`. A batch depends on seed, step and rank alone."""

    @abstractmethod
    def validation_batches(self) -> Iterable[Any]:
        """The held-out batches, the same ones at every call."""

    @property
    @abstractmethod
    def facts(self) -> Mapping[str, Any]:
        """Facts about the training data, for the checkpoint's card. Called after training."""

    @property
    def learned_from(self) -> str | None:
        """Digest of the training scenes that turned out to be usable, after preparation; None where all
        are used.

        A run may be resumed only with the same digest, because the order of the batches depends on it.
        """
        return None

    def summary(self) -> str:
        """What was left out and why, for the end of a run; empty where there is nothing to say."""
        return ""

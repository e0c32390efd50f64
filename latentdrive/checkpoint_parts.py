"""Protocols and marks by which a class can be kept in a checkpoint folder. checkpoint.py acts on them.

At the bottom of the import order, so that models and their parts need not import checkpoint.py.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

from latentdrive.identity import FormerIds

MARK = "_is_checkpoint_part"
Part = TypeVar("Part", bound=type)


def checkpoint_part(cls: Part) -> Part:
    """Allow the configuration in a checkpoint folder to build this class.

    The maker of a folder decides what its configuration names. A class may carry this mark only if
    building it with any arguments reads, writes and sends nothing. Subclasses do not inherit the mark.
    """
    setattr(cls, MARK, True)
    return cls


def is_checkpoint_part(target: Any) -> bool:
    """Whether `target` is a class that carries the mark itself."""
    return isinstance(target, type) and vars(target).get(MARK, False) is True


@runtime_checkable
class KeepsFiles(Protocol):
    """A model with files besides its weights, such as a tokenizer. The checkpoint folder holds them, too."""

    def save_files(self, folder: Path) -> None:
        """Create `folder` and write the files there."""
        ...

    @staticmethod
    def from_files(folder: Path) -> Mapping[str, Any]:
        """The constructor's arguments that the files stand for; they replace those of the configuration."""
        ...


class SpeaksCodes:
    """Mixin of models whose latent actions belong to one codebook. `checkpoint.load` sets both attributes.

    codebook_id: fingerprint of the codebook, empty before the model has a checkpoint. former_ids:
    earlier ids of the codebook and of other parents, as in `checkpoint.Card`.
    """

    codebook_id: str = ""
    former_ids: FormerIds = {}  # noqa: RUF012 - never changed, only replaced

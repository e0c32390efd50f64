"""Initial weights of a new run: the node `init` names a checkpoint of ours, or weights published for this model."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from torch import nn

from latentdrive import checkpoint
from latentdrive.checkpoint import Card
from latentdrive.errors import CheckpointError, ConfigError, MixedCodebooks
from latentdrive.identity import FormerIds, same_id
from latentdrive.types import OfficialWeights


@dataclass(frozen=True, kw_only=True)
class Start:
    """The weights that a new run takes over. It is false where there are none.

    checkpoint: a checkpoint folder. without: parts of the model that keep their new weights all the
    same. navsim_checkpoint: a file of weights that NAVSIM published for this planner. Raises
    ConfigError where both sources are named, and for `without` without a checkpoint.
    """

    checkpoint: str | None
    without: Sequence[str]
    navsim_checkpoint: str | None = None

    def __post_init__(self) -> None:
        if self.checkpoint and self.navsim_checkpoint:
            raise ConfigError(
                f"init.checkpoint={self.checkpoint} and init.navsim_checkpoint={self.navsim_checkpoint}: a run starts "
                "from one of them; leave the other out"
            )
        if self.without and not self.checkpoint:
            raise ConfigError(
                f"init.without={list(self.without)} names parts of init.checkpoint, and there is no checkpoint to "
                "start from: name one, or leave init.without out"
            )

    def __bool__(self) -> bool:
        return bool(self.checkpoint or self.navsim_checkpoint)

    def __str__(self) -> str:
        return str(self.checkpoint or self.navsim_checkpoint)

    @cached_property
    def fingerprint(self) -> str | None:
        """Fingerprint of the weights; None where there are none."""
        if self.checkpoint:
            return checkpoint.read_card(self.checkpoint).fingerprint
        return checkpoint.file_fingerprint(self.navsim_checkpoint) if self.navsim_checkpoint else None

    def load(self, model: nn.Module, *, codebook: str | None, former_ids: FormerIds) -> list[str]:
        """Load the weights into `model`. Returns the parts that keep their new weights; see `start_from`."""
        if self.checkpoint:
            return start_from(
                model, Path(self.checkpoint), without=self.without, codebook=codebook, former_ids=former_ids
            )
        if not isinstance(model, OfficialWeights):
            raise ConfigError(
                f"init.navsim_checkpoint: NAVSIM publishes no weights of a {type(model).__name__}; leave it out"
            )
        model.load_official(self.navsim_checkpoint)
        return []


def start_from(
    model: nn.Module,
    folder: Path,
    *,
    without: Sequence[str] = (),
    codebook: str | None = None,
    former_ids: FormerIds | None = None,
) -> list[str]:
    """Load the weights of a checkpoint into `model`, except those of the parts in `without`.

    codebook: id of the codes that the run learns; None where the model makes its own. former_ids:
    earlier ids of it. Returns the parts of the model that keep their new weights; a part that the
    checkpoint lacks, such as a head that was switched on later, is one of them. Raises CheckpointError
    naming weights that don't fit, MixedCodebooks where the checkpoint speaks other codes, and
    ConfigError for a part in `without` that the model does not have.
    """
    source, card = checkpoint.load(folder, expect=type(model))
    _require_usable(card, folder, codebook=codebook, former_ids=former_ids or {})
    own = model.state_dict()
    parts = {_part(key) for key in own}
    if unknown := sorted(set(without) - parts):
        raise ConfigError(
            f"init.without={unknown}: the model has no such part; its parts are {', '.join(sorted(parts))}"
        )
    loaded = {key: value for key, value in source.state_dict().items() if _part(key) not in without}
    loaded_parts = {_part(key) for key in loaded}
    expected = {key for key in own if _part(key) in loaded_parts}
    differing = [
        key
        for key in sorted(expected | loaded.keys())
        if key not in expected or key not in loaded or own[key].shape != loaded[key].shape
    ]
    if differing:
        raise CheckpointError(
            f"init.checkpoint={folder}: {len(differing)} weights do not fit this model, for example "
            f"{', '.join(differing[:3])}: give the model the sizes of {folder / checkpoint.CONFIG}"
        )
    model.load_state_dict(own | loaded)
    return sorted(parts - loaded_parts)


def _require_usable(card: Card, folder: Path, *, codebook: str | None, former_ids: FormerIds) -> None:
    if card.data.get("oracle_future"):
        raise CheckpointError(
            f"init.checkpoint={folder} was trained on codes of the future (oracle_future=true): no run may start from "
            "it; name another checkpoint, or leave it out"
        )
    own = card.parents.get("codebook")
    if None not in (codebook, own) and not same_id(own, codebook, card.former_ids, former_ids):
        raise MixedCodebooks(
            f"init.checkpoint={folder} speaks the codes of codebook {own}, the labels those of {codebook}: codes of "
            "two codebooks mean different things. Start from a checkpoint of the same codebook, or leave it out"
        )


def _part(key: str) -> str:
    """The part of the model that holds a weight: the first word of its name."""
    return key.split(".")[0]

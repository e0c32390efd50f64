"""Latent actions of several windows as tensors: joined to batches, and as the arrays that a store keeps.

Below latent_store.py. A shard has the features of a middle layer only where its labeller gives them.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from latentdrive.errors import MixedCodebooks
from latentdrive.types import LatentActions, LatentFeatures

MIDDLE = "middle_"  # prefix of the arrays of a middle layer's features
FEATURES = ("visual", "action", f"{MIDDLE}visual", f"{MIDDLE}action")


def stack_latents(parts: Sequence[LatentActions]) -> LatentActions:
    """Batches joined into one. Raises MixedCodebooks with the ids if they are of different codebooks."""
    ids = sorted({part.codebook_id for part in parts})
    if len(ids) > 1:
        raise MixedCodebooks(f"latent actions of codebooks {' and '.join(ids)} can't be joined: label with one of them")
    first = parts[0]
    features = None if first.features is None else join_features([part.features for part in parts])
    return LatentActions(
        codes=torch.cat([part.codes for part in parts]),
        environment=None if first.environment is None else torch.cat([part.environment for part in parts]),
        logits=None if first.logits is None else torch.cat([part.logits for part in parts]),
        features=features,
        codebook_id=first.codebook_id,
        origin=first.origin,
    )


def join_features(parts: Sequence[LatentFeatures]) -> LatentFeatures:
    """Features of several batches along their first axis."""
    return LatentFeatures(
        visual=torch.cat([part.visual for part in parts]),
        action=torch.cat([part.action for part in parts]),
        middle=None if parts[0].middle is None else join_features([part.middle for part in parts]),
    )


def arrays_of(features: LatentFeatures, prefix: str = "") -> dict[str, Tensor]:
    """The tensors of a shard that hold these features."""
    arrays = {f"{prefix}visual": features.visual.half(), f"{prefix}action": features.action.half()}
    return arrays if features.middle is None else arrays | arrays_of(features.middle, MIDDLE)


def features_in(tensors: Mapping[str, Tensor], prefix: str = "") -> LatentFeatures | None:
    """The features that `arrays_of` put there; None where there are none."""
    if f"{prefix}visual" not in tensors:
        return None
    return LatentFeatures(
        visual=tensors[f"{prefix}visual"].float(),
        action=tensors[f"{prefix}action"].float(),
        middle=None if prefix else features_in(tensors, MIDDLE),
    )

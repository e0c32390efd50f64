"""What the plans of both worlds share: a seed for each split, and exact shares of kinds over its drives."""

import hashlib
from collections.abc import Mapping
from typing import TypeVar

import numpy as np

Kind = TypeVar("Kind")


def split_seed(name: str) -> int:
    """A number that only this split has."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "little")


def in_shares(shares: Mapping[Kind, float], count: int) -> list[Kind]:
    """`count` kinds in the shares given, one kind after the other: a small split is no worse mixed than a large one."""
    places = (np.arange(count) + 0.5) / max(count, 1)
    bounds = np.cumsum(list(shares.values())) / sum(shares.values())
    return [list(shares)[min(int(np.searchsorted(bounds, place)), len(bounds) - 1)] for place in places]

"""Seeds of splits, and exact shares of kinds over their drives, for the plans of both worlds."""

import hashlib
from collections.abc import Mapping
from typing import TypeVar

import numpy as np

Kind = TypeVar("Kind")


def split_seed(name: str) -> int:
    """Return a number that is unique to this split."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "little")


def in_shares(shares: Mapping[Kind, float], count: int) -> list[Kind]:
    """Return `count` kinds with the given shares, sorted by kind.

    The shares are exact up to rounding, so a small split is mixed as well as a large one.
    """
    places = (np.arange(count) + 0.5) / max(count, 1)
    bounds = np.cumsum(list(shares.values())) / sum(shares.values())
    return [list(shares)[min(int(np.searchsorted(bounds, place)), len(bounds) - 1)] for place in places]

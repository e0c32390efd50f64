"""The type of functions that show the progress of long work, and one that shows nothing.

Commands pass `run_folder.progress`. At the bottom of the import order, so that reading, preparing
and labelling need not know the terminal.
"""

from collections.abc import Callable, Iterable
from typing import Any

Progress = Callable[..., Iterable[Any]]  # (items, what=, total=) → the same items


def unwatched(items: Iterable[Any], *, what: str = "", total: int | None = None) -> Iterable[Any]:
    """The items, without showing anything."""
    return items

"""How long work is watched without knowing by whom: commands hand in `run_folder.progress`, everybody else nothing.

At the bottom of the import order, so that reading, preparing and labelling need not know the terminal.
"""

from collections.abc import Callable, Iterable
from typing import Any

Progress = Callable[..., Iterable[Any]]  # (items, what=, total=) → the same items


def unwatched(items: Iterable[Any], *, what: str = "", total: int | None = None) -> Iterable[Any]:
    """The items as they are."""
    return items

"""Counts in sentences: "1 scene", "2 scenes", "1,234 trajectories"."""

from numbers import Integral


def counted(count: Integral | int, one: str, many: str | None = None) -> str:
    """A number with its noun, in the singular where the number is 1. many: the plural, where it is not `one` + s."""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"

"""Counts in sentences: "1 scene", "2 scenes", "1,234 trajectories"."""

from numbers import Integral


def counted(count: int | Integral, one: str, many: str | None = None) -> str:
    """A number with its noun, in the singular where the number is 1. many: the plural, where it is not `one` + s."""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


def noun_of(count: object, key: str) -> str:
    """The words behind a number whose key is a plural: `points wanted` for points_wanted, `point wanted` where the
    number is 1.
    """
    noun, space, rest = key.replace("_", " ").partition(" ")
    return (noun.removesuffix("s") if count == 1 else noun) + space + rest

"""Kinds of values in a configuration: whether a value is what its reader asks for, and how to say so.

A kind is an annotation of Python, such as `int` or `list[str] | None`. What plain values of YAML can't
be (a model, a function) is not judged here.
"""

import collections.abc
import enum
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict

SHOWN = 60  # characters of a value in a message
LARGEST = 2**1023  # whole numbers up to this have a float


@dataclass(frozen=True)
class Bound:
    """The least value of a number, as in `Annotated[int, Bound(1)]`. above: it must be more than that."""

    least: int
    above: bool = False

    def holds(self, value: Any) -> bool:
        """Whether a value is no number, or one within the bound."""
        if not isinstance(value, int | float):
            return True
        return value > self.least if self.above else value >= self.least

    def __str__(self) -> str:
        return f"{'more than' if self.above else 'at least'} {self.least}"


Count = Annotated[int, Bound(1)]  # of things without which there is nothing to do
Whole = Annotated[int, Bound(0)]
Positive = Annotated[float, Bound(0, above=True)]
NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "text", types.NoneType: "null"}
LISTS, MAPPINGS = (list, tuple, set, frozenset, collections.abc.Sequence), (dict, collections.abc.Mapping)


def fits(value: Any, kind: Any) -> bool:
    """Whether a plain value is of this kind. A whole number is a number; true is not. Unknown kinds fit everything."""
    kind = type(None) if kind is None else kind
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return any(fits(value, one) for one in inner)
    if origin is Annotated:
        return fits(value, inner[0]) and all(bound.holds(value) for bound in inner[1:] if isinstance(bound, Bound))
    if origin is Literal:
        return any(type(value) is type(one) and value == one for one in inner)
    if kind is float and isinstance(value, int) and abs(value) > LARGEST:
        return False
    if kind is int or kind is float:
        return isinstance(value, int | kind) and not isinstance(value, bool)
    if kind in (bool, str, types.NoneType):
        return isinstance(value, kind)
    if is_typeddict(kind):
        return isinstance(value, Mapping) and misfit(value, kind) is None
    plain = origin if origin is not None else kind
    if plain in LISTS:
        return isinstance(value, list | tuple) and all(fits(entry, one) for entry, one in _entries(value, plain, inner))
    if plain in MAPPINGS:
        values = value.values() if isinstance(value, Mapping) else ()
        return isinstance(value, Mapping) and (len(inner) < 2 or all(fits(entry, inner[1]) for entry in values))
    if isinstance(plain, type) and issubclass(plain, PurePath):
        return isinstance(value, str)
    return not (isinstance(plain, type) and issubclass(plain, enum.StrEnum)) or value in list(plain)


def _entries(values: Any, plain: Any, inner: tuple[Any, ...]) -> Iterable[tuple[Any, Any]]:
    """The entries of a list with the kind of each; their number is not judged."""
    if plain is tuple and len(inner) > 0 and inner[-1] is not Ellipsis:
        return zip(values, inner)
    return ((value, inner[0]) for value in values) if inner else ()


def in_words(kind: Any) -> str:
    """A kind as a person says it: `a whole number or null`."""
    kind = type(None) if kind is None else kind
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(map(in_words, inner)))
    if origin is Annotated:
        return ", ".join([in_words(inner[0]), *(str(bound) for bound in inner[1:] if isinstance(bound, Bound))])
    if origin is Literal:
        return f"one of {', '.join(map(str, inner))}"
    plain = origin if origin is not None else kind
    if plain in LISTS:
        return f"a list [{in_words(inner[0])}, ...]" if inner and inner[0] in NAMES else "a list"
    if plain in MAPPINGS:
        return "a mapping {key: value}"
    if is_typeddict(plain):
        return f"a mapping with {', '.join(sorted(plain.__required_keys__))}"
    if isinstance(plain, type) and issubclass(plain, enum.StrEnum):
        return f"one of {', '.join(plain)}"
    if isinstance(plain, type) and issubclass(plain, PurePath):
        return NAMES[str]
    return NAMES.get(plain, getattr(plain, "__name__", str(plain)))


def kind_like(default: Any) -> Any:
    """The kind of a key whose default value is this one; Any where the default does not tell."""
    if default is None or default == "???":
        return Any
    return next((kind for kind in (bool, int, float, str, list, dict) if isinstance(default, kind)), Any)


def mismatch(key: str, value: Any, kind: Any) -> str | None:
    """What to say where the value of a key is not of this kind; None where it is."""
    if fits(value, kind):
        return None
    text = _shown(value)
    remedy = ""
    if value is None or isinstance(value, bool | int | float):
        if fits("", kind):  # Hydra takes 2026 for a number, which may be meant as the name of a folder
            remedy = f"; for the text {text} write {key}=\"'{text}'\""
    elif fits([], kind):
        remedy = f", as in {key}=[{text}]"
    return f"{key}={text}: expected {in_words(kind)}{remedy}"


def misfit(content: Mapping[str, Any], form: type) -> str | None:
    """What to say about the first entry that is missing, or of another kind than `form`, a TypedDict, asks for.

    None where there is no such entry; entries that the form does not name are not judged.
    """
    for key, kind in get_type_hints(form).items():
        if key in content and (wrong := mismatch(key, content[key], kind)):
            return wrong
        if key not in content and key in form.__required_keys__:
            return f"{key} is missing"
    return None


def _shown(value: Any) -> str:
    """A value as it is typed, on one line; a long one is cut."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    text = " ".join(str(value).split())
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."

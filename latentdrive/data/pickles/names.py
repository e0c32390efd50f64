"""The names that a pickle may use, and what is made of each.

A step of `unpickle.py`. Names of numpy lead to `pickled_arrays.py`, classes of nuPlan and NAVSIM to stand-ins, builtin containers
are made here from arguments such as Python writes. No name is looked up in a module, so whatever is not on the list can't run.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from latentdrive.data.pickles.arrays import (
    Refusal,
    Room,
    Unfinished,
    array_from_buffer,
    scalar,
    unfinished_array,
    unfinished_dtype,
)
from latentdrive.data.pickles.stand_ins import CLASSES, Inert

# Keys whose hash costs no more than their size once. Python hashes a tuple's parts anew each time, so only short flat ones are let
# in, and a longer int could be made to collide with others at will.
QUICK_KEYS = {str, bytes, float, complex, bool, type(None)}
MAX_KEY_PARTS = 16
MAX_KEY_INT = 2**64


@dataclass(frozen=True, slots=True, eq=False)
class Name:
    """A name that a pickle may use. call: makes its value from (arguments, Room), None for names that are only arguments.

    create: makes an empty object of a class. factory: whether a defaultdict may have it.
    """

    full: str
    call: Callable[[tuple, Room], Any] | None = None
    create: Callable[[tuple, Room], Any] | None = None
    factory: bool = False


def find(module: Any, name: Any) -> Name:
    """The name on the list, by module and name exactly as written; Refusal names any other."""
    if type(module) is not str or type(name) is not str:
        raise Refusal("it names something by other than text: do not use this file")
    found = NAMES.get((module, name))
    if found is None:
        shown = f"{module}.{name}"[:200]
        raise Refusal(
            f"it asks for {shown if shown.isprintable() else ascii(shown)}, which is not on the list of names that data needs. "
            "Nothing of it was run. Do not use a file from a source you do not trust; if this one is genuine, report the name"
        )
    return found


def check_keys(keys: Iterable[Any]) -> None:
    """Raises Refusal unless all may be keys of a dict or members of a set: plain values, short flat tuples of them, Inert."""
    if {*map(type, keys)} <= QUICK_KEYS:
        return
    for key in keys:
        if type(key) is tuple and len(key) <= MAX_KEY_PARTS:
            parts: tuple = key
        else:
            parts = (key,)
        for part in parts:
            plain = type(part) in QUICK_KEYS or type(part) is Inert or isinstance(part, np.generic)
            if not plain and not (type(part) is int and -MAX_KEY_INT < part < MAX_KEY_INT):
                raise Refusal(
                    f"a dict or set has a key made of {type(part).__name__}: only text, numbers and short tuples"
                )


def _array(args: tuple, _room: Room) -> Unfinished:
    if len(args) != 3 or args[0] is not NDARRAY or type(args[1]) is not tuple or args[1] != (0,):
        raise Refusal("it asks for an array in a way that numpy does not write")
    return unfinished_array()


def _encode(args: tuple, room: Room) -> bytes:
    """Bytes in protocol 2, as text whose characters are their values."""
    text, encoding = args
    if type(text) is not str or encoding not in ("latin1", "latin-1"):
        raise Refusal("it encodes text in a way that Python does not write")
    room.take(len(text))
    return text.encode("latin1")


def _bytes(args: tuple, _room: Room) -> bytes:
    if args:
        raise Refusal("it makes bytes in a way that Python does not write")
    return b""


def _bytearray(args: tuple, room: Room) -> bytearray:
    if len(args) == 2:
        args = (_encode(args, room),)
    if len(args) > 1 or not all(type(part) is bytes for part in args):
        raise Refusal("it makes a bytearray in a way that Python does not write")
    room.take(sum(map(len, args)))
    return bytearray(*args)


def _complex(args: tuple, _room: Room) -> complex:
    if len(args) != 2 or {*map(type, args)} != {float}:
        raise Refusal("it makes a complex number in a way that Python does not write")
    return complex(*args)


def _set_of(kind: type) -> Callable[[tuple, Room], Any]:
    def make(args: tuple, room: Room) -> Any:
        if len(args) > 1 or not all(type(part) in (list, tuple) for part in args):
            raise Refusal(f"it makes a {kind.__name__} in a way that Python does not write")
        for items in args:
            room.take(len(items))
            check_keys(items)
        return kind(*args)

    return make


def _defaultdict(args: tuple, _room: Room) -> dict:
    """A plain dict: Python frees nested defaultdicts by recursion without a limit, and a reader wants no silent entries."""
    if len(args) > 1 or not all(part is None or (type(part) is Name and part.factory) for part in args):
        raise Refusal("it holds a defaultdict whose factory is no builtin type: do not use this file")
    return {}


def _inert(module: str, kind: str, *, called: bool) -> Callable[[tuple, Room], Inert]:
    return lambda args, _room: Inert(module=module, kind=kind, args=args, called=called)


def _reconstructor(args: tuple, room: Room) -> Inert:
    """An object whose class asks for the way of protocols 0 and 1: (class, object, None)."""
    if (
        len(args) != 3
        or type(args[0]) is not Name
        or args[0].create is None
        or args[1] is not OBJECT
        or args[2] is not None
    ):
        raise Refusal("it makes an object in a way that Python does not write")
    return args[0].create((), room)


def _new_object(args: tuple, room: Room) -> Inert:
    """An object as opcode NEWOBJ makes it: (class, arguments …)."""
    if not args or type(args[0]) is not Name or args[0].create is None:
        raise Refusal("it makes an object in a way that Python does not write")
    return args[0].create(args[1:], room)


NDARRAY = Name("numpy.ndarray")
OBJECT = Name("builtins.object")

_CALLS: dict[str, Callable[[tuple, Room], Any]] = {
    "numpy.dtype": unfinished_dtype,
    "collections.defaultdict": _defaultdict,
    "_codecs.encode": _encode,
    "copyreg._reconstructor": _reconstructor,
    "copyreg.__newobj__": _new_object,
    "builtins.complex": _complex,
} | {
    f"numpy.{core}.{name}": call
    for core in ("core", "_core")  # numpy 1 and 2
    for name, call in (
        ("multiarray._reconstruct", _array),
        ("multiarray.scalar", scalar),
        ("numeric._frombuffer", array_from_buffer),
    )
}  # fmt: skip
_TYPES: dict[str, Callable[[tuple, Room], Any] | None] = {
    "int": None,
    "float": None,
    "bool": None,
    "str": None,
    "list": None,
    "tuple": None,
    "dict": None,
    "bytes": _bytes,
    "bytearray": _bytearray,
    "set": _set_of(set),
    "frozenset": _set_of(frozenset),
}
# How protocol 2 spells these modules and types.
_OF_PYTHON_2 = {"builtins": "__builtin__", "copyreg": "copy_reg"}
_TYPES_OF_PYTHON_2 = {"int": "long", "str": "unicode"}


def _list_of_names() -> dict[tuple[str, str], Name]:
    named = [Name(full, call) for full, call in _CALLS.items()]
    named += [Name(f"builtins.{kind}", call, factory=True) for kind, call in _TYPES.items()]
    named += [NDARRAY, OBJECT]
    for module, kinds in CLASSES.items():
        named += [
            Name(f"{module}.{kind}", _inert(module, kind, called=True), _inert(module, kind, called=False))
            for kind in kinds
        ]
    names = {(name.full.rpartition(".")[0], name.full.rpartition(".")[2]): name for name in named}
    old = {
        (_OF_PYTHON_2[module], _TYPES_OF_PYTHON_2.get(name, name)): found
        for (module, name), found in names.items()
        if module in _OF_PYTHON_2
    }
    return names | old


NAMES = _list_of_names()

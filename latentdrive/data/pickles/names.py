"""The names that a pickle may use, and what is made of each.

Middle layer of the reader (reading.py). Names of numpy lead to arrays.py. Classes of nuPlan and
NAVSIM become stand-ins, which hold attributes and do nothing; nothing of these packages is
imported. Builtin containers are made here from arguments such as Python writes. No name is looked
up in a module, so nothing outside this list can run.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from latentdrive.data.pickles.arrays import (
    CopyBudget,
    Refusal,
    Unfinished,
    array_from_buffer,
    scalar,
    unfinished_array,
    unfinished_dtype,
)

# Types of keys whose hash costs no more than reading the key once, and that a file can't make collide.
# Python hashes the parts of a tuple again each time, so only short flat tuples are accepted; long
# integers are refused because a file could make them collide at will.
QUICK_KEYS = {str, bytes, bool, type(None)}
NUMBER_KEYS = {float, complex}  # these can be made to collide, as can tuples of small numbers
ALIKE = 64  # most keys of one dict that may have the same hash: -1 and -2 have, and tuples of them
MAX_KEY_PARTS = 16
MAX_KEY_INT = 2**64

ACTOR_STATE = "nuplan.common.actor_state"
SIMULATION = "nuplan.planning.simulation"

# Module → classes whose objects NAVSIM's own files hold; a class that is not listed is refused by
# name.
CLASSES = {
    f"{ACTOR_STATE}.agent": ("Agent",),
    f"{ACTOR_STATE}.agent_state": ("AgentState",),
    f"{ACTOR_STATE}.static_object": ("StaticObject",),
    f"{ACTOR_STATE}.scene_object": ("SceneObject", "SceneObjectMetadata"),
    f"{ACTOR_STATE}.oriented_box": ("OrientedBox",),
    f"{ACTOR_STATE}.state_representation": ("StateSE2", "StateVector2D", "TimePoint"),
    f"{ACTOR_STATE}.tracked_objects": ("TrackedObjects",),
    f"{ACTOR_STATE}.tracked_objects_types": ("TrackedObjectType",),
    f"{ACTOR_STATE}.waypoint": ("Waypoint",),
    "nuplan.common.maps.maps_datatypes": ("TrafficLightStatuses", "TrafficLightStatusData", "TrafficLightStatusType"),
    f"{SIMULATION}.observation.observation_type": ("DetectionsTracks",),
    f"{SIMULATION}.trajectory.predicted_trajectory": ("PredictedTrajectory",),
    f"{SIMULATION}.trajectory.trajectory_sampling": ("TrajectorySampling",),
    "navsim.common.dataclasses": ("Trajectory",),
    "pathlib": ("PosixPath", "PurePosixPath"),  # sensor files of synthetic scenes
}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class StandIn:
    """Stand-in for one object of a listed class: data without behaviour.

    module, kind: where the class lives and what it is called. args: what its constructor was given,
    in order; an enum keeps its value there. attributes: by name, as the file has them. called:
    whether the pickle calls the class (as for enums) or makes an empty object of it.
    """

    module: str
    kind: str
    args: tuple = ()
    attributes: dict[str, Any] = field(default_factory=dict)
    called: bool = False

    def __repr__(self) -> str:
        return f"<inert {self.kind} with {', '.join([*map(repr, self.attributes)]) or 'no attributes'}>"


@dataclass(frozen=True, slots=True, eq=False)
class Name:
    """A name that a pickle may use.

    call: makes its value from (arguments, budget); None for names that are only arguments. create:
    makes an empty object of a class. factory: whether a defaultdict may have it.
    """

    full: str
    call: Callable[[tuple, CopyBudget], Any] | None = None
    create: Callable[[tuple, CopyBudget], Any] | None = None
    factory: bool = False


def find(module: Any, name: Any) -> Name:
    """The listed name with exactly this module and spelling. Raises Refusal, with the name, if there is none."""
    if type(module) is not str or type(name) is not str:
        raise Refusal("it names something by other than text: do not use this file")
    entry = NAMES.get((module, name))
    if entry is None:
        shown = f"{module}.{name}"[:200]
        raise Refusal(
            f"it asks for {shown if shown.isprintable() else ascii(shown)}, which is not on the list of names that "
            "data needs. Nothing of it was run. Do not use a file from a source you do not trust; if this one is "
            "genuine, report the name"
        )
    return entry


def check_keys(keys: Iterable[Any]) -> None:
    """Raises Refusal unless all of these may be keys of a dict or members of a set.

    Plain values, stand-ins, and short flat tuples of them may.
    """
    keys = list(keys)
    if {*map(type, keys)} <= QUICK_KEYS:
        return
    for key in keys:
        if type(key) is tuple and len(key) <= MAX_KEY_PARTS:
            parts: tuple = key
        else:
            parts = (key,)
        for part in parts:
            plain = type(part) in QUICK_KEYS | NUMBER_KEYS or type(part) is StandIn or isinstance(part, np.generic)
            if not plain and not (type(part) is int and -MAX_KEY_INT < part < MAX_KEY_INT):
                kind = type(part).__name__
                raise Refusal(f"a dict or set has a key made of {kind}: only text, numbers and short tuples")
    _check_hashes(keys)


def check_growth(container: dict | set, before: int) -> None:
    """Raises Refusal if a dict or set that grew from `before` members holds too many of the same hash.

    Looks only when the number of members has doubled, so that the looks together cost as much as the growth.
    """
    doubled = len(container) > ALIKE and len(container).bit_length() > before.bit_length()
    if doubled and not {*map(type, container)} <= QUICK_KEYS:
        _check_hashes(container)


def _check_hashes(keys: Collection[Any]) -> None:
    if len(keys) > ALIKE and max(Counter(map(hash, keys)).values()) > ALIKE:
        raise Refusal("a dict or set has keys that were made to have the same hash: do not use this file")


def _array(args: tuple, _budget: CopyBudget) -> Unfinished:
    if len(args) != 3 or args[0] is not NDARRAY or type(args[1]) is not tuple or args[1] != (0,):
        raise Refusal("it asks for an array in a way that numpy does not write")
    return unfinished_array()


def _encode(args: tuple, budget: CopyBudget) -> bytes:
    """Bytes as protocol 2 writes them: text whose characters are the values."""
    text, encoding = args
    if type(text) is not str or encoding not in ("latin1", "latin-1"):
        raise Refusal("it encodes text in a way that Python does not write")
    budget.spend(len(text))
    return text.encode("latin1")


def _bytes(args: tuple, _budget: CopyBudget) -> bytes:
    if args:
        raise Refusal("it makes bytes in a way that Python does not write")
    return b""


def _bytearray(args: tuple, budget: CopyBudget) -> bytearray:
    if len(args) == 2:
        args = (_encode(args, budget),)
    if len(args) > 1 or not all(type(part) is bytes for part in args):
        raise Refusal("it makes a bytearray in a way that Python does not write")
    budget.spend(sum(map(len, args)))
    return bytearray(*args)


def _complex(args: tuple, _budget: CopyBudget) -> complex:
    if len(args) != 2 or {*map(type, args)} != {float}:
        raise Refusal("it makes a complex number in a way that Python does not write")
    return complex(*args)


def _set_of(kind: type) -> Callable[[tuple, CopyBudget], Any]:
    def make(args: tuple, budget: CopyBudget) -> Any:
        if len(args) > 1 or not all(type(part) in (list, tuple) for part in args):
            raise Refusal(f"it makes a {kind.__name__} in a way that Python does not write")
        for items in args:
            budget.spend(len(items))
            check_keys(items)
        return kind(*args)

    return make


def _defaultdict(args: tuple, _budget: CopyBudget) -> dict:
    """A plain dict: Python frees nested defaultdicts by recursion without a limit, and readers want
    no silent entries.
    """
    if len(args) > 1 or not all(part is None or (type(part) is Name and part.factory) for part in args):
        raise Refusal("it holds a defaultdict whose factory is no builtin type: do not use this file")
    return {}


def _stand_in(module: str, kind: str, *, called: bool) -> Callable[[tuple, CopyBudget], StandIn]:
    return lambda args, _: StandIn(module=module, kind=kind, args=args, called=called)


def _reconstructor(args: tuple, budget: CopyBudget) -> StandIn:
    """An object whose class asks for the way of protocols 0 and 1: (class, object, None)."""
    if len(args) != 3 or args[1] is not OBJECT or args[2] is not None:
        raise Refusal("it makes an object in a way that Python does not write")
    return _new_object(args[:1], budget)


def _new_object(args: tuple, budget: CopyBudget) -> StandIn:
    """An object as opcode NEWOBJ makes it: (class, arguments …)."""
    if not args or type(args[0]) is not Name or args[0].create is None:
        raise Refusal("it makes an object in a way that Python does not write")
    return args[0].create(args[1:], budget)


NDARRAY = Name("numpy.ndarray")
OBJECT = Name("builtins.object")

_CALLS: dict[str, Callable[[tuple, CopyBudget], Any]] = {
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
}
_TYPES: dict[str, Callable[[tuple, CopyBudget], Any] | None] = {
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
_MODULES_OF_PYTHON_2 = {"builtins": "__builtin__", "copyreg": "copy_reg"}
_TYPES_OF_PYTHON_2 = {"int": "long", "str": "unicode"}


def _list_of_names() -> dict[tuple[str, str], Name]:
    entries = [Name(full, call) for full, call in _CALLS.items()]
    entries += [Name(f"builtins.{kind}", call, factory=True) for kind, call in _TYPES.items()]
    entries += [NDARRAY, OBJECT]
    for module, kinds in CLASSES.items():
        entries += [
            Name(f"{module}.{kind}", _stand_in(module, kind, called=True), _stand_in(module, kind, called=False))
            for kind in kinds
        ]
    names = {(entry.full.rpartition(".")[0], entry.full.rpartition(".")[2]): entry for entry in entries}
    old = {
        (_MODULES_OF_PYTHON_2[module], _TYPES_OF_PYTHON_2.get(name, name)): entry
        for (module, name), entry in names.items()
        if module in _MODULES_OF_PYTHON_2
    }
    return names | old


NAMES = _list_of_names()

"""Changes to what a file says, drawn from a seed: one value of its content is replaced, and it is written again.

Bytes that are changed at random rarely get past a reader's first check; these do.
"""

from dataclasses import replace
from random import Random
from typing import Any

import numpy as np

from latentdrive.data.pickles.names import StandIn

DOWN = 0.85  # how often a change goes into a container rather than to the container itself


def changed_value(value: Any, rng: Random) -> Any:
    """The value with one of its parts replaced, removed, repeated or renamed. The value itself stays as it is."""
    if isinstance(value, dict) and value:
        return _changed_dict(value, rng)
    if isinstance(value, list | tuple) and value:
        return type(value)(_changed_list(list(value), rng))
    if isinstance(value, StandIn):
        return _changed_stand_in(value, rng)
    if isinstance(value, np.ndarray) and rng.random() < 0.7:
        return _changed_array(value, rng)
    return _hostile(value, rng)


def _changed_dict(value: dict, rng: Random) -> Any:
    key = rng.choice(list(value))
    if rng.random() < DOWN:
        return value | {key: changed_value(value[key], rng)}
    rest = {name: entry for name, entry in value.items() if name != key}
    match rng.randrange(5):
        case 0:
            return rest
        case 1:
            return rest | {_hostile_key(rng): value[key]}
        case 2:
            return value | {_hostile_key(rng): _hostile(None, rng)}
        case 3:
            return value | {key: value[rng.choice(list(value))]}
    return _hostile(value, rng)


def _changed_list(value: list, rng: Random) -> list:
    place = rng.randrange(len(value))
    if rng.random() < DOWN:
        return [*value[:place], changed_value(value[place], rng), *value[place + 1 :]]
    match rng.randrange(4):
        case 0:
            return value[:place] + value[place + 1 :]
        case 1:
            return [*value, value[place]]
        case 2:
            return [*value[:place], _hostile(None, rng), *value[place:]]
    return value[::-1]


def _changed_stand_in(value: StandIn, rng: Random) -> Any:
    if value.args and rng.random() < 0.5:
        return replace(value, args=tuple(_changed_list(list(value.args), rng)))
    if value.attributes and rng.random() < DOWN:
        attributes = _changed_dict(value.attributes, rng)
        return replace(value, attributes=attributes) if isinstance(attributes, dict) else attributes
    return _hostile(value, rng)


def _changed_array(array: np.ndarray, rng: Random) -> Any:
    match rng.randrange(9):
        case 0:
            return array[: rng.randint(0, max(0, len(array) - 1))] if array.ndim else array[None]
        case 1:
            return np.concatenate([array, array]) if array.ndim and len(array) else np.zeros(3)
        case 2:
            return array.reshape(-1)
        case 3:
            return array[None]
        case 4:
            return array.T
        case 5:
            return np.zeros(array.shape, rng.choice(("f2", "f4", "f8", "i1", "i8", "u8", "?", "c16", "U3", "S2")))
        case 6:
            return array.tolist()
        case 7:
            return np.array(_hostile_number(rng))
    return _with_an_odd_number(array, rng)


def _with_an_odd_number(array: np.ndarray, rng: Random) -> np.ndarray:
    if not array.size or array.dtype.kind not in "fiub":
        return array[..., None]
    result, odd = array.copy(), _hostile_number(rng)
    with np.errstate(all="ignore"):
        try:
            result.flat[rng.randrange(array.size)] = odd
        except (OverflowError, ValueError, TypeError):
            result.flat[rng.randrange(array.size)] = 0
    return result


def _hostile_number(rng: Random) -> float | int:
    return rng.choice((0, -1, 1, 2, 255, 256, 10**6, 2**31, 2**62, 1e9, 1e30, 1e300, float("nan"), float("inf"), -1e30))


def _hostile_key(rng: Random) -> Any:
    return rng.choice(("", "extra", "_target_", "x" * 300, "\x00", "é", 0, -1, None, "__class__", "0"))


def _hostile(value: Any, rng: Random) -> Any:
    """Something else than what was expected."""
    deep: Any = 0
    for _ in range(rng.choice((5, 30, 70, 500))):
        deep = [deep]
    return rng.choice(
        (
            None,
            True,
            False,
            _hostile_number(rng),
            _hostile_number(rng),
            10**30,
            -(10**30),
            10**400,
            "",
            "text",
            "x" * 10_000,
            "\x00",
            "\n",
            "a\udc80b",
            "../../etc/passwd",
            "nan",
            "=1+1",
            "${x}",
            "???",
            b"bytes",
            [],
            {},
            [None],
            [[]],
            {"a": 1},
            {1: 2},
            deep,
            [value, value],
            {"value": value},
            str(value)[:1000],
            [0] * 1000,
        )
    )

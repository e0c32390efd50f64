"""numpy's part of a pickle, built from checked pieces: dtypes, arrays and scalars.

Lowest layer of the reader (reading.py). numpy's own `__setstate__` is never called, because it
copies flags, fields and sizes from the file into memory unchecked. Here a dtype is made from its
spelling, and an array from exactly as many bytes as its shape requires; every array owns its
memory.
"""

import re
from collections.abc import Callable
from typing import Any

import numpy as np

MAX_AXES = 32
MAX_CODE_POINT = 0x10FFFF
SPARE_BYTES = 2**20
BYTE_ORDERS = {"<", ">", "=", "|"}
# Structured types and long doubles are left out on purpose.
PLAIN_DTYPE = re.compile(r"(b1|[iu][1248]|f[248]|c8|c16|O8|[mM]8|[SU]\d{1,9})\Z")
TIME_UNITS = {b"Y", b"M", b"W", b"D", b"h", b"m", b"s", b"ms", b"us", b"ns", b"ps", b"fs", b"as", b"generic"}

# What an array of objects may hold. Containers are left out: numpy frees arrays within arrays by
# recursion, without a limit.
ELEMENTS = {type(None), bool, int, float, complex, str, bytes}


class Refusal(ValueError):
    """Why a pickle is refused; `reading.loads` adds the file's name."""


class CopyBudget:
    """How many bytes calls may still copy.

    A genuine file copies each of its bytes at most twice; a bomb does so many times.
    """

    def __init__(self, file_bytes: int) -> None:
        self.left = 2 * file_bytes + SPARE_BYTES

    def spend(self, size: int) -> None:
        """Take `size` bytes off the budget. Raises Refusal if less is left."""
        self.left -= size
        if self.left < 0:
            raise Refusal("it builds far more data than it holds")


class Unfinished:
    """An array or dtype between the two steps in which numpy pickles it. finish: makes the value from its state."""

    __slots__ = ("finish", "value")

    def __init__(self, finish: Callable[[Any, CopyBudget], Any]) -> None:
        self.finish = finish
        self.value = self  # stands for "no value yet"


def unfinished_array() -> Unfinished:
    """An array whose state is still to come: (1, shape, dtype, in Fortran order, bytes or list of elements)."""
    return Unfinished(_array_from_state)


def unfinished_dtype(args: tuple, _budget: CopyBudget) -> Unfinished:
    """A dtype of this spelling whose byte order is still to come. args: as numpy.dtype gets them."""
    spelling = args[0] if 1 <= len(args) <= 3 else None
    if type(spelling) is not str or not PLAIN_DTYPE.match(spelling):
        shown = spelling[:40] if type(spelling) is str else type(spelling).__name__
        raise Refusal(f"it holds an array of dtype {shown!r}: only plain numbers, text, times and objects are read")
    return Unfinished(lambda state, _: _dtype_from_state(spelling, state))


def scalar(args: tuple, budget: CopyBudget) -> np.generic:
    """A numpy scalar from (dtype, bytes)."""
    dtype, data = args
    return array_from_bytes((), dtype, data, "C", budget)[()]


def array_from_buffer(args: tuple, budget: CopyBudget) -> np.ndarray:
    """An array as protocol 5 writes it, from (bytes, dtype, shape, order, and for order K the axes)."""
    data, dtype, shape, order, *axes = args
    if type(order) is not str or order not in "CFK" or len(order) != 1 or len(axes) > 1:
        raise Refusal("it holds an array in an unknown order")
    array = array_from_bytes(shape, dtype, data, "F" if order == "F" else "C", budget)
    if order != "K" or not axes or axes[0] is None:
        return array
    if type(axes[0]) is not tuple or {*map(type, axes[0])} - {int}:
        raise Refusal("it holds an array with forged axes")
    return array.transpose(axes[0])


def array_from_bytes(shape: Any, dtype: Any, data: Any, order: str, budget: CopyBudget) -> np.ndarray:
    """An array that owns its memory, in the machine's byte order.

    Raises Refusal unless `data` has the size that shape and dtype require, and holds valid values.
    """
    count = _count(shape)
    if not isinstance(dtype, np.dtype) or dtype.kind == "O" or type(data) not in (bytes, bytearray):
        raise Refusal("it holds an array without a dtype or data")
    if len(data) != count * dtype.itemsize:
        raise Refusal(f"it holds an array of {count} x {dtype.itemsize} bytes, but {len(data)} bytes of data")
    budget.spend(max(len(data), dtype.itemsize, count if not dtype.itemsize else 0))
    if not data:
        return np.ndarray(shape, dtype, order=order)
    if dtype.kind == "b" and data.translate(None, b"\0\1"):
        raise Refusal("it holds an array of truth values that are neither 0 nor 1")
    if dtype.kind == "U" and np.frombuffer(data, dtype.byteorder + "u4").max() > MAX_CODE_POINT:
        raise Refusal("it holds an array of text with characters that do not exist")
    array = np.ndarray(shape, dtype, data, order=order)
    return array.copy(order="K") if dtype.isnative else array.astype(dtype.newbyteorder("="), order="K")


def _count(shape: Any) -> int:
    """Number of elements of an array of this shape."""
    if type(shape) is not tuple or len(shape) > MAX_AXES:
        raise Refusal("it holds an array of an impossible shape")
    count = 1
    for size in shape:
        if type(size) is not int or size < 0:
            raise Refusal("it holds an array of an impossible shape")
        count *= size
    return count


def _array_from_state(state: Any, budget: CopyBudget) -> np.ndarray:
    if type(state) is not tuple or len(state) != 5 or type(state[0]) is not int or state[0] != 1:
        raise Refusal("it holds an array with a forged state")
    _, shape, dtype, fortran, data = state
    if type(fortran) not in (bool, int):
        raise Refusal("it holds an array with a forged state")
    order = "F" if fortran else "C"
    if isinstance(dtype, np.dtype) and dtype.kind == "O":
        return _array_of_objects(shape, data, order, budget)
    return array_from_bytes(shape, dtype, data, order, budget)


def _array_of_objects(shape: Any, items: Any, order: str, budget: CopyBudget) -> np.ndarray:
    count = _count(shape)
    if type(items) is not list or len(items) != count:
        raise Refusal(f"it holds an array of {count} objects, but another number of them")
    budget.spend(count)
    for item in items:
        if type(item) not in ELEMENTS and not isinstance(item, np.generic) and not _is_plain_array(item):
            kind = type(item).__name__
            raise Refusal(f"it holds an array of objects of {kind}: only numbers, text and arrays of them")
    array = np.fromiter(items, dtype=object, count=count).reshape(shape)  # the list is in C order, whatever the array's
    return np.asfortranarray(array) if order == "F" else array


def _is_plain_array(item: Any) -> bool:
    return type(item) is np.ndarray and item.dtype.kind != "O"


def _dtype_from_state(spelling: str, state: Any) -> np.dtype:
    """Reads byte order and time unit; the spelling implies everything else that a genuine state holds."""
    if type(state) is not tuple or len(state) not in (8, 9) or type(state[0]) is not int or state[0] not in (3, 4):
        raise Refusal("it holds a dtype with a forged state")
    order, *parts = state[1:5]
    if type(order) is not str or order not in BYTE_ORDERS or parts != [None, None, None]:
        raise Refusal("it holds a dtype with a forged state, or a structured one")
    if spelling[0] in "mM":
        spelling += _time_unit(state[8] if len(state) == 9 else None)
    dtype = np.dtype(("" if order == "|" else order) + spelling)
    if spelling[0] in "SU" and state[5] != dtype.itemsize:
        raise Refusal("it holds a dtype with a forged size")
    return dtype


def _time_unit(metadata: Any) -> str:
    """The unit as numpy spells it, such as [25us]."""
    parts = metadata[1] if type(metadata) is tuple and len(metadata) == 2 else None
    if type(parts) is not tuple or len(parts) != 4 or type(parts[0]) is not bytes or {*map(type, parts[1:])} != {int}:
        raise Refusal("it holds times without a unit")
    unit, number, divisor, events = parts
    if unit not in TIME_UNITS or not 1 <= number < 2**31 or divisor != 1 or events != 1:
        raise Refusal("it holds times in a forged unit")
    return "" if unit == b"generic" else f"[{number}{unit.decode()}]"

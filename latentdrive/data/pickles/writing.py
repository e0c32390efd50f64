"""The only pickler: writes plain data and numpy arrays in a form that Python 3.9 with numpy 1.23 opens.

Writes what NAVSIM's devkit reads: logs of the built-in world, and submissions. It uses protocol 4,
and names arrays by `numpy.core`, which both numpy 1 and numpy 2 know. The same content always gives
the same bytes.
"""

import io
import pickle
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from latentdrive.data.pickles.arrays import PLAIN_DTYPE
from latentdrive.data.pickles.names import CLASSES, StandIn
from latentdrive.errors import RefusedPickle
from latentdrive.files import write_atomic

PLAIN = (type(None), bool, int, float, str, bytes, list, tuple, dict)
KINDS = "biufcSU"  # kinds of dtypes; numpy versions write objects, times and structures differently


class _Global(str):
    """A reference to be written, as "module name"."""


class _Dtype:
    """A dtype to be written. There is one per spelling, which arrays share."""

    def __init__(self, dtype: np.dtype) -> None:
        self.order, self.spelling = dtype.str[0], dtype.str[1:]
        text = {"S": (dtype.itemsize, 1, 0), "U": (dtype.itemsize, 4, 8)}  # bytes, alignment, flags
        self.state = (3, self.order, None, None, None, *text.get(dtype.kind, (-1, -1, 0)))


def write_pickle(path: str | Path, value: Any) -> None:
    """Write a value that `dumps` accepts. The file appears whole or not at all."""
    data = dumps(value)
    write_atomic(path, lambda new: new.write_bytes(data) and None)


def dumps(value: Any) -> bytes:
    """The value as pickle bytes.

    Accepts None, bool, int, float, str, bytes, list, tuple, dict, set, frozenset, numpy arrays and
    StandIn, and no subclasses of these. An object that stands in several places is written once.
    Raises RefusedPickle for any other type (for numpy scalars too, which `.item()` makes numbers),
    for arrays of objects or structures, and for values nested too deep to be written.
    """
    buffer = io.BytesIO()
    try:
        _Writer(buffer, protocol=4).dump(value)
    except RecursionError as error:
        raise RefusedPickle("the value is nested too deep to be written: make it flatter") from error
    return buffer.getvalue()


class _Writer(pickle._Pickler):
    """Python's pickler in Python with a closed list of types: it never calls `__reduce__` and looks up no name."""

    def __init__(self, file: io.BytesIO, protocol: int) -> None:
        super().__init__(file, protocol=protocol)
        self._same: dict[str, str] = {}  # equal text and names → the object that is written once
        self._dtypes: dict[str, _Dtype] = {}

    def reducer_override(self, value: Any) -> Any:
        """Called before every value that is not yet written."""
        return NotImplemented if type(value) in self.dispatch else _refuse(value)

    def save_text(self, value: str) -> None:
        """Writes equal text once, so that the bytes don't depend on which texts are one object in memory."""
        self._save_once(value, pickle._Pickler.save_str)

    def save_name(self, name: _Global) -> None:
        self._save_once(name, _Writer._save_stack_global)

    def save_array(self, array: np.ndarray) -> None:
        """Writes an array as numpy does: an empty one, then its state."""
        if array.dtype.kind not in KINDS or not PLAIN_DTYPE.match(array.dtype.str[1:]):
            raise RefusedPickle(f"an array of dtype {array.dtype} can't be written: only numbers and text ({KINDS})")
        dtype = self._dtypes.setdefault(array.dtype.str, _Dtype(array.dtype))
        fortran = array.flags.f_contiguous and not array.flags.c_contiguous
        data = array.tobytes(order="F" if fortran else "C")
        state = (1, array.shape, dtype, fortran, data)
        self._save_called(array, "numpy.core.multiarray _reconstruct", (_Global("numpy ndarray"), (0,), b"b"), state)

    def save_dtype(self, dtype: _Dtype) -> None:
        self._save_called(dtype, "numpy dtype", (dtype.spelling, False, True), dtype.state)

    def save_members(self, members: set | frozenset) -> None:
        """Writes members in sorted order, because the order of a set of text changes from run to run."""
        ordered = sorted(members, key=lambda member: (type(member).__name__, ascii(member)))
        self._save_called(members, f"builtins {type(members).__name__}", (ordered,), None)

    def save_stand_in(self, item: StandIn) -> None:
        """Writes a stand-in under the name of its class, for readers that have the class."""
        if item.kind not in CLASSES.get(item.module, ()):
            raise RefusedPickle(
                f"an object of {item.module}.{item.kind} can't be written: the class is not on the list"
            )
        opcode = pickle.REDUCE if item.called else pickle.NEWOBJ
        self._save_called(item, f"{item.module} {item.kind}", item.args, item.attributes or None, opcode)

    def _save_called(self, value: Any, name: str, args: tuple, state: Any, opcode: bytes = pickle.REDUCE) -> None:
        self.save(_Global(name))
        self.save(args)
        self.write(opcode)
        self.memoize(value)
        if state is not None:
            self.save(state)
            self.write(pickle.BUILD)

    def _save_once(self, value: Any, save: Any) -> None:
        first = self._same.setdefault(f"{type(value).__name__} {value}", value)
        if first is value or id(first) not in self.memo:
            save(self, first)
        else:
            self.write(self.get(self.memo[id(first)][0]))

    def _save_stack_global(self, name: _Global) -> None:
        for part in name.split(" "):
            self.save(part)
        self.write(pickle.STACK_GLOBAL)
        self.memoize(name)

    dispatch = {kind: pickle._Pickler.dispatch[kind] for kind in PLAIN} | {
        str: save_text,
        _Global: save_name,
        np.ndarray: save_array,
        _Dtype: save_dtype,
        set: save_members,
        frozenset: save_members,
        StandIn: save_stand_in,
    }


def _refuse(value: Any) -> NoReturn:
    hint = (
        "give .item() of it"
        if isinstance(value, np.generic)
        else "give plain Python containers, numbers, text or arrays"
    )
    kind = type(value)
    raise RefusedPickle(
        f"a value of {kind.__module__}.{kind.__qualname__} can't be written ({ascii(value)[:80]}): {hint}"
    )

"""The only unpickler: logs, scenes and recorded traffic without running what a file asks for.

An interpreter of the opcodes that Python 3 writes in protocols 2 to 5. It knows a list of names and calls none of them: `numpy`'s
are built in `pickled_arrays.py`, classes of nuPlan and NAVSIM become stand-ins (`inert.py`), builtin containers are made here.
Python's own unpickler does not fit: it applies states and items to whatever lies on its stack, sizes its memo as the file says,
and hashes nested keys for as long as a file likes.
"""

import pickletools
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from latentdrive.data.pickles.arrays import Refusal, Room, Unfinished
from latentdrive.data.pickles.names import Name, find
from latentdrive.data.pickles.opcodes import ACTIONS, Marks, Stack
from latentdrive.data.pickles.stand_ins import Inert
from latentdrive.data.unreadable import raise_if_out_of_files
from latentdrive.errors import RefusedPickle, UnreadableLogFile

# Whatever byte is wrong; Refusal is a ValueError, as are UnicodeDecodeError and what numpy says of impossible arrays.
DAMAGE = (ValueError, TypeError, IndexError, KeyError, OverflowError, MemoryError, struct.error)


LEAVES = {type(None), bool, int, float, complex, str, bytes, bytearray, np.ndarray}

# Opcodes that push something, by code (the names are those of `pickletools`).
CONSTANTS = {0x4E: None, 0x88: True, 0x89: False, 0x29: ()}  # NONE, NEWTRUE, NEWFALSE, EMPTY_TUPLE
EMPTY = {0x5D: list, 0x7D: dict, 0x8F: set}  # EMPTY_LIST, EMPTY_DICT, EMPTY_SET
NUMBERS = {
    0x4D: struct.Struct("<H"),  # BININT2
    0x4A: struct.Struct("<i"),  # BININT
    0x47: struct.Struct(">d"),  # BINFLOAT
}
SHORT_TUPLES = {0x85: 1, 0x86: 2, 0x87: 3}  # TUPLE1, TUPLE2, TUPLE3
PUTS = {0x71: 1, 0x72: 4}  # BINPUT, LONG_BINPUT: bytes of the index
LONG_INDEX = struct.Struct("<I")


def _text(data: bytes) -> str:
    return str(data, "utf-8", "surrogatepass")


def _int(data: bytes) -> int:
    return int.from_bytes(data, "little", signed=True)


COUNTED = {  # bytes of the length, and what is made of as many bytes
    0x58: (4, _text),  # BINUNICODE
    0x8D: (8, _text),  # BINUNICODE8
    0x43: (1, bytes),  # SHORT_BINBYTES
    0x42: (4, bytes),  # BINBYTES
    0x8E: (8, bytes),  # BINBYTES8
    0x96: (8, bytearray),  # BYTEARRAY8
    0x8A: (1, _int),  # LONG1
    0x8B: (4, _int),  # LONG4
}


def read_pickle(path: str | Path) -> Any:
    """The value in a pickle file; see `loads`. Raises UnreadableLogFile where the file can't be opened."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise_if_out_of_files(error)
        raise UnreadableLogFile(path, f"the file can't be opened: {error.strerror or error}") from error
    return loads(data, str(path))


def loads(data: bytes, where: str) -> Any:
    """The value of a pickle: None, numbers, text, bytes, plain containers, Inert, numpy arrays, scalars and dtypes, nothing else.

    A `collections.defaultdict` comes as a dict. where: the file, for messages. Raises RefusedPickle for a pickle that asks for
    anything else, or is damaged; nothing of what it asks for has run.
    """
    try:
        value = _run(data, Room(len(data)))
        _check_plain(value)
    except Refusal as refusal:
        raise RefusedPickle(f"{where}: {refusal}") from refusal
    except DAMAGE as error:
        raise RefusedPickle(
            f"{where}: the pickle is damaged or cut short ({type(error).__name__}): copy or download the file again"
        ) from error
    return value


def _run(data: bytes, room: Room) -> Any:
    """Interpret every opcode up to STOP. Most frequent ones first: a log has millions."""
    if len(data) < 2 or data[0] != 0x80 or not 2 <= data[1] <= 5:
        raise Refusal("it is no pickle of protocol 2 to 5: check that it is the right file, or write it with Python 3")
    stack: Stack = []
    marks: Marks = []
    memo: dict[int, Any] = {}
    push, constants, actions = stack.append, CONSTANTS, ACTIONS
    at = 2
    while True:
        opcode = data[at]
        at += 1
        if opcode == 0x94:  # MEMOIZE
            memo[len(memo)] = stack[-1]
        elif opcode == 0x68:  # BINGET
            value = memo[data[at]]
            push(value if type(value) is not Unfinished else _finished(value))
            at += 1
        elif opcode == 0x8C:  # SHORT_BINUNICODE
            start = at + 1
            at = start + data[at]
            push(str(data[start:at], "utf-8", "surrogatepass"))
        elif opcode == 0x4B:  # BININT1
            push(data[at])
            at += 1
        elif opcode in actions:
            actions[opcode](stack, marks, room)
        elif opcode in constants:
            push(constants[opcode])
        elif opcode in SHORT_TUPLES:
            count = SHORT_TUPLES[opcode]
            items = tuple(stack[-count:])
            if len(items) != count:
                raise IndexError("a tuple of more than there is")
            stack[-count:] = (items,)
        elif opcode in COUNTED:
            width, make = COUNTED[opcode]
            start = at + width
            at = start + int.from_bytes(data[at:start], "little")
            push(make(data[start:at]))
        elif opcode in NUMBERS:
            number = NUMBERS[opcode]
            push(number.unpack_from(data, at)[0])
            at += number.size
        elif opcode in EMPTY:
            push(EMPTY[opcode]())
        elif opcode == 0x6A:  # LONG_BINGET
            value = memo[LONG_INDEX.unpack_from(data, at)[0]]
            push(value if type(value) is not Unfinished else _finished(value))
            at += 4
        elif opcode in PUTS:
            width = PUTS[opcode]
            memo[int.from_bytes(data[at : at + width], "little")] = stack[-1]
            at += width
        elif opcode == 0x63:  # GLOBAL: module and name, a line each
            module, name, at = _two_lines(data, at)
            push(find(module, name))
        elif opcode == 0x95:  # FRAME: how many bytes belong together
            at += 8
            if at + int.from_bytes(data[at - 8 : at], "little") > len(data):
                raise IndexError("frame beyond the end")
        elif opcode == 0x2E:  # STOP
            return _last(stack, marks, len(data) - at)
        else:
            raise Refusal(_unknown_opcode(opcode))


def _finished(value: Unfinished) -> Any:
    if value.value is value:
        raise Refusal("it uses an array or dtype before it is complete")
    return value.value


def _two_lines(data: bytes, at: int) -> tuple[str, str, int]:
    middle = data.index(b"\n", at)
    end = data.index(b"\n", middle + 1)
    return data[at:middle].decode(), data[middle + 1 : end].decode(), end + 1


def _last(stack: Stack, marks: Marks, rest: int) -> Any:
    if len(stack) != 1 or marks or rest:
        raise IndexError("more than one value")
    return stack[0]


def _unknown_opcode(opcode: int) -> str:
    info = pickletools.code2op.get(chr(opcode))
    if info is None:
        return "the pickle is damaged (an unknown opcode): copy or download the file again"
    return f"it uses the opcode {info.name}, which data written by Python 3 has no need of: do not use this file"


def _check_plain(value: Any) -> None:
    """Raises Refusal where a value holds a name or an incomplete array. No recursion: a file may nest as deep as it likes."""
    queue: list[Iterable[Any]] = [(value,)]
    seen: set[int] = set()
    while queue:
        for item in queue.pop():
            kind = type(item)
            if kind in LEAVES or id(item) in seen:
                continue
            if kind is list or kind is tuple:
                parts = (item,)
            elif kind is dict:
                parts = (item.keys(), item.values())
            elif kind is Inert:
                parts = (item.args, item.attributes.values())
            elif kind is set or kind is frozenset:
                parts = (item,)
            elif isinstance(item, np.generic | np.dtype):
                continue
            else:
                what = f"the name {item.full}" if kind is Name else "an incomplete array or dtype"
                raise Refusal(f"it holds {what} where data should be: do not use this file")
            seen.add(id(item))
            queue.extend(part for part in parts if not {*map(type, part)} <= LEAVES)

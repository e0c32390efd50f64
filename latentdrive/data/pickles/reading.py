"""The only unpickler: reads logs, scenes and recorded traffic without running anything that a file asks for.

It interprets the opcodes that Python 3 writes in protocols 2 to 5. Names go to names.py, numpy's
arrays to arrays.py. Items go to exact builtin containers only, states to arrays, dtypes and
stand-ins only, so no method that a file could choose is ever called. Python's own unpickler does
not fit: it applies states and items to whatever lies on its stack, sizes its memo as the file says,
and hashes nested keys for as long as a file likes.
"""

import pickletools
import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from latentdrive.data.pickles.arrays import CopyBudget, Refusal, Unfinished
from latentdrive.data.pickles.names import Name, StandIn, check_growth, check_keys, find
from latentdrive.errors import RefusedPickle, UnreadableLogFile, raise_if_out_of_files

Stack = list[Any]
Marks = list[int]  # where the open MARKs stand on the stack

# What a damaged byte leads to. ValueError covers UnicodeDecodeError and what numpy raises on
# impossible arrays.
DAMAGE = (ValueError, TypeError, IndexError, KeyError, OverflowError, MemoryError, struct.error)
LEAVES = {type(None), bool, int, float, complex, str, bytes, bytearray, np.ndarray}

LONGEST_INT = 16  # bytes; shapes and sums of longer ones take a time that grows with their square
DEEPEST = 60  # containers within containers; logs have some six
# A container may stand in several places. A file may stand for this many values a byte, and for some more.
REPEATED, SPARE_VALUES = 20, 1_000_000

# Opcodes that push a value, by code; the names in comments are those of `pickletools`.
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
    if len(data) > LONGEST_INT:
        raise Refusal(f"it holds a whole number of {len(data)} bytes, and data need at most {LONGEST_INT}")
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
    """The value in a pickle file; see `loads`. Raises UnreadableLogFile if the file can't be opened."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise_if_out_of_files(error)
        raise UnreadableLogFile(path, f"the file can't be opened: {error.strerror or error}") from error
    return loads(data, str(path))


def loads(data: bytes, where: str) -> Any:
    """The value of a pickle, of plain types only.

    These are None, numbers, text, bytes, plain containers, StandIn, numpy arrays, scalars and dtypes;
    a `collections.defaultdict` comes as a dict. where: the file, for messages. Raises RefusedPickle
    if the pickle is damaged or asks for anything else; nothing of what it asks for has run.
    """
    try:
        value = _run(data, CopyBudget(len(data)))
        if _check_plain(value):
            _check_repetition(value, REPEATED * len(data) + SPARE_VALUES)
    except Refusal as refusal:
        raise RefusedPickle(f"{where}: {refusal}") from refusal
    except DAMAGE as error:
        raise RefusedPickle(
            f"{where}: the pickle is damaged or cut short ({type(error).__name__}): copy or download the file again"
        ) from error
    return value


def _run(data: bytes, budget: CopyBudget) -> Any:
    """Interpret every opcode up to STOP. Frequent ones come first, because a log has millions of them."""
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
            actions[opcode](stack, marks, budget)
        elif opcode in constants:
            push(constants[opcode])
        elif opcode in SHORT_TUPLES:
            _short_tuple(stack, SHORT_TUPLES[opcode])
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
            at = _after_frame(data, at)
        elif opcode == 0x2E:  # STOP
            return _last(stack, marks, len(data) - at)
        else:
            raise Refusal(_unknown_opcode(opcode))


def _finished(value: Unfinished) -> Any:
    if value.value is value:
        raise Refusal("it uses an array or dtype before it is complete")
    return value.value


def _short_tuple(stack: Stack, count: int) -> None:
    items = tuple(stack[-count:])
    if len(items) != count:
        raise IndexError("a tuple of more than there is")
    stack[-count:] = (items,)


def _after_frame(data: bytes, at: int) -> int:
    start = at + 8
    if start + int.from_bytes(data[at:start], "little") > len(data):
        raise IndexError("frame beyond the end")
    return start


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


def _check_plain(value: Any) -> bool:
    """Whether a container stands in several places of a value.

    Raises Refusal if the value holds a name or an incomplete array, or nests too deeply; without
    recursion, as a file may nest as deeply as it likes.
    """
    queue: list[tuple[Iterable[Any], int]] = [((value,), 0)]
    checked: set[int] = set()
    repeats = False
    while queue:
        items, depth = queue.pop()
        if depth > DEEPEST:
            raise Refusal(f"its lists and dicts are nested deeper than {DEEPEST} levels")
        for item in items:
            kind = type(item)
            if kind in LEAVES:
                continue
            if id(item) in checked:
                repeats = True
                continue
            parts = _parts(item)
            if parts is None:
                if isinstance(item, np.generic | np.dtype):
                    continue
                content = f"the name {item.full}" if kind is Name else "an incomplete array or dtype"
                raise Refusal(f"it holds {content} where data should be: do not use this file")
            checked.add(id(item))
            queue.extend((part, depth + 1) for part in parts if not {*map(type, part)} <= LEAVES)
    return repeats


def _parts(item: Any) -> tuple[Iterable[Any], ...] | None:
    """What a container holds; None for anything else."""
    kind = type(item)
    if kind in (list, tuple, set, frozenset):
        return (item,)
    if kind is dict:
        return item.keys(), item.values()
    return (item.args, item.attributes.values()) if kind is StandIn else None


def _check_repetition(value: Any, most: int) -> None:
    """Raises Refusal if a value contains itself, nests too deeply, or stands for more than `most` values.

    The count is that of a walk through the whole value which enters a container once for each place
    where the container stands.
    """
    sizes: dict[int, tuple[int, int]] = {}  # id of a container → values in it, and levels below it
    open_ones: set[int] = set()
    stack = [(value, False)]
    while stack:
        item, entered = stack.pop()
        parts = _parts(item)
        if parts is None or (not entered and id(item) in sizes):
            continue
        inner = [entry for part in parts for entry in part if type(entry) not in LEAVES]
        if not entered:
            if id(item) in open_ones:
                raise Refusal("it holds a list or dict that contains itself")
            open_ones.add(id(item))
            stack.append((item, True))
            stack.extend((entry, False) for entry in inner)
            continue
        open_ones.discard(id(item))
        known = [sizes.get(id(entry), (1, 0)) for entry in inner]
        count = 1 + sum(len(part) for part in parts) + sum(size for size, _ in known)
        sizes[id(item)] = count, 1 + max((levels for _, levels in known), default=0)
        if count > most:
            raise Refusal(f"it repeats its lists and dicts so often that they stand for more than {most:,} values")
        if sizes[id(item)][1] > DEEPEST:
            raise Refusal(f"its lists and dicts are nested deeper than {DEEPEST} levels")


# The opcodes that only take from the stack and put back: collect items, call a name, complete a
# value.


def _since_mark(stack: Stack, marks: Marks) -> list[Any]:
    start = marks.pop()
    items = stack[start:]
    del stack[start:]
    return items


def _pop(stack: Stack, marks: Marks, _budget: CopyBudget) -> None:
    if marks and marks[-1] == len(stack):
        marks.pop()
    else:
        stack.pop()


def _frozenset(stack: Stack, marks: Marks, _budget: CopyBudget) -> None:
    items = _since_mark(stack, marks)
    check_keys(items)
    stack.append(frozenset(items))


def _append(stack: Stack, marks: Marks, budget: CopyBudget) -> None:
    marks.append(len(stack) - 1)
    _appends(stack, marks, budget)


def _appends(stack: Stack, marks: Marks, _budget: CopyBudget) -> None:
    items = _since_mark(stack, marks)
    _expect(stack[-1], list).extend(items)


def _add_items(stack: Stack, marks: Marks, _budget: CopyBudget) -> None:
    items = _since_mark(stack, marks)
    check_keys(items)
    target = _expect(stack[-1], set)
    before = len(target)
    target.update(items)
    check_growth(target, before)


def _set_item(stack: Stack, marks: Marks, budget: CopyBudget) -> None:
    marks.append(len(stack) - 2)
    _set_items(stack, marks, budget)


def _set_items(stack: Stack, marks: Marks, _budget: CopyBudget) -> None:
    items = _since_mark(stack, marks)
    keys, values = items[::2], items[1::2]
    if len(keys) != len(values):
        raise IndexError("a key without a value")
    check_keys(keys)
    target = _expect(stack[-1], dict)
    before = len(target)
    target.update(zip(keys, values))
    check_growth(target, before)


def _expect(target: Any, kind: type) -> Any:
    if type(target) is not kind:
        raise TypeError(f"items for something that is no {kind.__name__}")
    return target


def _reduce(stack: Stack, _marks: Marks, budget: CopyBudget) -> None:
    args = _expect(stack.pop(), tuple)
    name = _expect(stack[-1], Name)
    if name.call is None:
        raise Refusal(f"it calls {name.full}, which data needs only as a name: do not use this file")
    stack[-1] = name.call(args, budget)


def _new_object(stack: Stack, _marks: Marks, budget: CopyBudget) -> None:
    args = _expect(stack.pop(), tuple)
    name = _expect(stack[-1], Name)
    if name.create is None:
        raise Refusal(f"it makes an object of {name.full}, which data does not need: do not use this file")
    stack[-1] = name.create(args, budget)


def _stack_global(stack: Stack, _marks: Marks, _budget: CopyBudget) -> None:
    name = stack.pop()
    stack[-1] = find(stack[-1], name)


def _build(stack: Stack, _marks: Marks, budget: CopyBudget) -> None:
    """Completes an array or dtype, or sets the attributes of a stand-in; nothing else has a state."""
    state = stack.pop()
    target = stack[-1]
    if type(target) is Unfinished:
        target.value = stack[-1] = target.finish(state, budget)
    elif type(target) is StandIn:
        for part in state if type(state) is tuple and len(state) == 2 else (state,):  # (attributes, slots)
            if part is not None:
                budget.spend(len(_expect(part, dict)))
                if {*map(type, part)} - {str}:
                    raise Refusal(f"an attribute of {target.kind} has no text as its name")
                target.attributes.update(part)
    else:
        raise Refusal(f"it alters the state of a {type(target).__name__}: do not use this file")


ACTIONS: dict[int, Callable[[Stack, Marks, CopyBudget], Any]] = {
    0x28: lambda stack, marks, _: marks.append(len(stack)),  # MARK
    0x30: _pop,  # POP
    0x31: lambda stack, marks, _: _since_mark(stack, marks),  # POP_MARK
    0x52: _reduce,  # REDUCE
    0x61: _append,  # APPEND
    0x62: _build,  # BUILD
    0x65: _appends,  # APPENDS
    0x73: _set_item,  # SETITEM
    0x74: lambda stack, marks, _: stack.append(tuple(_since_mark(stack, marks))),  # TUPLE
    0x75: _set_items,  # SETITEMS
    0x81: _new_object,  # NEWOBJ
    0x90: _add_items,  # ADDITEMS
    0x91: _frozenset,  # FROZENSET
    0x93: _stack_global,  # STACK_GLOBAL
}

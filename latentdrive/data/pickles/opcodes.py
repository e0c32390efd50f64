"""What opcodes of a pickle do that only take from the stack and put back: collect, call a name, complete a value.

A step of `unpickle.py`. Items go to exact builtin containers only, states to arrays, dtypes and stand-ins only: no method that a
file could choose is ever called.
"""

from collections.abc import Callable
from typing import Any

from latentdrive.data.pickles.arrays import Refusal, Room, Unfinished
from latentdrive.data.pickles.names import Name, check_keys, find
from latentdrive.data.pickles.stand_ins import Inert

Stack = list[Any]
Marks = list[int]  # where the open MARKs stand on the stack


def _since_mark(stack: Stack, marks: Marks) -> list[Any]:
    start = marks.pop()
    items = stack[start:]
    del stack[start:]
    return items


def _mark(stack: Stack, marks: Marks, _room: Room) -> None:
    marks.append(len(stack))


def _pop(stack: Stack, marks: Marks, _room: Room) -> None:
    if marks and marks[-1] == len(stack):
        marks.pop()
    else:
        stack.pop()


def _pop_mark(stack: Stack, marks: Marks, _room: Room) -> None:
    _since_mark(stack, marks)


def _tuple(stack: Stack, marks: Marks, _room: Room) -> None:
    stack.append(tuple(_since_mark(stack, marks)))


def _frozenset(stack: Stack, marks: Marks, _room: Room) -> None:
    items = _since_mark(stack, marks)
    check_keys(items)
    stack.append(frozenset(items))


def _append(stack: Stack, marks: Marks, room: Room) -> None:
    marks.append(len(stack) - 1)
    _appends(stack, marks, room)


def _appends(stack: Stack, marks: Marks, _room: Room) -> None:
    items = _since_mark(stack, marks)
    _expect(stack[-1], list).extend(items)


def _add_items(stack: Stack, marks: Marks, _room: Room) -> None:
    items = _since_mark(stack, marks)
    check_keys(items)
    _expect(stack[-1], set).update(items)


def _set_item(stack: Stack, marks: Marks, room: Room) -> None:
    marks.append(len(stack) - 2)
    _set_items(stack, marks, room)


def _set_items(stack: Stack, marks: Marks, _room: Room) -> None:
    items = _since_mark(stack, marks)
    keys, values = items[::2], items[1::2]
    if len(keys) != len(values):
        raise IndexError("a key without a value")
    check_keys(keys)
    _expect(stack[-1], dict).update(zip(keys, values))


def _expect(target: Any, kind: type) -> Any:
    if type(target) is not kind:
        raise TypeError(f"items for something that is no {kind.__name__}")
    return target


def _reduce(stack: Stack, _marks: Marks, room: Room) -> None:
    args = _expect(stack.pop(), tuple)
    name = _expect(stack[-1], Name)
    if name.call is None:
        raise Refusal(f"it calls {name.full}, which data needs only as a name: do not use this file")
    stack[-1] = name.call(args, room)


def _new_object(stack: Stack, _marks: Marks, room: Room) -> None:
    args = _expect(stack.pop(), tuple)
    name = _expect(stack[-1], Name)
    if name.create is None:
        raise Refusal(f"it makes an object of {name.full}, which data does not need: do not use this file")
    stack[-1] = name.create(args, room)


def _stack_global(stack: Stack, _marks: Marks, _room: Room) -> None:
    name = stack.pop()
    stack[-1] = find(stack[-1], name)


def _build(stack: Stack, _marks: Marks, room: Room) -> None:
    """Complete an array or dtype, or set the attributes of a stand-in; nothing else has a state."""
    state = stack.pop()
    target = stack[-1]
    if type(target) is Unfinished:
        target.value = stack[-1] = target.finish(state, room)
    elif type(target) is Inert:
        for part in state if type(state) is tuple and len(state) == 2 else (state,):  # (attributes, slots)
            if part is not None:
                room.take(len(_expect(part, dict)))
                if {*map(type, part)} - {str}:
                    raise Refusal(f"an attribute of {target.kind} has no text as its name")
                target.attributes.update(part)
    else:
        raise Refusal(f"it alters the state of a {type(target).__name__}: do not use this file")


ACTIONS: dict[int, Callable[[Stack, Marks, Room], None]] = {
    0x28: _mark,
    0x30: _pop,
    0x31: _pop_mark,
    0x52: _reduce,
    0x61: _append,
    0x62: _build,
    0x65: _appends,
    0x73: _set_item,
    0x74: _tuple,
    0x75: _set_items,
    0x81: _new_object,
    0x90: _add_items,
    0x91: _frozenset,
    0x93: _stack_global,
}

"""Pickles written opcode by opcode, and a comparison of what pickles hold."""

import struct

import numpy as np


class Call:
    """Pickles as a call of `function` with `args`."""

    def __init__(self, function: object, *args: object) -> None:
        self.parts = function, args

    def __reduce__(self) -> tuple:
        return self.parts


def program(*parts: bytes) -> bytes:
    """A whole pickle of protocol 4 with these opcodes."""
    return b"\x80\x04" + b"".join(parts) + b"."


def text(value: str) -> bytes:
    """The opcode that pushes a text."""
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def name(module: str, attribute: str) -> bytes:
    """The opcodes that push a name of a module."""
    return text(module) + text(attribute) + b"\x93"


def assert_same(value: object, expected: object, *, layout: bool = False) -> None:
    """Equal values of equal types all the way down.

    layout: with the order of keys and the memory layout of arrays, too.
    """
    assert type(value) is type(expected)
    if isinstance(value, dict):
        assert list(value) == list(expected) if layout else value.keys() == expected.keys()
        for key, part in value.items():
            assert_same(part, expected[key], layout=layout)
    elif isinstance(value, list | tuple):
        assert len(value) == len(expected)
        for part, other in zip(value, expected):
            assert_same(part, other, layout=layout)
    elif isinstance(value, np.ndarray):
        assert (value.dtype, value.shape) == (expected.dtype, expected.shape)
        if layout:
            assert value.tobytes() == expected.tobytes()
            assert value.flags.f_contiguous == expected.flags.f_contiguous
        else:
            assert_same(value.ravel().tolist(), expected.ravel().tolist())
    else:
        assert value == expected

"""Messages between the devkit and the planner: both sides write the same bytes, and nothing but
numbers gets through."""

import ast
import io
import json
from pathlib import Path

import numpy as np
import pytest

from latentdrive.integrations import planner_wire
from tests.support.paths import DEVKIT_FILE

SHARED = ("HEAD", "MAGIC", "LONGEST_HEADER", "LONGEST_ARRAY", "send", "receive", "_read")
ARRAYS = {
    "pixels": np.arange(24, dtype=np.uint8).reshape(2, 4, 3),
    "strided": np.arange(12, dtype=np.float32).reshape(3, 4)[:, ::2].T,
    "big_endian": np.array([1.5, -2.5], ">f8"),
    "whole": np.array([[-1, 2]], np.int64),
    "yes": np.array([True, False]),
    "empty": np.zeros((0, 4), np.float32),
    "one": np.array(3.0),
}


def message(wire, header=None, arrays=None) -> bytes:
    stream = io.BytesIO()
    wire.send(stream, header or {}, arrays or {})
    return stream.getvalue()


def shared_code(path: str | Path) -> dict[str, str]:
    """The syntax trees of the definitions in SHARED."""
    code = {}
    for node in ast.parse(Path(path).read_text()).body:
        if isinstance(node, ast.FunctionDef):
            code[node.name] = ast.dump(node)
        elif isinstance(node, ast.Assign):
            target = node.targets[0]
            for name in target.elts if isinstance(target, ast.Tuple) else [target]:
                code[name.id] = ast.dump(node)
    return {name: code[name] for name in SHARED}


def test_the_two_sides_have_word_for_word_the_same_code():
    assert shared_code(DEVKIT_FILE) == shared_code(planner_wire.__file__)


@pytest.mark.parametrize("devkit_writes", [True, False])
def test_either_side_reads_what_the_other_writes_byte_for_byte(devkit, devkit_writes: bool):
    wires = (devkit(), planner_wire)
    writer, reader = wires if devkit_writes else wires[::-1]
    sent = message(writer, {"scene": "Straße 1", "dt_s": 0.1}, ARRAYS)
    assert sent == message(reader, {"scene": "Straße 1", "dt_s": 0.1}, ARRAYS)
    stream = io.BytesIO(sent + sent)
    for _ in range(2):
        header, arrays = reader.receive(stream)
        assert header == {"scene": "Straße 1", "dt_s": 0.1} and list(arrays) == list(ARRAYS)
        for name, array in ARRAYS.items():
            assert arrays[name].shape == array.shape and arrays[name].dtype == array.dtype.newbyteorder("<")
            np.testing.assert_array_equal(arrays[name], array)
            assert arrays[name].flags.writeable
    assert reader.receive(stream) is None


def test_a_message_is_head_json_and_little_endian_bytes():
    sent = message(planner_wire, {"a": 1}, {"x": np.array([1, 258], ">u2")})
    text = b'{"a": 1, "arrays": [["x", "<u2", [2]]]}'
    assert sent == b"latentdrive" + b"\1\0" + len(text).to_bytes(4, "little") + text + b"\1\0\2\1"


def test_objects_and_text_are_refused_by_both_ends():
    for array in (np.array([{}], object), np.array(["a"])):
        with pytest.raises(ValueError, match="x: expected an array of numbers, got one of"):
            message(planner_wire, {}, {"x": array})
    forged = message(planner_wire, {}, {"x": np.zeros(1)}).replace(b"<f8", b"|O8")
    with pytest.raises(ValueError, match="x: expected an array of numbers, got one of object"):
        planner_wire.receive(io.BytesIO(forged))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda sent: b"Welcome to this computer!" + sent, "starts with b'latentdrive', got b'Welcome"),
        (lambda sent: sent[:5], "got b'laten'"),
        (lambda sent: sent[:30], "ended within a message"),
        (lambda sent: sent[:-1], "expected 24 more bytes, got 23"),
        (
            lambda sent: sent[:11] + b"\2\0" + sent[13:],
            "message of version 2, expected version 1: copy navsim_devkit.py",
        ),
        (lambda sent: sent[:13] + b"\xff\xff\xff\xff" + sent[17:], "a header of 4294967295 bytes"),
    ],
)
def test_anything_but_a_message_is_refused_with_what_was_received(damage, says: str):
    with pytest.raises(ValueError, match=says):
        planner_wire.receive(io.BytesIO(damage(message(planner_wire, {}, {"x": np.zeros(3)}))))


@pytest.mark.parametrize("shape", [[10**10], [2**40, 2**40], [-1]])
def test_no_memory_is_taken_for_an_array_that_is_only_announced(shape):
    text = json.dumps({"arrays": [["poses", "<f8", shape]]}).encode()
    start = planner_wire.HEAD.pack(planner_wire.MAGIC, planner_wire.VERSION, len(text))
    with pytest.raises(ValueError, match="poses: expected at most"):
        planner_wire.receive(io.BytesIO(start + text))

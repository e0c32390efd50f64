"""Forged and damaged pickles give plain data or RefusedPickle, with no other error, effect, crash or memory flood."""

import builtins
import functools
import importlib
import itertools
import operator
import os
import pickle
import pickletools
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from latentdrive.data.pickles.names import NAMES, StandIn
from latentdrive.data.pickles.reading import loads
from latentdrive.data.pickles.writing import dumps
from latentdrive.errors import RefusedPickle
from tests.support.paths import ROOT
from tests.support.pickled import Call, name, program, text

LEAVES = (type(None), bool, int, float, complex, str, bytes, bytearray, np.generic, np.dtype)
VALUE = {
    "token": "0123",
    "counts": defaultdict(int, a=1),
    "poses": np.arange(6.0).reshape(2, 3),
    "names": np.array(["a", "bc"]),
    "truth": np.array([True]),
    "objects": np.array(["x", None, 1], dtype=object),
    "time": np.array(["2021"], "M8[D]"),
    "scalar": np.float32(2),
    "lights": [(1, True), (2, False)],
    "sets": ({1, 2}, frozenset("ab")),
    "bytes": (b"raw", bytearray(b"raw"), 1j, -(2**80)),
}
INERT = StandIn(module="navsim.common.dataclasses", kind="Trajectory", attributes={"poses": np.zeros((1, 3))})
WRITTEN = [pickle.dumps(VALUE, protocol) for protocol in (2, 3, 4, 5)] + [dumps({"token": INERT, "again": [INERT]})]


def opcodes(data: bytes) -> list[bytes]:
    starts = [at for _, _, at in pickletools.genops(data)] + [len(data)]
    return [data[start:end] for start, end in itertools.pairwise(starts)]


# FRAME states how many bytes follow: without it, pieces can be moved about.
PIECES = [[piece for piece in opcodes(data) if piece[:1] != b"\x95"] for data in WRITTEN]
ALL_PIECES = [
    *sorted({piece for pieces in PIECES for piece in pieces if piece != b"."}),
    b"2", b"\x82\x01", b"Q", b"\x97", b"\x98", b"o", b"\x92", b"r\xff\xff\xff\xff", b"q\xff", b"1", b"0",
    b"\x8b\xff\xff\xff\x7f", b"j\xff\xff\xff\xff", b"\x96" + b"\xff" * 8, b"\x8e" + b"\xff" * 7 + b"\x7f",
    b"cos\nsystem\n", b"cbuiltins\nbytearray\n",
]  # fmt: skip


def assert_plain(value: object) -> None:
    queue, checked = [value], {}
    while queue:
        item = queue.pop()
        if id(item) in checked or isinstance(item, LEAVES):
            continue
        checked[id(item)] = item
        if type(item) is dict:
            queue += [*item, *item.values()]
        elif type(item) in (list, tuple, set, frozenset):
            queue += item
        elif type(item) is StandIn:
            assert (item.module, item.kind) in NAMES and not callable(item)
            queue += [*item.args, *item.attributes.values()]
        else:
            assert type(item) is np.ndarray, type(item)
            assert item.flags.owndata or item.base.flags.owndata
            values = item.ravel().tolist()  # reads every byte of it
            queue += values if item.dtype.kind == "O" else []


def read_or_refuse(data: bytes) -> bool:
    try:
        value = loads(data, "file")
    except RefusedPickle as error:
        assert str(error).startswith("file: ")
        return False
    assert_plain(value)
    return True


def test_cuts_and_flipped_bytes_are_plain_data_or_refused():
    refused = 0
    for data in WRITTEN:
        assert read_or_refuse(data)
        assert not any(read_or_refuse(data[:length]) for length in range(0, len(data), 5))
        for at in range(0, len(data), 4):
            refused += not read_or_refuse(data[:at] + bytes([data[at] ^ (1 << at % 8)]) + data[at + 1 :])
    assert refused > sum(map(len, WRITTEN)) / 16


@settings(max_examples=400)
@given(
    base=st.sampled_from(WRITTEN),
    edits=st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 3), st.binary(max_size=4)), min_size=1, max_size=4),
)
def test_altered_bytes_are_plain_data_or_refused(base: bytes, edits: list[tuple[int, int, bytes]]):
    data = base
    for at, removed, added in edits:
        at %= len(data)
        data = data[:at] + added + data[at + removed :]
    read_or_refuse(data)


@settings(max_examples=400)
@given(
    base=st.sampled_from(PIECES),
    splices=st.lists(
        st.tuples(st.integers(0, 500), st.integers(0, 3), st.lists(st.sampled_from(ALL_PIECES), max_size=3)),
        min_size=1, max_size=4,
    ),
)  # fmt: skip
@example(base=PIECES[0], splices=[])
def test_spliced_opcodes_are_plain_data_or_refused(base: list[bytes], splices: list[tuple[int, int, list[bytes]]]):
    pieces = list(base)
    for at, removed, added in splices:
        at = 1 + at % (len(pieces) - 1)
        pieces[at : at + removed] = added
    read_or_refuse(b"".join(pieces))


@settings(max_examples=400)
@given(st.lists(st.sampled_from(ALL_PIECES), max_size=25))
def test_opcodes_in_any_order_are_plain_data_or_refused(pieces: list[bytes]):
    read_or_refuse(b"\x80\x04" + b"".join(pieces) + b".")


def array(dtype: bytes, shape: bytes, data: bytes) -> bytes:
    """An array with the state given by opcodes."""
    start = name("numpy.core.multiarray", "_reconstruct") + name("numpy", "ndarray") + b"K\x00\x85C\x01b\x87R"
    return start + b"(K\x01" + shape + dtype + b"\x89" + data + b"tb"


def dtype(spelling: str, state: bytes = b"K\x03X\x01\0\0\0<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00") -> bytes:
    return name("numpy", "dtype") + text(spelling) + b"\x89\x88\x87R(" + state + b"tb"


def test_no_call_of_a_malicious_pickle_has_an_effect(tmp_path: Path):
    sentinel = tmp_path / "sentinel"
    command = f"touch {sentinel}"
    code = f"open({str(sentinel)!r}, 'w')"
    calls = [
        Call(os.system, command), Call(os.popen, command), Call(subprocess.Popen, ["touch", str(sentinel)]),
        Call(builtins.eval, code), Call(builtins.exec, code), Call(getattr, "os", "system"),
        Call(builtins.__import__, "os"), Call(open, str(sentinel), "w"), Call(compile, code, "x", "exec"),
        Call(importlib.import_module, "os"), Call(functools.partial, os.system, command),
        Call(operator.attrgetter("system"), 1), Call(operator.methodcaller("x"), 1),
        Call(np.load, str(sentinel)), Call(np.save, str(sentinel), 1), Call(np.fromfile, str(sentinel)),
        Call(np.memmap, "x"), Call(np.frombuffer, b"abcd"), Call(pickle.loads, b"N."), Call(map, os.system, [command]),
        Call(type, "X", (), {}), Call(os.unlink, "x"), Call(bytearray, 10**12), Call(list, bytearray(9)),
        Call(int, "9" * 10**6), Call(range, 10**12), Call(str, b"x", "utf-8"), Call(dict, [(1, 2)]),
        Call(bytes, 10**12), Call(tuple, [1]), Call(object), Call(defaultdict, defaultdict),
        Call(defaultdict, int, {1: 2}), Call(set, "abc"), Call(frozenset, range(9)),
    ]  # fmt: skip
    for call in calls:
        for protocol in (2, 4):
            with pytest.raises((RefusedPickle, pickle.PicklingError)):
                loads(pickle.dumps({"a": [call]}, protocol), "file")
    assert not sentinel.exists()


@pytest.mark.parametrize(
    "body",
    [
        name("numpy.core.multiarray", "sys.modules") + b")R",
        name("numpy.core.multiarray", "_reconstruct.__globals__"),
        name("numpy", "core.multiarray._reconstruct"),
        name("numpy.core", "multiarray._reconstruct"),
        name("numpy._core.multiarray", "fromfile") + b")R",
        name("numpy.core.numeric", "load") + b")R",
        name("latentdrive.data.pickles.names", "StandIn"),
        name("navsim.common.dataclasses", "Scene"),
        name("builtins", "int") + b"K\x01\x85R",
        name("builtins", "int") + b")\x81",
        name("builtins", "bytearray") + b"J\x00\x00\x00\x7f\x85\x81",
        name("builtins", "int") + b"}" + text("x") + b"K\x01sb",  # a state for a class
        name("navsim.common.dataclasses", "Trajectory") + b"}" + text("__init__") + b"K\x01sb",
        name("collections", "defaultdict") + b"N}" + text("__new__") + b"K\x01s\x86b",
        name("numpy", "ndarray") + b"K\x09\x85R",
        name("numpy", "ndarray") + b"K\x09\x85\x81",
        b"]}" + text("x") + b"K\x01sb",
        name("navsim.common.dataclasses", "Trajectory") + b")\x81}K\x01K\x01sb",
        name("navsim.common.dataclasses", "Trajectory") + b")\x81(K\x01e",  # items for a stand-in
        name("navsim.common.dataclasses", "Trajectory") + b")\x81K\x01K\x02s",
        b"\x82\x01",
        b"\x83\x01\x00",
        b"\x84\x01\x00\x00\x00",
        b"Pname\n",
        b"NQ",
        b"\x97",
        b"\x80\x04N",
        b"N2",
        b"K\x01K\x02\x93",
        b"h\x00",
        b"N\x94h\x05",
        b"(t1",
        b"\x95" + b"\xff" * 8 + b"N",
        name("_codecs", "encode") + text("x") + text("idna") + b"\x86R",
        name("copyreg", "_reconstructor") + name("builtins", "int") + name("builtins", "object") + b"N\x87R",
        name("copyreg", "__newobj__") + name("builtins", "bytearray") + b"J\x00\x00\x00\x7f\x86R",
        array(dtype("f8"), b"K\x02\x85", b"C\x08" + b"\0" * 8),  # too few bytes
        array(dtype("f8"), b"J\xff\xff\xff\xff\x85", b"C\x08" + b"\0" * 8),
        array(dtype("f8"), b"\x8a\x08\0\0\0\0\0\0\0\x20K\x08\x86", b"C\x00"),  # 2**61 x 8 x 8 bytes overflow to none
        array(dtype("f8"), b"\x89\x85", b"C\x00"),
        array(dtype("O8"), b"K\x01\x85", b"C\x08" + b"\x41" * 8),  # bytes as pointers
        array(dtype("O8"), b"K\x02\x85", b"]N\x85"),
        array(dtype("O8"), b"K\x01\x85", b"(]ll"),
        array(dtype("V8"), b"K\x01\x85", b"C\x08" + b"\x41" * 8),
        array(dtype("O"), b"K\x01\x85", b"C\x08" + b"\x41" * 8),
        array(dtype("f8,O"), b"K\x01\x85", b"C\x10" + b"\x41" * 16),
        array(
            dtype("U1", b"K\x03X\x01\0\0\0<NNNK\x04K\x04K\x08"), b"K\x01\x85", b"C\x04\xff\xff\xff\xff"
        ),  # no character
        array(dtype("U1", b"K\x03X\x01\0\0\0<NNNK\x05K\x04K\x08"), b"K\x01\x85", b"C\x05abcde"),
        array(dtype("b1"), b"K\x01\x85", b"C\x01\x07"),
        array(dtype("S9999999999"), b"K\x00\x85", b"C\x00"),
        array(
            dtype("f8", b"K\x03X\x01\0\0\0|" + dtype("f8") + b"K\x02\x85\x86NNK\x08K\x08K\x3f"), b"K\x00\x85", b"C\x00"
        ),
        array(dtype("f8", b"K\x03X\x01\0\0\0|N" + text("a") + b"\x85}K\x08K\x08K\x3f"), b"K\x00\x85", b"C\x00"),
        array(
            dtype("M8", b"K\x04X\x01\0\0\0<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00}(C\x01DK\x01K\x00K\x01t\x86"),
            b"K\x00\x85",
            b"C\x00",
        ),  # a unit divided by zero
        name("numpy", "dtype") + text("f8") + b"\x89\x88\x87R",  # a dtype without its state
        name("numpy.core.multiarray", "_reconstruct") + name("numpy", "ndarray") + b"K\x00\x85C\x01b\x87R",
        name("numpy.core.multiarray", "_reconstruct") + name("builtins", "list") + b"K\x00\x85C\x01b\x87R",
        name("numpy.core.multiarray", "_reconstruct") + name("numpy", "ndarray") + b"J\x00\x00\x00\x7f\x85C\x01b\x87R",
        array(dtype("f8"), b"K\x00\x85", b"C\x00")
        + b"(K\x01K\x09\x85"
        + dtype("f8")
        + b"\x89C\x00tb",  # a second state
        name("numpy.core.multiarray", "scalar") + dtype("f8") + b"C\x01a\x86R",
        name("numpy.core.multiarray", "scalar") + dtype("O8") + b"C\x08aaaaaaaa\x86R",
        name("numpy._core.numeric", "_frombuffer") + b"(C\x08aaaaaaaa" + dtype("f8") + b"K\x02\x85" + text("C") + b"tR",
        name("numpy._core.numeric", "_frombuffer") + b"(C\x08aaaaaaaa" + dtype("O8") + b"K\x01\x85" + text("C") + b"tR",
    ],
)
def test_a_forged_program_is_refused(body: bytes):
    before = dict(vars(StandIn)), dict(NAMES)
    with pytest.raises(RefusedPickle):
        loads(program(body), "file")
    assert (dict(vars(StandIn)), dict(NAMES)) == before


def test_bombs_end_within_a_little_memory():
    code = r"""
import resource, struct, time
from latentdrive.data.pickles.reading import loads
from latentdrive.errors import RefusedPickle
base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
big = b"B" + struct.pack("<I", 10**6) + b"\1" * 10**6
nones = b"(" + b"N" * 10**5 + b"l" * 0
dtype = b"cnumpy\ndtype\n\x8c\x02u1\x89\x88\x87R(K\x03\x8c\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x94"
array = b"h\x02h\x03K\x00\x85C\x01b\x87R(K\x01J" + struct.pack("<i", 10**6) + b"\x85h\x01\x89h\x00tb"
names = b"cnumpy.core.multiarray\n_reconstruct\n\x94cnumpy\nndarray\n\x94"
make = b"cnavsim.common.dataclasses\nTrajectory\n\x94"
keys = b"}(" + b"".join(b"X\4\0\0\0%04dN" % i for i in range(9999)) + b"u\x94"
bombs = {
    "PUT": b"Nr\xff\xff\xff\xff",
    "PUTs": b"N" + b"".join(b"r" + struct.pack("<I", 2**32 - 1 - i) for i in range(1000)),
    "bytes": b"\x8e" + b"\xff" * 7 + b"\x7f", "bytearray": b"\x96" + struct.pack("<Q", 10**12),
    "text": b"\x8d" + b"\xff" * 8,
    "int": b"\x8b\xff\xff\xff\x7f", "frame": b"\x95" + struct.pack("<Q", 10**12) + b"N",
    "arrays": b"](" + big + b"\x94" + dtype + names + array * 3000 + b"e",
    "buffers": b"](" + big + b"\x94cbuiltins\nbytearray\n\x94" + b"h\x01h\x00\x85R" * 3000 + b"e",
    "encodings": b"](" + b"X" + big[1:] + b"\x94\x8c\x06latin1\x94c_codecs\nencode\n\x94"
        + b"h\x02h\x00h\x01\x86R" * 3000 + b"e",
    "sets": b"](](" + b"N" * 10**6 + b"e\x94cbuiltins\nset\n\x94" + b"h\x01h\x00\x85R" * 3000 + b"e",
    "frozensets": b"](](" + b"".join(b"M" + struct.pack("<H", i) for i in range(60000))
        + b"e\x94cbuiltins\nfrozenset\n\x94" + b"h\x01h\x00\x85R" * 3000 + b"e",
    "attributes": b"](" + keys + make + b"h\x01)\x81h\x00b" * 3000 + b"e",
    "wide text": b"cnumpy\ndtype\n\x8c\x0bS2000000000\x89\x88\x87R",
}
for kind, body in bombs.items():
    start = time.process_time()
    try:
        loads(b"\x80\x04" + body + b".", kind)
        result = "opened"
    except RefusedPickle:
        result = "refused"
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base) / 1024
    print(kind.replace(" ", "_"), result, int(grown), round(time.process_time() - start, 2))
"""
    limited = f"import resource; resource.setrlimit(resource.RLIMIT_AS, (4 * 2**30, 4 * 2**30))\n{code}"
    run = subprocess.run(
        [sys.executable, "-c", limited],
        capture_output=True, text=True, env={"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-1000:]
    lines = [line.split() for line in run.stdout.splitlines()]
    assert len(lines) == 14
    assert {kind for kind, result, *_ in lines if result == "opened"} == {"PUT", "PUTs"}  # indices cost nothing
    assert all(int(grown) < 250 for *_, grown, _ in lines), run.stdout  # MiB, over what the imports take

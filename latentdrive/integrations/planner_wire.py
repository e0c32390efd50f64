"""Messages between the devkit and a planner: the planner's side. navsim_devkit.py describes their
form.

The code below repeats that of navsim_devkit.py word for word. That file must work alone where
latentdrive is not installed, and it cannot be imported here, where navsim is not installed.
tests/integrations/test_planner_wire.py keeps the two copies equal. Change both together, and raise
VERSION when the form of a message changes.
"""

import json
import struct
from collections.abc import Mapping
from io import BufferedIOBase
from typing import Any

import numpy as np

HEAD = struct.Struct("<11sHI")
MAGIC, VERSION = b"latentdrive", 1
LONGEST_HEADER = 1 << 20
LONGEST_ARRAY = 1 << 27  # bytes; a picture has 6 million


def send(stream: BufferedIOBase, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Write one message. header: anything that JSON can hold. arrays: of numbers or booleans.

    Raises ValueError for other arrays.
    """
    flat = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    flat = {name: array.astype(array.dtype.newbyteorder("<"), copy=False) for name, array in flat.items()}
    for name, array in flat.items():
        if array.dtype.kind not in "biuf":
            raise ValueError(f"{name}: expected an array of numbers, got one of {array.dtype}")
    layout = [[name, array.dtype.str, list(array.shape)] for name, array in flat.items()]
    text = json.dumps({**header, "arrays": layout}).encode()
    stream.write(HEAD.pack(MAGIC, VERSION, len(text)) + text)
    for array in flat.values():
        stream.write(array.reshape(-1).view(np.uint8))
    stream.flush()


def receive(stream: BufferedIOBase) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
    """Header and arrays of the next message; None at the end of the stream.

    Raises ValueError for anything that is not a complete message of our version.
    """
    start = stream.read(HEAD.size)
    if not start:
        return None
    if len(start) < HEAD.size or not start.startswith(MAGIC):
        raise ValueError(f"expected a message that starts with {MAGIC!r}, got {start!r}")
    _, version, length = HEAD.unpack(start)
    if version != VERSION:
        raise ValueError(
            f"received a message of version {version}, expected version {VERSION}: copy navsim_devkit.py "
            "from the latentdrive that plans"
        )
    if length > LONGEST_HEADER:
        raise ValueError(f"received a header of {length} bytes, expected at most {LONGEST_HEADER}")
    try:
        header = json.loads(bytes(_read(stream, length)))
        layout = [(name, np.dtype(kind), tuple(map(int, shape))) for name, kind, shape in header.pop("arrays")]
    except (TypeError, KeyError, AttributeError, OverflowError, RecursionError, SyntaxError) as error:
        raise ValueError(f"received a header without a list of arrays ({type(error).__name__}: {error})") from error
    arrays = {}
    for name, dtype, shape in layout:
        if dtype.kind not in "biuf" or not isinstance(name, str):
            raise ValueError(f"{name}: expected an array of numbers, got one of {dtype}")
        count = dtype.itemsize
        for size in shape:
            count *= size
        if min(shape, default=0) < 0 or count > LONGEST_ARRAY:
            raise ValueError(f"{name}: expected at most {LONGEST_ARRAY} bytes, got an array of shape {shape}")
        arrays[name] = np.ndarray(shape, dtype, buffer=_read(stream, count))
    return header, arrays


def _read(stream: BufferedIOBase, count: int) -> bytearray:
    content = bytearray(count)
    view, filled = memoryview(content), 0
    while filled < count:
        length = stream.readinto(view[filled:])
        if not length:
            raise ValueError(f"the stream ended within a message: expected {count} more bytes, got {filled}")
        filled += length
    return content

"""File formats whose content can be changed and written again: each is a function from bytes to changed bytes."""

import csv
import io
import json
import pickle
import sqlite3
import struct
from collections.abc import Callable
from functools import lru_cache
from random import Random
from typing import Any

import numpy as np
import yaml

from latentdrive.data.pickles.reading import loads
from latentdrive.data.pickles.writing import dumps
from latentdrive.errors import RefusedPickle
from tests.fuzz.structures import changed_value

Format = Callable[[bytes, Random], bytes]  # raises one of UNWRITABLE where the change can't be written
UNWRITABLE = (
    TypeError,
    ValueError,
    KeyError,
    OverflowError,
    RecursionError,
    AttributeError,
    yaml.YAMLError,
    csv.Error,
    sqlite3.Error,
    pickle.PicklingError,
    struct.error,
)


def json_text(data: bytes, rng: Random) -> bytes:
    """JSON, with NaN where a number becomes one."""
    return json.dumps(changed_value(json.loads(data), rng)).encode("utf-8", "surrogatepass")


def yaml_text(data: bytes, rng: Random) -> bytes:
    """YAML."""
    return yaml.dump(changed_value(yaml.load(data, yaml.CSafeLoader), rng), Dumper=yaml.CSafeDumper).encode()


def csv_text(data: bytes, rng: Random) -> bytes:
    """A table with a header."""
    text = io.StringIO()
    rows = changed_value(list(csv.reader(io.StringIO(data.decode()))), rng)
    csv.writer(text, lineterminator="\n").writerows(row if isinstance(row, list) else [row] for row in rows)
    return text.getvalue().encode("utf-8", "surrogatepass")


def words(data: bytes, rng: Random) -> bytes:
    """Lines of words."""
    lines = changed_value([line.split(" ") for line in data.decode().splitlines()], rng)
    shown = [" ".join(map(str, line)) if isinstance(line, list) else str(line) for line in lines]
    return ("\n".join(shown) + "\n").encode("utf-8", "surrogatepass")


def npz(data: bytes, rng: Random) -> bytes:
    """An archive of arrays, with right checksums."""
    with np.load(io.BytesIO(data)) as archive:
        arrays = changed_value({name: archive[name] for name in archive.files}, rng)
    file = io.BytesIO()
    np.savez(file, **{str(name): np.asarray(array) for name, array in arrays.items()})
    return file.getvalue()


def npy(data: bytes, rng: Random) -> bytes:
    """One array."""
    file = io.BytesIO()
    np.save(file, np.asarray(changed_value(np.load(io.BytesIO(data)), rng)))
    return file.getvalue()


def pickled(data: bytes, rng: Random) -> bytes:
    """A pickle, written as we write it, or as Python does."""
    value = changed_value(_loaded(data), rng)
    try:
        return dumps(value)
    except RefusedPickle:
        return pickle.dumps(value, protocol=4)


@lru_cache(maxsize=4)
def _loaded(data: bytes) -> Any:
    return loads(data, "a file of this test")


def pickled_by_python(data: bytes, rng: Random) -> bytes:
    """A pickle of plain containers and arrays, which Python writes much faster."""
    return pickle.dumps(changed_value(pickle.loads(data), rng), protocol=4)


def safetensors(data: bytes, rng: Random) -> bytes:
    """The header of a safetensors file, before the same numbers."""
    (length,) = struct.unpack("<Q", data[:8])
    header = changed_value(json.loads(data[8 : 8 + length]), rng)
    text = json.dumps(header).encode("utf-8", "surrogatepass")
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


def sqlite(data: bytes, rng: Random) -> bytes:
    """A table of a data base: one of its cells, rows, columns or names."""
    base = sqlite3.connect(":memory:")
    try:
        base.deserialize(data)
        _change_base(base, rng)
        base.commit()
        return base.serialize()
    finally:
        base.close()


def _change_base(base: sqlite3.Connection, rng: Random) -> None:
    for (trigger,) in base.execute("SELECT name FROM sqlite_master WHERE type='trigger'").fetchall():
        base.execute(f'DROP TRIGGER "{trigger}"')  # they call functions of GDAL
    names = [name for (name,) in base.execute("SELECT name FROM sqlite_master WHERE type='table'")]
    table = rng.choice([name for name in names if not name.startswith(("sqlite_", "rtree_"))])
    columns = [row[1] for row in base.execute(f'PRAGMA table_info("{table}")')]
    column = rng.choice(columns)
    one_row = f'WHERE rowid = (SELECT rowid FROM "{table}" ORDER BY rowid LIMIT 1 OFFSET {rng.randrange(3)})'
    odd: Any = rng.choice(
        (None, -1, 0, 2**62, 1e300, float("inf"), "", "text", "9" * 30, "²", b"\0", b"GP", "x" * 5000)
    )
    match rng.randrange(8):
        case 0:
            base.execute(f'DELETE FROM "{table}" {one_row}')
        case 1:
            base.execute(f'ALTER TABLE "{table}" DROP COLUMN "{column}"')
        case 2:
            base.execute(f'ALTER TABLE "{table}" RENAME COLUMN "{column}" TO other')
        case 3:
            base.execute(f'DROP TABLE "{table}"')
        case 4:
            base.execute(f'UPDATE "{table}" SET "{column}" = ?', (odd,))
        case _:
            base.execute(f'UPDATE OR REPLACE "{table}" SET "{column}" = ? {one_row}', (odd,))


FORMATS: dict[str, Format] = {
    ".json": json_text,
    ".yaml": yaml_text,
    ".csv": csv_text,
    ".txt": words,
    ".npz": npz,
    ".npy": npy,
    ".pkl": pickled,
    ".safetensors": safetensors,
    ".gpkg": sqlite,
}

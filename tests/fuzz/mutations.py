"""Changes to the bytes of a valid file, drawn from a seed: what disks, networks and strangers do to files."""

import struct
from collections.abc import Callable
from random import Random

LONGEST = 1 << 20  # bytes of a changed file: growth is bounded, so that a reader's time says something about the reader
NUMBERS = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**53, 2**63 - 1, 2**64 - 1)
TOKENS = (
    b"\x00",
    b"\xff" * 8,
    b"\x80",
    b"\xed\xa0\x80",  # half of a surrogate pair
    b"NaN",
    b"Infinity",
    b"-1",
    b"1e999",
    b"9" * 30,
    b"9" * 5000,
    b"null",
    b"true",
    b'"',
    b"'",
    b"\\u0000",
    b'"\\ud800"',
    b"\r",
    b"\n",
    b"\t",
    b",",
    b",,,,,,",
    b":",
    b": ",
    b"{",
    b"}",
    b"[" * 2000,
    b'{"a":' * 300,
    b"- " * 300,
    b"&a [*a]",
    b"*a",
    b"<<: ",
    b"!!python/object/apply:os.system [true]",
    b"!!binary ",
    b"2020-99-99",
    b"${paths.data}",
    b"../../../../etc/passwd",
    b"/dev/zero",
    b"=1+1",
    b"# ",
    b"%YAML 9.9\n",
    b"---\n",
    b"\x1f\x8b",
    b"PK\x03\x04",
    b"PK\x05\x06",
    b"\x93NUMPY",
    b"\x80\x04",
    b"cos\nsystem\n",
)
Change = Callable[[bytes, bytes, Random], bytes]  # of a file, with another valid file of the same name


def changed_bytes(data: bytes, other: bytes, rng: Random) -> bytes:
    """The file with one change, sometimes with several. other: a valid file to take pieces from."""
    changed = data
    for _ in range(1 if rng.random() < 0.8 else rng.randint(2, 5)):
        changed = rng.choice(CHANGES)(changed, other, rng)
    return flipped(data, rng) if changed == other else changed[:LONGEST]  # a whole other file is no damage


def flipped(data: bytes, rng: Random, *, bits: int = 1) -> bytes:
    """The file with this many of its bits flipped."""
    result = bytearray(data)
    for _ in range(bits if result else 0):
        result[rng.randrange(len(result))] ^= 1 << rng.randrange(8)
    return bytes(result)


def _bits(data: bytes, _: bytes, rng: Random) -> bytes:
    return flipped(data, rng, bits=rng.choice((1, 1, 1, 2, 8)))


def _span(data: bytes, rng: Random) -> tuple[int, int]:
    """Where a piece of the file begins and ends; short ones are more frequent."""
    start = rng.randint(0, len(data))
    return start, min(len(data), start + int(2 ** rng.uniform(0, 10)))


def _overwritten(data: bytes, _: bytes, rng: Random) -> bytes:
    start, end = _span(data, rng)
    kind = rng.randrange(3)
    run = rng.randbytes(end - start) if kind == 0 else (b"\0" if kind == 1 else b"\xff") * (end - start)
    return data[:start] + run + data[end:]


def _cut(data: bytes, _: bytes, rng: Random) -> bytes:
    return data[: rng.choice((0, 1, len(data) // 2, max(0, len(data) - 1), rng.randint(0, len(data))))]


def _without(data: bytes, _: bytes, rng: Random) -> bytes:
    start, end = _span(data, rng)
    return data[:start] + data[end:]


def _repeated(data: bytes, _: bytes, rng: Random) -> bytes:
    start, end = _span(data, rng)
    return data[:end] + data[start:end] * rng.choice((1, 1, 20)) + data[end:]


def _spliced(data: bytes, other: bytes, rng: Random) -> bytes:
    if rng.random() < 0.5:
        place = rng.randint(0, len(data))
        return data[:place] + other[place:]
    start, end = _span(other, rng)
    place = rng.randint(0, len(data))
    return data[:place] + other[start:end] + data[place:]


def _exchanged(data: bytes, _: bytes, rng: Random) -> bytes:
    a, b = sorted(rng.randint(0, len(data)) for _ in range(2))
    size = min(b - a, len(data) - b, 64)
    return data[:a] + data[b : b + size] + data[a + size : b] + data[a : a + size] + data[b + size :]


def _token(data: bytes, _: bytes, rng: Random) -> bytes:
    place, token = rng.randint(0, len(data)), rng.choice(TOKENS)
    return data[:place] + token + data[place + (len(token) if rng.random() < 0.4 else 0) :]


def _number(data: bytes, _: bytes, rng: Random) -> bytes:
    """A length, count or offset somewhere becomes a hostile one."""
    size, order = rng.choice((("H", 2), ("I", 4), ("I", 4), ("Q", 8)))
    packed = struct.pack(rng.choice("<>") + size, rng.choice(NUMBERS) % 256**order)
    place = rng.randint(0, max(0, len(data) - order))
    return data[:place] + packed + data[place + order :]


CHANGES: tuple[Change, ...] = (
    _bits,
    _bits,
    _overwritten,
    _cut,
    _without,
    _repeated,
    _spliced,
    _exchanged,
    _token,
    _token,
    _number,
    _number,
)

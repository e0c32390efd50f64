"""Gives one reader changed files and judges what it does: it reads them, or refuses them by name, within bounds."""

import faulthandler
import hashlib
import os
import resource
import shutil
import signal
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch

import latentdrive
from latentdrive.errors import LatentDriveError
from tests.fuzz.formats import FORMATS, UNWRITABLE, Format
from tests.fuzz.mutations import changed_bytes, flipped

SECONDS, PATIENCE_S = 5.0, 120  # processor time that one input may take; wall time after which the process ends itself
MOST_BYTES = 400 << 20  # by which one input may raise the memory of the process
STRUCTURED = 0.55  # share of the changes that are made to the content

PACKAGE = Path(latentdrive.__file__).parent
READ, REFUSED = "read", "refused"


@dataclass(frozen=True, kw_only=True)
class Reader:
    """What is fuzzed.

    make: writes a valid file or folder (folder, variant); the two variants 0 and 1 differ in content.
    read: reads it to the end, and returns what came of it. files: patterns of the files that are
    changed. allowed: the errors that the reader documents. checked: whether what is read must be what
    was written, because a checksum or a source to make it from is there. seal: makes checksums right
    again after the change, as somebody who means it would. writes: whether reading writes, so that the
    folder must be made again. formats: by suffix, in place of the usual ones; None where bytes alone are
    changed. share: of the inputs that others get, for what takes long.
    """

    name: str
    make: Callable[[Path, int], Any]
    read: Callable[[Path], Any]
    files: tuple[str, ...] = ("**/*",)
    allowed: tuple[type[Exception], ...] = (LatentDriveError,)
    checked: bool = False
    seal: Callable[[Path], None] | None = None
    writes: bool = False
    formats: Mapping[str, Format | None] = field(default_factory=dict)
    share: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Fault:
    """An input that a reader did not bear. where: the line of the package that failed, to tell faults apart."""

    seed: int
    file: str
    what: str
    where: str


class TooSlow(BaseException):
    """One input took too long. No reader catches it."""


class Fuzzer:
    """One reader with its files. folder: an empty one, best in memory."""

    def __init__(self, reader: Reader, folder: Path) -> None:
        self.reader, self.work = reader, folder / "work"
        self.stores = [folder / "valid", folder / "other"]
        self.other = b""
        for variant, store in enumerate(self.stores):
            self.work.mkdir(parents=True)
            reader.make(self.work, variant)
            shutil.copytree(self.work, store)  # both are made at the same place: some files hold their own path
            self.other = digest_of(reader.read(self.work))
            shutil.rmtree(self.work)
        self._restore()
        self.names = sorted(
            str(path.relative_to(self.work))
            for pattern in reader.files
            for path in self.work.glob(pattern)
            if path.is_file()
        )
        assert self.names, f"{reader.name} has no file to change"
        self.expected = digest_of(reader.read(self.work))
        self._restore()
        assert digest_of(reader.read(self.work)) == self.expected, f"{reader.name} does not read the same thing twice"
        self._restore()

    def run(
        self, seeds: Sequence[int], *, at: Callable[[int], None] = lambda seed: None
    ) -> tuple[Counter, list[Fault]]:
        """Outcomes, and the faults, each kind of them once. at: is told every seed before it is tried."""
        outcomes: Counter[str] = Counter()
        faults: dict[str, Fault] = {}
        for number, seed in enumerate(seeds):
            if number % 20 == 0:
                faulthandler.dump_traceback_later(PATIENCE_S, exit=True)
            at(seed)
            result = self.attempt(seed)
            outcomes[result if isinstance(result, str) else "faults"] += 1
            if isinstance(result, Fault):
                faults.setdefault(result.where, result)
        faulthandler.cancel_dump_traceback_later()
        return outcomes, list(faults.values())

    def attempt(self, seed: int) -> str | Fault:
        """READ, REFUSED, or what went wrong."""
        return self._try(seed, *self.input(seed))

    def flip(self, name: str, seed: int) -> str | Fault:
        """What comes of one flipped bit in a file."""
        data = flipped((self.stores[0] / name).read_bytes(), Random(f"{name} {seed}"))
        return self._try(seed, name, data)

    def _try(self, seed: int, name: str, data: bytes) -> str | Fault:
        path = self.work / name
        self._put(path, data)
        try:
            return self._judge(seed, name)
        finally:
            self._put(path, (self.stores[0] / name).read_bytes())
            if self.reader.writes or self.reader.seal is not None:
                self._restore()

    def input(self, seed: int) -> tuple[str, bytes]:
        """The name of the file that is changed, and its changed content."""
        rng = Random(f"{self.reader.name} {seed}")
        name = rng.choice(self.names)
        data, other = ((store / name).read_bytes() if (store / name).is_file() else b"" for store in self.stores)
        formats = FORMATS | dict(self.reader.formats)
        write = formats.get(Path(name).suffix)
        if write is not None and rng.random() < STRUCTURED:
            try:
                return name, write(data, rng)
            except UNWRITABLE:
                pass  # such a value has no place in this format
        return name, changed_bytes(data, other, rng)

    def _judge(self, seed: int, name: str) -> str | Fault:
        before = _most_memory()
        try:
            with _bounded(SECONDS):
                if self.reader.seal is not None:
                    self._seal()
                came = self.reader.read(self.work)
                came = digest_of(came) if self.reader.checked else None
        except self.reader.allowed as error:
            if not str(error).strip():
                return Fault(seed=seed, file=name, what=f"{type(error).__name__} says nothing", where="no message")
            outcome = REFUSED
        except (Exception, TooSlow) as error:
            return Fault(seed=seed, file=name, what=_last_lines(error), where=_place(error))
        else:
            outcome = READ
            if self.reader.checked and came not in (self.expected, self.other):  # a whole other file is no damage
                return Fault(seed=seed, file=name, what="something else was read, in silence", where="another content")
        if (grown := _most_memory() - before) > MOST_BYTES:
            return Fault(seed=seed, file=name, what=f"it took {grown >> 20} MB more", where="memory")
        return outcome

    def _seal(self) -> None:
        try:
            self.reader.seal(self.work)
        except (*UNWRITABLE, OSError, IndexError):
            pass  # the change left nothing that could be signed

    def _restore(self) -> None:
        """Make the folder what it was, with the times of change, by which caches know files."""
        valid = self.stores[0]
        for path in [path for path in self.work.rglob("*") if path.is_file()]:
            if not (valid / path.relative_to(self.work)).is_file():
                path.unlink()
        for path in [path for path in valid.rglob("*") if path.is_file()]:
            before, now = path.stat(), self.work / path.relative_to(valid)
            if not now.is_file() or (now.stat().st_mtime_ns, now.stat().st_size) != (
                before.st_mtime_ns,
                before.st_size,
            ):
                now.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, now)

    def _put(self, path: Path, data: bytes) -> None:
        """Replace a file, never write into it: what is still mapped must not change."""
        draft = path.with_name(f"{path.name}.draft")
        draft.write_bytes(data)
        stored = (self.stores[0] / path.relative_to(self.work)).stat()
        os.utime(draft, ns=(stored.st_atime_ns, stored.st_mtime_ns))
        os.replace(draft, path)


def digest_of(value: Any) -> str:
    """A digest over every value in what a reader returned."""
    hashed = hashlib.sha256()
    for part in _parts(value):
        hashed.update(part)
    return hashed.hexdigest()


def _parts(value: Any) -> Iterator[bytes]:
    if isinstance(value, torch.nn.Module):
        value = value.state_dict()
    if isinstance(value, torch.Tensor):
        value = value.detach().double().numpy()
    if isinstance(value, np.ndarray):
        yield f"{value.dtype}{value.shape}".encode()
        yield repr(value.tolist()).encode() if value.dtype.hasobject else np.ascontiguousarray(value).tobytes()
    elif is_dataclass(value) and not isinstance(value, type):
        yield type(value).__name__.encode()
        for column in fields(value):
            yield from _parts(getattr(value, column.name))
    elif isinstance(value, Mapping):
        for key, entry in value.items():
            yield repr(key).encode("utf-8", "backslashreplace")
            yield from _parts(entry)
    elif isinstance(value, list | tuple):
        yield f"{len(value)}:".encode()
        for entry in value:
            yield from _parts(entry)
    else:
        yield f"{type(value).__name__} {value!r};".encode("utf-8", "backslashreplace")


@contextmanager
def _bounded(seconds: float) -> Iterator[None]:
    """Raise TooSlow once this process has computed for so long; other processes on the machine don't count."""

    def stop(*_: Any) -> None:
        raise TooSlow(f"more than {seconds:g} s")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _most_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _last_lines(error: BaseException) -> str:
    return "".join(traceback.format_exception(error)[-6:])


def _place(error: BaseException) -> str:
    """The last line of the package on the way to an error."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if Path(frame.filename).is_relative_to(PACKAGE)]
    return f"{type(error).__name__} at {ours[-1].filename}:{ours[-1].lineno}" if ours else type(error).__name__

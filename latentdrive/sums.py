"""Sums beside files that hold none themselves, as the program sha256sum writes them, which can check them as well."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from latentdrive.files import write_atomic

LARGEST_BYTES = 100_000


def write_sums(file: Path, names: Sequence[str]) -> None:
    """Write the sums of these files, which lie beside `file`. Raises DiskFull."""
    text = _text(file, names)
    write_atomic(file, lambda new: new.write_text(text, encoding="utf-8") and None)


def require_sums(file: Path, names: Sequence[str]) -> None:
    """Raise ValueError unless these files are as they were written.

    Files without sums, such as those of early versions, pass.
    """
    if not file.is_file():
        return
    with file.open("rb") as opened:
        written = opened.read(LARGEST_BYTES)
    if written != _text(file, names).encode():
        raise ValueError(f"{' or '.join(names)} is not the file whose sum stands in {file.name}")


def _text(file: Path, names: Sequence[str]) -> str:
    lines = []
    for name in names:
        with (file.parent / name).open("rb") as opened:
            lines.append(f"{hashlib.file_digest(opened, 'sha256').hexdigest()}  {name}\n")
    return "".join(lines)

"""Archives of arrays (.npz) as numpy writes them: one way to read them, and one error for a damaged one."""

import zipfile
import zlib
from pathlib import Path

import numpy as np

# Whatever byte is wrong; the OSError is a position before the start of the file.
DAMAGE = (ValueError, KeyError, EOFError, OSError, RuntimeError, zipfile.BadZipFile, zlib.error)


def read_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """Every array of an archive by its name; nothing is unpickled.

    Raises OSError where the file can't be opened, ValueError where it is no archive, cut short or altered.
    """
    with open(path, "rb") as file:
        try:
            with np.load(file, allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
        except DAMAGE as error:
            raise ValueError(f"no intact archive of arrays: {error or type(error).__name__}") from error

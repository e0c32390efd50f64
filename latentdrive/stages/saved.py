"""Files of a run that torch.save wrote: read only where they are what was written."""

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from latentdrive.errors import CheckpointError
from latentdrive.files import DAMAGE


def load_saved(file: Path) -> Any:
    """The content of a file, with tensors mapped on the CPU. Raises CheckpointError where it is damaged.

    torch.save writes a checksum of every record, and torch.load never compares it. A gigabyte takes a second.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            if (altered := archive.testzip()) is not None:
                raise zipfile.BadZipFile(f"{altered} was altered")
        return torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except (*DAMAGE, pickle.UnpicklingError) as error:
        raise unreadable(file, error) from None


def unreadable(file: Path, error: Exception) -> CheckpointError:
    """The error for a file in the folder of a run's state that can't be read."""
    return CheckpointError(f"{file} can't be read: remove {file.parent} to start again ({error})")

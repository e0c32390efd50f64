"""Records of measurements, with the command, the commit and the machine. For the tools that write docs/results."""

import os
import shlex
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from latentdrive.checkpoint import commit
from latentdrive.files import write_atomic
from latentdrive.plain_files import as_json
from latentdrive.run_folder import CHECKPOINT


def write_record(path: Path, **measured: Any) -> None:
    """Write JSON: how the measurement was made, then what was measured. Prints where it is."""
    made: Mapping[str, Any] = {
        "command": shlex.join(["python", *map(portable, sys.argv)]),
        "commit": commit(),
        "machine": machine(),
    }
    write_json(path, {**made, **measured})
    print(f"written to {path}")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON, whole or not at all. NaN, as an interval's ends where there is one drive, becomes null."""
    text = as_json(content)
    write_atomic(path, lambda new: new.write_text(text, encoding="utf-8"))


def machine() -> dict[str, Any]:
    """What the numbers depend on besides the code. load_average: of the last minute, this program included."""
    return {
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "load_average": os.getloadavg()[0],
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def portable(word: str) -> str:
    """A word of a command in which an absolute path, alone or behind key=, is cut to its last name.

    The rest of the path means nothing on another machine.
    """
    key, sign, value = word.rpartition("=")
    return f"{key}{sign}{Path(value).name}" if Path(value).is_absolute() else word


def named_checkpoints(words: Iterable[str]) -> dict[str, Path]:
    """NAME=FOLDER words of a command: name → checkpoint. FOLDER is a checkpoint, or a run that holds one."""
    folders = {name: Path(folder) for name, _, folder in (word.partition("=") for word in words)}
    return {name: inside if (inside := path / CHECKPOINT).is_dir() else path for name, path in folders.items()}

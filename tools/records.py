"""What every measurement is kept with: the command, the commit and the machine; for the tools that write docs/results."""

import json
import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from latentdrive.checkpoint import commit
from latentdrive.files import write_atomic


def write_record(path: Path, **found: Any) -> None:
    """Write JSON: how it was made, then what was `found`; one line says where."""
    made: Mapping[str, Any] = {
        "command": shlex.join(["python", *map(portable, sys.argv)]), "commit": commit(), "machine": machine(),
    }  # fmt: skip
    text = json.dumps({**made, **found}, indent=1) + "\n"
    write_atomic(path, lambda new: new.write_text(text, encoding="utf-8"))
    print(f"written to {path}")


def machine() -> dict[str, Any]:
    """What the numbers depend on besides the code. load_average: of the last minute, this program included."""
    return {
        "cores": os.cpu_count(), "torch_threads": torch.get_num_threads(), "load_average": os.getloadavg()[0],
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }  # fmt: skip


def portable(word: str) -> str:
    """A word of a command; of an absolute path, alone or behind key=, the last name alone: the rest means nothing on another machine."""
    key, sign, value = word.rpartition("=")
    return f"{key}{sign}{Path(value).name}" if Path(value).is_absolute() else word

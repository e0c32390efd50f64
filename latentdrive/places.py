"""Where the data lie on this machine, said once in a file that every command reads.

The file is latentdrive.yaml in the working folder, or the one that the environment variable
LATENTDRIVE_PATHS names. `latentdrive doctor data=navsim ... save=latentdrive.yaml` writes it. It
holds folders and names of splits, and nothing that could be built or run:

    paths: {data: /big/data, runs: /big/runs, stores: /big/stores}
    navsim:
      path: /big/openscene
      splits: /home/me/splits
      maps: /big/maps
      split: {train: mine_train, val: mine_val, test: navtest}

configs/paths/default.yaml, configs/data/navsim.yaml and configs/data/navhard.yaml take these values
by `${place:KEY,DEFAULT}`. Whatever is typed comes first.
"""

import difflib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from latentdrive.errors import ConfigError
from latentdrive.files import write_atomic

FILE, VARIABLE = "latentdrive.yaml", "LATENTDRIVE_PATHS"
FIRST_LINE = (
    "# Written by `latentdrive doctor ... save=FILE`: where the data lie on this machine. Every command reads it."
)
ROOTS = ("data", "runs", "stores")
FOLDERS, SPLIT_NAMES = ("path", "splits", "maps"), ("train", "val", "test")
DATA_SETS = ("navsim", "navhard")
_OF_A_DATA_SET = {*FOLDERS, *(f"split.{name}" for name in SPLIT_NAMES)}
KEYS = {f"paths.{root}" for root in ROOTS} | {f"{data}.{key}" for data in DATA_SETS for key in _OF_A_DATA_SET}


def places_file() -> Path | None:
    """The file that applies here, None if there is none. Raises ConfigError if LATENTDRIVE_PATHS names no file."""
    named = os.environ.get(VARIABLE)
    if not named:
        return Path(FILE) if Path(FILE).is_file() else None
    file = Path(named).expanduser()
    if not file.is_file():
        raise ConfigError(f"{VARIABLE}={named}: there is no such file; correct the variable, or unset it")
    return file


def place(key: str, default: Any, data_path: str | None = None) -> Any:
    """The value of a dotted key in the file that applies here, or the default.

    data_path: the folder that the command reads. The splits and maps in the file belong to the data
    whose path stands beside them, so they count only if the command reads that folder. Raises
    ConfigError if the file names a folder that does not exist.
    """
    file = places_file()
    if file is None:
        return default
    values = read_places(file)
    section, _, name = key.partition(".")
    if key not in values or (data_path is not None and not _same(values.get(f"{section}.path"), data_path)):
        return default
    if name in FOLDERS and section in DATA_SETS and not Path(values[key]).is_dir():
        raise ConfigError(
            f"{file}: {key}: there is no folder {values[key]}; mount it, correct the file, or type data.path=FOLDER"
        )
    return values[key]


def read_places(file: Path) -> dict[str, str | None]:
    """Dotted keys of a file with their values; folders are relative to the file. Raises ConfigError."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{file} can't be read as YAML: {error}") from None
    values = dict(_leaves(content)) if isinstance(content, Mapping) else {"": content}
    for key, value in values.items():
        if key not in KEYS:
            near = difflib.get_close_matches(key, KEYS, 1)
            raise ConfigError(
                f"{file}: unknown key {key or value!r}"
                + (f"; did you mean {near[0]}?" if near else f"; the keys are {', '.join(sorted(KEYS))}")
            )
        is_split = ".split." in key
        if not (isinstance(value, str) and value) and not (is_split and value is None):
            raise ConfigError(f"{file}: {key}: expected {'a name' if is_split else 'a folder'}, found {value!r}")
        if not is_split:
            values[key] = str(file.parent / Path(value).expanduser())
    return values


def save_places(file: Path, values: Mapping[str, str | None]) -> list[str]:
    """Write these dotted keys into a file, beside what it says about other data. Returns a line for
    every change.

    Raises ConfigError if the file exists and doctor did not write it.
    """
    earlier: dict[str, str | None] = {}
    if file.exists():
        if not file.is_file() or not file.read_text(encoding="utf-8", errors="replace").startswith(FIRST_LINE):
            raise ConfigError(
                f"save={file}: `latentdrive doctor` did not write this file, so it stays as it is: name another file "
                f"or remove this one. It would hold: {', '.join(f'{key}: {value}' for key, value in values.items())}"
            )
        earlier = read_places(file)
    sections = {key.partition(".")[0] for key in values}
    others = {key: value for key, value in earlier.items() if key.partition(".")[0] not in sections - {"paths"}}
    content = _nested(others | dict(values))
    text = f"{FIRST_LINE}\n{yaml.safe_dump(content, sort_keys=False, allow_unicode=True)}"
    write_atomic(file, lambda new: new.write_text(text, encoding="utf-8") and None)
    after = read_places(file)
    keys = dict.fromkeys([*earlier, *after])
    return [
        f"{key} was {earlier.get(key)}, is now {after.get(key, 'not given')}"
        for key in keys
        if key in earlier and earlier[key] != after.get(key, "")
    ]


def _same(folder: str | None, other: str) -> bool:
    return folder is not None and Path(folder).resolve() == Path(other).expanduser().resolve()


def _leaves(node: Mapping[Any, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def _nested(values: Mapping[str, str | None]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for key, value in values.items():
        *parents, last = key.split(".")
        node = content
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = value
    return content

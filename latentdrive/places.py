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
import tempfile
import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from latentdrive.errors import ConfigError, NotWritable
from latentdrive.files import write_atomic
from latentdrive.plain_files import read_yaml

FILE, VARIABLE = "latentdrive.yaml", "LATENTDRIVE_PATHS"
FIRST_LINE = (
    "# Written by `latentdrive doctor ... save=FILE`: where the data lie on this machine. Every command reads it."
)
ROOTS = ("data", "runs", "stores")
FOLDERS, SPLIT_NAMES = ("path", "splits", "maps"), ("train", "val", "test")
DATA_SETS = ("navsim", "navhard")
_OF_A_DATA_SET = {*FOLDERS, *(f"split.{name}" for name in SPLIT_NAMES)}
LARGEST_BYTES, DEEPEST, LONGEST = 64_000, 3, 1000  # file, mappings, value
SHOWN, SHOWN_PATH = 80, 4096  # characters of a value in a message, and of a path, which must be whole
KEYS = {f"paths.{root}" for root in ROOTS} | {f"{data}.{key}" for data in DATA_SETS for key in _OF_A_DATA_SET}


def places_file() -> Path | None:
    """The file that applies here, None if there is none. Raises ConfigError if what is named is no file."""
    named = os.environ.get(VARIABLE)
    if not named:
        if os.path.lexists(FILE) and not os.path.isfile(FILE):
            raise ConfigError(f"{FILE} in this folder is no file, or a link to none: correct it, or remove it")
        return Path(FILE) if os.path.isfile(FILE) else None
    file = os.path.expanduser(named)
    if not os.path.isfile(file):
        raise ConfigError(f"{VARIABLE}={_short(named)}: there is no such file; correct the variable, or unset it")
    return Path(file)


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
    if name in FOLDERS and section in DATA_SETS and not os.path.isdir(values[key]):
        raise ConfigError(
            f"{file}: {key}: there is no folder {_short(values[key], SHOWN_PATH)}; mount it, correct the file, "
            "or type data.path=FOLDER"
        )
    return values[key]


def read_places(file: Path) -> dict[str, str | None]:
    """Dotted keys of a file with their values; folders are relative to the file, and become absolute.

    Raises ConfigError, in one sentence that names the file, whatever is wrong with it.
    """
    try:
        content = read_yaml(file, largest_bytes=LARGEST_BYTES, deepest=DEEPEST) or {}
        beside = file.parent.resolve()
    except ValueError as error:
        raise ConfigError(f"{file} {error}") from None
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links
        raise ConfigError(f"{file} can't be opened ({_short(error)})") from None
    values = dict(_leaves(content)) if isinstance(content, Mapping) else {"": content}
    for key, value in values.items():
        if key not in KEYS:
            near = difflib.get_close_matches(key[:LONGEST], KEYS, 1)
            raise ConfigError(
                f"{file}: unknown key {_quote(key or value)}"
                + (f"; did you mean {near[0]}?" if near else f"; the keys are {', '.join(sorted(KEYS))}")
            )
        is_split = ".split." in key
        if not (isinstance(value, str) and value) and not (is_split and value is None):
            raise ConfigError(f"{file}: {key}: expected {'a name' if is_split else 'a folder'}, found {_quote(value)}")
        _refuse_unsafe(file, key, value)
        if not is_split:
            values[key] = str(beside / _at_home(file, key, value))
            _refuse_unsafe(file, key, values[key])  # the file's own folder may have an odd name
    return values


def _refuse_unsafe(file: Path, key: str, value: str | None) -> None:
    """Raise ConfigError for a value that Hydra would not take as it stands, or that names no file anywhere."""
    if value is None:
        return
    reason = ""
    if "${" in value:
        reason = "holds ${, which would be read as a reference to another key"
    elif value == "???":
        reason = "is ???, which stands for no value at all"
    elif any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in value):
        reason = "holds a character that can't be printed"
    elif len(value) > LONGEST:
        reason = f"has {len(value)} characters, more than {LONGEST}"
    if reason:
        raise ConfigError(f"{file}: {key}: the value {_quote(value)} {reason}")


def _at_home(file: Path, key: str, folder: str) -> Path:
    try:
        return Path(folder).expanduser()
    except RuntimeError:
        raise ConfigError(f"{file}: {key}: {_short(folder)}: this machine knows no such user's home folder") from None


def _short(text: Any, shown: int = SHOWN) -> str:
    """Text for a message: one line of at most `shown` characters."""
    line = " ".join(str(text).split())
    return line if len(line) <= shown else f"{line[: shown - 3]}..."


def _quote(value: Any) -> str:
    try:
        return _short(repr(value))
    except (ValueError, RecursionError):  # Python prints no number of more than 4300 digits
        return f"a very long {type(value).__name__}"


def check_savable(file: Path, values: Mapping[str, str | None]) -> dict[str, str | None]:
    """Raise ConfigError unless these dotted keys can be saved in the file. Returns what the file says so far.

    Nothing stays written; a folder is created beside the file for a moment, because permissions
    alone don't tell whether a file system can be written.
    """
    try:
        for key, value in values.items():
            _refuse_unsafe(file, key, value)
        if "\0" in str(file):
            raise ValueError("no name holds a NUL")
        folder = next(parent for parent in Path(os.path.abspath(file)).parents if parent.exists())
        with tempfile.TemporaryDirectory(prefix=".latentdrive.", dir=folder):
            pass
        if not file.exists():
            return {}
        if not file.is_file() or not _first_line(file).startswith(FIRST_LINE):
            raise ConfigError(
                f"save={file}: `latentdrive doctor` did not write this file, so it stays as it is: name another file "
                f"or remove this one. It would hold: {', '.join(f'{key}: {value}' for key, value in values.items())}"
            )
    except (OSError, ValueError, RuntimeError) as error:
        raise _not_savable(file, error) from None
    return read_places(file)


def _first_line(file: Path) -> str:
    with file.open(encoding="utf-8", errors="replace") as opened:
        return opened.readline(LONGEST)


def _not_savable(file: Path, error: Exception) -> ConfigError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return ConfigError(f"save={_short(file)} can't be written: {_short(reason)}; name another file")


def save_places(file: Path, values: Mapping[str, str | None]) -> list[str]:
    """Write these dotted keys into a file, beside what it says about other data. Returns a line for
    every change.

    Raises ConfigError if the file exists and doctor did not write it, or if it can't be written.
    """
    earlier = check_savable(file, values)
    sections = {key.partition(".")[0] for key in values}
    others = {key: value for key, value in earlier.items() if key.partition(".")[0] not in sections - {"paths"}}
    content = _nested(others | dict(values))
    text = f"{FIRST_LINE}\n{yaml.safe_dump(content, sort_keys=False, allow_unicode=True)}"
    try:
        write_atomic(file, lambda new: new.write_text(text, encoding="utf-8") and None)
    except NotWritable as error:
        raise _not_savable(file, error.__cause__ or error) from None
    after = read_places(file)
    keys = dict.fromkeys([*earlier, *after])
    return [
        f"{key} was {earlier.get(key)}, is now {after.get(key, 'not given')}"
        for key in keys
        if key in earlier and earlier[key] != after.get(key, "")
    ]


def _same(folder: str | None, other: str) -> bool:
    """Whether both name one folder; os.path says no where a name can't be one, and raises nothing."""
    return folder is not None and os.path.realpath(folder) == os.path.realpath(os.path.expanduser(str(other)))


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

"""`doctor ... save=FILE`: checks the folders and splits that a command was given, and writes them
into a file of places.

The file is the one that places.py reads for every later command.
"""

import shlex
from pathlib import Path

from latentdrive.config import Config
from latentdrive.data.clips.data_set import DataSet
from latentdrive.errors import ConfigError
from latentdrive.places import DATA_SETS, FILE, ROOTS, SPLIT_NAMES, places_file, save_places


def places_of(cfg: Config, data: DataSet, file: Path) -> dict[str, str | None]:
    """Everything that the file is to say: what was typed, and what else exists. Folders become
    absolute.

    Raises ConfigError if something that was typed does not exist, or if the data are of a kind that
    the file does not hold.
    """
    option, typed = _option(cfg), _typed_keys(cfg)
    if option not in DATA_SETS:
        raise ConfigError(
            f"save={file} remembers {' and '.join(f'data={name}' for name in DATA_SETS)}; data={option} is given by "
            "data.path every time: leave save out"
        )
    values: dict[str, str | None] = {
        f"paths.{root}": _absolute(cfg.paths[root]) for root in ROOTS if f"paths.{root}" in typed
    }
    folders = {"path": "data.path", "splits": "data.splits", "maps": "data.scenes.maps.root"}
    for name, key in folders.items():
        folder = _value(cfg, key)
        if folder is not None and Path(folder).expanduser().is_dir():
            values[f"{option}.{name}"] = _absolute(folder)
        elif key in typed or name == "path":
            raise ConfigError(f"save={file}: {key}={folder}: there is no such folder, so nothing is saved")
    known = data.splits()
    for name in SPLIT_NAMES:
        key, split = f"data.split.{name}", cfg.data.split[name]
        if split in known or (split is None and key in typed):
            values[f"{option}.split.{name}"] = split
        elif key in typed:
            raise ConfigError(
                f"save={file}: {key}={split}: there is no such split, so nothing is saved; there are {', '.join(known)}"
            )
    return values


def save(cfg: Config, data: DataSet, file: Path) -> list[str]:
    """Write the file. Returns what to tell, line by line. Raises ConfigError as `places_of` and `save_places` do."""
    values = places_of(cfg, data, file)
    changes = save_places(file, values)
    where = "every command that is given in this folder" if file == Path(FILE) else "every command"
    names = ", ".join(key.partition(".")[2] for key in values)
    return [f"saved in {file}, which {where} reads: {names}", *changes]


def words_after_saving(cfg: Config) -> str:
    """The words that still have to be typed for the same data."""
    words = [word for word in shlex.split(cfg.data_words) if word.partition("=")[0].lstrip("+") not in _saved_keys()]
    return shlex.join(words)


def activation(file: Path) -> str:
    """The prefix with which a command reads the file; empty if it reads the file anyway."""
    current = places_file()
    if current is not None and current.resolve() == file.resolve():
        return ""
    return f"export LATENTDRIVE_PATHS={shlex.quote(_absolute(file))} && "


def _saved_keys() -> set[str]:
    keys = {"data.path", "data.splits", "data.scenes.maps.root"}
    return keys | {f"data.split.{name}" for name in SPLIT_NAMES} | {f"paths.{root}" for root in ROOTS}


def _option(cfg: Config) -> str:
    return shlex.split(cfg.data_words)[0].partition("=")[2]


def _typed_keys(cfg: Config) -> set[str]:
    """Keys whose values differ from what the YAML files say."""
    return {word.partition("=")[0] for word in shlex.split(cfg.data_words)[1:]}


def _value(cfg: Config, key: str) -> str | None:
    node = cfg
    for part in key.split("."):
        if not isinstance(node, Config) or part not in node:
            return None
        node = node[part]
    return node


def _absolute(folder: str | Path) -> str:
    return str(Path(folder).expanduser().resolve())

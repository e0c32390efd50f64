"""Configurations: composed from YAML files with Hydra, read strictly, and written back as YAML.

The rest of the package sees a `Config`. It remembers which keys were read, so that a key that
no code reads is an error before any work begins. build.py makes objects of its nodes.
"""

import difflib
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from latentdrive.errors import ConfigError
from latentdrive.overrides import data_words
from latentdrive.places import place
from latentdrive.plain_files import LOADER

# Keys of earlier versions, and what they are called now; what stood below a key stands below the new one.
RENAMED = {
    "split": "data.split.test",
    "data.scenes.split": "data.split.test",
    "data.train.split": "data.split.train",
    "data.val.split": "data.split.val",
    **{f"data.source.{key}": f"data.options.{key}" for key in ("fit", "images_hz", "poses", "field_of_view_deg")},
    **{f"data.source.{key}": f"data.part.{key}" for key in ("path", "train_share", "gap_s")},
    "data.source.part": "data.part.times",
    **{f"data.{part}.part": f"data.{part}.times" for part in ("train", "val", "probe")},
    "training.weights": "training.loss",
    "model.eyes": "model.sensors",
    **{f"{node}.traffic.replay.own_way": f"{node}.traffic.replay.ego_motion" for node in ("world", "video")},
}
SHARED = {"paths", "seed"}  # base.yaml gives these to every verb, so a verb need not read them


def configs_folder() -> Path:
    """Where the YAML files are: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


class Config:
    """A node of a composed configuration, with access by `cfg.data.rate_hz` and `"data" in cfg`.

    Reading a leaf marks it as read. command: what a person types to get this configuration; run
    folders and cards state it. data_words: what a person adds to another verb to get the same data
    in the same places, for hints at the next command.
    """

    def __init__(
        self,
        node: Mapping[str, Any],
        *,
        path: str = "",
        read: set[str] | None = None,
        command: str = "",
        data_words: str = "",
    ) -> None:
        self._node = dict(node)
        self._path = path
        self._read = set() if read is None else read
        self._command, self._data_words = command, data_words

    @property
    def dotted_name(self) -> str:
        """Name of the node in the whole configuration, such as `data.source`; empty for the whole."""
        return self._path.removesuffix(".")

    @property
    def command(self) -> str:
        """The command line that gives this configuration."""
        return self._command

    @property
    def data_words(self) -> str:
        """The arguments that give another verb the same data in the same places."""
        return self._data_words

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self[name]

    def __getitem__(self, name: str) -> Any:
        where = f"{self._path}{name}"
        if name not in self._node:
            raise ConfigError(f"{where} is not in the configuration; here are: {', '.join(sorted(self._node))}")
        value = self._node[name]
        if value == "???":
            raise ConfigError(f"{where} has no value: give it on the command line, as {where}=...")
        if isinstance(value, Mapping):
            return Config(value, path=f"{where}.", read=self._read)
        self._read.add(where)
        return value

    def __contains__(self, name: str) -> bool:
        return name in self._node

    def __iter__(self) -> Iterator[str]:
        return iter(self._node)

    def __repr__(self) -> str:
        return f"Config({self._node!r})"

    def snapshot(self) -> dict[str, Any]:
        """The node as plain dictionaries, for the record: no key counts as read."""
        return _copy(self._node)

    def plain(self) -> dict[str, Any]:
        """The node as plain dictionaries, every key marked as read."""
        self._read.update(f"{self._path}{leaf}" for leaf in _leaves(self._node))
        return _copy(self._node)

    def mark_read(self, names: Iterable[str]) -> None:
        """Mark these dotted names and everything below them as read, because other keys refer to them."""
        prefixes = tuple(names)
        for leaf in _leaves(self._node):
            if any(leaf == name or leaf.startswith(f"{name}.") for name in prefixes):
                self._read.add(leaf)

    def unread(self) -> list[str]:
        """Dotted names of all leaves below this node that were not read so far."""
        return sorted(name for leaf in _leaves(self._node) if (name := f"{self._path}{leaf}") not in self._read)

    def require_all_read(self) -> None:
        """Raise ConfigError if a key was not read. Commands call this before the work begins."""
        if unread := self.unread():
            raise ConfigError(
                f"nothing reads {', '.join(unread)}: remove {'it' if len(unread) == 1 else 'them'}, "
                "or choose the option that uses it"
            )


def references(node: Any) -> set[str]:
    """Dotted names that the values below an unresolved node refer to, as in `${data.rate_hz}`."""
    if isinstance(node, Mapping):
        return set().union(*map(references, node.values()))
    if isinstance(node, list):
        return set().union(*map(references, node))
    return set(re.findall(r"\$\{([\w.]+)\}", node)) if isinstance(node, str) else set()


def compose(name: str, overrides: Sequence[str]) -> Config:
    """The configuration `configs/NAME.yaml` with overrides, exactly as the command line gives it to
    the verb's `run`.

    For tests, notebooks, and verbs that call other verbs. Raises ConfigError for a key, an option
    or a value that does not fit.
    """
    from hydra.core.hydra_config import HydraConfig

    try:
        with _composer() as composer:
            composed = composer(name, overrides=list(overrides), return_hydra_config=True)
            HydraConfig.instance().set_config(composed)  # for values such as ${hydra:runtime.choices.data}
            del composed._content["hydra"]
            return read_composed(composed, overrides)
    except foreign_errors() as error:
        raise ConfigError(explain(error, name)) from None


@contextmanager
def _composer() -> Iterator[Callable[..., Any]]:
    """Hydra's `compose` for our folder. A verb that Hydra itself started finds Hydra unchanged afterwards."""
    import hydra
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.hydra_config import HydraConfig

    register_resolvers()
    outer, current = GlobalHydra.instance().hydra, HydraConfig.instance().cfg
    GlobalHydra.instance().clear()
    try:
        with hydra.initialize_config_dir(config_dir=str(configs_folder()), version_base="1.3"):
            yield hydra.compose
    finally:
        GlobalHydra.instance().hydra, HydraConfig.instance().cfg = outer, current


def register_resolvers() -> None:
    """Let `${place:KEY,DEFAULT}` in our YAML files read the file of places; call it before Hydra composes."""
    from omegaconf import OmegaConf

    OmegaConf.register_new_resolver("place", place, replace=True)


def read_composed(composed: Any, overrides: Sequence[str]) -> Config:
    """A Config of what Hydra composed (an omegaconf DictConfig) with these overrides."""
    from omegaconf import OmegaConf

    plain, written = (OmegaConf.to_container(composed, resolve=resolve) for resolve in (True, False))
    for key in _leaves(plain):  # a + in front of a key adds it, whether or not anything reads it
        if _renamed(key) is not None:
            raise ConfigError(_unknown(key))
    command = shlex.join(["latentdrive", *plain["verb"].split("_"), *overrides])
    cfg = Config(plain, command=command, data_words=shlex.join(data_words(written, configs_folder())))
    cfg.mark_read(references(written) | SHARED)
    return cfg


def foreign_errors() -> tuple[type[Exception], ...]:
    """What Hydra and omegaconf raise for a wrong override."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    return HydraException, OmegaConfBaseException


def explain(error: Exception, name: str) -> str:
    """An error that Hydra raised about `configs/NAME.yaml`, as one sentence that says what to type instead."""
    text = str(error).strip()
    if match := re.search(r"\w+ raised while resolving interpolation: (.*)", text):
        return match[1]
    if match := re.search(r"Could not (?:override|delete from config\.) '([^'@]+)", text):
        return _unknown(match[1], name)
    if match := re.search(r"Missing mandatory value: ([\w.]+)", text):
        return f"{match[1]} has no value: give it on the command line, as {match[1]}=..."
    if match := re.search(r"Could not find '([^']+)'\s+Available options in [^\n]*((?:\n\t\S+)+)", text):
        group, _, option = match[1].rpartition("/")
        options = sorted(match[2].split())
        near = difflib.get_close_matches(option, options, 1)
        guess = f"; did you mean {group}={near[0]}?" if near else ""
        return f"{group}={option}: there is no such option, {group} may be {', '.join(options)}{guess}"
    return text.split("\nSet the environment variable")[0]


def _renamed(key: str) -> str | None:
    """What a key of an earlier version is called now; None if there was none of that name."""
    for old, new in RENAMED.items():
        if key == old or key.startswith(f"{old}."):
            return new + key.removeprefix(old)
    return None


def _unknown(key: str, name: str | None = None) -> str:
    """What to type instead of a key that `configs/NAME.yaml` does not have."""
    if (new := _renamed(key)) is not None:
        return f"unknown key {key}: it is called {new} now; type {new}=..."
    near = [] if name is None else difflib.get_close_matches(key, _keys(name), 1, cutoff=0.5)
    return f"unknown key {key}" + (f"; did you mean {near[0]}?" if near else ";") + " --cfg job shows all keys"


def _keys(name: str) -> list[str]:
    """Dotted names of all keys and groups of `configs/NAME.yaml` as it is without overrides."""
    from omegaconf import OmegaConf

    with _composer() as composer:
        composed = OmegaConf.to_container(composer(name), resolve=False)
    groups = [path.name for path in configs_folder().iterdir() if path.is_dir()]
    return [*_leaves(composed), *_branches(composed), *groups]


def _branches(node: Mapping[str, Any]) -> Iterator[str]:
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield str(key)
            yield from (f"{key}.{branch}" for branch in _branches(value))


def _leaves(node: Mapping[str, Any]) -> Iterator[str]:
    for key, value in node.items():
        if isinstance(value, Mapping) and value:
            yield from (f"{key}.{leaf}" for leaf in _leaves(value))
        else:
            yield str(key)


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copy(entry) for key, entry in value.items()}
    return [_copy(entry) for entry in value] if isinstance(value, list) else value


def to_yaml(node: Config | Mapping[str, Any]) -> str:
    """The node as YAML text, keys in their order."""
    return yaml.safe_dump(node.plain() if isinstance(node, Config) else _copy(node), sort_keys=False, width=120)


def from_yaml(text: str) -> dict[str, Any]:
    """The content of YAML text that `to_yaml` wrote."""
    return yaml.load(text, Loader=LOADER)

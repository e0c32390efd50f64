"""Configurations: composed from YAML files with Hydra, read strictly, and written back as YAML.

The rest of the package sees a `Config`. It remembers which keys were read, so that a key that
no code reads is an error before any work begins. build.py makes objects of its nodes.
"""

import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

import yaml

from latentdrive.errors import ConfigError
from latentdrive.explain import explain, foreign_errors, renamed, unknown
from latentdrive.kinds import kind_like, mismatch
from latentdrive.overrides import data_words
from latentdrive.places import place
from latentdrive.plain_files import LOADER

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

    def value(self, name: str, kind: Any) -> Any:
        """The value of a key. Raises ConfigError unless it is of this kind, an annotation such as `int | None`."""
        value = self[name]
        if wrong := mismatch(f"{self._path}{name}", value, kind):
            raise ConfigError(wrong)
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
        if (text := explained(error, name, overrides)) is None:
            raise
        raise ConfigError(text) from None


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
        if renamed(key) is not None:
            raise ConfigError(unknown(key))
    _check_kinds(plain)
    command = shlex.join(["latentdrive", *plain["verb"].split("_"), *overrides])
    cfg = Config(plain, command=command, data_words=shlex.join(data_words(written, configs_folder())))
    cfg.mark_read(references(written) | SHARED)
    return cfg


def explained(error: Exception, name: str, overrides: Sequence[str]) -> str | None:
    """One sentence about an error that composing `configs/NAME.yaml` with these overrides raised, as `explain`."""
    return explain(error, partial(_keys, name, overrides), _groups())


def _keys(name: str, overrides: Sequence[str]) -> list[str]:
    """Dotted names of all keys and groups of `configs/NAME.yaml`, with the options that the overrides choose."""
    from omegaconf import OmegaConf

    chosen = [word for word in overrides if word.partition("=")[0] in _groups()]
    with _composer() as composer:
        try:
            composed = composer(name, overrides=chosen, return_hydra_config=True)
        except foreign_errors():  # a second mistake, or a group that this verb has not
            composed = composer(name, return_hydra_config=True)
    own = [group for group in composed.hydra.runtime.choices if group in _groups()]
    del composed._content["hydra"]
    node = OmegaConf.to_container(composed, resolve=False)
    return [*_leaves(node), *_branches(node), *own]


def _groups() -> set[str]:
    """Names of the groups of options of all verbs."""
    return {path.name for path in configs_folder().iterdir() if path.is_dir()}


def _check_kinds(plain: Mapping[str, Any]) -> None:
    """Raise ConfigError for a key of the verb itself whose value is of another kind than its default.

    build.py checks the values of nodes that build something.
    """
    for key, default in _own_defaults(plain["verb"]).items():
        if key in plain and (wrong := mismatch(key, plain[key], kind_like(default))):
            raise ConfigError(wrong)
    folders = {"out": plain["out"], **{f"paths.{key}": folder for key, folder in plain["paths"].items()}}
    folders |= {"data.path": plain["data"]["path"]} if isinstance(plain.get("data"), Mapping) else {}
    for key, folder in folders.items():
        if wrong := mismatch(key, folder, str):
            raise ConfigError(wrong)
        if not folder:
            raise ConfigError(f"{key}= is empty, perhaps because a variable of the shell is not set: give a folder")


@cache
def _own_defaults(verb: str) -> dict[str, Any]:
    """Defaults of the keys that stand at the top of the configuration of a verb, in the files that all trainings share,
    and in the one that all verbs share."""
    files = ("base.yaml", "trainer/default.yaml", f"{verb}.yaml")
    nodes = [from_yaml((configs_folder() / file).read_text(encoding="utf-8")) for file in files]
    defaults = {key: value for node in nodes for key, value in node.items()}
    return {key: value for key, value in defaults.items() if not isinstance(value, Mapping) and key != "defaults"}


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

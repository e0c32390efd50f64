"""Words of the command line behind the verb, as a person types them.

Stands beside config.py, which gives the composed configuration. Hydra's grammar for `key=value` is
known here alone.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from latentdrive.errors import ConfigError

# What stands behind a verb without being key=value; the flags of the second line are followed by a word.
FLAGS = {"-m", "--multirun", "--resolve", "--hydra-help", "-h", "--help", "--version"}
FLAGS_WITH_WORD = {"--cfg", "-c", "--package", "-p", "--config-dir", "-cd", "--info", "-i"}


def check_words(words: Sequence[str]) -> None:
    """Raise ConfigError for the first word that is neither key=value nor a flag, with what may be meant."""
    for number, word in enumerate(words):
        before = words[number - 1] if number else ""
        name = word.partition("=")[0]
        if name in FLAGS | FLAGS_WITH_WORD or before in FLAGS_WITH_WORD:
            continue
        if word.startswith("-"):
            bare, known = (
                word.lstrip("-"),
                "the flags are -m, --cfg job, --help and --version, and all else is key=value",
            )
            raise ConfigError(f"{word} is no flag; " + (f"did you mean {bare}?" if "=" in bare else known))
        if name == "" or word == "=":
            raise ConfigError(f"{word} has no key: write key=value without spaces around the =")
        if "=" not in word and not word.startswith("~"):
            raise ConfigError(f"{word} is no key=value{_meant(word, words[number + 1 :])}")


def _meant(word: str, rest: Sequence[str]) -> str:
    """What may be meant by a word without a =, by the words after it."""
    after, value = (*rest[:2], "", "")[:2]
    if after.startswith("="):
        return f"; did you mean {word}={after[1:] or value}, without spaces around the =?"
    if ":" in word and "/" not in word.partition(":")[0]:
        return f"; did you mean {word.replace(':', '=', 1)}?"
    plain = after and "=" not in after and not after.startswith("-")
    return f"; did you mean {word}={after}?" if plain else ": every word behind the verb is written key=value"


def data_words(written: Mapping[str, Any], configs: Path) -> Iterator[str]:
    """Words of a command that give another verb the same data in the same places.

    These are the option of `data`, and every value that differs from the files of `data` and
    `paths`, whether the user typed it or an experiment set it. written: the configuration before
    its interpolations are resolved, so that a value that follows from another key is no difference.
    configs: the folder of those files.
    """
    from hydra.core.hydra_config import HydraConfig

    options = HydraConfig.get().runtime.choices
    if "data" in written:
        yield f"data={options['data']}"
    for group in (group for group in ("data", "paths") if group in written):
        defaults = with_bases(configs / group / f"{options[group]}.yaml")
        yield from _changes(written[group], defaults, group)


def with_bases(file: Path) -> dict[str, Any]:
    """An option's file merged into those that its defaults list names (of the same group); interpolations stay."""
    from omegaconf import OmegaConf

    return OmegaConf.to_container(_merged(file))


def _merged(file: Path) -> Any:
    from omegaconf import OmegaConf

    node = OmegaConf.load(file)
    bases = [name for name in node.pop("defaults", []) if name != "_self_"]
    return OmegaConf.merge(*(_merged(file.parent / f"{name}.yaml") for name in bases), node)


def _changes(node: Mapping[str, Any], default: Mapping[str, Any], name: str) -> Iterator[str]:
    """Overrides that turn `default` into `node`."""
    for key, value in node.items():
        where = f"{name}.{key}"
        if key not in default:
            yield f"+{where}={typed(value)}"
        elif isinstance(value, Mapping) and isinstance(default[key], Mapping):
            yield from _changes(value, default[key], where)
        elif value != default[key]:
            yield f"{where}={typed(value)}"


def typed(value: Any) -> str:
    """A value as it stands behind `key=`: Hydra reads the same value from it."""
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{typed(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(typed, value)) + "]"
    if isinstance(value, str):
        return value if _reads_back(value) else quoted(value)
    return "null" if value is None else str(value)


def _reads_back(text: str) -> bool:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        return OverridesParser.create().parse_override(f"key={text}").value() == text
    except HydraException:
        return False


def quoted(text: str) -> str:
    """A string in quotes for an override, whatever it contains. Hydra drops backslashes only before
    a quote.
    """
    return "'" + re.sub(r"(\\*)('|\Z)", lambda match: 2 * match[1] + ("\\'" if match[2] else ""), text) + "'"

"""Configuration values as a person types them on the command line.

Stands beside config.py, which gives the composed configuration. Hydra's grammar for `key=value` is
known here alone.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


def data_words(written: Mapping[str, Any], configs: Path) -> Iterator[str]:
    """Words of a command that give another verb the same data in the same places.

    These are the option of `data`, and every value that differs from the files of `data` and
    `paths`, whether the user typed it or an experiment set it. written: the configuration before
    its interpolations are resolved, so that a value that follows from another key is no difference.
    configs: the folder of those files.
    """
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    options = HydraConfig.get().runtime.choices
    if "data" in written:
        yield f"data={options['data']}"
    for group in (group for group in ("data", "paths") if group in written):
        defaults = OmegaConf.to_container(_with_bases(configs / group / f"{options[group]}.yaml"))
        yield from _changes(written[group], defaults, group)


def _with_bases(file: Path) -> Any:
    """An option's file merged into those that its defaults list names (of the same group)."""
    from omegaconf import OmegaConf

    node = OmegaConf.load(file)
    bases = [name for name in node.pop("defaults", []) if name != "_self_"]
    return OmegaConf.merge(*(_with_bases(file.parent / f"{name}.yaml") for name in bases), node)


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

"""Values as they are typed on the command line: what a person would add to another verb to say the same.

Beside config.py, which gives the composed configuration; Hydra's grammar for `key=value` is known here only.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


def data_words(written: Mapping[str, Any], configs: Path) -> Iterator[str]:
    """Words of a command that give another verb the same data in the same places.

    The option of `data`, and what differs from the files of `data` and `paths`, whether typed or from an experiment. written:
    the configuration with its interpolations, so that what follows from another key is no difference. configs: where those
    files are.
    """
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    options = HydraConfig.get().runtime.choices
    if "data" in written:
        yield f"data={options['data']}"
    for group in (group for group in ("data", "paths") if group in written):
        file = configs / group / f"{options[group]}.yaml"
        yield from _changes(written[group], OmegaConf.to_container(OmegaConf.load(file)), group)


def _changes(node: Mapping[str, Any], default: Mapping[str, Any], name: str) -> Iterator[str]:
    """Overrides that make `node` of `default`."""
    for key, value in node.items():
        where = f"{name}.{key}"
        if key not in default:
            yield f"+{where}={_typed(value)}"
        elif isinstance(value, Mapping) and isinstance(default[key], Mapping):
            yield from _changes(value, default[key], where)
        elif value != default[key]:
            yield f"{where}={_typed(value)}"


def _typed(value: Any) -> str:
    """A value as Hydra reads it after `key=`."""
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{_typed(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_typed, value)) + "]"
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
    """A string as it stands in an override, whatever signs are in it: Hydra drops backslashes before a quote only."""
    return "'" + re.sub(r"(\\*)('|\Z)", lambda found: 2 * found[1] + ("\\'" if found[2] else ""), text) + "'"

"""Reads YAML and JSON files that may come from somebody else, within bounds of size, depth and length.

With YAML's aliases, a file of a hundred bytes stands for gigabytes. None of our files has aliases, so
they are refused.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml is ten times as fast, but may be missing
LARGEST_BYTES, DEEPEST = 16_000_000, 40  # a configuration that lists 100,000 scenes has 3 MB
LONGEST = 400  # characters of a number; Python computes longer ones in a time that grows with the square
NUMBER = re.compile(r"[-+0-9_:.]+")
# What PyYAML raises for values that aren't of the kind they claim, such as the date 2020-99-99.
BROKEN = (yaml.YAMLError, ValueError, RuntimeError, LookupError, AttributeError, TypeError, ArithmeticError)


def read_yaml(file: str | Path, *, largest_bytes: int = LARGEST_BYTES, deepest: int = DEEPEST) -> Any:
    """The content of a YAML file; None for an empty one.

    largest_bytes: of the file. deepest: levels of mappings and lists. Raises OSError if the file can't
    be opened, and ValueError, in words that fit behind a file's name, if it is not plain YAML within
    these bounds.
    """
    raw = _read(file, largest_bytes)
    try:
        text = raw.decode("utf-8")
        _check(text, deepest)
        return yaml.load(text, Loader=LOADER)
    except _Refusal as refusal:
        raise ValueError(str(refusal)) from None
    except UnicodeDecodeError:
        raise ValueError("can't be read as YAML: it is not UTF-8 text") from None
    except BROKEN as error:
        raise ValueError(f"can't be read as YAML: {_reason(error)}") from None


def read_json(file: str | Path, *, largest_bytes: int = LARGEST_BYTES) -> Any:
    """The content of a JSON file. Raises OSError if it can't be opened, and ValueError as `read_yaml` does."""
    return json_of(_read(file, largest_bytes))


def json_of(raw: bytes) -> Any:
    """The content of JSON text, of a size that its reader has bounded. Raises ValueError as `read_yaml` does."""
    try:
        return json.loads(raw.decode("utf-8"))
    except UnicodeDecodeError:
        raise ValueError("is not JSON: it is not UTF-8 text") from None
    except RecursionError:
        raise ValueError("is not JSON that can be read: it is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"is not JSON: {_reason(error)}") from None


def as_json(content: Any, *, default: Callable[[Any], Any] | None = None) -> str:
    """JSON text, indented, with null for NaN and infinities, which JSON does not have. default: as for json.dumps."""
    plain = json.loads(json.dumps(content, default=default), parse_constant=lambda _: None)
    return json.dumps(plain, indent=1, allow_nan=False) + "\n"


def _read(file: str | Path, largest_bytes: int) -> bytes:
    with open(file, "rb") as opened:
        raw = opened.read(largest_bytes + 1)
    if len(raw) > largest_bytes:
        raise ValueError(f"is larger than {largest_bytes // 1000} kB")
    return raw


class _Refusal(Exception):
    pass


def _check(text: str, deepest: int) -> None:
    """Raise _Refusal for text that would cost far more time or memory than its length suggests."""
    depth = 0
    for event in yaml.parse(text, LOADER):
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            raise _Refusal(f"line {line} holds the YAML alias *{event.anchor[:LONGEST]}: write the value itself")
        if isinstance(event, yaml.ScalarEvent) and len(event.value) > LONGEST and NUMBER.fullmatch(event.value):
            raise _Refusal(f"line {line} holds a number of {len(event.value)} characters")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > deepest:
            raise _Refusal(f"line {line} is nested deeper than {deepest} levels")


def _reason(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    reason = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error) or type(error).__name__
    return " ".join(str(reason).split())[:200] + ("" if mark is None else f" in line {mark.line + 1}")

"""Help for a verb, from its YAML files: what it makes and costs, its own keys, and the options of its groups."""

import itertools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from latentdrive.config import configs_folder
from latentdrive.overrides import with_bases

# A verb takes a data option in which this key is not null; other verbs take all of them.
NEEDED_OF_DATA = {
    "train codebook": "source",
    "train teacher": "source",
    "distill": "source",
    "label": "source",
    "train planner": "split.train",
    "evaluate": "scenes",
}


def help_text(verb: str, name: str, about: str) -> str:
    """The help for a verb whose configuration is `configs/NAME.yaml`. about: what it does, in a few words."""
    folder = configs_folder()
    lines = (folder / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    head = list(itertools.takewhile(lambda line: line.startswith("#"), lines))
    groups = [match[1] for line in lines if (match := re.match(r"  - (?:override /?)?(\w+): \S+", line))]
    first, *more = (line.removeprefix("#").strip() for line in head)
    first = first.removeprefix(f"latentdrive {verb}: ")
    text = [f"latentdrive {verb}: {about}", "", first[:1].upper() + first[1:], *more, ""]
    text += ["Keys of its own (key=value; all keys with their values: --cfg job):", ""]
    text += [f"  {line}" for line in _key_lines(lines[len(head) :])]
    for group in groups:
        options = [path for path in sorted((folder / group).glob("*.yaml")) if takes(verb, group, path)]
        text += ["", f"{group}=..."] if options else []
        text += [f"  {path.stem:<20} {_first_sentence(path)}" for path in options]
    text += ["", "out=FOLDER names the run's folder; the same folder resumes. -m key=1,2 runs every combination."]
    return "\n".join(text)


def _key_lines(lines: list[str]) -> Iterator[str]:
    """The lines of a configuration that give keys a person sets; those that say what is built are left out."""
    keys = itertools.dropwhile(lambda line: line.startswith(("defaults:", "  - ")), lines)
    return (line for line in keys if line and not re.match(r"\s*(_target_|_partial_|verb):", line))


def takes(verb: str, group: str, option: Path) -> bool:
    """Whether a verb takes an option, given the option's file.

    Several verbs share the groups experiment and planner; the first lines of such a file show the
    commands that take it. Of data, verbs need clips or scenes.
    """
    if group == "data":
        return _data_has(option, NEEDED_OF_DATA.get(verb))
    if group not in ("experiment", "planner"):
        return True
    shown = rf"^# latentdrive {verb}( \S+)* {group}={option.stem}( |$)"
    return re.search(shown, option.read_text(encoding="utf-8"), re.MULTILINE) is not None


def _data_has(option: Path, key: str | None) -> bool:
    node: Any = with_bases(option)
    for part in key.split(".") if key else ():
        node = node.get(part) if isinstance(node, Mapping) else None
    return node is not None


def _first_sentence(option: Path) -> str:
    """The first sentence of the comment that an option's file begins with; it may go over several lines."""
    lines = option.read_text(encoding="utf-8").splitlines()
    head = itertools.takewhile(lambda line: line.startswith("#"), lines)
    text = " ".join(line.removeprefix("#").strip() for line in head if not line.startswith("# @package"))
    return text.partition(". ")[0].partition(" latentdrive ")[0].removesuffix(".")

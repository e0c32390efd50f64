"""Tables of experiments: what a row runs, where, and the key by which its result is known again. Read by run_table.py and show_table.py.

A table is tools/tables/TABLE.yaml: `pipeline` names the commands of a row, in their order; `rows` holds ROW: {minutes: estimate of
all its commands}, where further keys are

    seeds: false      nothing in it is random: one run for all seeds
    steps: [NAME]     only these commands of the pipeline
    ANYTHING: words   stands for {ANYTHING} in the commands; the table's own `words` serve rows that have none

and {row}, {seed}, {out} (the folder of this row and seed; command NAME works in {out}/NAME) and {tables} (of all tables) are given.
"""

import functools
import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import yaml

from latentdrive.cli import VERBS
from latentdrive.config import compose
from latentdrive.errors import ConfigError
from latentdrive.identity import digest

TABLES = Path(__file__).resolve().parent / "tables"
RESULTS, RUNS = Path("docs/results"), Path("runs/tables")  # from where the command is given
SCENES = "scenes_"  # how files of tokens begin, beside the results
# What a key leaves out: folders, which mean nothing elsewhere, and how much of a machine is used, which changes no number.
FOLDERS = ("out", "paths", "path", "cache_folder", "root", "store", "stores")
MACHINE = ("workers", "ahead", "kept_scenes", "processes", "cache_gb", "memory_gb", "next", "dry_run")


@dataclass(frozen=True, kw_only=True)
class Run:
    """One row of a table with one seed. seed: None where nothing is random. commands: name → words behind `latentdrive`."""

    table: str
    row: str
    seed: int | None
    minutes: float
    commands: Mapping[str, tuple[str, ...]]

    @property
    def name(self) -> str:
        """As people are told."""
        return self.row if self.seed is None else f"{self.row}, seed {self.seed}"

    @property
    def folder(self) -> Path:
        """Where it works; each command in a folder of its own below."""
        return RUNS / self.table / (self.row if self.seed is None else f"{self.row}_{self.seed}")

    @property
    def result(self) -> Path:
        """The JSON that is kept of it."""
        return result_path(self.table, self.row, self.seed)

    def words(self, step: str) -> list[str]:
        """The whole command behind `latentdrive`."""
        return [*self.commands[step], f"seed={self.seed or 0}", f"out={self.folder / step}"]


def result_path(table: str, row: str, seed: int | None) -> Path:
    """Where the result of a row and seed is kept."""
    return RESULTS / table / (f"{row}.json" if seed is None else f"{row}_seed{seed}.json")


def read_table(table: str) -> dict[str, Any]:
    """The YAML of a table. Raises ConfigError where there is none, or a row is not as the docstring above says."""
    path = TABLES / f"{table}.yaml"
    if not path.is_file():
        raise ConfigError(
            f"there is no table {table}; there are {', '.join(sorted(p.stem for p in TABLES.glob('*.yaml')))}"
        )
    content = {"words": {}} | yaml.safe_load(path.read_text(encoding="utf-8"))
    for row, its in content["rows"].items():
        if "minutes" not in its:
            raise ConfigError(f"{path.name}: row {row} says no minutes: what does it cost?")
        if unknown := [step for step in its.get("steps", ()) if step not in content["pipeline"]]:
            raise ConfigError(f"{path.name}: row {row}: the pipeline has no step {', '.join(unknown)}")
        if row.startswith(SCENES):
            raise ConfigError(f"{path.name}: row {row}: files of tokens are named so, call it otherwise")
    return content


def row_order(table: str) -> list[str]:
    """Rows as the YAML has them; none where there is no such table any more."""
    return list(read_table(table)["rows"]) if (TABLES / f"{table}.yaml").is_file() else []


def runs_of(table: str, *, rows: Sequence[str] | None, seeds: Sequence[int], extra: Sequence[str]) -> Iterator[Run]:
    """Every row with every seed, seed by seed. rows: None for all.

    extra: words for every command, or for one as NAME:key=value. Raises ConfigError.
    """
    content = read_table(table)
    chosen = content["rows"] if rows is None else rows
    if unknown := [row for row in chosen if row not in content["rows"]]:
        raise ConfigError(f"{table} has no row {', '.join(unknown)}; its rows are {', '.join(content['rows'])}")
    for place, seed in enumerate(seeds):
        for row in chosen:
            random = content["rows"][row].get("seeds", True)
            if random or place == 0:
                yield _run(table, content, row, seed if random else None, extra)


def _run(table: str, content: Mapping[str, Any], row: str, seed: int | None, extra: Sequence[str]) -> Run:
    its = dict(content["rows"][row])
    minutes, steps, _ = its.pop("minutes"), its.pop("steps", content["pipeline"]), its.pop("seeds", None)
    bare = Run(table=table, row=row, seed=seed, minutes=minutes, commands={})
    given = {"row": row, "seed": str(seed or 0), "out": str(bare.folder), "tables": str(RUNS)}
    values, used = {**content["words"], **its, **given}, set()
    commands = {
        step: (
            *shlex.split(_filled(content["pipeline"][step], values, used)),
            *_of_step(extra, step, content["pipeline"]),
        )
        for step in steps
    }
    if unread := its.keys() - used:
        raise ConfigError(f"{table}: row {row} gives {', '.join(sorted(unread))}, which none of its commands asks for")
    return Run(table=table, row=row, seed=seed, minutes=float(minutes), commands=commands)


def _filled(text: str, values: Mapping[str, str], used: set[str]) -> str:
    """The text with every {name} replaced; values may hold names, too."""

    def value(found: re.Match[str]) -> str:
        if found[1] not in values:
            raise ConfigError(f"nobody says what {found[0]} stands for in: {text}")
        used.add(found[1])
        return _filled(values[found[1]], values, used)

    return re.sub(r"\{(\w+)\}", value, text)


def _of_step(extra: Sequence[str], step: str, pipeline: Mapping[str, str]) -> Iterator[str]:
    for word in extra:
        name, sign, rest = word.partition(":")
        if not (sign and name in pipeline):
            yield word
        elif name == step:
            yield rest


def key_of(run: Run) -> str:
    """sha256, 16 digits, over the composed and resolved configurations of all commands, without what means nothing elsewhere.

    A command that begins from another row's checkpoint takes that row's key in as well. Raises ConfigError where a command can't
    be composed.
    """
    told = {step: _portable_configuration(*run.words(step)) for step in run.commands}
    return digest({"commands": told, "parents": _parents(run), **_stores(run)})


def stored_key(path: Path) -> str | None:
    """The key of a result, None where there is none; of a damaged one no key at all fits."""
    if not path.is_file():
        return None
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["key"])
    except (ValueError, KeyError, TypeError):
        return "damaged"


def _parents(run: Run) -> dict[str, str | None]:
    """Keys of the results whose run folders the commands name, by result."""
    text = " ".join(word for words in run.commands.values() for word in words)
    found = re.findall(rf"{re.escape(str(RUNS))}/(\w+)/(\w+?)(?:_(\d+))?/", text)
    paths = {result_path(table, row, int(seed) if seed else None) for table, row, seed in found} - {run.result}
    return {path.as_posix(): stored_key(path) for path in sorted(paths)}


def _stores(run: Run) -> dict[str, dict[str, list[str]]]:
    """Fingerprints of the latent stores that the commands name: one that was labelled anew under its name is another one."""
    words = {word for command in run.commands.values() for word in command}
    named = {value for key, _, value in (word.partition("=") for word in words) if key.split(".")[-1] == "latents"}
    found = {
        Path(folder).name: sorted(map(_fingerprint, Path(folder).glob("*/index.json"))) for folder in sorted(named)
    }
    return {"stores": found} if found else {}


def _fingerprint(index: Path) -> str:
    return str(json.loads(index.read_text(encoding="utf-8")).get("fingerprint"))


@functools.cache
def _portable_configuration(*words: str) -> Any:
    verb = next((verb for verb in (" ".join(words[:2]), words[0]) if verb in VERBS), None)
    if verb is None:
        raise ConfigError(f"latentdrive has no verb {' '.join(words[:2])}; it has {', '.join(VERBS)}")
    config = compose(VERBS[verb][1], words[len(verb.split()) :]).plain()
    return _without_folders(config, sorted(set(_folders(config)), key=len, reverse=True))


def _folders(node: Any) -> Iterator[str]:
    """Every string under a name of FOLDERS."""
    for name, value in node.items() if isinstance(node, Mapping) else ():
        if name in FOLDERS:
            yield from value.values() if isinstance(value, Mapping) else [value] if isinstance(value, str) else ()
        else:
            yield from _folders(value)


def _without_folders(node: Any, folders: Sequence[str]) -> Any:
    """The node without the keys of FOLDERS and MACHINE; of other strings that are paths, what is below a folder of `folders`."""
    if isinstance(node, Mapping):
        return {k: _without_folders(v, folders) for k, v in node.items() if k not in FOLDERS + MACHINE}
    if isinstance(node, list):
        return [_without_folders(value, folders) for value in node]
    if not isinstance(node, str) or "/" not in node:
        return node
    path = PurePath(node)
    inside = next((path.relative_to(folder) for folder in folders if path.is_relative_to(folder)), path)
    return inside.name if inside.is_absolute() else str(inside)

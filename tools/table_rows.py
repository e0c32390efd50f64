"""Tables of experiments: what each row runs, where, and the key by which its result is recognised.

A table is tools/tables/TABLE.yaml. `pipeline` names the commands of a row in their order. `rows`
holds ROW: {minutes: an estimate for all its commands}; a row may have further keys:

    seeds: false      nothing in the row is random, so one run serves all seeds
    steps: [NAME]     only these commands of the pipeline
    ANYTHING: words   replaces {ANYTHING} in the commands

The table's own `words` apply to rows that don't give a word themselves. Always defined are {row},
{seed}, {out} (the folder of this row and seed; command NAME works in {out}/NAME) and {tables} (the
folder of all tables). run_table.py and show_table.py read tables through this module.
"""

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import yaml

from latentdrive.cli import VERBS
from latentdrive.errors import ConfigError
from latentdrive.identity import digest
from latentdrive.pipeline import Step

TABLES = Path(__file__).resolve().parent / "tables"
RESULTS, RUNS = Path("docs/results"), Path("runs/tables")  # relative to the working folder
SCENES = "scenes_"  # prefix of the files of tokens that lie beside the results
# What a key leaves out: folders, because they mean nothing on another machine, and settings that
# say how much of a machine is used, because they change no number.
FOLDERS = ("out", "paths", "path", "cache_folder", "root", "store", "stores")
MACHINE = ("workers", "ahead", "kept_scenes", "processes", "cache_gb", "memory_gb", "next", "dry_run")


@dataclass(frozen=True, kw_only=True)
class Run:
    """One row of a table with one seed, None if nothing in it is random. minutes: an estimate. steps: its commands."""

    table: str
    row: str
    seed: int | None
    minutes: float
    steps: tuple[Step, ...]

    @property
    def name(self) -> str:
        """Row and seed, for messages."""
        return self.row if self.seed is None else f"{self.row}, seed {self.seed}"

    @property
    def folder(self) -> Path:
        """The folder of its steps."""
        return run_folder(self.table, self.row, self.seed)

    @property
    def result(self) -> Path:
        """The JSON file that is kept of it."""
        return result_path(self.table, self.row, self.seed)


def run_folder(table: str, row: str, seed: int | None) -> Path:
    """Where a row works with a seed."""
    return RUNS / table / (row if seed is None else f"{row}_{seed}")


def result_path(table: str, row: str, seed: int | None) -> Path:
    """Where the result of a row and seed is kept."""
    return RESULTS / table / (f"{row}.json" if seed is None else f"{row}_seed{seed}.json")


def read_table(table: str) -> dict[str, Any]:
    """The content of a table's YAML file. Raises ConfigError if there is none, or if a row is malformed."""
    path = TABLES / f"{table}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(path.stem for path in TABLES.glob("*.yaml")))
        raise ConfigError(f"there is no table {table}; there are {known}")
    content = {"words": {}} | yaml.safe_load(path.read_text(encoding="utf-8"))
    for row, settings in content["rows"].items():
        if "minutes" not in settings:
            raise ConfigError(f"{path.name}: row {row} gives no minutes: estimate what it takes")
        if unknown := [step for step in settings.get("steps", ()) if step not in content["pipeline"]]:
            raise ConfigError(f"{path.name}: row {row}: the pipeline has no step {', '.join(unknown)}")
        if row.startswith(SCENES):
            raise ConfigError(
                f"{path.name}: row {row}: names that begin with {SCENES} are files of tokens, rename the row"
            )
    return content


def row_order(table: str) -> list[str]:
    """The rows in the order of the YAML file, an empty list if the table no longer exists."""
    return list(read_table(table)["rows"]) if (TABLES / f"{table}.yaml").is_file() else []


def runs_of(table: str, *, rows: Sequence[str] | None, seeds: Sequence[int], extra: Sequence[str]) -> Iterator[Run]:
    """Every row with every seed, seed by seed. rows: None for all of them.

    extra: words that are added to every command, or to one alone as NAME:key=value. Raises
    ConfigError.
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
    settings, pipeline = dict(content["rows"][row]), content["pipeline"]
    minutes, names, _ = settings.pop("minutes"), settings.pop("steps", pipeline), settings.pop("seeds", None)
    folder = run_folder(table, row, seed)
    built_in = {"row": row, "seed": str(seed or 0), "out": str(folder), "tables": str(RUNS)}
    values, used = {**content["words"], **settings, **built_in}, set()
    steps = []
    for name in names:
        words = [*shlex.split(_filled(pipeline[name], values, used)), *_extra_of(name, extra, pipeline)]
        verb, overrides = _verb_of(words)
        steps.append(Step(name=name, verb=verb, overrides=(*overrides, f"seed={seed or 0}"), out=folder / name))
    if unused := settings.keys() - used:
        raise ConfigError(f"{table}: row {row} gives {', '.join(sorted(unused))}, which none of its commands uses")
    return Run(table=table, row=row, seed=seed, minutes=float(minutes), steps=tuple(steps))


def _filled(text: str, values: Mapping[str, str], used: set[str]) -> str:
    """The text with every {name} replaced by its value, in which names are replaced in turn."""

    def value(match: re.Match[str]) -> str:
        if match[1] not in values:
            raise ConfigError(f"nothing says what {match[0]} stands for in: {text}")
        used.add(match[1])
        return _filled(values[match[1]], values, used)

    return re.sub(r"\{(\w+)\}", value, text)


def _extra_of(step: str, extra: Sequence[str], pipeline: Mapping[str, str]) -> Iterator[str]:
    for word in extra:
        name, sign, rest = word.partition(":")
        if not (sign and name in pipeline):
            yield word
        elif name == step:
            yield rest


def _verb_of(words: Sequence[str]) -> tuple[str, Sequence[str]]:
    """The verb that a command begins with, and the words behind it."""
    verb = next((verb for verb in (" ".join(words[:2]), *words[:1]) if verb in VERBS), None)
    if verb is None:
        raise ConfigError(f"latentdrive has no verb {' '.join(words[:2])}; it has {', '.join(VERBS)}")
    return verb, words[len(verb.split()) :]


def key_of(run: Run) -> str:
    """16 digits of a sha256 over the resolved configurations of all steps, without folders and
    machine settings.

    The key of a step that begins from another row's checkpoint covers that row's key, and the key
    of a step that reads a latent store covers the store's fingerprint. Raises ConfigError if a step
    can't be composed.
    """
    configurations = {step.name: _portable_configuration(step.cfg.plain()) for step in run.steps}
    return digest({"commands": configurations, "parents": _parents(run), **_stores(run)})


def stored_key(path: Path) -> str | None:
    """The key of a result, None if there is no result. A damaged result has a key that fits nothing."""
    if not path.is_file():
        return None
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["key"])
    except (ValueError, KeyError, TypeError):
        return "damaged"


def _parents(run: Run) -> dict[str, str | None]:
    """The keys of the results whose run folders the commands name, by the path of the result."""
    text = " ".join(word for step in run.steps for word in step.overrides)
    named = re.findall(rf"{re.escape(str(RUNS))}/(\w+)/(\w+?)(?:_(\d+))?/", text)
    paths = {result_path(table, row, int(seed) if seed else None) for table, row, seed in named} - {run.result}
    return {path.as_posix(): stored_key(path) for path in sorted(paths)}


def _stores(run: Run) -> dict[str, dict[str, list[str]]]:
    """The fingerprints of the latent stores that the commands name: a store that was labelled anew is another store."""
    words = {word for step in run.steps for word in step.overrides}
    folders = {value for key, _, value in (word.partition("=") for word in words) if key.split(".")[-1] == "latents"}
    fingerprints = {
        Path(folder).name: sorted(map(_fingerprint, Path(folder).glob("*/index.json"))) for folder in sorted(folders)
    }
    return {"stores": fingerprints} if fingerprints else {}


def _fingerprint(index: Path) -> str:
    return str(json.loads(index.read_text(encoding="utf-8")).get("fingerprint"))


def _portable_configuration(config: Mapping[str, Any]) -> Any:
    return _without_folders(config, sorted(set(_folders(config)), key=len, reverse=True))


def _folders(node: Any) -> Iterator[str]:
    """Every string below a name of FOLDERS."""
    for name, value in node.items() if isinstance(node, Mapping) else ():
        if name in FOLDERS:
            yield from value.values() if isinstance(value, Mapping) else [value] if isinstance(value, str) else ()
        else:
            yield from _folders(value)


def _without_folders(node: Any, folders: Sequence[str]) -> Any:
    """The node without the keys of FOLDERS and MACHINE, and with other paths relative to a folder of `folders`."""
    if isinstance(node, Mapping):
        return {k: _without_folders(v, folders) for k, v in node.items() if k not in FOLDERS + MACHINE}
    if isinstance(node, list):
        return [_without_folders(value, folders) for value in node]
    if not isinstance(node, str) or "/" not in node:
        return node
    path = PurePath(node)
    inside = next((path.relative_to(folder) for folder in folders if path.is_relative_to(folder)), path)
    return inside.name if inside.is_absolute() else str(inside)

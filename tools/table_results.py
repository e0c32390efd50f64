"""The JSON files of a table of experiments: how they are made of a row's run folders, and how they
are read later.

docs/results/TABLE/ROW_seedN.json holds table, row, seed, key and machine; `commands` by name, each
with its words, commit, seconds and metrics; `evaluations` by name, each with its scorer, split,
counts and means, and for each scene the total (4 decimals) and the sub-scores (2 decimals; null if
the scene has none). The scenes stand in the order of docs/results/TABLE/scenes_SPLIT.json, which
holds the tokens of a split, a list of drives, and the number of each scene's drive in that list. So
differences can be paired long after the run folders are gone.
"""

import hashlib
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from records import machine, portable
from table_rows import RESULTS, SCENES, Run

from latentdrive.counting import counted
from latentdrive.errors import ConfigError
from latentdrive.evaluation.summary import SUMMARY, read_evaluation
from latentdrive.files import write_atomic
from latentdrive.run_folder import METRICS

STAMPS = ("privileged", "oracle_future", "latents")  # entries of summary.json that are kept if they are set
MARKS = {"privileged": "privileged", "oracle_future": "oracle: knew the future"}
PERMUTED = "embeddings of other scenes"


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """One evaluation of one row and seed, as its JSON file holds it.

    scores: N totals. sub_scores: means by the devkit's names. drives: of each scene. mark: what
    must stand beside every such number: that the planner is privileged, knew the future, or got the
    embeddings of other scenes.
    """

    split: str
    scorer: str
    failed: int
    scores: np.ndarray
    sub_scores: dict[str, float]
    drives: list[str]
    mark: str


def write_result(run: Run, key: str) -> list[Path]:
    """Write the JSON of a finished run, and the scenes of its splits if they are new. Returns the
    paths of both.

    Raises ConfigError if an evaluation has other scenes than an earlier row has on the same split.
    """
    commands, evaluations, paths = {}, {}, [run.result]
    for step in run.steps:
        record = json.loads((step.out / METRICS).read_text(encoding="utf-8"))
        commands[step.name] = {
            "command": shlex.join(["latentdrive", *step.verb.split(), *map(_portable, step.overrides)]),
            "commit": record["commit"],
            "seconds": record["seconds"],
            "metrics": _rounded(record["metrics"]),
        }
        if (step.out / SUMMARY).is_file():
            evaluations[step.name], scenes = _evaluation(run.table, step.out)
            paths.append(scenes)
    content = {
        "table": run.table,
        "row": run.row,
        "seed": run.seed,
        "key": key,
        "machine": machine(),
        "commands": commands,
        "evaluations": evaluations,
    }
    _write(run.result, content)
    return list(dict.fromkeys(paths))


def minutes_of(run: Run) -> float:
    """What the commands of a finished run took by their own clocks, which continue when a stopped
    command is resumed.
    """
    commands = json.loads(run.result.read_text(encoding="utf-8"))["commands"]
    return sum(command["seconds"] for command in commands.values()) / 60


def scene_files(run: Run) -> list[Path]:
    """The files of tokens that a run's result refers to."""
    evaluations = json.loads(run.result.read_text(encoding="utf-8"))["evaluations"]
    return list(dict.fromkeys(_scenes_path(run.table, content["split"]) for content in evaluations.values()))


def read_results(table: str) -> dict[str, dict[int | None, dict[str, Evaluated]]]:
    """Row → seed → name of the evaluation → result.

    Raises ConfigError if there is no result, a file is damaged, or a result belongs to other
    scenes.
    """
    results: dict[str, dict[int | None, dict[str, Evaluated]]] = {}
    for path in sorted((RESULTS / table).glob("*.json")):
        if path.name.startswith(SCENES):
            continue
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            evaluations = {name: _evaluated(table, path, entry) for name, entry in content["evaluations"].items()}
            results.setdefault(content["row"], {})[content["seed"]] = evaluations
        except (OSError, ValueError, KeyError) as error:
            raise ConfigError(f"{path} is damaged ({error!r}): remove it and run its row again") from None
    if not results:
        raise ConfigError(f"{RESULTS / table} holds no result: run python tools/run_table.py {table}")
    return results


def _evaluation(table: str, folder: Path) -> tuple[dict[str, Any], Path]:
    """What is kept of an evaluation's folder, and the file of its scenes."""
    results, summary = read_evaluation(folder)
    averaged = results.averaged()
    split = summary.get("split") or "all"
    path = _scenes_path(table, split)
    terms = {name: values for name, values in averaged.columns.items() if name != "score"}
    means = {name: None if np.isnan(mean) else round(mean, 4) for name, mean in averaged.means().items()}
    content = {
        "scorer": summary["scorer"],
        "split": split,
        **{name: summary[name] for name in STAMPS if summary.get(name)},
        "tokens": _same_scenes(path, averaged.tokens, averaged.drives),
        "scenes": len(averaged.tokens),
        "drives": len(set(averaged.drives)),
        "failed": len(results.failures),
        "score": means.pop("score"),
        "sub_scores": means,
        "score_by_scene": _short(averaged.columns["score"], 4),
        "sub_scores_by_scene": {name: _short(values, 2) for name, values in terms.items()},
    }
    return content, path


def _same_scenes(path: Path, tokens: Sequence[str], drives: Sequence[str]) -> str:
    """The digest of these scenes, which are written if `path` does not exist. Raises ConfigError if it holds others."""
    names = list(dict.fromkeys(drives))
    place = {name: number for number, name in enumerate(names)}
    content = {"drives": names, "drive_of": [place[drive] for drive in drives], "tokens": list(tokens)}
    if not path.is_file():
        _write(path, content)
    elif (known := json.loads(path.read_text(encoding="utf-8"))) != content:
        differing = len(set(known["tokens"]) ^ set(tokens))
        raise ConfigError(
            f"{path} has {counted(len(known['tokens']), 'scene')}, this evaluation has {len(tokens):,}, and "
            f"{differing:,} are in only one of the two: the rows of a table are scored on the same scenes. "
            "Use the data of the earlier rows, or move the table's results away to begin anew"
        )
    return _digest(content)


def _evaluated(table: str, path: Path, content: Mapping[str, Any]) -> Evaluated:
    """An evaluation as the result at `path` holds it."""
    file = _scenes_path(table, content["split"])
    if not file.is_file():
        raise ConfigError(f"{file} is gone, and {path} refers to it: restore it from git")
    scenes = json.loads(file.read_text(encoding="utf-8"))
    if _digest(scenes) != content["tokens"]:
        raise ConfigError(f"{path} was scored on other scenes than {file} holds: remove it and run its row again")
    return Evaluated(
        split=content["split"],
        scorer=content["scorer"],
        failed=content["failed"],
        scores=np.array(content["score_by_scene"], np.float64),
        sub_scores={name: np.nan if mean is None else mean for name, mean in content["sub_scores"].items()},
        drives=[scenes["drives"][number] for number in scenes["drive_of"]],
        mark=", ".join(_marks(content)),
    )


def _marks(content: Mapping[str, Any]) -> list[str]:
    permuted = content.get("latents", {}).get("permuted") is not None
    return [mark for name, mark in MARKS.items() if content.get(name)] + [PERMUTED] * permuted


def _portable(word: str) -> str:
    """As `portable`, also for a path in quotes."""
    key, sign, value = word.partition("=")
    bare = value.strip("'\"")
    return portable(f"{key}{sign}{bare}") if bare.startswith("/") else portable(word)


def _scenes_path(table: str, split: str) -> Path:
    return RESULTS / table / f"{SCENES}{split}.json"


def _digest(scenes: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(scenes, sort_keys=True).encode()).hexdigest()[:16]


def _write(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON with each innermost list on one line."""
    lists = r"\[[^\[\]{}]*\]"
    text = re.sub(lists, lambda match: re.sub(r"\n\s*", "", match[0]), json.dumps(content, indent=1)) + "\n"
    write_atomic(path, lambda new: new.write_text(text, encoding="utf-8") and None)


def _rounded(numbers: Mapping[str, Any]) -> dict[str, Any]:
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in numbers.items()}


def _short(values: np.ndarray, digits: int) -> list[float | int | None]:
    """Rounded values: whole numbers without a decimal point, None for NaN."""
    rounded = [None if np.isnan(value) else round(float(value), digits) for value in values]
    return [int(value) if value is not None and value.is_integer() else value for value in rounded]

"""The JSONs of a table of experiments: how they are made of a row's run folders, and read again without these.

docs/results/TABLE/ROW_seedN.json: table, row, seed, key, machine; `commands` by name, each with its words, commit, seconds and
metrics; `evaluations` by name, each with its scorer, split, counts, means, and by scene the total (4 decimals) and the sub-scores
(2 decimals; null where a scene has none). Scenes stand in the order of docs/results/TABLE/scenes_SPLIT.json, which holds the tokens of a split
and of each the number of its drive in a list of drives: so differences can be paired when the run folders are long gone.
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

from latentdrive.errors import ConfigError
from latentdrive.evaluation.summary import SUMMARY, read_evaluation
from latentdrive.files import write_atomic
from latentdrive.run_folder import METRICS

STAMPS = ("privileged", "oracle_future", "latents")  # of summary.json, kept where they say something
MARKS = {"privileged": "privileged", "oracle_future": "oracle: knew the future"}
PERMUTED = "embeddings of other scenes"


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """One evaluation of one row and seed, as its JSON holds it. scores: N totals. sub_scores: means by the devkit's names. mark: what must
    stand beside every such number: that the planner is privileged, knew the future, or got embeddings of other scenes."""

    split: str
    scorer: str
    failed: int
    scores: np.ndarray
    sub_scores: dict[str, float]
    drives: list[str]
    mark: str


def write_result(run: Run, key: str) -> list[Path]:
    """Write the JSON of a finished run, and the scenes of its splits where they are new; returns the paths of both.

    Raises ConfigError where an evaluation has other scenes than an earlier row's on the same split.
    """
    commands, evaluations, paths = {}, {}, [run.result]
    for step, words in run.commands.items():
        folder = run.folder / step
        found = json.loads((folder / METRICS).read_text(encoding="utf-8"))
        commands[step] = {
            "command": shlex.join(["latentdrive", *map(_portable, words), f"seed={run.seed or 0}"]),
            "commit": found["commit"], "seconds": found["seconds"], "metrics": _rounded(found["metrics"]),
        }  # fmt: skip
        if (folder / SUMMARY).is_file():
            evaluations[step], scenes = _evaluation(run.table, folder)
            paths.append(scenes)
    content = {
        "table": run.table, "row": run.row, "seed": run.seed, "key": key, "machine": machine(), "commands": commands,
        "evaluations": evaluations,
    }  # fmt: skip
    _write(run.result, content)
    return list(dict.fromkeys(paths))


def minutes_of(run: Run) -> float:
    """What the commands of a finished run took, by their own clocks, which go on where a stopped one is resumed."""
    told = json.loads(run.result.read_text(encoding="utf-8"))["commands"]
    return sum(one["seconds"] for one in told.values()) / 60


def scene_files(run: Run) -> list[Path]:
    """The files of tokens that a run's result refers to."""
    told = json.loads(run.result.read_text(encoding="utf-8"))["evaluations"]
    return list(dict.fromkeys(_scenes_path(run.table, one["split"]) for one in told.values()))


def read_results(table: str) -> dict[str, dict[int | None, dict[str, Evaluated]]]:
    """Row → seed → name of the evaluation → what was found. Raises ConfigError where a file is damaged, or of other scenes."""
    found: dict[str, dict[int | None, dict[str, Evaluated]]] = {}
    for path in sorted((RESULTS / table).glob("*.json")):
        if path.name.startswith(SCENES):
            continue
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            told = {step: _evaluated(table, path, one) for step, one in content["evaluations"].items()}
            found.setdefault(content["row"], {})[content["seed"]] = told
        except (OSError, ValueError, KeyError) as error:
            raise ConfigError(f"{path} is damaged ({error!r}): remove it and run its row again") from None
    if not found:
        raise ConfigError(f"{RESULTS / table} holds no result: run python tools/run_table.py {table}")
    return found


def _evaluation(table: str, folder: Path) -> tuple[dict[str, Any], Path]:
    """What is kept of an evaluation's folder, and the file of its scenes."""
    results, summary = read_evaluation(folder)
    counted = results.counted()
    split = summary.get("split") or "all"
    path = _scenes_path(table, split)
    terms = {name: values for name, values in counted.columns.items() if name != "score"}
    means = {name: None if np.isnan(mean) else round(mean, 4) for name, mean in counted.means().items()}
    content = {
        "scorer": summary["scorer"], "split": split, **{name: summary[name] for name in STAMPS if summary.get(name)}, "tokens": _same_scenes(path, counted.tokens, counted.drives),
        "scenes": len(counted.tokens), "drives": len(set(counted.drives)), "failed": len(results.failures),
        "score": means.pop("score"), "sub_scores": means,
        "score_by_scene": _short(counted.columns["score"], 4),
        "sub_scores_by_scene": {name: _short(values, 2) for name, values in terms.items()},
    }  # fmt: skip
    return content, path


def _same_scenes(path: Path, tokens: Sequence[str], drives: Sequence[str]) -> str:
    """The digest of these scenes, which are written where `path` is not there. Raises ConfigError where it holds others."""
    names = list(dict.fromkeys(drives))
    place = {name: number for number, name in enumerate(names)}
    content = {"drives": names, "drive_of": [place[drive] for drive in drives], "tokens": list(tokens)}
    if not path.is_file():
        _write(path, content)
    elif (known := json.loads(path.read_text(encoding="utf-8"))) != content:
        others = len(set(known["tokens"]) ^ set(tokens))
        raise ConfigError(
            f"{path} has {len(known['tokens']):,} scenes, this evaluation {len(tokens):,}, and {others:,} are in one of the two alone: "
            "rows of one table are scored on the same scenes. Give the data of the earlier rows, or move the table's results away to begin anew"
        )
    return _digest(content)


def _evaluated(table: str, path: Path, told: Mapping[str, Any]) -> Evaluated:
    file = _scenes_path(table, told["split"])
    if not file.is_file():
        raise ConfigError(f"{file} is gone, and {path} refers to it: take it back from git")
    scenes = json.loads(file.read_text(encoding="utf-8"))
    if _digest(scenes) != told["tokens"]:
        raise ConfigError(f"{path} was scored on other scenes than {file} holds: remove it and run its row again")
    return Evaluated(
        split=told["split"], scorer=told["scorer"], failed=told["failed"],
        scores=np.array(told["score_by_scene"], np.float64),
        sub_scores={name: np.nan if mean is None else mean for name, mean in told["sub_scores"].items()},
        drives=[scenes["drives"][number] for number in scenes["drive_of"]],
        mark=", ".join(_marks(told)),
    )  # fmt: skip


def _marks(told: Mapping[str, Any]) -> list[str]:
    permuted = told.get("latents", {}).get("permuted") is not None
    return [says for name, says in MARKS.items() if told.get(name)] + [PERMUTED] * permuted


def _portable(word: str) -> str:
    """As `portable`, also where the path stands in quotes."""
    key, sign, value = word.partition("=")
    bare = value.strip("'\"")
    return portable(f"{key}{sign}{bare}") if bare.startswith("/") else portable(word)


def _scenes_path(table: str, split: str) -> Path:
    return RESULTS / table / f"{SCENES}{split}.json"


def _digest(scenes: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(scenes, sort_keys=True).encode()).hexdigest()[:16]


def _write(path: Path, content: Mapping[str, Any]) -> None:
    """JSON, each innermost list on a line."""
    text = re.sub(r"\[[^\[\]{}]*\]", lambda found: re.sub(r"\n\s*", "", found[0]), json.dumps(content, indent=1)) + "\n"
    write_atomic(path, lambda new: new.write_text(text, encoding="utf-8") and None)


def _rounded(numbers: Mapping[str, Any]) -> dict[str, Any]:
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in numbers.items()}


def _short(values: np.ndarray, digits: int) -> list[float | int | None]:
    """Rounded; whole numbers without a point, None for NaN."""
    rounded = [None if np.isnan(value) else round(float(value), digits) for value in values]
    return [int(value) if value is not None and value.is_integer() else value for value in rounded]

"""summary.json: what an evaluation found in numbers that can be compared, with how sure they are and who failed.

Last step of an evaluation, and the first of a comparison.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from latentdrive.errors import ConfigError
from latentdrive.evaluation.audit import Finding
from latentdrive.evaluation.results import Counted, Results
from latentdrive.evaluation.scores_file import SCORES, read_scores
from latentdrive.pdms.versions import Version
from latentdrive.statistics import Interval, bootstrap_by_drive

SUMMARY = "summary.json"
STAGES = ("stage_one", "stage_two")


def intervals(counted: Counted) -> dict[str, Interval]:
    """Mean with its 95 % bootstrap interval by drive, of the total (`score`) and every sub-score that some scene has."""
    found = {}
    for name, values in counted.columns.items():
        known = ~np.isnan(values)
        if known.any():
            drives = [drive for drive, kept in zip(counted.drives, known) if kept]
            found[name] = bootstrap_by_drive(values[known], drives)
    return found


def devkit_mean(results: Results) -> float:
    """Mean of the total over scenes that did not fail: what the devkit prints. NaN where all failed, or where there are two stages,
    which have no mean without some scenes."""
    known = results.valid.any() and results.follows is None
    return float(results.score[results.valid].mean()) if known else float("nan")


def summarise(results: Results, findings: Iterable[Finding], about: Mapping[str, Any]) -> dict[str, Any]:
    """The content of summary.json. about: planner, data and the like, as given.

    score, sub_scores: of two stages the combined ones; those of each stage stand under stage_one and stage_two.
    """
    means = _told(results.counted())
    return {
        "scorer": str(results.version),
        **about,
        "scenes": len(results),
        "drives": len(set(results.drives)),
        "failed": len(results.failures),
        **means,
        **{name: _told(stage) for name, stage in zip(STAGES, results.stages())},
        "devkit_mean_without_failed_scenes": _json_number(devkit_mean(results)),
        "audit": {
            one.name: {
                "count": one.count,
                "of": one.of,
                "share": _json_number(one.share),
                "says": one.says,
                "tokens": one.tokens,
            }
            for one in findings
        },
        "failures": results.failures,
    }


def flat(summary: Mapping[str, Any]) -> dict[str, float]:
    """Numbers by name for metrics.json: evaluate/COLUMN with _low and _high, and audit/NAME as shares."""
    numbers = {}
    totals = {f"score_{stage}": summary[stage]["score"] for stage in STAGES if stage in summary}
    for name, one in {"score": summary["score"], **totals, **summary["sub_scores"]}.items():
        if one is not None:
            ends = {"": "mean", "_low": "low", "_high": "high"}
            numbers |= {f"evaluate/{name}{end}": one[key] for end, key in ends.items()}
    numbers |= {f"audit/{name}": one["share"] for name, one in summary["audit"].items() if one["share"] is not None}
    return numbers | {"evaluate/failed": float(summary["failed"]), "evaluate/scenes": float(summary["scenes"])}


def as_text(summary: Mapping[str, Any]) -> str:
    """The text of summary.json; a number that is no number is null."""
    return json.dumps(summary, indent=1, allow_nan=False) + "\n"


def read_evaluation(folder: str | Path) -> tuple[Results, dict[str, Any]]:
    """Results and summary of an evaluation's folder. Raises ConfigError where it holds none, or a damaged one."""
    folder = Path(folder).expanduser()
    try:
        summary = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
        version, failures = Version(summary["scorer"]), dict(summary["failures"])
    except OSError:
        raise ConfigError(
            f"{folder} holds no finished evaluation: {SUMMARY} is not there. Make one: latentdrive evaluate ... out={folder}"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{folder / SUMMARY} is damaged ({error}): repeat the evaluation with out={folder}") from None
    return read_scores(folder / SCORES, version, failures), summary


def _told(counted: Counted) -> dict[str, Any]:
    """Total and sub-scores with their intervals, for JSON."""
    told = {
        name: {"mean": one.mean, "low": one.low, "high": one.high, "scenes": one.values, "drives": one.drives}
        for name, one in intervals(counted).items()
    }
    return {"score": told.pop("score", None), "sub_scores": told}


def _json_number(value: float) -> float | None:
    return None if np.isnan(value) else value

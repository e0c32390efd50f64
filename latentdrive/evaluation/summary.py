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
from latentdrive.evaluation.results import SCORES, Results, read_scores
from latentdrive.pdms.versions import Version
from latentdrive.statistics import Interval, bootstrap_by_drive

SUMMARY = "summary.json"


def intervals(results: Results) -> dict[str, Interval]:
    """Mean with its 95 % bootstrap interval by drive, of the total (`score`) and every sub-score that some scene has."""
    found = {}
    for name, values in results.columns.items():
        known = ~np.isnan(values)
        if known.any():
            drives = [drive for drive, kept in zip(results.drives, known) if kept]
            found[name] = bootstrap_by_drive(values[known], drives)
    return found


def devkit_mean(results: Results) -> float:
    """Mean of the total over scenes that did not fail: what the devkit prints. NaN where all failed."""
    return float(results.score[results.valid].mean()) if results.valid.any() else float("nan")


def summarise(results: Results, findings: Iterable[Finding], about: Mapping[str, Any]) -> dict[str, Any]:
    """The content of summary.json. about: planner, data and the like, as given."""
    means = {
        name: {"mean": one.mean, "low": one.low, "high": one.high, "scenes": one.values, "drives": one.drives}
        for name, one in intervals(results).items()
    }
    return {
        "scorer": str(results.version),
        **about,
        "scenes": len(results),
        "drives": len(set(results.drives)),
        "failed": len(results.failures),
        "score": means.pop("score", None),
        "sub_scores": means,
        "devkit_mean_without_failed_scenes": _json_number(devkit_mean(results)),
        "audit": {
            one.name: {"count": one.count, "of": one.of, "share": _json_number(one.share), "says": one.says}
            for one in findings
        },
        "failures": results.failures,
    }


def flat(summary: Mapping[str, Any]) -> dict[str, float]:
    """Numbers by name for metrics.json: evaluate/COLUMN with _low and _high, and audit/NAME as shares."""
    numbers = {}
    for name, one in {"score": summary["score"], **summary["sub_scores"]}.items():
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


def _json_number(value: float) -> float | None:
    return None if np.isnan(value) else value

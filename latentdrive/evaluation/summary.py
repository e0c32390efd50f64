"""summary.json: the numbers of an evaluation with their intervals, its audit, and the scenes that
failed.

Last step of an evaluation; comparisons and the report start from it.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np

from latentdrive.errors import ConfigError
from latentdrive.evaluation.audit import AuditFinding
from latentdrive.evaluation.results import AveragedScenes, Results
from latentdrive.evaluation.scores_file import SCORES, read_scores
from latentdrive.evaluation.uncertainty import Uncertainty, uncertainty
from latentdrive.kinds import misfit
from latentdrive.pdms.versions import Version
from latentdrive.plain_files import read_json
from latentdrive.statistics import Interval, bootstrap_by_drive, recordings
from latentdrive.sums import require_sums, write_sums

SUMMARY, SUMS = "summary.json", "sha256.txt"
STAGES = ("stage_one", "stage_two")
UNSCORED = "unscored"  # key of summaries without scores: why there are none


class Mean(TypedDict):
    """A mean with its interval; low and high are null where there is one drive."""

    mean: float
    low: float | None
    high: float | None
    drives: int
    scenes: int


class Latency(TypedDict):
    """What others use of evaluation/latency.py's numbers."""

    ms_batch_1_median: float
    ms_batch_1_p95: float
    device: str
    threads: int


class Summary(TypedDict):
    """The entries of summary.json that are used when it is read again."""

    scorer: str
    scenes: int
    drives: int
    failed: int
    score: Mean | None
    sub_scores: dict[str, Mean]
    failures: dict[str, str]
    planner: NotRequired[dict[str, Any] | None]
    planner_class: NotRequired[str]
    split: NotRequired[str | None]
    latency: NotRequired[Latency | None]
    latents: NotRequired[dict[str, Any] | None]
    refined: NotRequired[Uncertainty]


def intervals(averaged: AveragedScenes) -> dict[str, Interval]:
    """Mean and 95 % bootstrap interval by drive of the total (`score`) and of every sub-score that
    some scene has."""
    means = {}
    for name, values in averaged.columns.items():
        known = ~np.isnan(values)
        if known.any():
            drives = [drive for drive, is_known in zip(averaged.drives, known) if is_known]
            means[name] = bootstrap_by_drive(values[known], drives)
    return means


def devkit_mean(results: Results) -> float:
    """Mean of the total over the scenes that did not fail, which is what the devkit prints.

    NaN where all scenes failed, and for two stages, whose mean cannot leave scenes out.
    """
    known = results.valid.any() and results.links is None
    return float(results.score[results.valid].mean()) if known else float("nan")


def summarise(results: Results, findings: Iterable[AuditFinding], about: Mapping[str, Any]) -> dict[str, Any]:
    """The content of summary.json. about: planner, data and the like, copied as it is.

    score and sub_scores of two stages are the combined ones; those of each stage stand under
    stage_one and stage_two.
    """
    return {
        "scorer": str(results.version),
        **about,
        "scenes": len(results),
        "drives": len(recordings(results.drives)[0]),
        "failed": len(results.failures),
        **_means(results.averaged()),
        **{name: _means(stage) for name, stage in zip(STAGES, results.stages())},
        **({} if (told := uncertainty(results)) is None else {"refined": told}),
        "devkit_mean_without_failed_scenes": _json_number(devkit_mean(results)),
        "audit": {
            finding.name: {
                "count": finding.count,
                "of": finding.of,
                "share": _json_number(finding.share),
                "says": finding.meaning,
                "tokens": finding.tokens,
            }
            for finding in findings
        },
        "failures": results.failures,
    }


def flat(summary: Mapping[str, Any]) -> dict[str, float | None]:
    """The numbers of metrics.json: evaluate/COLUMN, with _low and _high for its interval (None
    where there is one drive), and audit/NAME as a share."""
    numbers = {}
    totals = {f"score_{stage}": summary[stage]["score"] for stage in STAGES if stage in summary}
    for name, mean in {"score": summary["score"], **totals, **summary["sub_scores"]}.items():
        if mean is not None:
            suffixes = {"": "mean", "_low": "low", "_high": "high"}
            numbers |= {f"evaluate/{name}{suffix}": mean[key] for suffix, key in suffixes.items()}
    if told := summary.get("refined"):
        numbers |= {f"evaluate/{name}": told[name] for name in ("mean_steps", "auroc")}
    shares = {name: finding["share"] for name, finding in summary["audit"].items()}
    numbers |= {f"audit/{name}": share for name, share in shares.items() if share is not None}
    return numbers | {"evaluate/failed": float(summary["failed"]), "evaluate/scenes": float(summary["scenes"])}


def as_text(summary: Mapping[str, Any]) -> str:
    """The text of summary.json. Raises ValueError for NaN and infinities, which JSON does not
    have."""
    return json.dumps(summary, indent=1, allow_nan=False) + "\n"


def write_evaluation_sums(folder: Path) -> None:
    """Note what scores and summary are, so that altered numbers don't pass for them."""
    write_sums(folder / SUMS, (SCORES, SUMMARY))


def read_evaluation(folder: str | Path) -> tuple[Results, dict[str, Any]]:
    """Results and summary in the folder of an evaluation. Raises ConfigError where they are missing,
    damaged or altered."""
    folder = Path(folder).expanduser()
    try:
        require_sums(folder / SUMS, (SCORES, SUMMARY))
        summary = read_json(folder / SUMMARY)
        if isinstance(summary, dict) and UNSCORED in summary:
            raise ConfigError(f"{folder} holds plans and a submission, and no scores: {summary[UNSCORED]}")
        if not isinstance(summary, dict) or (odd := misfit(summary, Summary)):
            raise ValueError(odd if isinstance(summary, dict) else "it is no mapping")
        version, failures = Version(summary["scorer"]), summary["failures"]
    except OSError:
        raise ConfigError(
            f"{folder} holds no finished evaluation: {SUMMARY} is missing. Make one with "
            f"latentdrive evaluate ... out={folder}"
        ) from None
    except ValueError as error:
        raise ConfigError(f"{folder / SUMMARY} is damaged ({error}): repeat the evaluation with out={folder}") from None
    return read_scores(folder / SCORES, version, failures), summary


def as_interval(mean: Mapping[str, Any]) -> Interval:
    """A mean of summary.json with its interval. Older summaries gave one drive an interval, too."""
    return Interval(
        mean=mean["mean"],
        low=np.nan if mean["low"] is None else mean["low"],
        high=np.nan if mean["high"] is None else mean["high"],
        drives=mean["drives"],
        values=mean["scenes"],
    )


def _means(averaged: AveragedScenes) -> dict[str, Any]:
    """Total and sub-scores with their intervals, for JSON."""
    means = {
        name: {
            "mean": mean.mean,
            "low": _json_number(mean.low),
            "high": _json_number(mean.high),
            "scenes": mean.values,
            "drives": mean.drives,
        }
        for name, mean in intervals(averaged).items()
    }
    return {"score": means.pop("score", None), "sub_scores": means}


def _json_number(value: float) -> float | None:
    return None if np.isnan(value) else value

"""The result of an evaluation: one row a scene, as columns; written as scores.csv with the devkit's columns first, and read back.

After scoring.py, which fills it; audit.py, summary.py and comparison.py read it. Columns and the last row's name are those of the
devkit's result file (NAVSIM_FORMAT.md, section 9); the columns after `score` are ours.
"""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float64, Int64

from latentdrive.errors import ConfigError
from latentdrive.files import write_atomic
from latentdrive.pdms.versions import Version
from latentdrive.types import FROZEN

SCORES = "scores.csv"
AVERAGE = {1: "average", 2: "average_all_frames"}  # token of the last row, by generation of the rules
EXTRA = ("drive", "progress_m", "reference_progress_m", "collision_step", "collision_track", "ttc_step")


@dataclass(**FROZEN)
class Results:
    """One trajectory in each of N scenes, in the split's order.

    terms: sub-scores by the devkit's names, NaN where a scene has none (extended comfort without a previous scene). score: the
    total. valid: False for scenes that failed; these score 0 in everything, and `failures` says why, by token. progress_m,
    reference_progress_m, collision_step, collision_track (token, empty for none), ttc_step: see PdmScores.
    """

    version: Version
    tokens: tuple[str, ...]
    drives: tuple[str, ...]
    terms: dict[str, Float64[np.ndarray, "N"]]
    score: Float64[np.ndarray, "N"]
    valid: Bool[np.ndarray, "N"]
    progress_m: Float64[np.ndarray, "N"]
    reference_progress_m: Float64[np.ndarray, "N"]
    collision_step: Int64[np.ndarray, "N"]
    collision_track: tuple[str, ...]
    ttc_step: Int64[np.ndarray, "N"]
    failures: dict[str, str]

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def columns(self) -> dict[str, Float64[np.ndarray, "N"]]:
        """Every sub-score and the total, by the devkit's names."""
        return {**self.terms, "score": self.score}

    def means(self) -> dict[str, float]:
        """Mean of every column, failed scenes counted as 0; NaN where no scene has the sub-score."""
        return {name: _mean(values) for name, values in self.columns.items()}


def write_scores(path: Path, results: Results) -> None:
    """Write scores.csv as a whole: a row a scene, the average last."""
    names = [*results.terms, "score"]
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["token", "valid", *names, *EXTRA])
    for row, token in enumerate(results.tokens):
        extra = [
            results.drives[row], _number(results.progress_m[row]), _number(results.reference_progress_m[row]),
            int(results.collision_step[row]), results.collision_track[row], int(results.ttc_step[row]),
        ]  # fmt: skip
        numbers = [_number(results.columns[name][row]) for name in names]
        rows.writerow([token, bool(results.valid[row]), *numbers, *extra])
    means = results.means()
    average = [AVERAGE[results.version.rules.generation], bool(results.valid.all())]
    rows.writerow([*average, *(_number(means[name]) for name in names), *[""] * len(EXTRA)])
    write_atomic(path, lambda new: new.write_text(text.getvalue(), encoding="utf-8") and None)


def read_scores(path: Path, version: Version, failures: dict[str, str]) -> Results:
    """What `write_scores` wrote; version and failures stand in summary.json. Raises ConfigError where the file is of another form."""
    expected = ["token", "valid", *version.rules.columns, "score", *EXTRA]
    try:
        with path.open(newline="", encoding="utf-8") as file:
            header, *rows = list(csv.reader(file))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} can't be read ({error}): repeat the evaluation") from None
    if header != expected:
        missing = [name for name in expected if name not in header]
        raise ConfigError(f"{path} is no result of {version}: column {', '.join(missing) or 'order'} is not as written")
    if not rows or rows[-1][0] != AVERAGE[version.rules.generation]:
        raise ConfigError(
            f"{path} has no row {AVERAGE[version.rules.generation]} at its end: it was cut, repeat the evaluation"
        )
    table = dict(zip(header, zip(*rows[:-1]))) if len(rows) > 1 else {name: () for name in header}
    floats = {
        name: np.array([float(value) if value else np.nan for value in table[name]])
        for name in (*version.rules.columns, "score", "progress_m", "reference_progress_m")
    }
    return Results(
        version=version,
        tokens=table["token"],
        drives=table["drive"],
        terms={name: floats[name] for name in version.rules.columns},
        score=floats["score"],
        valid=np.array([value == "True" for value in table["valid"]], bool),
        progress_m=floats["progress_m"],
        reference_progress_m=floats["reference_progress_m"],
        collision_step=np.array(table["collision_step"], np.int64),
        collision_track=table["collision_track"],
        ttc_step=np.array(table["ttc_step"], np.int64),
        failures=failures,
    )


def _number(value: np.floating | float) -> float | str:
    """As Python writes it, so that reading gives the same number; nothing for NaN, as pandas does."""
    return "" if np.isnan(value) else float(value)


def _mean(values: Float64[np.ndarray, "N"]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")

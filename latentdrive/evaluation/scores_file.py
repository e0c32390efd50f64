"""scores.csv: results as a file with the devkit's columns first, and back to the last digit.

After results.py. Columns and the names of the last rows are those of the devkit's result files (NAVSIM_FORMAT.md, section 9); the
columns after `score` are ours.
"""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from latentdrive.errors import ConfigError
from latentdrive.evaluation.results import Follows, Results
from latentdrive.files import write_atomic
from latentdrive.pdms.versions import Version

SCORES = "scores.csv"
AVERAGE = {1: "average", 2: "average_all_frames"}  # token of the last row, by generation of the rules
STAGES = ("_stage_one", "_stage_two")  # of a column: whose scenes it is filled for
COMBINED = "extended_pdm_score_combined"
EXTRA = ("drive", "progress_m", "reference_progress_m", "collision_step", "collision_track", "ttc_step")
FOLLOWS = ("follows", "weight")  # token of an original scene, and what the scene counts among those that follow it


def write_scores(path: Path, results: Results) -> None:
    """Write scores.csv as a whole: a row a scene, means last."""
    two_stages, names = results.follows is not None, tuple(results.terms)
    header = _header(results.version, two_stages=two_stages)
    text = io.StringIO()
    rows = csv.DictWriter(text, header, restval="", lineterminator="\n")
    rows.writeheader()
    for row, token in enumerate(results.tokens):
        suffix = STAGES[int(results.follows.row[row] >= 0)] if two_stages else ""
        told = {"token": token, "valid": bool(results.valid[row]), "score": _number(results.score[row])}
        told |= {name + suffix: _number(results.terms[name][row]) for name in names}
        told |= {name: _number(getattr(results, name)[row]) for name in ("progress_m", "reference_progress_m")}
        told |= {name: int(getattr(results, name)[row]) for name in ("collision_step", "ttc_step")}
        told |= {"drive": results.drives[row], "collision_track": results.collision_track[row]}
        if two_stages:
            after = int(results.follows.row[row])
            told |= {
                "follows": results.tokens[after] if after >= 0 else "",
                "weight": _number(results.follows.weight[row]),
            }
        rows.writerow(told)
    rows.writerows({"valid": bool(results.valid.all())} | one for one in _last_rows(results))
    write_atomic(path, lambda new: new.write_text(text.getvalue(), encoding="utf-8") and None)


def read_scores(path: Path, version: Version, failures: dict[str, str]) -> Results:
    """What `write_scores` wrote; version and failures stand in summary.json. Raises ConfigError where the file is of another form."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            header, *rows = list(csv.reader(file))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} can't be read ({error}): repeat the evaluation") from None
    two_stages = FOLLOWS[0] in header
    expected, last = _header(version, two_stages=two_stages), _last_tokens(version, two_stages=two_stages)
    if header != expected:
        missing = [name for name in expected if name not in header]
        raise ConfigError(f"{path} is no result of {version}: column {', '.join(missing) or 'order'} is not as written")
    if tuple(row[0] for row in rows[-len(last) :]) != last:
        raise ConfigError(f"{path} has no row {last[-1]} at its end: it was cut, repeat the evaluation")
    rows = rows[: -len(last)]
    table = dict(zip(header, zip(*rows))) if rows else {name: () for name in header}
    follows = _follows(path, table) if two_stages else None
    terms = {}
    for name in version.rules.columns:
        if follows is None:
            terms[name] = _floats(table[name])
        else:
            one, two = (_floats(table[name + suffix]) for suffix in STAGES)
            terms[name] = np.where(follows.row < 0, one, two)
    return Results(
        version=version,
        tokens=table["token"],
        drives=table["drive"],
        terms=terms,
        score=_floats(table["score"]),
        valid=np.array([value == "True" for value in table["valid"]], bool),
        progress_m=_floats(table["progress_m"]),
        reference_progress_m=_floats(table["reference_progress_m"]),
        collision_step=np.array(table["collision_step"], np.int64),
        collision_track=table["collision_track"],
        ttc_step=np.array(table["ttc_step"], np.int64),
        failures=failures,
        follows=follows,
    )


def _header(version: Version, *, two_stages: bool) -> list[str]:
    suffixes = STAGES if two_stages else ("",)
    terms = [name + suffix for suffix in suffixes for name in version.rules.columns]
    return ["token", "valid", *terms, "score", *EXTRA, *(FOLLOWS if two_stages else ())]


def _last_tokens(version: Version, *, two_stages: bool) -> tuple[str, ...]:
    if two_stages:
        return (*(f"extended_pdm_score{suffix}" for suffix in STAGES), COMBINED)
    return (AVERAGE[version.rules.generation],)


def _last_rows(results: Results) -> Iterator[dict[str, object]]:
    """Means: of all scenes, or of the first stage, of the second, and of both. The last has no columns for its sub-scores."""
    if results.follows is None:
        means = results.counted().means()
        yield {"token": AVERAGE[results.version.rules.generation]} | {name: _number(means[name]) for name in means}
        return
    for suffix, stage in zip(STAGES, results.stages()):
        means = stage.means()
        told = {name + suffix: _number(means[name]) for name in results.terms}
        yield {"token": f"extended_pdm_score{suffix}", "score": _number(means["score"])} | told
    yield {"token": COMBINED, "score": _number(results.counted().means()["score"])}


def _follows(path: Path, table: dict[str, tuple[str, ...]]) -> Follows:
    place = {token: row for row, token in enumerate(table["token"])} | {"": -1}
    if strangers := [token for token in table["follows"] if token not in place]:
        raise ConfigError(f"{path}: a scene follows {strangers[0]}, which has no row: repeat the evaluation")
    rows = np.array([place[token] for token in table["follows"]], np.int64)
    return Follows(row=rows, weight=_floats(table["weight"]))


def _floats(texts: tuple[str, ...]) -> np.ndarray:
    return np.array([float(text) if text else np.nan for text in texts], np.float64)


def _number(value: np.floating | float) -> float | str:
    """As Python writes it, so that reading gives the same number; nothing for NaN, as pandas does."""
    return "" if np.isnan(value) else float(value)

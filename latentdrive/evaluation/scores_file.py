"""scores.csv: the results as a file that starts with the devkit's columns, and reads back to the
last digit.

Columns up to `score` and the tokens of the last rows are those of the devkit's result files;
columns after `score` are ours.
"""

import csv
import io
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from latentdrive.csv_cells import cell, text_of
from latentdrive.errors import ConfigError
from latentdrive.evaluation.results import Results, StageLinks
from latentdrive.files import write_atomic
from latentdrive.pdms.versions import Version

SCORES = "scores.csv"
AVERAGE = {1: "average", 2: "average_all_frames"}  # token of the last row, by generation of the rules
STAGES = ("_stage_one", "_stage_two")  # suffix of a column that only the scenes of one stage fill
TOTAL = "extended_pdm_score"  # token of the last rows of two stages, before their suffix
COMBINED = f"{TOTAL}_combined"
FLOATS, STEPS = ("progress_m", "reference_progress_m"), ("collision_step", "ttc_step")
OWN_COLUMNS = ("drive", *FLOATS, "collision_step", "collision_track", "ttc_step")
TEXTS = ("token", "drive", "collision_track", "follows")  # columns of names that others chose
REFINED = ("steps", "movement")  # of planners that refine their plans; without these columns it planned at once
LINKS = ("follows", "weight")  # token of the first-stage scene, and the weight among those that follow it


def write_scores(path: Path, results: Results) -> None:
    """Write scores.csv as a whole or not at all: one row for each scene, then the means."""
    text = io.StringIO()
    header = _header(results.version, two_stages=results.links is not None, refined=results.steps is not None)
    rows = csv.DictWriter(text, header, restval="", lineterminator="\n")
    rows.writeheader()
    rows.writerows(_row(results, row) for row in range(len(results)))
    rows.writerows({"valid": bool(results.valid.all())} | means for means in _last_rows(results))
    write_atomic(path, lambda new: new.write_text(text.getvalue(), encoding="utf-8") and None)


def read_scores(path: Path, version: Version, failures: dict[str, str]) -> Results:
    """Read what `write_scores` wrote; version and failures come from summary.json.

    Raises ConfigError where the file cannot be read or is not as written.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            header, *rows = list(csv.reader(file))
    except (OSError, ValueError, csv.Error) as error:
        raise ConfigError(f"{path} can't be read ({error}): repeat the evaluation") from None
    two_stages = LINKS[0] in header
    expected = _header(version, two_stages=two_stages, refined=REFINED[0] in header)
    last = _last_tokens(version, two_stages=two_stages)
    if header != expected:
        missing = [name for name in expected if name not in header]
        difference = f"lacks the columns {', '.join(missing)}" if missing else "has its columns in another order"
        raise ConfigError(f"{path} is not a result of {version}: it {difference}. Repeat the evaluation")
    if odd := [number for number, row in enumerate(rows, 2) if len(row) != len(header)]:
        raise ConfigError(
            f"{path}: line {odd[0]} does not have the header's {len(header)} cells. Repeat the evaluation"
        )
    if tuple(row[0] for row in rows[-len(last) :]) != last:
        raise ConfigError(f"{path} is cut short: expected {last[-1]} in its last row. Repeat the evaluation")
    rows = rows[: -len(last)]
    table = dict(zip(header, zip(*rows))) if rows else {name: () for name in header}
    table |= {name: tuple(map(text_of, table[name])) for name in TEXTS if name in table}
    try:
        return _results(path, table, version, failures, two_stages=two_stages)
    except (ValueError, OverflowError) as error:
        raise ConfigError(f"{path} holds a cell that nobody wrote there ({error}): repeat the evaluation") from None


def _results(
    path: Path, table: dict[str, tuple[str, ...]], version: Version, failures: dict[str, str], *, two_stages: bool
) -> Results:
    """The results in the columns of a file. Raises ValueError or OverflowError for a cell that no evaluation writes."""
    if repeated := [token for token, rows in Counter(table["token"]).items() if rows > 1]:
        raise ValueError(f"the token {repeated[0]} has several rows")
    links = _links(path, table) if two_stages else None
    return Results(
        version=version,
        tokens=table["token"],
        drives=table["drive"],
        terms={name: _term(table, name, links) for name in version.rules.columns},
        score=_floats(table["score"]),
        valid=np.array(list(map(_truth, table["valid"])), bool),
        **{name: _floats(table[name]) for name in FLOATS},
        **{name: np.array(table[name], np.int64) for name in STEPS},
        collision_track=table["collision_track"],
        failures=failures,
        links=links,
        **{name: _floats(table[name]) for name in REFINED if name in table},
    )


def _header(version: Version, *, two_stages: bool, refined: bool) -> list[str]:
    suffixes = STAGES if two_stages else ("",)
    terms = [name + suffix for suffix in suffixes for name in version.rules.columns]
    return [
        "token",
        "valid",
        *terms,
        "score",
        *OWN_COLUMNS,
        *(REFINED if refined else ()),
        *(LINKS if two_stages else ()),
    ]


def _row(results: Results, row: int) -> dict[str, object]:
    """The cells of one scene by column."""
    links = results.links
    suffix = "" if links is None else STAGES[int(links.original[row] >= 0)]
    cells = {
        "token": cell(results.tokens[row]),
        "valid": bool(results.valid[row]),
        "score": _number(results.score[row]),
    }
    cells |= {name + suffix: _number(values[row]) for name, values in results.terms.items()}
    cells |= {name: _number(getattr(results, name)[row]) for name in FLOATS}
    cells |= {name: int(getattr(results, name)[row]) for name in STEPS}
    cells |= {name: _number(getattr(results, name)[row]) for name in REFINED if results.steps is not None}
    cells |= {"drive": cell(results.drives[row]), "collision_track": cell(results.collision_track[row])}
    if links is None:
        return cells
    original = int(links.original[row])
    token = results.tokens[original] if original >= 0 else ""
    return cells | dict(zip(LINKS, (cell(token), _number(links.weight[row]))))


def _last_tokens(version: Version, *, two_stages: bool) -> tuple[str, ...]:
    if two_stages:
        return (*(f"{TOTAL}{suffix}" for suffix in STAGES), COMBINED)
    return (AVERAGE[version.rules.generation],)


def _last_rows(results: Results) -> Iterator[dict[str, object]]:
    """Means of all scenes; or those of each stage and of both, which has no columns for combined
    sub-scores."""
    if results.links is None:
        means = results.averaged().means()
        yield {"token": AVERAGE[results.version.rules.generation]} | {name: _number(means[name]) for name in means}
        return
    for suffix, stage in zip(STAGES, results.stages()):
        means = stage.means()
        terms = {name + suffix: _number(means[name]) for name in results.terms}
        yield {"token": f"{TOTAL}{suffix}", "score": _number(means["score"])} | terms
    yield {"token": COMBINED, "score": _number(results.averaged().means()["score"])}


def _links(path: Path, table: dict[str, tuple[str, ...]]) -> StageLinks:
    originals, weights = (table[name] for name in LINKS)
    place = {token: row for row, token in enumerate(table["token"])} | {"": -1}
    if unknown := [token for token in originals if token not in place]:
        raise ConfigError(f"{path}: a scene follows {unknown[0]}, which has no row. Repeat the evaluation")
    return StageLinks(original=np.array([place[token] for token in originals], np.int64), weight=_floats(weights))


def _term(table: dict[str, tuple[str, ...]], name: str, links: StageLinks | None) -> Float64[np.ndarray, "N"]:
    """A sub-score of every scene, from the column of its stage."""
    if links is None:
        return _floats(table[name])
    first, second = (_floats(table[name + suffix]) for suffix in STAGES)
    return np.where(links.original < 0, first, second)


def _floats(texts: tuple[str, ...]) -> Float64[np.ndarray, "N"]:
    values = np.array([float(text) if text else np.nan for text in texts], np.float64)
    if odd := [text for text, value in zip(texts, values) if text and not np.isfinite(value)]:
        raise ValueError(f"{odd[0][:20]} is no finite number")
    return values


def _truth(text: str) -> bool:
    if text not in ("True", "False"):  # a spreadsheet program writes TRUE, or a word of its language
        raise ValueError(f"{text[:20]!r} is neither True nor False")
    return text == "True"


def _number(value: np.floating | float) -> float | str:
    """The value as Python writes it, so that it reads back exactly; empty for NaN, as pandas writes
    it."""
    return "" if np.isnan(value) else float(value)

"""Recompute the totals of a NAVSIM result file from its own sub-scores, and say which rows
disagree.

    python tools/rescore.py 2025.06.01.12.00.00.csv --tolerance 1e-6

Takes any result file of the devkit: v1 (PDMS), v2 in one stage (EPDMS, with or without two-frame
extended comfort), and v2 in two stages (navhard); the header tells which. Says too where the
sub-scores look like those of a broken installation, such as a devkit whose numpy inverts wrongly. The
exit status is 0 if everything agrees, 1 if something does not or looks broken, 2 if the file can't be
read.
"""

import argparse
import csv
import math
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from latentdrive.counting import counted
from latentdrive.errors import LatentDriveError
from latentdrive.evaluation.scores_file import STAGES
from latentdrive.pdms.score import DAC, EC, EP, HC, NC, C, Terms, epdms_total, pdms_total
from latentdrive.pdms.versions import V1, V2

# Rows that are plain means: of which stage, None for all rows.
MEANS = {"average": None, "average_all_frames": None, "extended_pdm_score_stage_one": "_stage_one"}
# Summary rows that depend on more than the file holds.
NO_MEANS = (
    "extended_pdm_score_stage_two",
    "extended_pdm_score_combined",
    "pseudo_closed_loop",
    "average_expert_frames",
)
YES, NO = ("true", "1", "1.0"), ("false", "0", "0.0")
NAMED = 10  # how many rows the report names
FEW = 3  # fewer rows of a stage prove nothing
# Means up to these don't come from planners: in NAVSIM's splits, even a blind car at constant velocity keeps to the
# road in most scenes, collides in a few, makes way and is comfortable. latentdrive default.
NEAR_0, LOW = 0.05, 0.6
CAUSE = (
    "as where the devkit's numpy computes wrong inverses (numpy 1.23 on Intel's Cooper Lake and Sapphire Rapids). Ask "
    "latentdrive doctor devkit=PYTHON, with the Python that made this file"
)


class UnreadableResults(LatentDriveError):
    """A result file is missing, empty or of an unknown form, or a value is not a number."""


@dataclass(frozen=True, kw_only=True)
class Form:
    """One kind of result file. columns: sub-scores without suffix. suffixes: of its stages, "" for one stage."""

    name: str
    columns: tuple[str, ...]
    suffixes: tuple[str, ...]
    total: Callable[[Terms], Tensor]


@dataclass(frozen=True, kw_only=True)
class Rescored:
    """What a file says, and what its sub-scores give.

    tokens, printed, recomputed, terms (sub-scores by column), stages (suffix): of the valid rows, in
    order. invalid: tokens. means: token, printed, recomputed. not_checked: tokens of summary rows that
    depend on more than the file holds.
    """

    form: Form
    tokens: list[str]
    printed: Tensor
    recomputed: Tensor
    terms: dict[str, Tensor]
    stages: list[str]
    invalid: list[str]
    means: list[tuple[str, float, float]]
    not_checked: list[str]

    @property
    def deviation(self) -> Tensor:
        """|printed - recomputed| of each valid row."""
        return (self.printed - self.recomputed).abs()


def main() -> None:
    """Print the report. The exit status says whether everything agrees."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--tolerance", type=float, default=1e-6)
    arguments = parser.parse_args()
    try:
        rescored = rescore(arguments.file)
    except LatentDriveError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from error
    raise SystemExit(0 if report(arguments.file, rescored, arguments.tolerance) else 1)


def rescore(path: Path) -> Rescored:
    """Read a result file and recompute its totals. Raises UnreadableResults."""
    header, rows = read(path)
    form = recognise(path, header)
    tokens, invalid, terms, printed, stages = [], [], [], [], []
    summaries = []
    for line, row in rows:
        token = row["token"]
        if token in MEANS or token in NO_MEANS:
            summaries.append((line, row))
        elif not is_valid(path, line, row["valid"]):
            invalid.append(token)
        else:
            suffix = stage_of(path, line, row, form)
            terms.append([term(path, line, row, name, suffix) for name in form.columns])
            printed.append(number(path, line, row, "score"))
            tokens.append(token)
            stages.append(suffix)
    if not tokens:
        raise UnreadableResults(f"{path}: no valid rows with scores; {len(invalid)} invalid ones")
    if twice := next((token for token, count in Counter(tokens).items() if count > 1), None):
        raise UnreadableResults(f"{path}: {twice} has two valid rows, and a scene counts once: remove one of them")
    columns = dict(zip(form.columns, torch.tensor(terms, dtype=torch.float64).unbind(-1)))
    recomputed = form.total(columns)
    means, not_checked = [], []
    for line, row in summaries:
        of_stage = MEANS.get(row["token"], "")
        chosen = [of_stage is None or stage == of_stage for stage in stages]
        if row["token"] in NO_MEANS or not any(chosen):
            not_checked.append(row["token"])
        else:
            mean = float(recomputed[torch.tensor(chosen)].mean())
            means.append((row["token"], number(path, line, row, "score"), mean))
    return Rescored(
        form=form,
        tokens=tokens,
        printed=torch.tensor(printed, dtype=torch.float64),
        recomputed=recomputed,
        terms=columns,
        stages=stages,
        invalid=invalid,
        means=means,
        not_checked=not_checked,
    )


def read(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """The column names, and the rows with their line numbers."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restval=None)
            rows = [(reader.line_num, row) for row in reader]
            header = list(reader.fieldnames or [])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UnreadableResults(f"{path}: can't be read as CSV: {error}") from error
    if not header:
        raise UnreadableResults(f"{path}: the file is empty; expected a result file of NAVSIM's devkit")
    for line, row in rows:
        if None in row or None in row.values():
            raise UnreadableResults(f"{path}: line {line} has another number of fields than the header ({len(header)})")
    if not rows:
        raise UnreadableResults(f"{path}: a header and no rows")
    return header, rows


def recognise(path: Path, header: Sequence[str]) -> Form:
    """The form of a file, by its header. Raises UnreadableResults, which names missing columns."""
    if any(name.endswith(STAGES) for name in header):
        form = Form(name="EPDMS, two stages", columns=V2.columns, suffixes=STAGES, total=epdms_total)
    elif "lane_keeping" in header or "history_comfort" in header or "traffic_light_compliance" in header:
        known = EC in header
        form = Form(
            name="EPDMS" if known else "EPDMS without extended comfort",
            suffixes=("",),
            total=epdms_total,
            columns=V2.columns if known else tuple(name for name in V2.columns if name != EC),
        )
    elif "comfort" in header:
        form = Form(name="PDMS", columns=V1.columns, suffixes=("",), total=pdms_total)
    else:
        raise UnreadableResults(
            f"{path}: not a result file of NAVSIM: neither comfort (v1) nor history_comfort (v2) among its columns "
            f"({', '.join(header[:12])})"
        )
    needed = ["token", "valid", *(name + suffix for suffix in form.suffixes for name in form.columns), "score"]
    missing = [name for name in needed if name not in header]
    if missing:
        raise UnreadableResults(f"{path}: looks like {form.name} but lacks the columns {', '.join(missing)}")
    return form


def stage_of(path: Path, line: int, row: dict[str, str], form: Form) -> str:
    """The suffix of the stage whose columns a row fills. Raises UnreadableResults."""
    filled = [suffix for suffix in form.suffixes if any(row[name + suffix].strip() for name in form.columns)]
    if form.suffixes == ("",) or len(filled) == 1:
        return filled[0] if filled else ""
    what = "both stages" if filled else "neither stage"
    raise UnreadableResults(f"{path}: line {line}, token {row['token']}: has sub-scores of {what}; expected one")


def term(path: Path, line: int, row: dict[str, str], name: str, suffix: str) -> float:
    """A sub-score. Extended comfort may be absent, and is NaN then. Raises UnreadableResults."""
    if name == EC and row[name + suffix].strip().lower() in ("", "nan"):
        return math.nan
    return number(path, line, row, name + suffix)


def number(path: Path, line: int, row: dict[str, str], column: str) -> float:
    """A finite number. Raises UnreadableResults."""
    try:
        value = float(row[column])
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UnreadableResults(
            f"{path}: line {line}, token {row['token']}, column {column}: "
            f"expected a finite number, found {row[column]!r}"
        )
    return value


def is_valid(path: Path, line: int, text: str) -> bool:
    """Whether a row was scored. Raises UnreadableResults."""
    word = text.strip().lower()
    if word not in YES + NO:
        raise UnreadableResults(f"{path}: line {line}, column valid: expected True or False, found {text!r}")
    return word in YES


def doubts(rescored: Rescored) -> list[str]:
    """What looks like the result of a broken installation, one sentence each, stage by stage."""
    texts = []
    for suffix in rescored.form.suffixes:
        rows = torch.tensor([stage == suffix for stage in rescored.stages])
        if int(rows.sum()) < FEW:
            continue
        means = {name: float(values[rows].nanmean()) for name, values in rescored.terms.items()}
        text = {name: f"{name}{suffix} is {mean:.3f} on average" for name, mean in means.items()}
        if means[DAC] <= NEAR_0:
            texts.append(f"{text[DAC]}: hardly a car keeps to the road")
        if means[NC] <= LOW and means[EP] <= NEAR_0:
            texts.append(f"{text[NC]} and {text[EP]}: cars collide and get nowhere")
        texts += [f"{text[name]}: no car is comfortable" for name in (C, HC) if means.get(name, 1.0) <= NEAR_0]
        if means.get(EC, 1.0) <= NEAR_0:  # NaN, where no row has it, is no doubt
            texts.append(f"{text[EC]}: every plan contradicts the one before it")
        if float(rescored.printed[rows].max()) == 0.0:
            texts.append(f"all {int(rows.sum()):,} scores{suffix} are 0")
    if len(rescored.invalid) > len(rescored.tokens):
        texts.append(f"{len(rescored.invalid):,} rows are invalid and {len(rescored.tokens):,} are not")
    return texts


def report(path: Path, rescored: Rescored, tolerance: float) -> bool:
    """Print the comparison. Returns whether everything agrees and nothing looks broken."""
    bad = [index for index, far in enumerate((rescored.deviation > tolerance).tolist()) if far]
    print(
        f"{path}: {rescored.form.name}; {counted(len(rescored.tokens), 'valid row')}, {len(rescored.invalid)} invalid"
    )
    if rescored.invalid:
        print(f"  invalid, in no mean: {_some(rescored.invalid)}")
    print(
        f"  {len(rescored.tokens) - len(bad)} of {len(rescored.tokens)} rows agree within {tolerance:g}; "
        f"largest deviation {float(rescored.deviation.max()):.3g}"
    )
    for index in bad[:NAMED]:
        printed, recomputed = rescored.printed[index], rescored.recomputed[index]
        print(f"  {rescored.tokens[index]}: printed {printed:.9f}, recomputed {recomputed:.9f}")
    if len(bad) > NAMED:
        print(f"  … and {len(bad) - NAMED} more")
    if bad and rescored.form.total is epdms_total and all(rescored.printed[i] < rescored.recomputed[i] for i in bad):
        print("  all of them are printed lower, as v2.0 to v2.1.2 do, which apply the human filter to sub-scores only")
    good = not bad
    for token, printed, recomputed in rescored.means:
        agrees = abs(printed - recomputed) <= tolerance
        good &= agrees
        print(f"  {token}: printed {printed:.9f}, recomputed {recomputed:.9f}{'' if agrees else ', DIFFERS'}")
    if not rescored.means:
        print(f"  no row with a mean; mean of the recomputed rows {float(rescored.recomputed.mean()):.9f}")
    if rescored.not_checked:
        print(f"  not checked, because the file does not hold what they depend on: {_some(rescored.not_checked)}")
    broken = doubts(rescored)
    for text in broken:
        print(f"  LOOKS BROKEN: {text}")
    if broken:
        print(f"  {path.name} looks like the result of a broken installation, {CAUSE}")
    return good and not broken


def _some(tokens: Sequence[str]) -> str:
    return ", ".join(tokens[:NAMED]) + (f", … ({len(tokens)})" if len(tokens) > NAMED else "")


if __name__ == "__main__":
    main()

"""Totals recomputed from result files of the devkit; numbers worked out by hand or taken from the golden files."""

import csv
import math
import sys
from pathlib import Path
from typing import Any

import pytest
import rescore
import torch

from latentdrive.pdms.score import epdms_total
from latentdrive.pdms.versions import V1, V2
from tests.support.golden_files import FILES, FOLDER, golden

TERMS_V2 = V2.columns[:-1]
EC = V2.columns[-1]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """The tool as a user calls it: status and what it prints, errors included."""

    def run(*words: Any) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["rescore.py", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            rescore.main()
        printed = capsys.readouterr()
        return ended.value.code, printed.out + printed.err

    return run


def write(path: Path, columns: list[str], rows: list[dict[str, Any]]) -> Path:
    """As pandas writes it: a nameless index first, empty fields for what is not a number."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["", *columns])
        writer.writeheader()
        for index, row in enumerate(rows):
            writer.writerow({"": index, **{key: "" if value != value else value for key, value in row.items()}})
    return path


def v1(token: str, **change: Any) -> dict[str, Any]:
    """A row of v1: 10.5 / 12 unless changed."""
    return {
        "token": token,
        "valid": True,
        **dict.fromkeys(V1.columns, 1.0),
        "ego_progress": 0.7,
        "score": 0.875,
        **change,
    }


def v2(token: str, suffix: str = "", **change: Any) -> dict[str, Any]:
    """A row of v2 with lane keeping 0 and extended comfort 1: 14 / 16 unless changed."""
    terms = {name + suffix: 1.0 for name in V2.columns} | {"lane_keeping" + suffix: 0.0}
    return {"token": token, "valid": True, **terms, "score": 0.875, **change}


V1_HEADER = ["token", "valid", *V1.columns, "score"]
V2_HEADER = ["token", "valid", *V2.columns, "score"]
TWO_STAGE_HEADER = [
    "token",
    "valid",
    *(f"{name}_stage_{stage}" for stage in ("one", "two") for name in V2.columns),
    "score",
]
INVALID = {"token": "broken", "valid": False}


def test_a_result_file_of_v1_that_is_right_agrees(call, tmp_path: Path):
    rows = [v1("a"), v1("b", no_at_fault_collisions=0.5, score=0.4375, driving_direction_compliance=0.0), INVALID]
    average = v1("average", valid=False, score=(0.875 + 0.4375) / 2, no_at_fault_collisions=0.75)
    status, output = call(write(tmp_path / "v1.csv", V1_HEADER, [*rows, average]))
    assert status == 0
    assert "PDMS; 2 valid rows, 1 invalid" in output and "invalid, in no mean: broken" in output
    assert "2 of 2 rows agree within 1e-06; largest deviation 0" in output
    assert "average: printed 0.656250000, recomputed 0.656250000\n" in output


def test_a_wrong_row_and_a_wrong_mean_are_named(call, tmp_path: Path):
    rows = [v1("a"), v1("b", comfort=0.0), v1("average", score=0.875)]  # b is worth 8.5 / 12
    path = write(tmp_path / "v1.csv", V1_HEADER, rows)
    status, output = call(path)
    assert status == 1
    assert "1 of 2 rows agree" in output and "largest deviation 0.167" in output
    assert "b: printed 0.875000000, recomputed 0.708333333" in output
    assert "average: printed 0.875000000, recomputed 0.791666667, DIFFERS" in output
    assert call(path, "--tolerance", 0.2)[0] == 0


def test_v2_without_a_predecessor_divides_by_fourteen_row_by_row(call, tmp_path: Path):
    rows = [v2("a"), v2("b", **{EC: math.nan, "score": 12 / 14}), v2("c", **{EC: 0.0, "score": 12 / 16}), INVALID]
    mean = (14 / 16 + 12 / 14 + 12 / 16) / 3
    path = write(tmp_path / "v2.csv", V2_HEADER, [*rows, v2("average_all_frames", valid=False, score=mean)])
    status, output = call(path)
    assert status == 0 and "EPDMS; 3 valid rows, 1 invalid" in output and "average_all_frames: printed" in output


def test_v2_without_the_column_of_extended_comfort_is_recognised(call, tmp_path: Path):
    row = {key: value for key, value in v2("a", score=12 / 14).items() if key != EC}
    status, output = call(write(tmp_path / "v2.csv", [name for name in V2_HEADER if name != EC], [row]))
    assert status == 0
    assert "EPDMS without extended comfort; 1 valid row, 0" in output and "no row with a mean" in output


def test_both_stages_are_recomputed_row_by_row(call, tmp_path: Path):
    first, second = "_stage_one", "_stage_two"
    rows = [
        v2("a", first),
        v2("b", first, drivable_area_compliance_stage_one=0.0, score=0.0),
        v2("c", second),
        v2("d", second, score=0.9),
        INVALID,
        v2("extended_pdm_score_stage_one", first, score=0.4375),
        v2("extended_pdm_score_stage_two", second, score=0.6),
        v2("extended_pdm_score_combined", first, score=0.3),
    ]
    status, output = call(write(tmp_path / "two.csv", TWO_STAGE_HEADER, rows))
    assert status == 1
    assert "EPDMS, two stages; 4 valid rows, 1 invalid" in output and "3 of 4 rows agree" in output
    assert "d: printed 0.900000000, recomputed 0.875000000" in output
    assert "extended_pdm_score_stage_one: printed 0.437500000, recomputed 0.437500000\n" in output
    assert "not checked" in output and "extended_pdm_score_stage_two, extended_pdm_score_combined" in output


def test_scores_that_are_all_printed_lower_are_told_apart(call, tmp_path: Path):
    rows = [v2("a"), v2("b", score=0.0)]
    assert "as v2.0 to v2.1.2 do" in call(write(tmp_path / "v2.csv", V2_HEADER, rows))[1]
    assert "v2.1.2" not in call(write(tmp_path / "v2.csv", V2_HEADER, [v2("a", score=0.9)]))[1]


BAD = {
    "drivable_area_compliance": ({"drivable_area_compliance": 0.0}, "hardly a car keeps to the road"),
    "no_at_fault_collisions": ({"no_at_fault_collisions": 0.5, "ego_progress": 0.0}, "cars collide and get nowhere"),
    "history_comfort": ({"history_comfort": 0.0}, "no car is comfortable"),
    EC: ({EC: 0.0}, "every plan contradicts the one before it"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("suffix", ["", "_stage_two"])
def test_a_file_that_looks_broken_is_flagged_by_name(call, tmp_path: Path, name: str, suffix: str):
    terms, words = BAD[name]
    terms = dict.fromkeys(V2.columns, 1.0) | terms
    total = float(epdms_total({key: torch.tensor(value, dtype=torch.float64) for key, value in terms.items()}))
    row = {"valid": True, "score": total} | {key + suffix: value for key, value in terms.items()}
    rows = [row | {"token": str(number)} for number in range(20)]
    sound = [v2(f"s{number}", "_stage_one" if suffix else "") for number in range(1)]
    path = write(tmp_path / "strange.csv", TWO_STAGE_HEADER if suffix else V2_HEADER, [*rows, *sound])
    status, output = call(path)
    assert status == 1 and "21 of 21 rows agree" in output and words in output
    assert f"LOOKS BROKEN: {name}{suffix} is 0." in output
    assert "strange.csv looks like the result of a broken installation" in output
    assert "latentdrive doctor devkit=PYTHON" in output


def test_a_file_of_zeros_and_one_of_invalid_rows_are_flagged(call, tmp_path: Path):
    zeros = [v1(str(n), no_at_fault_collisions=0.0, drivable_area_compliance=0.0, score=0.0) for n in range(5)]
    output = call(write(tmp_path / "zeros.csv", V1_HEADER, zeros))[1]
    assert "all 5 scores are 0" in output and "drivable_area_compliance is 0.000 on average" in output
    status, output = call(write(tmp_path / "few.csv", V1_HEADER, [v1("a"), *[INVALID] * 3]))
    assert status == 1 and "LOOKS BROKEN: 3 rows are invalid and 1 are not" in output


def test_a_poor_planner_does_not_look_broken(call, tmp_path: Path):
    rows = [v2(str(n), drivable_area_compliance=float(n % 3 == 0), score=0.875 * (n % 3 == 0)) for n in range(20)]
    status, output = call(write(tmp_path / "poor.csv", V2_HEADER, rows))
    assert status == 0 and "BROKEN" not in output
    one = [v1("a", drivable_area_compliance=0.0, score=0.0)]
    assert "BROKEN" not in call(write(tmp_path / "one.csv", V1_HEADER, one))[1]


@pytest.mark.skipif(not FILES, reason=f"no golden files in {FOLDER}")
def test_what_the_devkit_scored_agrees(tmp_path: Path):
    cases = [case for name in FILES[:3] for case in golden(name).answers(0)["cases"]]
    scored = [case for case in cases if "v1" in case]
    rows = [{"token": str(n), "valid": True, **case["v1"]["scores"]} for n, case in enumerate(scored)]
    totals = rescore.rescore(write(tmp_path / "v1.csv", V1_HEADER, [*rows, *[INVALID] * (len(cases) - len(scored))]))
    assert totals.deviation.max() < 1e-12 and len(totals.invalid) == len(cases) - len(scored) > 0
    terms = [
        {name: case["v2"]["scores"][name] for name in TERMS_V2}
        | {EC: math.nan, "score": case["v2"]["score_without_ec"]}
        for case in scored
    ]
    rows = [{"token": str(n), "valid": True, **row} for n, row in enumerate(terms)]
    totals = rescore.rescore(write(tmp_path / "v2.csv", V2_HEADER, rows))
    assert totals.deviation.max() < 1e-12 and len(totals.tokens) == len(scored)


def test_what_can_not_be_read_is_said_with_its_place(call, tmp_path: Path):
    path = tmp_path / "bad.csv"
    without = [name for name in V1_HEADER if name not in ("ego_progress", "score")]
    for columns, rows, message in (
        (
            without,
            [{key: v1("a")[key] for key in without}],
            "looks like PDMS but lacks the columns ego_progress, score",
        ),
        (["token", "ade"], [{"token": "a", "ade": 1.0}], "neither comfort (v1) nor history_comfort (v2)"),
        (V1_HEADER, [], "a header and no rows"),
        (
            V1_HEADER,
            [v1("a", comfort="good")],
            "line 2, token a, column comfort: expected a finite number, found 'good'",
        ),
        (
            V1_HEADER,
            [v1("a"), v1("b", comfort=math.nan)],
            "line 3, token b, column comfort: expected a finite number, found ''",
        ),
        (V1_HEADER, [v1("a"), v1("b"), v1("a")], "a has two valid rows, and a scene counts once"),
        (V1_HEADER, [v1("a", score="inf")], "column score: expected a finite number, found 'inf'"),
        (V1_HEADER, [v1("a", valid="perhaps")], "line 2, column valid: expected True or False, found 'perhaps'"),
        (V1_HEADER, [INVALID, v1("average")], "no valid rows with scores; 1 invalid ones"),
        (TWO_STAGE_HEADER, [{**v2("a", "_stage_one"), **v2("a", "_stage_two")}], "has sub-scores of both stages"),
        (TWO_STAGE_HEADER, [{"token": "a", "valid": True, "score": 1.0}], "has sub-scores of neither stage"),
    ):
        status, output = call(write(path, columns, rows))
        assert status == 2 and message in output and str(path) in output, output
    path.write_text("")
    assert "the file is empty" in call(path)[1]
    path.write_text("token,valid,comfort,score\na,True,1\n")
    assert "line 2 has another number of fields than the header (4)" in call(path)[1]
    path.write_bytes(b"\xff\xfe\x00token")
    assert "can't be read as CSV" in call(path)[1]
    assert "can't be read as CSV" in call(tmp_path / "none.csv")[1]

"""The two-stage score (docs/pdms.md, section 8.4): the devkit's twelve cases, one case by hand, and
what is refused.
"""

import gzip
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from latentdrive.data.navsim.scene_filter import SecondStage, second_stages_of
from latentdrive.errors import ConfigError, WrongShape
from latentdrive.pdms.score import EC
from latentdrive.pdms.two_stage import TERMS, StageRows, aggregate, nearness
from latentdrive.pdms.versions import V2
from tests.support.golden_files import FOLDER

CASES = [
    case
    for path in sorted(FOLDER.glob("aggregation/two_stage_*.json.gz"))
    for case in json.loads(gzip.decompress(path.read_bytes()))["cases"]
]


def rows_of(listed: list[dict[str, Any]]) -> StageRows:
    """Rows of a golden case."""

    def column(*names: str) -> torch.Tensor:
        return torch.tensor([[row[name] for name in names] for row in listed], dtype=torch.float64)

    return StageRows(
        tokens=tuple(row["token"] for row in listed),
        terms=column(*TERMS),
        scored=column(*TERMS),
        start_s=column("start_time")[:, 0],
        end_points=column("endpoint_x", "endpoint_y"),
        start_points=column("start_point_x", "start_point_y"),
        states=column("ego_simulated_states")[:, 0],
        synthetic=column("frame_type")[:, 0] == 1,
    )


@pytest.mark.skipif(not CASES, reason=f"no golden files in {FOLDER}/aggregation")
@pytest.mark.parametrize("number", range(len(CASES) or 1))
def test_the_devkits_weights_scores_and_means_come_out(number: int):
    case = CASES[number]
    mapping = second_stages_of(Path("case"), [[*original, followers] for original, followers in case["mapping"]])
    rows = rows_of(case["rows"])
    result = aggregate(mapping, rows)
    for index, token in enumerate(rows.tokens):
        expected = case["expected_rows"][token]
        assert result.extended_comfort[index].item() == expected[EC]
        assert result.weight[index].item() == pytest.approx(expected["weight"], abs=1e-9)
        assert result.score[index].item() == pytest.approx(expected["score"], abs=1e-9)
    for name in ("combined", "stage_one", "stage_two"):
        assert getattr(result, name) == pytest.approx(case[f"expected_{name}"], abs=1e-9)
        assert set(getattr(result, name)) == {*V2.columns, "score"}


ENTRY = SecondStage(now="n", previous="p", followers=(("n0", "p0"), ("n1", "p1")))


def small() -> StageRows:
    """One entry with two followers each, everything perfect, followers at the plans' ends."""
    ones = torch.ones(6, 8, dtype=torch.float64)
    origin = torch.zeros(6, 2, dtype=torch.float64)
    return StageRows(
        tokens=("n", "p", "n0", "p0", "n1", "p1"),
        terms=ones,
        scored=ones.clone(),
        end_points=origin,
        start_points=origin.clone(),
        start_s=torch.tensor([10.0, 9.5] * 3, dtype=torch.float64),
        states=torch.zeros(6, 41, 11, dtype=torch.float64),
        synthetic=torch.tensor([False, False, True, True, True, True]),
    )


def test_followers_count_by_how_near_they_start_by_hand():
    rows = small()
    rows.start_points[2, 0] = 0.3  # n0; its bell is exp(-0.09 / 0.2)
    near = math.exp(-0.45)
    rows.scored[4] = 0.0  # n1
    result = aggregate([ENTRY], rows)
    assert result.weight.tolist() == pytest.approx([1.0, 1.0, near / (near + 1), 0.5, 1 / (near + 1), 0.5])
    assert result.score.tolist() == [1.0, 1.0, 1.0, 1.0, 0.0, 1.0]
    assert result.stage_two["score"] == pytest.approx((near / (near + 1) + 1) / 2)
    assert result.combined["score"] == pytest.approx(result.stage_two["score"])
    assert result.stage_two["lane_keeping"] == pytest.approx(1.0)  # printed and scored may differ


def test_the_second_stage_multiplies_the_first_scene_by_scene():
    rows = small()
    rows.scored[0], rows.scored[3] = 0.0, 0.0  # n of the first stage, p0 of the second
    result = aggregate([ENTRY], rows)
    assert (result.stage_one["score"], result.stage_two["score"]) == (0.5, 0.75)
    assert result.combined["score"] == (0.0 * 1.0 + 1.0 * 0.5) / 2


def test_extended_comfort_is_written_to_both_scenes_of_a_pair():
    rows = small()
    rows.states[2, :, 5] = 2.0  # n0 accelerates, p0 does not
    result = aggregate([ENTRY], rows)
    assert result.extended_comfort.tolist() == [1.0, 1.0, 0.0, 0.0, 1.0, 1.0]
    assert result.score[2].item() == result.score[3].item() == pytest.approx(14 / 16)


def test_far_followers_and_ends_that_are_no_numbers_weigh_the_same():
    starts = torch.tensor([[9.0, 0.0], [30.0, 0.0]], dtype=torch.float64)
    assert nearness(torch.zeros(2, dtype=torch.float64), starts).tolist() == [0.5, 0.5]
    assert nearness(torch.full((2,), math.nan, dtype=torch.float64), starts).tolist() == [0.5, 0.5]
    near = nearness(torch.tensor([8.0, 0.0], dtype=torch.float64), starts)
    assert near.tolist() == [1.0, pytest.approx(0.0)]


def test_a_plan_that_could_not_be_simulated_scores_as_its_terms_say_and_is_not_comfortable():
    rows = small()
    rows.states[0], rows.end_points[0] = math.nan, math.nan
    rows.terms[0], rows.scored[0] = 0.0, 0.0
    result = aggregate([ENTRY], rows)
    assert (result.score[0].item(), result.extended_comfort[0].item()) == (0.0, 0.0)
    assert result.weight[[2, 4]].tolist() == [0.5, 0.5]


def test_the_splits_own_form_of_the_mapping_is_read():
    assert second_stages_of(Path("split.yaml"), [["n", "p", [["n0", "p0"], ["n1", "p1"]]]]) == (ENTRY,)
    for wrong in (["n", "p"], ["n", "p", [["n0"]]], 5, ["n", "p", [3]]):
        with pytest.raises(ConfigError, match=r"split\.yaml: entry 2 of reactive_all_mapping must hold"):
            second_stages_of(Path("split.yaml"), [["n", "p", []], wrong])


def test_what_does_not_belong_together_is_named():
    rows = small()
    for mapping, message in (
        ([], "no entries"),
        ([replace(ENTRY, followers=())], "1 entry without second-stage scenes: n"),
        ([replace(ENTRY, now="x")], r"name scenes that have no row \(1 in all\): x"),
        ([replace(ENTRY, followers=(("n0", "p0"),))], r"leave rows out \(2 in all\): n1, p1"),
        ([ENTRY, ENTRY], r"name a token several times \(6 in all\)"),
        (
            [SecondStage(now="n0", previous="p", followers=(("n", "p0"), ("n1", "p1")))],
            "1 scene of the first stage that should not be synthetic: n0",
        ),
    ):
        with pytest.raises(ConfigError, match=message):
            aggregate(mapping, rows)
    swapped = SecondStage(now="p", previous="n", followers=(("n0", "p0"), ("n1", "p1")))
    with pytest.raises(
        ConfigError, match=r"in 1 of 3 pairs \(now, previous\), previous does not start less than 0\.55 s before now"
    ):
        aggregate([swapped], rows)
    with pytest.raises(ConfigError, match="several rows for 1 token"):
        aggregate([ENTRY], replace(rows, tokens=("n", "p", "n0", "p0", "n1", "n1")))
    rows.scored[5, 2] = math.nan
    with pytest.raises(WrongShape, match=r"1 of 6 rows .* p1"):
        aggregate([ENTRY], rows)

"""The formulas of both scores: by hand, and compared with everything that the devkit printed."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from latentdrive.pdms.score import (
    EC,
    best_progress_m,
    epdms,
    epdms_ego_progress,
    epdms_product,
    epdms_total,
    filter_by_human,
    pdms_ego_progress,
    pdms_product,
    pdms_total,
)
from latentdrive.pdms.versions import V1, V2, Version
from tests.support.golden_files import every_file, golden

TERMS_V2 = V2.columns[:-1]


def float64(values: Any) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def terms_of(columns: tuple[str, ...], *rows: dict[str, Any], **change: float) -> dict[str, torch.Tensor]:
    """Columns of rows as float64 tensors; with no rows, a single perfect one."""
    rows = rows or (dict.fromkeys(columns, 1.0),)
    return {name: torch.tensor([{**row, **change}[name] for row in rows], dtype=torch.float64) for name in columns}


def test_pdms_weighs_progress_five_time_to_collision_five_and_comfort_two():
    terms = terms_of(
        V1.columns, ego_progress=0.6, comfort=0.0, no_at_fault_collisions=0.5, driving_direction_compliance=0.0
    )
    assert pdms_total(terms).item() == pytest.approx(0.5 * (5 * 0.6 + 5) / 12)


def test_epdms_divides_by_sixteen_where_extended_comfort_is_known_and_by_fourteen_elsewhere():
    terms = terms_of(TERMS_V2, ego_progress=0.5, lane_keeping=0.0, driving_direction_compliance=0.5)
    comfort = torch.tensor([[0.0], [1.0], [math.nan]], dtype=torch.float64)
    weighted = 5 * 0.5 + 5 + 2
    expected = torch.tensor([[weighted / 16], [(weighted + 2) / 16], [weighted / 14]], dtype=torch.float64) * 0.5
    torch.testing.assert_close(epdms_total({**terms, EC: comfort}), expected, rtol=0, atol=1e-15)
    assert epdms_total(terms).item() == epdms_total({**terms, EC: None}).item() == pytest.approx(0.5 * weighted / 14)


def test_numpy_and_torch_give_the_same_numbers():
    of_torch = {name: torch.rand(3, 5, dtype=torch.float64) for name in (*TERMS_V2, EC, "comfort")}
    of_torch[EC][0] = math.nan
    of_numpy = {name: value.numpy() for name, value in of_torch.items()}
    for total in (pdms_total, epdms_total):
        np.testing.assert_array_equal(total(of_numpy), total(of_torch).numpy())
    meters, product = of_torch["comfort"] * 20, of_torch["lane_keeping"].round()
    best = best_progress_m(meters, product)
    np.testing.assert_array_equal(best_progress_m(meters.numpy(), product.numpy()), best.numpy())
    for ours, answer in (
        (pdms_ego_progress(meters.numpy(), product.numpy(), best.numpy()), pdms_ego_progress(meters, product, best)),
        (epdms_ego_progress(meters.numpy(), best.numpy()), epdms_ego_progress(meters, best)),
    ):
        np.testing.assert_array_equal(ours, answer.numpy())


def test_progress_is_compared_beyond_five_metres_only():
    meters, product = (
        float64([5.0, 5.0, 10.0, 10.0, 3.0]),
        float64([1.0, 0.0, 0.5, 0.0, 1.0]),
    )
    best = best_progress_m(meters, product, float64([4.0, 2.0, 8.0, 8.0, 12.0]))
    assert best.tolist() == [5.0, 2.0, 8.0, 8.0, 12.0]
    assert pdms_ego_progress(meters, product, best).tolist() == [1.0, 0.0, 5 / 8, 0.0, 0.25]
    assert epdms_ego_progress(meters, best).tolist() == [1.0, 1.0, 1.0, 1.0, 0.25]  # unmasked, then clipped


def test_a_term_that_the_human_fails_counts_as_kept_and_a_half_of_the_human_filters_nothing():
    plan = terms_of(TERMS_V2, no_at_fault_collisions=0.5, lane_keeping=0.0, drivable_area_compliance=0.0)
    plan |= {EC: float64([0.0])}
    human = terms_of(TERMS_V2, no_at_fault_collisions=0.5, lane_keeping=0.0, ego_progress=0.0)
    filtered = filter_by_human({**plan, "ego_progress": float64([0.3])}, human)
    assert (filtered["no_at_fault_collisions"], filtered["lane_keeping"], filtered["ego_progress"]) == (0.5, 1.0, 1.0)
    assert (filtered["drivable_area_compliance"], filtered[EC]) == (0.0, 0.0)
    assert plan["lane_keeping"] == 0.0


def test_version_two_point_zero_filters_only_what_is_printed():
    plan = terms_of(TERMS_V2, lane_keeping=0.0, traffic_light_compliance=0.0)
    human = terms_of(TERMS_V2, lane_keeping=0.0, traffic_light_compliance=0.0)
    old, new = (epdms(plan, human, version) for version in (Version.EPDMS_V2_0, Version.EPDMS_V2_2))
    assert old.printed["lane_keeping"] == new.printed["lane_keeping"] == 1.0
    assert (old.product.item(), old.score.item(), new.product.item(), new.score.item()) == (0.0, 0.0, 1.0, 1.0)
    assert epdms(plan, None, Version.EPDMS_V2_2).score.item() == 0.0
    with pytest.raises(ValueError, match=r"pdms_v1\.1 is no version of EPDMS; use pdms_total"):
        epdms(plan, human, Version.PDMS_V1_1)


@every_file
def test_every_total_of_the_devkit_follows_from_its_sub_scores_and_progress(name: str):
    for number in (0, 1):
        answers = golden(name).answers(number)
        cases = [case for case in answers["cases"] if "v1" in case]
        assert len(cases) > 20
        check_v1([case["v1"] for case in cases])
        check_v2([case["v2"] for case in cases])
        check_progress_v2([case["v2"] for case in cases])
        check_proposals(answers)
    check_extended_comfort(golden(name).answers(0), golden(name).answers(1))


def check_v1(cases: list[dict]) -> None:
    """EP from raw progress, and the total."""
    scores = [case["scores"] for case in cases]
    terms, expected = terms_of(V1.columns, *scores), terms_of((*V1.columns, "score"), *scores)
    reference = [case["progress_raw"]["pdm"] * product_v1(case["pdm_reference_in_same_call"]) for case in cases]
    progress = float64([case["progress_raw"]["candidate"] for case in cases])
    product = pdms_product(terms)
    best = best_progress_m(progress, product, float64(reference))
    close(pdms_ego_progress(progress, product, best), expected["ego_progress"])
    close(pdms_total(terms), expected["score"])


def product_v1(scores: dict) -> float:
    return scores["no_at_fault_collisions"] * scores["drivable_area_compliance"]


def check_v2(cases: list[dict]) -> None:
    """Totals before and after the filter, by both versions."""
    before = [case["scores_before_human_filter"] for case in cases]
    after = terms_of((*TERMS_V2, "multiplicative_metrics_prod"), *(case["scores"] for case in cases))
    terms, human = terms_of(TERMS_V2, *before), terms_of(TERMS_V2, *(case["human_scores"] for case in cases))
    close(epdms_product(terms), [row["multiplicative_metrics_prod"] for row in before])
    close(epdms_total(terms), [row["pdm_score"] for row in before])
    close(epdms_total(human), [case["human_scores"]["pdm_score"] for case in cases])
    old, new = (epdms(terms, human, version) for version in (Version.EPDMS_V2_0, Version.EPDMS_V2_2))
    for name in TERMS_V2:
        close(old.printed[name], after[name])
        close(new.printed[name], after[name])
    close(new.product, after["multiplicative_metrics_prod"])
    close(new.score, [case["score_without_ec"] for case in cases])
    close(old.score, [row["pdm_score"] for row in before])


def check_progress_v2(cases: list[dict]) -> None:
    """EP is a share of the best of the pair, by one and the same product of the reference."""
    terms = terms_of(TERMS_V2, *(case["scores_before_human_filter"] for case in cases))
    progress = float64([case["progress_raw"]["candidate"] for case in cases])
    reference = float64([case["progress_raw"]["pdm"] for case in cases])
    product = epdms_product(terms)
    explained = [  # the file does not say the reference's product; it is one number for all candidates of a scene
        torch.allclose(
            epdms_ego_progress(progress, best_progress_m(progress, product, reference * of_reference)),
            terms["ego_progress"],
            rtol=0,
            atol=1e-12,
        )
        for of_reference in (1.0, 0.5, 0.25, 0.0)
    ]
    assert any(explained)


def check_extended_comfort(of_before: dict, of_now: dict) -> None:
    """EC enters the score of now, and not of the scene before."""
    before, now = ({case["name"]: case.get("v2") for case in scene["cases"]} for scene in (of_before, of_now))
    pairs = of_now["v2"]["extended_comfort"]
    terms = terms_of(TERMS_V2, *(now[pair["now"]]["scores"] for pair in pairs))
    comfort = float64([pair["two_frame_extended_comfort"] for pair in pairs])
    close(epdms_total({**terms, EC: comfort}), [pair["score_now"] for pair in pairs])
    earlier = terms_of(TERMS_V2, *(before[pair["prev"]]["scores"] for pair in pairs))
    close(epdms_total({**earlier, EC: torch.full_like(comfort, math.nan)}), [pair["score_prev"] for pair in pairs])


def check_proposals(answers: dict) -> None:
    """The fifteen proposals of PDM-Closed are one batch."""
    for version, columns in (("v1", V1.columns), ("v2", TERMS_V2)):
        closed = answers[version]["pdm_closed"]
        listed = {"time_to_collision_within_bound": closed["proposal_metrics"]["ttc"], **closed["proposal_metrics"]}
        terms = {key: float64(listed[key]) for key in columns}
        progress = float64(closed["proposal_progress_raw"])
        v1 = version == "v1"
        product = pdms_product(terms) if v1 else epdms_product(terms)
        best = best_progress_m(progress, product)
        share = pdms_ego_progress(progress, product, best) if v1 else epdms_ego_progress(progress, best)
        close(share, listed["ego_progress"])
        total = (pdms_total if v1 else epdms_total)(terms)
        close(total, closed["proposal_scores"])
        assert int(total.argmax()) == closed["chosen_proposal"]


def close(actual: torch.Tensor, expected: Any) -> None:
    torch.testing.assert_close(actual, torch.as_tensor(expected, dtype=torch.float64), rtol=0, atol=1e-12)

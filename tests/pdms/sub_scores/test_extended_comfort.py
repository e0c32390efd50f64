"""Extended comfort: bounds by hand, the devkit's four differences, and which scenes make a pair."""

import math

import numpy as np
import pytest
import torch

from latentdrive.errors import WrongShape
from latentdrive.pdms.scene import AX, AY, HEADING
from latentdrive.pdms.sub_scores.extended_comfort import extended_comfort, interval_s, pairs, plan_differences
from tests.support.golden_files import every_file, golden


def states(count: int = 1) -> torch.Tensor:
    return torch.zeros(count, 41, 11, dtype=torch.float64)


def seconds(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


@every_file
def test_the_devkits_differences_and_verdicts_come_out(name: str):
    before, now = ({case["name"]: case for case in golden(name).answers(number)["cases"]} for number in (0, 1))
    expected = golden(name).answers(1)["v2"]["extended_comfort"]
    of_now = torch.tensor([now[pair["now"]]["simulated_states"] for pair in expected], dtype=torch.float64)
    of_before = torch.tensor([before[pair["prev"]]["simulated_states"] for pair in expected], dtype=torch.float64)
    apart = interval_s(golden(name).answers(1)["ego_time_us"], golden(name).answers(0)["ego_time_us"])
    assert apart == expected[0]["observation_interval"]
    differences = plan_differences(of_now, of_before, torch.full((len(expected),), apart, dtype=torch.float64))
    assert differences.overlap.tolist() == [pair["overlap"] for pair in expected]
    keys = {"acceleration": "acceleration", "jerk": "jerk", "yaw_rate": "yaw_rate", "yaw_acceleration": "yaw_accel"}
    for ours, key in keys.items():
        rms = torch.tensor([pair["rms"][key] for pair in expected], dtype=torch.float64)
        torch.testing.assert_close(getattr(differences, ours), rms, rtol=0, atol=1e-9)
    verdicts = extended_comfort(of_now, of_before, torch.full((len(expected),), apart, dtype=torch.float64))
    assert verdicts.double().tolist() == [pair["two_frame_extended_comfort"] for pair in expected]


def test_a_constant_difference_of_acceleration_is_its_own_size_and_uncomfortable_beyond_the_bound():
    now, before = states(3), states(3)
    now[:, :, AX], now[:, :, AY] = 3.0, 4.0
    before[:, :, AX] = torch.tensor([[5.0], [4.31], [4.29]], dtype=torch.float64)
    differences = plan_differences(now, before, seconds(0.5, 0.5, 0.5))
    torch.testing.assert_close(differences.acceleration, seconds(0.0, 0.69, 0.71), rtol=0, atol=1e-8)
    torch.testing.assert_close(differences.jerk, seconds(0.0, 0.0, 0.0), rtol=0, atol=1e-7)
    assert differences.comfortable.tolist() == [True, True, False]


def test_a_plan_that_continues_the_one_before_does_not_differ_whatever_it_does():
    course = torch.linspace(0, 4.5, 46, dtype=torch.float64)
    now, before = states(), states()
    for column, wave in ((AX, torch.cos(0.2 * course)), (HEADING, 3.1 + 0.05 * course**2)):
        before[0, :, column], now[0, :, column] = wave[:41], wave[5:]
    differences = plan_differences(now, before, seconds(0.5))
    # 36 common steps of each, filtered alike.
    assert (
        max(getattr(differences, name).item() for name in ("acceleration", "jerk", "yaw_rate", "yaw_acceleration"))
        == 0.0
    )
    assert extended_comfort(now, before, seconds(0.4)).tolist() == [True]
    assert plan_differences(now, before, seconds(0.4)).acceleration.item() > 0.001


def test_a_heading_ramp_differs_by_its_rate_and_jumps_by_a_turn_do_not_count():
    now, before = states(), states()
    ramp = 3.0 + 0.12 * torch.arange(41, dtype=torch.float64) * 0.1
    now[0, :, HEADING] = torch.where(ramp > math.pi, ramp - 2 * math.pi, ramp)
    differences = plan_differences(now, before, seconds(0.5))
    assert differences.yaw_rate.item() == pytest.approx(0.12, abs=1e-8)
    assert differences.yaw_acceleration.item() == pytest.approx(0.0, abs=1e-7)
    assert not differences.comfortable.item()


def test_rows_of_several_intervals_are_as_if_alone():
    generator = torch.Generator().manual_seed(3)
    now, before = (torch.randn(6, 41, 11, generator=generator, dtype=torch.float64) for _ in range(2))
    apart = seconds(0.5, 0.45, 0.02, 0.5, 0.26, 0.549)
    together = plan_differences(now, before, apart)
    assert together.overlap.tolist() == [5, 4, 0, 5, 3, 5]  # 4.5 goes to the even one
    for row in range(6):
        alone = plan_differences(now[row : row + 1], before[row : row + 1], apart[row : row + 1])
        torch.testing.assert_close(together.jerk[row], alone.jerk[0], rtol=0, atol=1e-8)
    assert extended_comfort(now, before, apart).tolist() == [False] * 6


def test_what_is_not_a_number_is_not_comfortable():
    now, before = states(2), states(2)
    now[1] = math.nan
    assert extended_comfort(now, before, seconds(0.5, 0.5)).tolist() == [True, False]


@pytest.mark.parametrize("apart", [0.0, -0.5, 0.55, 1.0, math.nan])
def test_scenes_that_make_no_pair_are_refused(apart: float):
    with pytest.raises(WrongShape, match=r"expected more than 0 and less than 0\.55 s"):
        extended_comfort(states(), states(), seconds(apart))


def test_each_scene_is_paired_with_the_one_shortly_before_it_in_its_drive():
    drives = ["b", "a", "a", "b", "a", "a", "a"]
    times = np.array([500_000, 1_000_000, 500_000, 0, 2_000_000, 2_551_000, 2_999_000])
    assert pairs(drives, times) == [(3, 0), (2, 1), (5, 6)]


def test_scenes_of_one_time_share_their_predecessor_and_are_none_of_each_other():
    assert pairs(["a"] * 4, np.array([0, 500_000, 500_000, 900_000])) == [(0, 1), (0, 2), (2, 3)]
    assert pairs([], np.zeros(0, np.int64)) == []
    with pytest.raises(WrongShape, match="1 drive for 2 times"):
        pairs(["a"], np.array([0, 1]))

"""From plans to 41 poses (docs/pdms.md, section 2): truncated knots, short plans, headings across half a turn."""

import numpy as np
import pytest
import torch

from latentdrive.pdms.reference_poses import reference_of_knots, reference_poses, to_global, wrap_pv

# Floats of seconds since 1970 are 0.24 microseconds apart. At these times, queries (or queries and knots) are a
# microsecond early.
EPOCH_US, EARLY_US = 1_628_000_000_123_457, 1_621_437_198_049_961
ORIGIN = torch.zeros(1, 3, dtype=torch.float64)


def resampled(poses: np.ndarray, dt_s: float = 0.5, time_us: int = 0, now: tuple = (0.0, 0.0, 0.0)) -> np.ndarray:
    where = torch.tensor([now], dtype=torch.float64)
    return reference_poses(where, torch.from_numpy(poses)[None, None], dt_s=dt_s, times_us=[time_us])[0, 0].numpy()


def ahead(speed: float, count: int = 8, dt_s: float = 0.5) -> np.ndarray:
    poses = np.zeros((count, 3))
    poses[:, 0] = speed * dt_s * np.arange(1, count + 1)
    return poses


def knots_and_queries(time_us: int, count: int, dt_s: float) -> tuple[list[int], list[int]]:
    """Knots and queries in whole microseconds, computed one number at a time."""
    seconds, starts = time_us * 1e-6, np.arange(0, count * dt_s, dt_s)
    knots = [time_us] + [int((seconds + (starts[i] + dt_s)) * 1e6) for i in range(count)]
    queries = [int((float(k) + seconds) * 1e6) for k in np.arange(0.0, 4.1, 0.1)[:41]]
    return knots, [min(max(q, knots[0]), knots[-1]) for q in queries]


@pytest.mark.parametrize("time_us", [0, 100_000, EPOCH_US, EPOCH_US - 1, EARLY_US])
@pytest.mark.parametrize(("count", "dt_s"), [(8, 0.5), (40, 0.1), (4, 1.0), (6, 0.5), (10, 0.5)])
def test_positions_are_linear_on_the_axis_of_whole_microseconds(time_us: int, count: int, dt_s: float):
    knots, queries = knots_and_queries(time_us, count, dt_s)
    poses = ahead(10.0, count, dt_s)
    base = knots[0]  # differences of whole numbers are exact
    axis = [knot - base for knot in knots]
    expected = np.interp([query - base for query in queries], axis, np.append(0.0, poses[:, 0]))
    np.testing.assert_allclose(resampled(poses, dt_s, time_us)[:, 0], expected, rtol=0, atol=1e-12)


def test_with_real_epoch_times_queries_lie_a_microsecond_early():
    # At 10 m/s that is 1e-5 m. Half a second apart, the knots themselves are exact.
    short = np.arange(41) - resampled(ahead(10.0), time_us=EPOCH_US)[:, 0]
    early = short > 0.5e-5
    assert early.sum() == 8 and not early[0]
    np.testing.assert_allclose(short, np.where(early, 1e-5, 0.0), rtol=0, atol=1e-9)


def test_knots_may_lie_a_microsecond_early_too():
    # The knot of 0.5 s lies at 0.499999 s, so its pose is reached by then.
    assert knots_and_queries(EARLY_US, 8, 0.5)[0][1] - EARLY_US == 499_999
    poses = ahead(10.0)
    poses[1:, 0] = 5.0  # it stops there
    states = resampled(poses, time_us=EARLY_US)[:, 0]
    assert states[5] == 5.0
    between = resampled(ahead(10.0), time_us=EARLY_US)[1, 0]
    query = knots_and_queries(EARLY_US, 8, 0.5)[1][1] - EARLY_US
    assert between == pytest.approx(5.0 * query / 499_999, abs=1e-12)


def test_a_plan_shorter_than_4_s_stays_at_its_last_pose():
    states = resampled(ahead(10.0, count=6))
    np.testing.assert_allclose(states[:30, 0], np.arange(30), atol=1e-4)
    assert (states[31:, 0] == 30.0).all()
    assert (resampled(ahead(4.0, count=1))[6:, 0] == 2.0).all()


def test_a_longer_plan_is_cut_at_4_s():
    assert resampled(ahead(10.0, count=10))[-1, 0] == pytest.approx(40.0, abs=2e-5)


def test_headings_turn_the_short_way_across_half_a_turn():
    poses = ahead(10.0)
    poses[:, 2] = np.pi - 0.1
    poses[1::2, 2] = -np.pi + 0.1
    heading = resampled(poses, now=(0.0, 0.0, 0.0))[:, 2]
    between = heading[5:]
    assert (np.abs(between) > np.pi - 0.11).all()  # never through 0
    assert heading[12] == pytest.approx(
        wrap_pv(torch.tensor(np.pi + 0.1 - 0.08)).item(), abs=1e-5
    )  # 2/5 of the way back


def test_a_heading_off_by_whole_turns_is_harmless():
    poses = ahead(10.0)
    poses[:, 2] = 0.3 * np.arange(8)
    turned = poses + np.array([0.0, 0.0, 2 * np.pi]) * np.array([1, -1, 2, 0, 3, -2, 1, 0])[:, None]
    np.testing.assert_allclose(resampled(turned), resampled(poses), rtol=0, atol=1e-12)


def test_plans_are_told_from_the_ego_and_followed_in_the_global_frame():
    # Looking north at (100, 200): 10 m ahead and 2 m to the left is (98, 210).
    poses = np.zeros((8, 3))
    poses[:] = [10.0, 2.0, 0.5]
    states = resampled(poses, now=(100.0, 200.0, np.pi / 2))
    np.testing.assert_allclose(states[0], [100, 200, np.pi / 2])
    np.testing.assert_allclose(states[-1], [98, 210, np.pi / 2 + 0.5])
    turned = to_global(torch.tensor([[100.0, 200.0, 3.0]], dtype=torch.float64), torch.full((1, 1, 1, 3), 0.5).double())
    assert turned[0, 0, 0, 2].item() == pytest.approx(3.5 - 2 * np.pi)


def test_scenes_keep_their_own_times_in_a_batch():
    poses = torch.from_numpy(np.stack([ahead(10.0), ahead(3.0)]))[None].expand(3, -1, -1, -1)
    times = [0, EPOCH_US, EARLY_US]
    together = reference_poses(ORIGIN.expand(3, -1), poses, dt_s=0.5, times_us=times)
    for k, time in enumerate(times):
        alone = reference_poses(ORIGIN, poses[:1], dt_s=0.5, times_us=[time])
        assert torch.equal(together[k], alone[0])


def test_pdm_closeds_knots_are_exactly_a_tenth_of_a_second_apart():
    knots = np.zeros((1, 51, 3))
    knots[0, :, 0] = np.arange(51)
    states = reference_of_knots(torch.from_numpy(knots), [EPOCH_US])[0, 0].numpy()
    queries = np.array(knots_and_queries(EPOCH_US, 8, 0.5)[1]) - EPOCH_US
    np.testing.assert_allclose(states[:, 0], queries / 100_000, rtol=0, atol=1e-9)
    assert states[-1, 0] < 40.0 or queries[-1] == 4_000_000

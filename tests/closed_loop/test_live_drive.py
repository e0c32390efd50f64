"""A live drive begins as its recording, and others react to the ego that is moved from outside."""

from pathlib import Path

import numpy as np
import pytest

from latentdrive.world.navsim.data_set import NavsimWorld
from latentdrive.world.navsim.live_drive import LiveDrive
from latentdrive.world.navsim.orders import Order
from tests.support.navsim_world import small_world

HAND_OVER = 15
KINDS = {
    "train": ("trainval", {"curves": {"none": 1.0}}, 1),
    "longtail": ("test", {"tail_street": {"pedestrian": 0.5, "oncoming": 0.5}}, 2),
}


@pytest.fixture(scope="module")
def world() -> NavsimWorld:
    return small_world(KINDS, drive_s=9.0)


@pytest.fixture(scope="module")
def orders(world: NavsimWorld) -> list[Order]:
    return list(world.orders(Path("unused")))


def live_of(world: NavsimWorld, order: Order) -> LiveDrive:
    return world.live_drive(order, hand_over=HAND_OVER)


def replay(live: LiveDrive) -> None:
    ego, speed = live.recorded.drive.ego, live.recorded.drive.ego_speed_mps
    while live.row + 1 < len(live):
        live.advance(ego[live.row + 1], float(speed[live.row + 1]))


@pytest.mark.parametrize("number", range(2))
def test_the_others_drive_as_recorded_while_the_ego_does(world: NavsimWorld, orders: list[Order], number: int):
    live = live_of(world, orders[number])
    replay(live)
    recorded = live.recorded.drive.agents.poses
    assert recorded.shape[1] > 3
    np.testing.assert_allclose(live.drive.agents.poses, recorded, atol=1e-3)


def test_nothing_after_the_present_is_known(world: NavsimWorld, orders: list[Order]):
    live = live_of(world, orders[1])
    assert len(live.so_far().drive.ego) == HAND_OVER + 1
    assert np.isnan(live.drive.agents.poses[HAND_OVER + 1 :]).all()


def test_drivers_behind_brake_for_an_ego_that_stands(world: NavsimWorld, orders: list[Order]):
    moving, standing = live_of(world, orders[0]), live_of(world, orders[0])
    replay(moving)
    pose = standing.drive.ego[HAND_OVER].copy()
    while standing.row + 1 < len(standing):
        standing.advance(pose, 0.0)
    ends = [live.drive.agents.poses[-1, :, :2] for live in (moving, standing)]
    assert np.hypot(*(ends[0] - ends[1]).T).max() > 5.0


def test_a_pedestrian_waits_for_the_ego(world: NavsimWorld, orders: list[Order]):
    order = next(order for order in orders if order.hazard == "pedestrian")
    live = live_of(world, order)
    pose = live.drive.ego[HAND_OVER].copy()
    while live.row + 1 < len(live):
        live.advance(pose, 0.0)
    walked = np.hypot(*np.ptp(live.drive.agents.poses[:, 0, :2], axis=0))
    recorded = np.hypot(*np.ptp(live.recorded.drive.agents.poses[:, 0, :2], axis=0))
    assert walked == 0.0 and recorded > 1.0

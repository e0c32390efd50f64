"""Endurance: frames at 10 Hz with all faults in simulated time; every fallback is counted, and none is one too many."""

import gc
import tracemalloc
from collections import Counter

import numpy as np
import pytest

from latentdrive.export.runtime import faults_of
from tests.support.bundles import CAMERAS, DT_S, LIMITS, PERIOD_S, SPEED_MPS, Anytime, Car, made_car

BLOCK = 100  # frames; each block has every fault once
DEADLINE_S = 0.08
# openpilot's bounds: longest interval at most 2.5 times the shortest, relative deviation at most 0.35.
LONGEST_OVER_SHORTEST, DEVIATION = 2.5, 0.35


class Road:
    """Sends blocks of 100 frames with faults at fixed places, and counts what the runtime must count."""

    def __init__(self, car: Car, network: Anytime) -> None:
        self.car, self.network, self.runtime, self.clock = car, network, car.runtime, car.clock
        self.expected, self.sources, self.begun = Counter(), Counter(), []
        self.last, self.next_s = {}, self.clock() + PERIOD_S

    def drive(self, frames: int) -> None:
        for frame in range(frames):
            self.clock.now = max(self.clock(), self.next_s)
            self.next_s = self.clock() + PERIOD_S
            place = frame % BLOCK
            self.network.begin_s = 0.13 if place == 85 else 0.02  # a slow network call
            self.sense(place)
            self.begun.append(self.clock())
            output = self.runtime.plan()
            self.sources[output.status.source] += 1
            self.check(place, output)

    def sense(self, place: int) -> None:
        if place != 20:
            self.ego(place)
        if place in (10, 11) or 30 <= place < 35 or 70 <= place < 75:
            return  # two dropped frames, a stall of 500 ms, a sensor thread that is killed and restarted
        for camera in CAMERAS:
            frozen = 50 <= place < 58 and camera == "cam_f0"
            pixels = self.last[camera] if frozen else self.car.picture()
            taken = self.clock() - 0.01
            self.runtime.frame(camera, pixels, taken)
            self.expected["frames"] += 1
            self.last[camera] = pixels
            if place == 40:
                self.runtime.frame(camera, pixels, taken)
                self.expected["duplicated"] += 1
            if place == 45:
                self.runtime.frame(camera, pixels, taken - PERIOD_S)
                self.expected["reordered"] += 1

    def ego(self, place: int) -> None:
        speed = np.nan if place in (60, 61) else SPEED_MPS
        self.car.ego(speed=speed, ago=0.01)
        self.expected["ego_not_finite" if place in (60, 61) else "egos"] += 1

    def check(self, place: int, output) -> None:
        """Which plan leaves is known for every place of a block."""
        assert np.isfinite(output.poses).all() and faults_of(output.poses, DT_S, SPEED_MPS, LIMITS) == []
        stalled, frozen = place in (33, 34, 73, 74), 54 <= place < 58
        expected = "shifted" if stalled or frozen else "planned"
        assert output.status.source == expected, (place, output.status)
        for fault, here in (("stale_cam_f0", stalled), ("frozen_cam_f0", frozen), ("deadline", place == 85)):
            assert (fault in output.status.faults) is here, (place, output.status)
            self.expected[fault] += here
        self.expected[expected] += 1
        assert output.status.elapsed_s <= DEADLINE_S + 1e-9 or place == 85
        assert not output.status.alarm


def drive(blocks: int) -> tuple[Road, Counter]:
    """Drive so many blocks after a first one; returns the road and what grew in memory by bytes."""
    car, _, network = made_car(Anytime, deadline_s=DEADLINE_S)
    road = Road(car, network)
    tracemalloc.start()
    road.drive(2 * BLOCK)
    road.begun.clear()
    gc.collect()
    before = tracemalloc.get_traced_memory()[0]
    network.begun.clear()
    road.drive(blocks * BLOCK)
    network.begun.clear()
    intervals, road.begun = np.diff(road.begun), []
    assert intervals.max() <= LONGEST_OVER_SHORTEST * intervals.min()
    assert intervals.std() / intervals.mean() <= DEVIATION
    del intervals  # the test's own notes are no growth of the runtime
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 20_000, grown
    return road, road.expected


def require_counts(blocks: int) -> None:
    road, expected = drive(blocks)
    counted = road.runtime.counts
    for name, count in expected.items():
        assert counted[name] == count, name
    total = blocks + 2
    assert road.sources == {"planned": 92 * total, "shifted": 8 * total}
    assert counted["missed_frames"] == 12 * 3 * total
    assert counted["stop"] == counted["network_failed"] == counted["alarms"] == 0


def test_a_thousand_frames_with_all_faults():
    require_counts(8)


@pytest.mark.slow
def test_ten_thousand_frames_with_all_faults():
    require_counts(98)

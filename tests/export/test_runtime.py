"""The runtime against every fault of sensors and network that it names, with a clock of its own."""

import ast
import math
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from latentdrive.export import runtime
from latentdrive.export.runtime import BundleError, Limits, Path2d, faults_of, shifted, stopping, unit_ratio
from tests.support.bundles import (
    CAMERAS,
    DT_S,
    LIMITS,
    PERIOD_S,
    SIZE,
    SPEED_MPS,
    Anytime,
    card,
    made_car,
    straight,
)


def drive(car, clock, frames: int, **sensed):
    """So many frames without a fault; returns the last output."""
    for _ in range(frames):
        clock.sleep(PERIOD_S)
        car.sense(**sensed)
        output = car.runtime.plan()
    return output


def test_the_file_is_python_3_9_and_imports_numpy_and_onnxruntime_alone():
    tree = ast.parse(Path(runtime.__file__).read_text(encoding="utf-8"), feature_version=(3, 9))
    imported = {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    imported |= {alias.name for n in ast.walk(tree) if isinstance(n, ast.Import) for alias in n.names}
    assert {name.split(".")[0] for name in imported} - sys.stdlib_module_names == {"numpy", "onnxruntime"}


def test_a_frame_gives_a_checked_plan_in_the_frame_of_its_picture():
    car, clock, network = made_car()
    output = drive(car, clock, 3)
    assert output.status.source == "planned" and output.status.faults == () and not output.status.alarm
    assert np.array_equal(output.poses, straight(SPEED_MPS)) and network.calls == 3
    assert output.time_s == pytest.approx(clock() - 0.02 - 0.01)
    assert output.status.counts["planned"] == 3 and output.status.counts["frames"] == 9


def test_without_any_input_the_car_is_asked_to_stand():
    car, _, network = made_car()
    output = car.runtime.plan()
    assert output.status.source == "stop" and "missing_ego" in output.status.faults and network.calls == 0
    assert np.array_equal(output.poses, np.zeros((8, 3)))


def test_stale_pictures_give_the_plan_before_shifted_then_a_stop_and_fresh_ones_recover():
    car, clock, _ = made_car()
    drive(car, clock, 2)
    sources = []
    for _ in range(15):
        clock.sleep(PERIOD_S)
        car.ego()
        output = car.runtime.plan()
        sources.append(output.status.source)
        assert faults_of(output.poses, DT_S, SPEED_MPS, LIMITS) == []
    assert sources[:2] == ["planned"] * 2  # pictures of at most 0.35 s are planned on
    first_stop = sources.index("stop")
    assert set(sources[2:first_stop]) == {"shifted"} and set(sources[first_stop:]) == {"stop"}
    assert sources.count("shifted") == 7 and "stale_cam_f0" in output.status.faults
    assert drive(car, clock, 1).status.source == "planned"


def test_a_stop_ends_and_brakes_as_gently_as_its_limit_says():
    car, clock, _ = made_car()
    drive(car, clock, 2)
    positions, gone = [], 0.0
    for _ in range(100):
        clock.sleep(PERIOD_S)
        car.ego()
        output = car.runtime.plan()
        if output.status.source == "stop":
            poses = np.vstack([[0.0, 0.0, 0.0], output.poses])
            braked = np.diff(np.diff(poses[:, 0]) / DT_S) / DT_S
            assert (braked > -LIMITS.brake_mps2 - 1e-3).all() and (braked < 1e-3).all()
            gone = output.poses[-1, 0]
            positions.append(gone)
    assert positions[0] > 10 and gone == pytest.approx(0.0, abs=1e-5)
    assert all(later <= earlier + 1e-5 for earlier, later in pairwise(positions))


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (lambda poses: poses * np.nan, "plan_not_finite"),
        (lambda poses: poses[:1], "plan_shape"),
        (lambda poses: poses * 100, "plan_speed"),
        (lambda poses: poses * np.array([-1, 1, 1]), "plan_acceleration"),
        (lambda poses: poses + np.array([0, 0, 3.0]) * (np.arange(8) % 2)[:, None], "plan_curvature"),
        (lambda poses: poses + np.array([0, 0, 1.2]) * (np.arange(8) > 3)[:, None], "plan_lateral"),
    ],
)
def test_a_plan_that_can_not_be_driven_never_leaves(spoil, fault):
    car, clock, network = made_car()
    drive(car, clock, 2)
    network.spoil = spoil
    output = drive(car, clock, 1)
    assert output.status.source == "shifted" and fault in output.status.faults
    assert faults_of(output.poses, DT_S, SPEED_MPS, LIMITS) == []


def test_a_network_that_raises_is_a_counted_fault():
    car, clock, network = made_car()
    drive(car, clock, 2)

    def fail(_):
        raise RuntimeError("the device is gone")

    network.spoil = fail
    output = drive(car, clock, 3)
    assert output.status.source == "shifted" and output.status.counts["network_failed"] == 3


def test_frozen_pictures_are_no_pictures_unless_the_car_stands():
    car, clock, _ = made_car()
    picture = car.picture()
    car.picture = lambda: picture
    seen = [drive(car, clock, 1).status for _ in range(8)]
    assert [s.source for s in seen[:5]] == ["planned"] * 5 and "frozen_cam_f0" in seen[-1].faults
    standing, clock, _ = made_car()
    standing.picture = lambda: picture
    assert drive(standing, clock, 8, speed=0.0).status.source == "planned"


@pytest.mark.parametrize(
    ("ago", "name"),
    [
        (0.01, "duplicated"),
        (0.11, "reordered"),
        (5.0, "backwards"),
        (-1.0, "from_the_future"),
        (math.nan, "wrong_time"),
    ],
)
def test_time_stamps_that_can_not_be_used_are_counted(ago, name):
    car, clock, _ = made_car()
    drive(car, clock, 2)
    clock.sleep(-0.02)  # as when the frame before came
    car.runtime.frame("cam_f0", car.picture(), clock() - ago)
    car.ego(ago=ago)
    assert car.runtime.counts[name] == 1 and car.runtime.counts[f"ego_{name}"] == 1


@pytest.mark.parametrize(
    "pixels", [None, np.zeros((*SIZE, 3), np.float32), np.zeros((5, 5, 3), np.uint8), np.zeros(SIZE, np.uint8)]
)
def test_pictures_of_another_kind_are_counted_and_cameras_nobody_knows_too(pixels):
    car, clock, _ = made_car()
    car.runtime.frame("cam_f0", pixels, clock())
    car.runtime.frame("cam_x9", car.picture(), clock())
    assert car.runtime.counts["wrong_picture"] == 1 and car.runtime.counts["unknown_camera"] == 1


@pytest.mark.parametrize(
    ("velocity", "name"),
    [
        ((math.nan, 0.0), "ego_not_finite"),
        ((500.0, 0.0), "ego_too_fast"),
        ((1.0,), "ego_wrong_shape"),
        (("a", 0), "ego_wrong_shape"),
    ],
)
def test_ego_states_that_can_not_be_used_are_counted(velocity, name):
    car, clock, _ = made_car()
    car.runtime.ego(clock(), velocity=velocity, acceleration=(0.0, 0.0))
    assert car.runtime.counts[name] == 1 and not car.runtime.egos


def test_a_speed_that_jumps_is_left_out():
    car, clock, _ = made_car()
    drive(car, clock, 2)
    clock.sleep(PERIOD_S)
    car.ego(speed=SPEED_MPS + 20)
    assert car.runtime.counts["ego_jump"] == 1 and car.runtime.egos[-1].velocity[0] == SPEED_MPS


@pytest.mark.parametrize("odometer", [True, False])
@pytest.mark.parametrize(("factor", "fault"), [(1.0, False), (3.6, True)])
def test_speeds_in_kmh_are_noticed(odometer, factor, fault):
    car, clock, _ = made_car()
    distance, before = 0.0, clock()
    for _frame in range(30):
        clock.sleep(PERIOD_S)
        push = 0.8 * math.sin(2 * clock())
        speed = 6 - 0.4 * math.cos(2 * clock())  # its integral
        distance += speed * (clock() - before)
        before = clock()
        for camera in CAMERAS:
            car.runtime.frame(camera, car.picture(), clock())
        car.ego(speed=factor * speed, acceleration=push, ago=0.0, **({"distance_m": distance} if odometer else {}))
        output = car.runtime.plan()
    assert ("speed_in_kmh" in output.status.faults) is fault
    if fault:  # the stop starts from the speed in m/s
        assert car.runtime.braking[1] < 8 or car.runtime.good is not None


def test_missing_frames_raise_an_alarm_above_a_fifth():
    for every, alarm in ((10, False), (3, True)):
        car, clock, _ = made_car()
        for frame in range(150):
            clock.sleep(PERIOD_S)
            car.ego()
            if frame % every:
                for camera in CAMERAS:
                    car.runtime.frame(camera, car.picture(), clock() - 0.01)
            output = car.runtime.plan()
        assert output.status.alarm is alarm and output.status.missed == pytest.approx(1 / every, abs=0.02)


def test_queues_drop_the_oldest_and_count():
    car, clock, _ = made_car()
    for _ in range(10):
        clock.sleep(0.02)
        car.sense()
    assert car.runtime.counts["dropped"] == 3 * 7 and all(len(c.queue) == 3 for c in car.runtime.cameras.values())
    newest = car.runtime.cameras["cam_f0"].queue[-1][0]
    assert car.runtime.plan().time_s >= newest


def test_pictures_of_different_moments_are_no_view():
    car, clock, _ = made_car()
    drive(car, clock, 2)
    for _ in range(2):
        clock.sleep(PERIOD_S)
        car.ego()
        for camera in CAMERAS[1:]:
            car.runtime.frame(camera, car.picture(), clock())
    assert "cameras_apart" in car.runtime.plan().status.faults


def test_the_best_plan_so_far_comes_when_the_budget_ends():
    car, clock, _ = made_car(Anytime, deadline_s=0.05)
    statuses = [drive(car, clock, 1).status for _ in range(3)]
    assert [status.steps for status in statuses[1:]] == [statuses[1].steps] * 2
    assert 0 < statuses[1].steps < 12 and all(s.elapsed_s <= 0.05 + 1e-9 for s in statuses)
    free, clock, _ = made_car(Anytime)
    assert drive(free, clock, 1).status.steps == 12


def test_a_plan_that_rests_stops_early_and_a_lazy_coda_is_called_less():
    settled = card(anytime=True)
    settled["anytime"] |= {"delta": 1e-4}
    car, clock, _ = made_car(Anytime, card=settled)
    status = drive(car, clock, 1).status
    assert 2 < status.steps < 12 and status.movement < 1e-4
    lazy = card(anytime=True)
    lazy["anytime"] |= {"probe": 1e-3}
    other, clock, network = made_car(Anytime, card=lazy)
    codas = []
    network_coda = network.coda
    other.runtime.engine.sessions["coda"] = lambda feeds: (codas.append(1), network_coda(feeds))[1]
    drive(other, clock, 1)
    assert 1 < len(codas) < 12


def test_the_next_frame_starts_from_the_scratchpad_unless_something_failed():
    car, clock, network = made_car(Anytime, deadline_s=0.08)
    drive(car, clock, 2)
    assert network.begun[0].mean() == 1.0 and network.begun[1].mean() < 0.1
    clock.sleep(1.0)
    car.runtime.plan()  # stale
    drive(car, clock, 1)
    assert network.begun[-1].mean() == 1.0
    cold, clock, network = made_car(Anytime, warm_start=False)
    drive(cold, clock, 3)
    assert all(begun.mean() == 1.0 for begun in network.begun)


def test_a_deadline_shorter_than_the_first_call_is_refused_before_the_loop():
    with pytest.raises(BundleError, match=r"deadline_s=0.01 is shorter than the first call, which takes 0.0200 s"):
        made_car(deadline_s=0.01, calls={"plan": 0.02})


def test_a_call_that_takes_too_long_is_said():
    car, clock, network = made_car(deadline_s=0.05)
    drive(car, clock, 2)
    network.seconds = 0.2
    assert drive(car, clock, 1).status.faults == ("deadline",)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"cameras": {"cam_f0": (7, 8)}}, "cam_f0 gives pictures of 7 x 8, the bundle was exported for 6 x 8"),
        ({"cameras": {"cam_x": SIZE}}, "the bundle has no camera cam_x"),
        ({"card": card(calibrated=True)}, "cam_l0 has no calibration"),
        ({"card": card(calibrated=True), "calibration": {n: (np.eye(4), np.eye(4)) for n in CAMERAS}}, "finite 3 x 3"),
        ({"card": card(calibrated=True), "calibration": {n: (-np.eye(3), np.eye(4)) for n in CAMERAS}}, "focal length"),
    ],
)
def test_cameras_that_are_not_the_bundles_are_refused_before_the_loop(settings, words):
    with pytest.raises(BundleError, match=words):
        made_car(**settings)


def test_thresholds_are_complete_positive_numbers():
    values = card()["limits"]
    assert Limits.of(values) == LIMITS
    for changed, words in (
        ({"stale_s": -1.0}, "must be a positive"),
        ({"stale_s": "1"}, "no threshold"),
        ({"other": 1.0}, "no threshold"),
    ):
        with pytest.raises(BundleError, match=words):
            Limits.of(values | changed)
    del values["queue"]
    with pytest.raises(BundleError, match="queue is missing"):
        Limits.of(values)


def test_a_shifted_plan_is_the_rest_of_the_plan():
    turn = np.stack([10 * np.sin(np.arange(1, 9) / 5), 10 - 10 * np.cos(np.arange(1, 9) / 5), np.arange(1, 9) / 5], -1)
    later = shifted(turn, 0.5, 0.5)
    assert np.allclose(later[:7], turn[:7], atol=0.02)  # a circle looks the same from each of its places
    assert np.allclose(shifted(turn, 0.5, 0.0), turn, atol=1e-5)


def test_a_stop_follows_the_way_of_the_plan():
    turn = np.stack([10 * np.sin(np.arange(1, 9) / 5), 10 - 10 * np.cos(np.arange(1, 9) / 5), np.arange(1, 9) / 5], -1)
    poses = stopping(Path2d(turn), 4.0, 2.0, 0.0, 0.5, 8)
    assert poses[-1, 2] == pytest.approx(0.4, abs=0.02) and np.allclose(poses[4:], poses[4], atol=1e-5)


def test_units_can_not_be_told_where_nothing_moves():
    assert unit_ratio([], LIMITS) == 1.0
    car, clock, _ = made_car()
    drive(car, clock, 30, speed=0.0)
    assert unit_ratio(list(car.runtime.egos), LIMITS) == 1.0

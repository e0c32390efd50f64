"""Frames reach the runtime at their times, and plans are asked for at theirs, in step and in real time."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from latentdrive.export.runtime import PLANNED, STOP, Runtime
from latentdrive.playback.loop import Clock, Moment, Player, StepClock, WallClock
from latentdrive.playback.source import Motion, Picture
from latentdrive.types import Command
from tests.support.hand_bundle import HEIGHT, WIDTH, write_bundle


class Made:
    """A source of made-up frames. stuck_after: all frames from this number on are the same. fails_at: ends so."""

    live, calibration = False, None

    def __init__(self, frames: int, *, hz: float = 10.0, stuck_after: int = 10**6, fails_at: int = 10**6) -> None:
        self.count, self.hz, self.stuck_after, self.fails_at = frames, hz, stuck_after, fails_at

    def frames(self) -> Iterator[Picture]:
        for number in range(self.count):
            if number == self.fails_at:
                raise OSError("the disk has gone")
            yield 5.0 + number / self.hz, np.full((HEIGHT, WIDTH, 3), min(number, self.stuck_after) % 250, np.uint8)

    def motion(self, time_s: float) -> Motion:
        return Motion(speed_mps=8.0, acceleration_mps2=0.0, distance_m=8.0 * (time_s - 5.0))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundle") / "b")


def played(
    bundle: Path, source: Made, clock: Clock, *, plan_s: float = 0.2, absent: tuple[str, ...] = ()
) -> list[Moment]:
    player = Player(
        runtime=Runtime(str(bundle), clock=clock.now, absent=absent),
        source=source,
        clock=clock,
        plan_s=plan_s,
        command=Command.LEFT,
        advance=lambda _: None,
    )
    return player.play()


def test_in_step_every_second_frame_is_planned_on(bundle: Path):
    moments = played(bundle, Made(11), StepClock(), plan_s=0.2)
    np.testing.assert_allclose([moment.frame_s for moment in moments], 5.0 + 0.2 * np.arange(6))
    assert {moment.status.source for moment in moments} == {PLANNED}
    np.testing.assert_allclose(moments[0].poses[:, 0], 4.0 * np.arange(1, 9), atol=1e-5)


def test_in_real_time_a_second_takes_a_second_and_plans_follow_the_frames(bundle: Path):
    clock = WallClock()
    moments = played(bundle, Made(16), clock, plan_s=0.1)
    assert clock.now() >= 6.5 and len(moments) >= 5  # the last frame comes after 1.5 s
    assert all(moment.frame_s <= moment.time_s + 0.05 for moment in moments)
    assert moments[-1].status.source == PLANNED


def test_a_frozen_camera_is_seen(bundle: Path):
    moments = played(bundle, Made(20, stuck_after=5), StepClock(), plan_s=0.1)
    assert moments[4].status.source == PLANNED and "frozen_cam_f0" in moments[-1].status.faults
    assert moments[-1].status.source != PLANNED


@pytest.mark.parametrize("clock", [StepClock, WallClock])
def test_a_source_that_fails_ends_the_run_with_its_error(bundle: Path, clock: type):
    with pytest.raises(OSError, match="the disk has gone"):
        played(bundle, Made(6, fails_at=3), clock())


@pytest.mark.parametrize("clock", [StepClock, WallClock])
def test_a_source_without_frames_gives_no_plan(bundle: Path, clock: type):
    assert played(bundle, Made(0), clock()) == []


def test_an_absent_camera_is_black_and_no_fault(tmp_path: Path):
    folder = write_bundle(tmp_path / "b", cameras=("cam_l0", "cam_f0"))
    moments = played(folder, Made(12), StepClock(), plan_s=0.1, absent=("cam_l0",))
    assert [moment.status.source for moment in moments] == [PLANNED] * 12 and not moments[-1].status.alarm
    missing = played(folder, Made(3), StepClock(), plan_s=0.1)
    assert missing[0].status.source == STOP and "missing_cam_l0" in missing[0].status.faults

"""Plays a source through the runtime of a bundle, in real time or as fast as it goes, and notes every plan."""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from latentdrive.export.runtime import Runtime, Status
from latentdrive.playback.source import Picture, Source
from latentdrive.types import FRONT_CAMERA, FROZEN, Command

DECODED_AHEAD = 8  # frames
SAME_S = 1e-6  # times closer than this are the same, rounded


@dataclass(**FROZEN)
class Moment:
    """A plan of the runtime. time_s: on the source's time axis, when it was asked for. frame_s: of the newest frame."""

    time_s: float
    frame_s: float
    poses: Float[np.ndarray, "P 3"]
    status: Status


@runtime_checkable
class Clock(Protocol):
    """Seconds on the source's time axis. wait: until so late."""

    def now(self) -> float: ...
    def wait(self, time_s: float) -> None: ...


class WallClock:
    """Real time: a second of the source takes a second. It starts when the first frame is waited for."""

    def __init__(self) -> None:
        self._start: float | None = None

    def now(self) -> float:
        """The source's time now."""
        return -np.inf if self._start is None else time.monotonic() - self._start

    def wait(self, time_s: float) -> None:
        """Sleep until the source's time is `time_s`."""
        if self._start is None:
            self._start = time.monotonic() - time_s
        time.sleep(max(0.0, time_s - self.now()))


class StepClock:
    """Time jumps from frame to frame, and in between counts how long a plan takes: every frame can be planned on."""

    def __init__(self) -> None:
        self._reached, self._since = -np.inf, 0.0

    def now(self) -> float:
        """The time of the last frame, and how long ago it came."""
        return self._reached + time.monotonic() - self._since

    def wait(self, time_s: float) -> None:
        """Go on to `time_s`."""
        self._reached, self._since = time_s, time.monotonic()


@dataclass(**FROZEN)
class Player:
    """Feeds every frame of a source to a runtime at its time, and asks for a plan every `plan_s` seconds.

    command: is told at every frame. advance: is called with each plan.
    """

    runtime: Runtime
    source: Source
    clock: Clock
    plan_s: float
    command: Command
    advance: Callable[[Moment], None]

    def play(self) -> list[Moment]:
        """The plans in order. With a StepClock they are asked for between frames, else while a thread feeds frames."""
        return list(self._in_step() if isinstance(self.clock, StepClock) else self._in_real_time())

    def _in_step(self) -> Iterator[Moment]:
        """One thread: frame, perhaps plan, next frame."""
        due = -np.inf
        for time_s, picture in self.source.frames():
            self.clock.wait(time_s)
            self._tell(time_s, picture)
            if time_s > due - SAME_S:
                yield self._plan()
                due = time_s + self.plan_s

    def _in_real_time(self) -> Iterator[Moment]:
        """Frames come from a thread at their times, whether a plan is being made or not."""
        began, ended, failed = threading.Event(), threading.Event(), list[BaseException]()

        def feed() -> None:
            try:
                for time_s, picture in _ahead(self.source.frames()) if not self.source.live else self.source.frames():
                    self.clock.wait(time_s)
                    self._tell(time_s, picture)
                    began.set()
            except BaseException as error:  # the caller raises it
                failed.append(error)
            finally:
                ended.set()
                began.set()

        feeder = threading.Thread(target=feed, daemon=True)
        feeder.start()
        began.wait()
        due = self.clock.now()
        while not ended.is_set():
            yield self._plan()
            due = max(due + self.plan_s, self.clock.now())
            ended.wait(max(0.0, due - self.clock.now()))
        feeder.join()
        if failed:
            raise failed[0]

    def _tell(self, time_s: float, picture: np.ndarray) -> None:
        motion = self.source.motion(time_s)
        if motion is not None:
            self.runtime.ego(
                time_s,
                velocity=(motion.speed_mps, 0.0),
                acceleration=(motion.acceleration_mps2, 0.0),
                command=int(self.command),
                distance_m=motion.distance_m,
            )
        self.runtime.frame(FRONT_CAMERA, picture, time_s)

    def _plan(self) -> Moment:
        asked, output = self.clock.now(), self.runtime.plan()
        moment = Moment(time_s=asked, frame_s=output.time_s, poses=output.poses, status=output.status)
        self.advance(moment)
        return moment


def _ahead(frames: Iterator[Picture]) -> Iterator[Picture]:
    """The frames, decoded a few ahead by a thread, so that a slow frame does not come late."""
    waiting: queue.Queue[Picture | BaseException | None] = queue.Queue(DECODED_AHEAD)

    def decode() -> None:
        try:
            for frame in frames:
                waiting.put(frame)
            waiting.put(None)
        except BaseException as error:
            waiting.put(error)

    threading.Thread(target=decode, daemon=True).start()
    while (frame := waiting.get()) is not None:
        if isinstance(frame, BaseException):
            raise frame
        yield frame

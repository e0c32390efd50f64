"""How long calls take: arms measured in turns, so that a machine that warms up or is shared slows all of them alike."""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

import numpy as np

from latentdrive.types import FROZEN

WARM_UP = 3  # calls of every arm that are not counted


@dataclass(**FROZEN)
class Times:
    """Milliseconds of the calls of one arm. jitter: standard deviation over mean. tail: p99 over mean."""

    calls: int
    mean: float
    p50: float
    p90: float
    p99: float
    worst: float
    jitter: float
    tail: float

    def plain(self) -> dict[str, float | int]:
        """As numbers by name."""
        return asdict(self)


def times_of(seconds: list[float]) -> Times:
    """The statistics of calls that took so long."""
    values = 1000 * np.asarray(seconds)
    mean = float(values.mean())
    p50, p90, p99 = (float(np.quantile(values, share)) for share in (0.5, 0.9, 0.99))
    return Times(
        calls=len(values),
        mean=mean,
        p50=p50,
        p90=p90,
        p99=p99,
        worst=float(values.max()),
        jitter=float(values.std() / mean),
        tail=p99 / mean,
    )


def interleaved(
    arms: Mapping[str, Callable[[], object]],
    *,
    repeats: int,
    warm_up: int = WARM_UP,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Times]:
    """Call every arm once, then every arm again, `repeats` times; returns the times of each."""
    for arm in arms.values():
        for _ in range(warm_up):
            arm()
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for turn in range(repeats):
        names = list(arms)[:: 1 if turn % 2 == 0 else -1]  # no arm always follows the same other one
        for name in names:
            start = clock()
            arms[name]()
            seconds[name].append(clock() - start)
    return {name: times_of(taken) for name, taken in seconds.items()}


def machine_load() -> float:
    """How many processes wanted a core in the last minute, on average."""
    return os.getloadavg()[0]

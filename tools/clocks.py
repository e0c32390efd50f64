"""Times of calls, for the benchmarks."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch


def seconds_of(call: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of one call, and its result. Waits for the GPU before and after, because it works asynchronously."""
    _wait_for_gpu()
    started = time.perf_counter()
    result = call()
    _wait_for_gpu()
    return time.perf_counter() - started, result


def median_seconds(call: Callable[[], Any], rounds: int) -> float:
    """The median over several calls, after a first call that is not counted."""
    call()
    return statistics.median(seconds_of(call)[0] for _ in range(rounds))


def _wait_for_gpu() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()

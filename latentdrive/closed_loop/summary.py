"""Numbers over many drives: means with 95 % intervals that resample drives, and paired differences."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from latentdrive.statistics import Interval, bootstrap_by_drive, ratio_by_drive

MEANS = ("score", "route_completion", "collisions", "at_fault", "off_road", "red_lights", "comfort", "stuck")
SPEED, PER_KM = "mean_speed_mps", "infractions_per_km"


def summary(results: Sequence[Mapping[str, Any]]) -> dict[str, Interval]:
    """The interval of each number by name. Drives without a number, such as comfort of a short drive, are left out."""
    intervals = {}
    for name in (*MEANS, SPEED):
        known = [result for result in results if result[name] is not None]
        if known:
            intervals[name] = _interval(known, [float(result[name]) for result in known])
    drives = [result["drive"] for result in results]
    infractions, km = (np.array([float(result[name]) for result in results]) for name in ("infractions", "km"))
    if km.sum() > 0:
        intervals[PER_KM] = ratio_by_drive(infractions, km, drives)
    return intervals


def difference(results: Sequence[Mapping[str, Any]], others: Mapping[str, Mapping[str, Any]]) -> Interval | None:
    """Difference of the score to others' on the same drives, paired; None if they share no drive."""
    shared = [result for result in results if result["drive"] in others]
    if not shared:
        return None
    return _interval(shared, [result["score"] - others[result["drive"]]["score"] for result in shared])


def _interval(results: Sequence[Mapping[str, Any]], values: Sequence[float]) -> Interval:
    return bootstrap_by_drive(np.array(values), [result["drive"] for result in results])

"""Hazards of the NAVSIM world: their kinds and settings, and what the modules of the single hazards share.

A hazard is an event of the simulation: it waits until the ego is near, and then happens in a way
that an attentive driver can master comfortably. The hazards are in pedestrian_hazard.py,
vehicle_hazards.py and red_light_hazard.py. Road users that are no drivers (walkers, the oncoming
car) get their tracks after the simulation. Positions are those of the layout: on a bent road x
along it and y to the left.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64

from latentdrive.types import FROZEN
from latentdrive.world.traffic.drivers import Driver, Event, QuietRoad, StopLine
from latentdrive.world.traffic.recording import Agents

FIRST_S = 1.0  # a hazard counts if it begins at least this long after the first frame
BEFORE_M = 4.0  # stop lines lie this far before what blocks the way


class HazardKind(StrEnum):
    """What happens on a drive besides ordinary traffic."""

    NONE = "none"
    PEDESTRIAN = "pedestrian"
    ONCOMING = "oncoming"
    STOPPED_CAR = "stopped_car"
    CUT_IN = "cut_in"
    RED_LIGHT = "red_light"


@dataclass(**FROZEN)
class HazardSpec:
    """Ranges from which hazards are drawn.

    margin: distance to the hazard at which it begins, as a multiple of a comfortable stopping
    distance. lead_m: how far ahead of the ego's start the hazard lies. bend_m: the same for a
    stopped car. walk_mps: walking speed of the pedestrian. overtake_mps: speed of the oncoming car.
    around_m: how far before and behind the parked car it uses the ego's lane. shift_m: length of
    each of its lane changes. cut_gap_m: gap between bumpers when a vehicle cuts in. cut_after_s:
    earliest time of a cut-in, and waiting time at a red light.
    """

    margin: tuple[float, float]
    lead_m: tuple[float, float]
    bend_m: tuple[float, float]
    walk_mps: tuple[float, float]
    overtake_mps: tuple[float, float]
    around_m: float
    shift_m: float
    cut_gap_m: tuple[float, float]
    cut_after_s: tuple[float, float]


@runtime_checkable
class Hazard(Event, Protocol):
    """An event to which the ego has to react.

    span_s: when it began and ended, in seconds after the first frame; None if it has not happened. waits_beside:
    whether its road user stands beside the road until it begins, so that it can begin at any time.
    """

    waits_beside: bool
    span_s: tuple[float, float] | None

    def agents(self, times_s: Float64[np.ndarray, "T"]) -> Agents | None:
        """Return the road users that are no drivers, in the coordinates of the layout; None if there are none."""

    def agents_if_begun(self, times_s: Float64[np.ndarray, "T"], began_s: float) -> Agents | None:
        """Return the same road users for a hazard that begins at began_s, in seconds after the first frame."""


def stopping_m(driver: Driver) -> float:
    """Return the length of a comfortable stop, in metres."""
    return driver.speed**2 / (2 * 0.8 * driver.calm.braking_mps2)


def release(world: QuietRoad, lines: list[StopLine]) -> None:
    """Remove stop lines from the road."""
    for line in lines:
        world.objects.remove(line)


def single_agent(
    poses: Float64[np.ndarray, "T 3"], speed: Float64[np.ndarray, "T"], size: Float64[np.ndarray, "3"], kind: str
) -> Agents:
    """Return one agent over time."""
    return Agents(poses=poses[:, None], speed_mps=speed[:, None], sizes=size[None], kinds=(kind,))

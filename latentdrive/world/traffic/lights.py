"""Traffic lights, and the right of way at roundabouts, as events of the simulation.

A light that is not green, or a roundabout that is not free, puts a stop line on the approach. It
binds the drivers who can still stop (see drivers.StopLine).
"""

from dataclasses import dataclass

import numpy as np

from latentdrive.types import FROZEN
from latentdrive.world.roads.layouts import Layout, Road
from latentdrive.world.traffic.drivers import Driver, QuietRoad, StopLine

LINE_M = 1.0  # the stop line lies this far before the end of an approach


@dataclass(**FROZEN)
class LightTimes:
    """Durations: green_s (range), amber_s, and clear_s, for which all are red before the next group has green."""

    green_s: tuple[float, float]
    amber_s: float
    clear_s: float


class Lights:
    """The traffic lights of one junction, an Event.

    green_s: how long a group has green. shift_s: how far into the cycle the first frame is. held:
    an approach and the time until which its group is red, whatever the cycle says.
    """

    def __init__(
        self,
        layout: Layout,
        times: LightTimes,
        *,
        green_s: float,
        shift_s: float,
        held: tuple[Road, float] | None = None,
    ) -> None:
        self.phases = [phase for phase in layout.phases if phase]
        self._green, self._amber, self._shift, self._held = green_s, times.amber_s, shift_s, held
        self._phase_s = green_s + times.amber_s + times.clear_s
        self._lines: dict[Road, StopLine] = {}

    @classmethod
    def at_random(cls, rng: np.random.Generator, layout: Layout, times: LightTimes) -> "Lights":
        """Return lights at a random moment of their cycle."""
        green = float(rng.uniform(*times.green_s))
        cycle = len([phase for phase in layout.phases if phase]) * (green + times.amber_s + times.clear_s)
        return cls(layout, times, green_s=green, shift_s=float(rng.uniform(0.0, cycle)))

    @classmethod
    def red_until(
        cls, rng: np.random.Generator, layout: Layout, times: LightTimes, *, road: Road, until_s: float
    ) -> "Lights":
        """Return lights that are red for `road` until until_s and then turn green."""
        green = float(rng.uniform(*times.green_s))
        group = next(number for number, phase in enumerate(filter(None, layout.phases)) if road in phase)
        shift = group * (green + times.amber_s + times.clear_s) - until_s
        return cls(layout, times, green_s=green, shift_s=shift, held=(road, until_s))

    def colour(self, road: Road, time_s: float) -> str:
        """Return green, amber or red: what the light on the approach `road` shows."""
        if self._held is not None and time_s < self._held[1] and self._group(road) == self._group(self._held[0]):
            return "red"
        place = (time_s + self._shift) % (len(self.phases) * self._phase_s) - self._group(road) * self._phase_s
        if not 0.0 <= place < self._green + self._amber:
            return "red"
        return "green" if place < self._green else "amber"

    def tick(self, rng: np.random.Generator, world: QuietRoad, ego: Driver, now_s: float) -> None:
        """Put stop lines on approaches without green, and remove them from the others."""
        for road in (road for phase in self.phases for road in phase):
            _set_line(world, self._lines, road, closed=self.colour(road, now_s) != "green")

    def _group(self, road: Road) -> int:
        return next(number for number, phase in enumerate(self.phases) if road in phase)


class GiveWay:
    """The right of way in a roundabout, an Event: approaches are closed while a vehicle is about to
    pass their entries.
    """

    def __init__(self, layout: Layout) -> None:
        self._gives_way = layout.gives_way
        self._lines: dict[Road, StopLine] = {}

    def tick(self, rng: np.random.Generator, world: QuietRoad, ego: Driver, now_s: float) -> None:
        """Put stop lines before occupied entries, and remove them from the others."""
        for approach, roads in self._gives_way.items():
            passing = roads[-1]
            occupied = any(
                driver.lane_index[:2] in roads and passing in {lane[:2] for lane in driver.route or ()}
                for driver in world.vehicles
            )
            _set_line(world, self._lines, approach, closed=occupied)


def _set_line(world: QuietRoad, lines: dict[Road, StopLine], road: Road, *, closed: bool) -> None:
    """Put a stop line at the end of a closed road, and remove it from an open one. lines: those on the road now."""
    if closed and road not in lines:
        lane = world.network.get_lane((*road, 0))
        lines[road] = StopLine(world, lane.position(lane.length - LINE_M, 0.0))
        world.objects.append(lines[road])
    elif not closed and road in lines:
        world.objects.remove(lines.pop(road))

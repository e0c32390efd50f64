"""Who waits at a junction: traffic lights, and giving way to who is in a circle.

Beside hazards.py, above drivers.py: a light that isn't green, or a circle that isn't free, is a stop line for who can still stop.
"""

from dataclasses import dataclass

import numpy as np

from latentdrive.types import FROZEN
from latentdrive.world.roads.layouts import Layout, Road
from latentdrive.world.traffic.drivers import Driver, QuietRoad, StopLine

LINE_M = 1.0  # the stop line lies this far before the end of an approach


@dataclass(**FROZEN)
class LightTimes:
    """Seconds of green, of amber, and of red for all before the next group goes (ranges)."""

    green_s: tuple[float, float]
    amber_s: float
    clear_s: float


class Lights:
    """The lights of one junction (an Event). green_s: how long a group goes. shift_s: how far into the cycle the first frame is.

    held: an approach that has red until that time, whatever the cycle says.
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
        """Lights somewhere in their cycle."""
        green = float(rng.uniform(*times.green_s))
        cycle = len([phase for phase in layout.phases if phase]) * (green + times.amber_s + times.clear_s)
        return cls(layout, times, green_s=green, shift_s=float(rng.uniform(0.0, cycle)))

    @classmethod
    def red_until(
        cls, rng: np.random.Generator, layout: Layout, times: LightTimes, *, road: Road, until_s: float
    ) -> "Lights":
        """Lights that turn green for `road` at until_s, and are red for it before."""
        green = float(rng.uniform(*times.green_s))
        group = next(number for number, phase in enumerate(filter(None, layout.phases)) if road in phase)
        shift = group * (green + times.amber_s + times.clear_s) - until_s
        return cls(layout, times, green_s=green, shift_s=shift, held=(road, until_s))

    def colour(self, road: Road, time_s: float) -> str:
        """green, amber or red for who comes by `road`."""
        if self._held is not None and time_s < self._held[1] and self._group(road) == self._group(self._held[0]):
            return "red"
        place = (time_s + self._shift) % (len(self.phases) * self._phase_s) - self._group(road) * self._phase_s
        if not 0.0 <= place < self._green + self._amber:
            return "red"
        return "green" if place < self._green else "amber"

    def tick(self, rng: np.random.Generator, world: QuietRoad, ego: Driver, now_s: float) -> None:
        """Put up and take away stop lines."""
        for road in (road for phase in self.phases for road in phase):
            free = self.colour(road, now_s) == "green"
            if free and road in self._lines:
                world.objects.remove(self._lines.pop(road))
            elif not free and road not in self._lines:
                lane = world.network.get_lane((*road, 0))
                self._lines[road] = StopLine(world, lane.position(lane.length - LINE_M, 0.0))
                world.objects.append(self._lines[road])

    def _group(self, road: Road) -> int:
        return next(number for number, phase in enumerate(self.phases) if road in phase)


class GiveWay:
    """Who comes to a roundabout waits while somebody in it is about to pass the entry (an Event)."""

    def __init__(self, layout: Layout) -> None:
        self._gives_way = layout.gives_way
        self._lines: dict[Road, StopLine] = {}

    def tick(self, rng: np.random.Generator, world: QuietRoad, ego: Driver, now_s: float) -> None:
        """Put up and take away the lines before the entries."""
        for approach, roads in self._gives_way.items():
            past = roads[-1]
            busy = any(
                driver.lane_index[:2] in roads and past in {lane[:2] for lane in driver.route or ()}
                for driver in world.vehicles
            )
            if busy and approach not in self._lines:
                lane = world.network.get_lane((*approach, 0))
                self._lines[approach] = StopLine(world, lane.position(lane.length - LINE_M, 0.0))
                world.objects.append(self._lines[approach])
            elif not busy and approach in self._lines:
                world.objects.remove(self._lines.pop(approach))

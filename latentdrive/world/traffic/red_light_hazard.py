"""The hazard of a red light: it turns green some seconds after the ego would have arrived."""

import numpy as np
from jaxtyping import Float64

from latentdrive.world.roads.layouts import Layout
from latentdrive.world.traffic.drivers import Driver, QuietRoad
from latentdrive.world.traffic.hazards import FIRST_S, HazardSpec
from latentdrive.world.traffic.lights import Lights, LightTimes
from latentdrive.world.traffic.recording import Agents


class RedLight:
    """Traffic lights that are red on the ego's approach. lights: None until the ego is on the road."""

    waits_beside = False

    def __init__(self, rng: np.random.Generator, layout: Layout, spec: HazardSpec, *, times: LightTimes) -> None:
        self._layout, self._times = layout, times
        self._wait_s = float(rng.uniform(*spec.cut_after_s))
        self.lights: Lights | None = None
        self.span_s: tuple[float, float] | None = None

    def tick(self, rng: np.random.Generator, world: QuietRoad, ego: Driver, now_s: float) -> None:
        """Set the lights at the first call, by the time of the ego's arrival; then let them work."""
        if self.lights is None:
            lane = world.network.get_lane(ego.lane_index)
            left = lane.length - lane.local_coordinates(ego.position)[0]
            arrival_s = now_s + left / max(ego.speed, 4.0)
            green_s = max(arrival_s, 4.0) + self._wait_s
            self.lights = Lights.red_until(rng, self._layout, self._times, road=ego.lane_index[:2], until_s=green_s)
            self.span_s = max(FIRST_S, arrival_s - 5.0), green_s + 1.0
        self.lights.tick(rng, world, ego, now_s)

    def agents(self, times_s: Float64[np.ndarray, "T"]) -> Agents | None:
        """Return None: only drivers take part."""
        return None

    def agents_if_begun(self, times_s: Float64[np.ndarray, "T"], began_s: float) -> Agents | None:
        """Return None, as `agents` does."""
        return None

"""PDM-Closed up to its proposals: route, centreline, forecast, and 15 trajectories to choose from.

Progress is measured against this driver. prepare.py scores the proposals and has the best one
continued. Specified in docs/pdms.md, sections 9.1 to 9.4.
"""

import numpy as np
from jaxtyping import Float64

from latentdrive.errors import MapError
from latentdrive.pdms.map.index import MapIndex
from latentdrive.pdms.pdm_closed.centreline import centreline, start_lane
from latentdrive.pdms.pdm_closed.forecast import forecast, red_lights_of, tracks_of
from latentdrive.pdms.pdm_closed.idm import ALL_STEPS, IntelligentDrivers
from latentdrive.pdms.pdm_closed.route import correct_route, route_lane_ids
from latentdrive.pdms.scene import HEADING, VX, RedLights, Tracks
from latentdrive.pdms.versions import Rules
from latentdrive.types import LoggedFrame

UNKNOWN_LIMIT_MPS = 15.0


class PdmClosed:
    """PDM-Closed in one scene, from what is known now.

    blocks, lanes: of the corrected route, by id. start: the lane that the ego is in. line: the
    centreline from there, x, y and heading [n, 3].
    """

    def __init__(
        self, index: MapIndex, ego: Float64[np.ndarray, "11"], frame: LoggedFrame, route: tuple[str, ...], rules: Rules
    ) -> None:
        """Plan the proposals.

        ego: state now, columns as in scene.py. frame: the log's frame of now. route: blocks as
        logged. Raises MapError if the route can't be followed.
        """
        pose = ego[: HEADING + 1]
        self._index, self._rules = index, rules
        self.blocks = correct_route(index, pose, route)
        self.lanes = route_lane_ids(index, self.blocks)
        self.start = start_lane(index, pose, self.lanes)
        self.line = centreline(index, self.start, self.blocks, self.lanes)
        self.expected = forecast(index, frame, self.lanes, ALL_STEPS)
        limit = index.lanes[self.start].speed_limit_mps
        limit = UNKNOWN_LIMIT_MPS if limit is None else limit
        if not limit > 0:
            raise MapError(
                f"map {index.map.name}: lane {self.start} has a speed limit of {limit} m/s, expected more than 0"
            )
        self.drivers = IntelligentDrivers(self.line, limit, self.expected, pose, float(ego[VX]))

    def proposals(self) -> Float64[np.ndarray, "15 41 3"]:
        """Poses of the rear axle, global frame, 0.1 s apart from now on. They begin on their path,
        not at the ego.
        """
        return self.drivers.poses()

    def tracks(self) -> Tracks:
        """The other road users against which the proposals are scored: 51 steps in v1, 41 in v2."""
        return tracks_of(self.expected, self._rules.track_steps)

    def lights(self) -> RedLights:
        """The red connectors against which the proposals are scored; none in v1."""
        return red_lights_of(self._index, self.expected, self._rules.generation)

    def chosen(self, proposal: int) -> Float64[np.ndarray, "51 3"]:
        """Poses of one proposal, continued to 5 s."""
        return self.drivers.chosen_poses(proposal)

"""A scene as the score needs it: everything that does not depend on what is scored, once, in plain arrays.

prepare.py makes it from a SceneTruth, store.py keeps it on disk, batch.py stacks several for scoring. Global frame, float64;
steps are 0.1 s apart and step 0 is now. State rows have 11 columns: x, y, heading, vx, vy, ax, ay (rear axle; velocities and
accelerations forward and left), steering angle, steering rate, angular velocity, angular acceleration.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int8, Int32

from latentdrive.types import FROZEN

STEP_S, STEPS = 0.1, 41  # of what is simulated and scored: now and 4 s
X, Y, HEADING, VX, VY, AX, AY, STEERING, STEERING_RATE, YAW_RATE, YAW_ACCELERATION = range(11)
AGENTS = ("vehicle", "pedestrian", "bicycle")  # everything else is a static object
FETCH_M = 100.0  # half side of the square around the ego in which areas of the map are looked at
LAYERS = ("ROADBLOCK", "LANE", "LANE_CONNECTOR", "INTERSECTION", "CARPARK_AREA")  # names as in nuPlan
DRIVABLE = ("ROADBLOCK", "INTERSECTION", "CARPARK_AREA")


@dataclass(**FROZEN)
class Tracks:
    """Other road users over S steps, N of them, in order of first appearance.

    sizes: length, width. poses: centre x, y, heading; rows of absent ones are 0. first_velocity: global axes, at first sight, 0 for
    static objects: the score asks it whether a track stands.
    """

    tokens: tuple[str, ...]
    names: tuple[str, ...]
    sizes: Float64[np.ndarray, "N 2"]
    poses: Float64[np.ndarray, "S N 3"]
    present: Bool[np.ndarray, "S N"]
    first_velocity: Float64[np.ndarray, "N 2"]

    def __len__(self) -> int:
        return len(self.tokens)


@dataclass(**FROZEN)
class Polygons:
    """P polygons as rings of vertices: ring r has vertices[ends[r]:ends[r + 1]] (the last one does not repeat the first) and belongs
    to polygon owner[r]; holes are further rings of the same polygon."""

    vertices: Float64[np.ndarray, "V 2"]
    ends: Int32[np.ndarray, "ends"]
    owner: Int32[np.ndarray, "R"]


@dataclass(**FROZEN)
class Areas:
    """Polygons of the map that lie within the fetch square. layers: index into LAYERS. on_route: lanes of the corrected route."""

    ids: tuple[str, ...]
    layers: Int8[np.ndarray, "P"]
    on_route: Bool[np.ndarray, "P"]
    polygons: Polygons


@dataclass(**FROZEN)
class RedLights:
    """Lane connectors of the logged route that are red at some step (v2). red: step, connector."""

    connectors: tuple[str, ...]
    red: Bool[np.ndarray, "T L"]
    polygons: Polygons


@dataclass(**FROZEN)
class ScoringScene:
    """All that scoring one scene needs.

    synthetic: as in SceneTruth. generation: the rules it was prepared by (1 or 2). time_us: of now. ego: state now. centreline: x, y, heading of the route's
    centre line. reference: PDM-Closed's trajectory, 51 poses 0.1 s apart, the first one now. reference_states: the same, simulated.
    reference_product: its multiplicative sub-scores, reference_progress_m: its raw progress. v2 only (empty or None in v1): lights;
    history: ego states before now, 0.1 s apart; human: poses of the human driver in the frame of now, 0.5 s apart, human_terms:
    sub-scores of the human in the order of V2.columns without the last one, before any filter.
    """

    token: str
    drive: str
    synthetic: bool
    generation: int
    time_us: int
    ego: Float64[np.ndarray, "11"]
    areas: Areas
    centreline: Float64[np.ndarray, "n 3"]
    tracks: Tracks
    lights: RedLights
    reference: Float64[np.ndarray, "51 3"]
    reference_states: Float64[np.ndarray, "41 11"]
    reference_product: float
    reference_progress_m: float
    history: Float64[np.ndarray, "h 11"]
    human: Float64[np.ndarray, "p 3"]
    human_terms: Float64[np.ndarray, "8"] | None

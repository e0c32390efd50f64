"""A scene prepared for scoring: everything that does not depend on the scored trajectory, in plain arrays.

prepare.py makes it from a SceneTruth, storage/store.py keeps it on disk, and batch.py stacks
several scenes for scoring. Everything is in the global frame and float64; steps are 0.1 s apart and
step 0 is now. A state has 11 columns: x, y, heading, vx, vy, ax, ay (of the rear axle; velocities
and accelerations forward and left), steering angle, steering rate, yaw rate and yaw acceleration.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int8, Int32

from latentdrive.types import FROZEN

STEP_S, STEPS = 0.1, 41  # the scored simulation covers now and the next 4 s
X, Y, HEADING, VX, VY, AX, AY, STEERING, STEERING_RATE, YAW_RATE, YAW_ACCELERATION = range(11)
AGENTS = ("vehicle", "pedestrian", "bicycle")  # everything else is a static object
FETCH_M = 100.0  # half side of the square around the ego from which map areas are fetched
LAYERS = ("ROADBLOCK", "LANE", "LANE_CONNECTOR", "INTERSECTION", "CARPARK_AREA")  # names as in nuPlan
DRIVABLE = ("ROADBLOCK", "INTERSECTION", "CARPARK_AREA")


@dataclass(**FROZEN)
class Tracks:
    """N other road users over S steps, in order of first appearance.

    sizes: length, width. poses: centre x, y, heading; 0 while a track is absent. first_velocity: in
    global axes, when first seen; 0 for static objects. It decides whether a track stands.
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
    """P polygons as rings of vertices.

    Ring r has vertices[ends[r]:ends[r + 1]], of which the last does not repeat the first, and
    belongs to polygon owner[r]. Holes are further rings of the same polygon.
    """

    vertices: Float64[np.ndarray, "V 2"]
    ends: Int32[np.ndarray, "ends"]
    owner: Int32[np.ndarray, "R"]


@dataclass(**FROZEN)
class Areas:
    """Polygons of the map near the ego (docs/pdms.md, section 5).

    layers: index into LAYERS. on_route: whether a polygon is a lane of the corrected route.
    """

    ids: tuple[str, ...]
    layers: Int8[np.ndarray, "P"]
    on_route: Bool[np.ndarray, "P"]
    polygons: Polygons


@dataclass(**FROZEN)
class RedLights:
    """Lane connectors of the logged route that are red at some step (v2).

    red: whether, by step and connector.
    """

    connectors: tuple[str, ...]
    red: Bool[np.ndarray, "T L"]
    polygons: Polygons


@dataclass(**FROZEN)
class ScoringScene:
    """Everything that scoring one scene needs.

    synthetic: as in SceneTruth. generation: the rules by which it was prepared (1 or 2). time_us:
    time of now. ego: state now. centreline: x, y, heading of the route's centreline. reference:
    PDM-Closed's trajectory, 51 poses 0.1 s apart, the first one now. reference_product: product of
    its multiplicative sub-scores. reference_progress_m: its raw progress.

    In v1, the rest is empty or None. lights: red lights. history: ego states before now, 0.1 s
    apart. human: poses of the human driver in the ego frame of now, 0.5 s apart. human_terms: the
    human's sub-scores before any filter, in the order of V2.columns without the last one; None in a
    synthetic scene.
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
    reference_product: float
    reference_progress_m: float
    history: Float64[np.ndarray, "h 11"]
    human: Float64[np.ndarray, "p 3"]
    human_terms: Float64[np.ndarray, "8"] | None

"""Stand-ins for the objects of nuPlan's and NAVSIM's classes: they hold attributes and do nothing.

`unpickle.py` makes them where a pickle names one of the classes below; `pickle_writer.py` writes them back under that name.
Nothing of these packages is imported.
"""

from dataclasses import dataclass, field
from typing import Any

ACTOR_STATE = "nuplan.common.actor_state"
SIMULATION = "nuplan.planning.simulation"

# Module → classes whose objects NAVSIM's own files hold; a class that is not listed is refused by name.
CLASSES = {
    f"{ACTOR_STATE}.agent": ("Agent",),
    f"{ACTOR_STATE}.agent_state": ("AgentState",),
    f"{ACTOR_STATE}.static_object": ("StaticObject",),
    f"{ACTOR_STATE}.scene_object": ("SceneObject", "SceneObjectMetadata"),
    f"{ACTOR_STATE}.oriented_box": ("OrientedBox",),
    f"{ACTOR_STATE}.state_representation": ("StateSE2", "StateVector2D", "TimePoint"),
    f"{ACTOR_STATE}.tracked_objects": ("TrackedObjects",),
    f"{ACTOR_STATE}.tracked_objects_types": ("TrackedObjectType",),
    f"{ACTOR_STATE}.waypoint": ("Waypoint",),
    "nuplan.common.maps.maps_datatypes": ("TrafficLightStatuses", "TrafficLightStatusData", "TrafficLightStatusType"),
    f"{SIMULATION}.observation.observation_type": ("DetectionsTracks",),
    f"{SIMULATION}.trajectory.predicted_trajectory": ("PredictedTrajectory",),
    f"{SIMULATION}.trajectory.trajectory_sampling": ("TrajectorySampling",),
    "navsim.common.dataclasses": ("Trajectory",),
    "pathlib": ("PosixPath", "PurePosixPath"),  # sensor files of synthetic scenes
}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False, repr=False)
class Inert:
    """One object of a class that is not here: `inert.name` reads the attribute of that name.

    module, kind: where the class lives and what it is called. args: what its constructor was given, in order; an enum keeps its
    value there. attributes: by name. called: whether the pickle calls the class (as for enums) or makes an empty object of it.
    """

    module: str
    kind: str
    args: tuple = ()
    attributes: dict[str, Any] = field(default_factory=dict)
    called: bool = False

    def __getattr__(self, name: str) -> Any:
        # Python, numpy and copy ask objects for names like __array_interface__ and would believe what a file says there.
        if name.startswith("__") or name not in self.attributes:
            raise AttributeError(f"{self.kind} holds no attribute {name!r}")
        return self.attributes[name]

    def __repr__(self) -> str:
        return f"<inert {self.kind} with {', '.join([*map(repr, self.attributes)]) or 'no attributes'}>"

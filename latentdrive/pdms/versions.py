"""The versions of the score, and how they differ. Every result carries one of their names.

pdms_v1.1 is PDMS (NAVSIM v1). epdms_v2.2 is EPDMS (NAVSIM v2) as of v2.2. epdms_v2.0 is EPDMS as
v2.0 to v2.1.2 computed it: the human filter changes only the printed sub-scores. Published numbers
exist in both.
"""

from dataclasses import dataclass
from enum import StrEnum

from latentdrive.types import FROZEN

REVISION = 1  # raise it when preparing a scene gives other numbers: stores are then built again


class Version(StrEnum):
    """The stamp of a score."""

    PDMS_V1_1 = "pdms_v1.1"
    EPDMS_V2_0 = "epdms_v2.0"
    EPDMS_V2_2 = "epdms_v2.2"

    @property
    def rules(self) -> "Rules":
        """The rules by which a scene is prepared and scored; both versions of EPDMS share theirs."""
        return V1 if self is Version.PDMS_V1_1 else V2


@dataclass(**FROZEN)
class Rules:
    """What NAVSIM v1 and v2 do differently before any number is averaged.

    generation: 1 or 2. future_frames: frames of the log after now, 0.5 s apart, from which other
    road users are read. ttc_steps: states at which the time to collision is evaluated; it looks 9
    steps ahead of each. columns: sub-scores in the order of the devkit's result file.
    """

    generation: int
    future_frames: int
    ttc_steps: int
    columns: tuple[str, ...]

    @property
    def track_steps(self) -> int:
        """Steps of 0.1 s that other road users are known for, now included."""
        return 5 * self.future_frames + 1


V1 = Rules(
    generation=1,
    future_frames=10,
    ttc_steps=41,
    columns=(
        "no_at_fault_collisions",
        "drivable_area_compliance",
        "ego_progress",
        "time_to_collision_within_bound",
        "comfort",
        "driving_direction_compliance",
    ),
)
V2 = Rules(
    generation=2,
    future_frames=8,
    ttc_steps=32,
    columns=(
        "no_at_fault_collisions",
        "drivable_area_compliance",
        "driving_direction_compliance",
        "traffic_light_compliance",
        "ego_progress",
        "time_to_collision_within_bound",
        "lane_keeping",
        "history_comfort",
        "two_frame_extended_comfort",
    ),
)

"""Orders: what decides a drive of the NAVSIM world, and what is on disk of it once it is written."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from latentdrive.errors import ConfigError
from latentdrive.plain_files import read_json
from latentdrive.types import FROZEN
from latentdrive.world.navsim.drive_writer import LogFiles
from latentdrive.world.navsim.log_frames import LogPlace
from latentdrive.world.navsim.point_scores import PointScore, read_scores
from latentdrive.world.traffic.hazards import HazardKind


@dataclass(**FROZEN)
class Order:
    """One drive to be written. seed: of its random numbers. first_id: ids of its map count up from here."""

    files: LogFiles
    split: str
    road_type: str
    hazard: HazardKind
    seed: tuple[int, ...]
    first_id: int
    place: LogPlace

    @property
    def name(self) -> str:
        """Name of the drive and its log."""
        return self.files.name

    def card(self) -> dict[str, Any]:
        """Read the card of the written drive. Raises ConfigError if it is damaged."""
        try:
            card = read_json(self.files.card)
        except (OSError, ValueError) as error:
            raise ConfigError(self._damaged(error)) from None
        if not (isinstance(card, dict) and isinstance(card.get("points"), list) and "attempt" in card):
            raise ConfigError(self._damaged("it has no points or no attempt"))
        return card

    def _damaged(self, reason: object) -> str:
        return f"{self.files.card} is damaged ({reason}): remove {self.files.log}, and the same command makes it again"

    def scores(self) -> list[PointScore] | None:
        """Read the scores at the candidate moments of the written drive; None if they are missing."""
        return read_scores(self.files.scores, candidate_rows(self.card()))

    def finished(self) -> bool:
        """Whether the drive and the scores of its candidate moments are on disk."""
        return self.files.log.is_file() and self.scores() is not None


def candidate_rows(card: dict[str, Any]) -> Sequence[int]:
    """Rows of the log at which the card has candidate moments."""
    return [row for row, *_ in card["points"]]

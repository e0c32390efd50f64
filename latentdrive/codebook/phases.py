"""The phases of training a codebook: how long each lasts, what learns in it, and what it starts from.

`motion`: forward dynamics learns from motion alone. `environment`: codes for what motion does not explain.
`reader`: the same codes from frames alone. `ego`: ego codes. The phase follows from the step alone.
"""

import math
from dataclasses import dataclass

from latentdrive.codebook.model import Codebook

# The parts that learn in each phase. All others are in evaluation mode, so that books and batch statistics
# of a finished stage stand still.
LEARNING = {
    "motion": ("features", "motion", "environment_forward"),
    "environment": ("features", "motion", "environment_inverse", "environment_book", "environment_forward"),
    "reader": ("reader",),
    "ego": ("ego_inverse", "ego_book", "ego_forward", "motion_head"),
}


@dataclass(frozen=True, kw_only=True)
class PhaseSchedule:
    """Steps of each phase; 0 leaves it out (one-stage training has `ego` only). warmup: steps at the start of each.

    open_share: share of the steps of `environment` and `ego` before their book is made. Until then
    forward dynamics gets the encoder's vectors as they are: a book made from an encoder that sees
    nothing yet would lock in whatever it says.
    """

    motion: int
    environment: int
    reader: int
    ego: int
    warmup: int
    open_share: float

    @property
    def lengths(self) -> dict[str, int]:
        """Steps of each phase, in order."""
        return {"motion": self.motion, "environment": self.environment, "reader": self.reader, "ego": self.ego}

    @property
    def steps(self) -> int:
        """Steps in all."""
        return sum(self.lengths.values())

    def at(self, step: int) -> tuple[str, int]:
        """The phase of `step`, and the step within it. Past the end: the last step of `ego`."""
        for phase, length in self.lengths.items():
            if step < length:
                return phase, step
            step -= length
        return "ego", self.ego - 1

    def quantised(self, step: int) -> bool:
        """Whether the codes of the step's phase come from a book already."""
        phase, within = self.at(step)
        return phase in ("motion", "reader") or within >= self.open_share * self.lengths[phase]

    def learning_rate(self, step: int) -> float:
        """Factor on the learning rate: in each phase a linear rise, then half a cosine down to 0.05."""
        phase, within = self.at(step)
        rise = min(1.0, (within + 1) / max(1, self.warmup))
        return rise * (0.525 + 0.475 * math.cos(math.pi * within / max(1, self.lengths[phase])))


def enter(model: Codebook, phase: str) -> None:
    """Put the parts that learn in this phase in training mode, and all others in evaluation mode."""
    learning = set(LEARNING[phase])
    if phase == "ego" and model.environment_source == "relearned":
        learning.add("reader")
    if phase == "ego" and not model.environment_slots:
        learning.add("features")  # it is the only phase
    if model.environment_slots:  # a relearned reader keeps its queries; its encoder learns again, as in UniVLA
        model.reader.queries.requires_grad_(phase != "ego")
    for name, part in model.named_children():
        part.train(name in learning)
    if model.features.trained:
        model.features.requires_grad_("features" in learning)


def start_ego_from_environment(model: Codebook) -> None:
    """Start stage 2 from stage 1's forward dynamics and reader: they know frames and motion, only the codes are new."""
    for known, own in ((model.environment_forward, model.ego_forward), (model.reader, model.ego_inverse)):
        old, new = known.state_dict(), own.state_dict()
        own.load_state_dict({k: old[k] if k in old and old[k].shape == v.shape else v for k, v in new.items()})


def start_reader_from_encoder(model: Codebook) -> None:
    """Start the reader from the encoder's weights. Its stem keeps the two pictures that both see."""
    known, own = model.environment_inverse.state_dict(), model.reader.state_dict()
    model.reader.load_state_dict({k: known[k][:, : v.shape[1]] if v.dim() > 1 else known[k] for k, v in own.items()})

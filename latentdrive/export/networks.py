"""Graphs of networks that are exported alone: a student, and the codebook's reader of ego codes.

A teacher is a language model of billions of parameters that decodes word by word; its students are what a car carries.
"""

import torch
from torch import Tensor, nn

from latentdrive.codebook.model import Codebook
from latentdrive.codebook.quantizer import Quantizer
from latentdrive.errors import ConfigError
from latentdrive.export.graphs import ACCELERATION, COMMAND, PICTURE, VELOCITY, Graph, StudentOf
from latentdrive.export.pictures import Size
from latentdrive.planners.latents.live import LivePredictor
from latentdrive.types import FRONT_CAMERA, Command

CODES, LOGITS, VISUAL, ACTION = "codes", "logits", "visual", "action"
STUDENT, CODEBOOK = "student", "codebook"
FRAMES = "frames"


class StudentAlone(nn.Module):
    """A student from the raw picture of the front camera to codes, logits and features."""

    def __init__(self, live: LivePredictor, source: Size) -> None:
        super().__init__()
        self.of = StudentOf(live, source)

    def forward(self, picture: Tensor, velocity: Tensor, acceleration: Tensor, command: Tensor) -> tuple[Tensor, ...]:
        """Codes [A], logits [A, K], visual [Nv, Dv] and action [A, Da] features."""
        logits, features = self.of.model.decode_slots(self.of.scenes(picture, velocity, acceleration, command))
        return logits.argmax(-1)[0], logits[0], features.visual[0], features.action[0]


class EgoCodes(nn.Module):
    """A codebook: frames of a window → ego codes. Raises ConfigError for one that needs recorded motion."""

    def __init__(self, codebook: Codebook) -> None:
        super().__init__()
        if codebook.environment_slots and codebook.environment_source == "encoder":
            raise ConfigError(
                "this codebook reads environment codes with recorded motion (model.environment_source=encoder), and "
                "export carries those that read frames alone: train one with environment_source=reader"
            )
        if not all(book.made for book in codebook.books.values()):
            raise ConfigError("this codebook was never trained: its books have no entries yet. Train it first")
        self.codebook = codebook

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Codes [A] and logits [A, K] of frames [F, 3, H, W], RGB at the codebook's size."""
        book, seen = self.codebook, self.codebook.observe(frames[None])
        first, second, pictures = seen.features[:, :-1], seen.features[:, 1:], _pairs(seen.pictures)
        context = None
        if book.environment_slots:
            logits = _logits(book.reader(first, second, pictures, None), book.environment_book)
            context = book.environment_book.look_up(logits.argmax(-1))
        logits = _logits(book.ego_inverse(first, second, pictures, context), book.ego_book).flatten(0, 2)
        return logits.argmax(-1), logits


def _logits(latents: Tensor, book: Quantizer) -> Tensor:
    """As in Quantizer, whose library asks at every call whether the book has entries, which no graph can ask."""
    return (
        -torch.cdist(latents.float().flatten(0, 1), book.vectors.float()[None]).square().unflatten(0, latents.shape[:2])
    )


def _pairs(pictures: Tensor) -> Tensor:
    return torch.cat([pictures[:, :-1], pictures[:, 1:]], 2)


def student_graph(live: LivePredictor, source: Size) -> Graph:
    """The graph of a student. source: rows and columns of the front camera's pictures."""
    inputs = {
        f"{PICTURE}{FRONT_CAMERA}": torch.zeros(*source, 3, dtype=torch.uint8),
        VELOCITY: torch.tensor([[5.0, 0.0]]),
        ACCELERATION: torch.zeros(1, 2),
        COMMAND: torch.tensor([int(Command.STRAIGHT)]),
    }
    module = StudentAlone(live, source).eval()
    return Graph(name=STUDENT, module=module, inputs=inputs, outputs=(CODES, LOGITS, VISUAL, ACTION))


def codebook_graph(codebook: Codebook) -> Graph:
    """The graph of a codebook's reader of ego codes."""
    frames = torch.zeros(1 + codebook.transitions, 3, codebook.height, codebook.width_px, dtype=torch.uint8)
    return Graph(name=CODEBOOK, module=EgoCodes(codebook).eval(), inputs={FRAMES: frames}, outputs=(CODES, LOGITS))

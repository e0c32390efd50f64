"""What a predictor is told of a scene: as much as in its training, wherever the scene comes from.

Labelling cuts scenes from clips, and a live predictor gets those of a planner. Both tell it what this
module lets through, so stored and live embeddings are the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from latentdrive.data.batches.scene_cutting import scene_batch
from latentdrive.errors import CheckpointError, ConfigError
from latentdrive.types import FRONT, FROZEN, Command, Scene, SceneBatch

KINDS = {"height": int, "width": int, "fit": str, "commands": bool}  # of the facts on a card that decide it


@dataclass(**FROZEN)
class PredictorInputs:
    """What a teacher or student saw in training. height, width: of its pictures, in pixels. fit: how they were
    cut, as in ClipOptions. commands: whether its training clips had driving commands.
    """

    height: int
    width: int
    fit: str
    commands: bool

    def batch(self, scenes: Sequence[Scene]) -> SceneBatch:
        """The scenes as the predictor is told of them. Their pictures have its size already, see `require_pictures`."""
        return scene_batch([self.told(scene) for scene in scenes], height=self.height, width=self.width)

    def told(self, scene: Scene) -> Scene:
        """The scene with nothing but the predictor's inputs: pictures of the front camera and the ego's state, with
        the command only if there were commands in training.
        """
        ego = scene.ego if self.commands else replace(scene.ego, command=Command.UNKNOWN, command_known=False)
        pictures = [replace(image, intrinsics=None, camera_to_ego=None) for image in scene.cameras[FRONT]]
        return replace(scene, cameras={FRONT: pictures}, ego=ego, lidar=None)

    def require_pictures(self, *, height: int, width: int, fit: str) -> None:
        """Raise ConfigError for clips whose pictures are of another size, or cut in another way."""
        if (height, width, fit) != (self.height, self.width, self.fit):
            raise ConfigError(
                f"this predictor was trained on pictures of {self.height} x {self.width} ({self.fit}), these clips "
                f"have {height} x {width} ({fit}): set data.height={self.height} data.width={self.width} "
                f"data.options.fit={self.fit}"
            )


def predictor_inputs(facts: Mapping[str, Any], *, folder: str | Path) -> PredictorInputs:
    """What the card of a predictor says of its training. facts: `Card.data`. folder: of the checkpoint.

    Raises CheckpointError where the card does not say it.
    """
    if missing := KINDS.keys() - facts.keys():
        raise CheckpointError(
            f"{folder} does not say what it was shown: its card lacks {', '.join(sorted(missing))}. An earlier "
            "version made it; train it again"
        )
    told = {name: facts[name] for name in KINDS}
    if any(type(told[name]) is not kind for name, kind in KINDS.items()) or min(told["height"], told["width"]) < 1:
        raise CheckpointError(f"{folder} does not say what it was shown: its card has {told}; copy the folder again")
    return PredictorInputs(**told)

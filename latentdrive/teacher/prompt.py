"""The teacher's prompt: images and ego state as a chat turn of Qwen2.5-VL, in tokens and patches.

The turn is ChatML, which Qwen2.5-VL was trained on, without a system turn (it would be the same in every
scene). A prompt can hold nothing later than now, because a SceneBatch holds nothing later.
"""

from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from transformers import Qwen2_5_VLProcessor

from latentdrive.types import Command, SceneBatch

IMAGE = "<|vision_start|>{}<|vision_end|>"
TURN = "<|im_start|>user\n{images}{state}<|im_end|>\n<|im_start|>assistant\n"
STATE = "Velocity {velocity}, acceleration {acceleration}, command {command}. Next actions?"
COMMANDS = {Command.LEFT: "left", Command.STRAIGHT: "straight", Command.RIGHT: "right", Command.UNKNOWN: "unknown"}
UNKNOWN = "unknown"


class Prompt(NamedTuple):
    """A batch of prompts, padded on the left so that all end in the same column.

    ids: of the tokens. mask: 1 on tokens, 0 on padding. patches: flattened patches of all images, scene
    first, then time; None without images. grids: patches in time, height and width of each image; None
    without images.
    """

    ids: Int64[Tensor, "B L"]
    mask: Int64[Tensor, "B L"]
    patches: Float[Tensor, "patches P"] | None
    grids: Int64[Tensor, "images 3"] | None


def describe_state(batch: SceneBatch) -> list[str]:
    """The ego state of each scene in words: m/s and m/s^2, forward and left, with one decimal; or `unknown`."""
    texts = []
    rows = zip(
        batch.velocity.tolist(),
        batch.velocity_known.tolist(),
        batch.acceleration.tolist(),
        batch.acceleration_known.tolist(),
        batch.command.tolist(),
        batch.command_known.tolist(),
    )
    for velocity, velocity_known, acceleration, acceleration_known, command, command_known in rows:
        texts.append(
            STATE.format(
                velocity=_pair(velocity) if velocity_known else UNKNOWN,
                acceleration=_pair(acceleration) if acceleration_known else UNKNOWN,
                command=COMMANDS[Command(command)] if command_known else UNKNOWN,
            )
        )
    return texts


def _pair(values: list[float]) -> str:
    # + 0.0 turns the negative zero of rounding into a positive one.
    return " ".join(f"{round(value, 1) + 0.0:+.1f}" for value in values)


class PromptWriter:
    """Turns scenes into prompts with a processor's tokenizer and image processor.

    images: `camera`; `black` (all pixels 0, the control that can't look); `none` (no image tokens).
    state: whether the prompt gives the ego state. `none` without state is the code-only baseline.
    """

    def __init__(
        self, *, processor: Qwen2_5_VLProcessor, images: Literal["camera", "black", "none"], state: bool
    ) -> None:
        self.tokenizer, self.image_processor = processor.tokenizer, processor.image_processor
        self.image_token, self.images, self.state = processor.image_token, images, state

    def __call__(self, batch: SceneBatch) -> Prompt:
        """Prompts of a batch, on the device of its images."""
        device, times = batch.images.device, batch.images.shape[1]
        patches = grids = None
        pictures = ""
        if self.images != "none":
            pixels = batch.images if self.images == "camera" else torch.zeros_like(batch.images)
            # All images of a batch have the same size, so the processor works on the whole stack in torch.
            processed = self.image_processor(images=list(pixels.flatten(0, 1)), return_tensors="pt")
            patches, grids = processed["pixel_values"].to(device), processed["image_grid_thw"].to(device)
            tokens = int(processed["image_grid_thw"][0].prod()) // self.image_processor.merge_size**2
            pictures = IMAGE.format(self.image_token * tokens) * times
        states = describe_state(batch) if self.state else [""] * len(batch)
        texts = [TURN.format(images=pictures, state=state) for state in states]
        written = self.tokenizer(texts, return_tensors="pt", padding=True, padding_side="left")
        return Prompt(written["input_ids"].to(device), written["attention_mask"].to(device), patches, grids)

"""The student: a decision transformer of 50 M parameters that predicts the same 12 latent actions as the teacher.

It learns from a latent store, so the teacher is not loaded. Its tokens are image features, the ego
state and the codes of earlier slots of the same prediction, as in the Decision Transformer
(arXiv:2106.01345), but without return tokens: driving logs hold no reward. Tokens of the scene see each
other; slots see the scene and earlier slots.

    scene: image tokens (T x rows x columns), velocity, acceleration, command | slot 1: start, slot i: code i-1

A result never depends on its neighbours in the batch. A backbone with BatchNorm therefore keeps the
statistics of its published weights (its scale and shift are trained), and is refused without published
weights.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from latentdrive.backbones import IMAGENET_MEAN, IMAGENET_STD, TimmFeatures
from latentdrive.checkpoint_parts import SpeaksCodes, checkpoint_part
from latentdrive.counting import counted
from latentdrive.data.batches.scene_cutting import SceneSpec
from latentdrive.errors import ConfigError
from latentdrive.heads.middle import middle_layer
from latentdrive.types import Command, LatentActions, LatentFeatures, Origin, SceneBatch

# Values that count as 1: a speed in town in m/s, and firm braking in m/s^2.
VELOCITY_SCALE, ACCELERATION_SCALE = 10.0, 3.0
KeysValues = tuple[Tensor, Tensor]


@checkpoint_part
class ImageEncoder(nn.Module):
    """A timm backbone whose feature levels, joined at the finest, become `grid` rows and columns of tokens.

    stages: indices of timm's feature levels, finest first. stride: pixels a cell of the finest.
    weights: as in TimmFeatures. Images may have any size.
    """

    def __init__(self, *, backbone: str, stages: Sequence[int], stride: int, grid: Sequence[int], weights: str) -> None:
        super().__init__()
        self.node = {"backbone": backbone, "stages": list(stages), "stride": stride, "weights": weights}
        features = TimmFeatures(**self.node)
        self.backbone, self.width, self.grid = features.backbone.requires_grad_(True), features.channels, tuple(grid)
        self.norms = [m for m in self.backbone.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        if self.norms and weights == "none":
            raise ConfigError(
                f"model.images: {backbone} needs published weights, because its batch statistics are not trained: set "
                "model.images.weights to package, hub or a file, or choose a backbone without BatchNorm "
                "(test_convnext, convnext_atto)"
            )
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)

    def train(self, mode: bool = True) -> "ImageEncoder":
        """Set the mode of all layers except BatchNorm, whose statistics stay frozen."""
        super().train(mode)
        for norm in self.norms:
            norm.train(False)
        return self

    def load_pretrained(self) -> None:
        """Load the published weights that `weights` names. Called once, before training."""
        source = TimmFeatures(**self.node)
        source.load_pretrained()
        self.backbone.load_state_dict(source.backbone.state_dict(), strict=True)

    def forward(self, images: UInt8[Tensor, "B T 3 H W"]) -> Float[Tensor, "B T n C"]:
        """The n tokens of every image, row by row."""
        pixels = (images.flatten(0, 1).float() / 255 - self.mean) / self.std
        maps = self.backbone(pixels.contiguous(memory_format=torch.channels_last))
        size = maps[0].shape[-2:]
        coarser = [F.interpolate(m, size, mode="bilinear", align_corners=False) for m in maps[1:]]
        joined = torch.cat([maps[0], *coarser], 1)
        if joined.shape[-2:] != self.grid:
            joined = F.adaptive_avg_pool2d(joined, self.grid)
        return joined.flatten(2).transpose(1, 2).unflatten(0, images.shape[:2])


class Block(nn.Module):
    """A pre-norm transformer layer that can attend to the cached keys and values of earlier tokens."""

    def __init__(self, *, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(
        self, tokens: Float[Tensor, "B N D"], past: KeysValues | None, mask: Tensor | None
    ) -> tuple[Float[Tensor, "B N D"], KeysValues]:
        """Attend to `past` and to the tokens themselves; returns the tokens, and all keys and values.

        mask: [N, past + N], True where a token may attend; None: everywhere.
        """
        qkv = self.qkv(self.norm1(tokens)).unflatten(-1, (3, self.heads, -1))
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        if past is not None:
            key, value = torch.cat([past[0], key], 2), torch.cat([past[1], value], 2)
        read = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        tokens = tokens + self.out(read.transpose(1, 2).flatten(2))
        return tokens + self.mlp(self.norm2(tokens)), (key, value)


class Depths(NamedTuple):
    """States of some tokens at two depths of the transformer. middle: None for a student without features of it."""

    last: Float[Tensor, "B n D"]
    middle: Float[Tensor, "B n D"] | None


class SceneTokens(NamedTuple):
    """A scene after the transformer. visual: states of the present image's tokens. past: keys and values by layer."""

    visual: Depths
    past: list[KeysValues]


class FeaturesOut(nn.Module):
    """Projections from states of `width` to the features of a middle layer of the teacher."""

    def __init__(self, *, width: int, visual_width: int, action_width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.visual, self.action = nn.Linear(width, visual_width), nn.Linear(width, action_width)


@checkpoint_part
class Student(SpeaksCodes, nn.Module):
    """Image encoder and transformer for `transitions` x `codes_per_transition` slots of `codes` codes.

    scene: what a scene holds of the past. visual_grid, visual_width, action_width: the shape of the
    teacher's LatentFeatures, which the student learns to match. look: `camera`; or `black`, the control
    that sees black images. middle_depth: share of the layers before the states that become the features of the
    teacher's middle layer; None for a teacher without.
    """

    origin = Origin.STUDENT

    def __init__(
        self,
        *,
        images: ImageEncoder,
        scene: SceneSpec,
        codes: int,
        transitions: int,
        codes_per_transition: int,
        width: int,
        layers: int,
        heads: int,
        visual_grid: Sequence[int],
        visual_width: int,
        action_width: int,
        look: Literal["camera", "black"],
        middle_depth: float | None = None,
    ) -> None:
        super().__init__()
        self.images, self.scene, self.codes, self.look = images, scene, codes, look
        self.transitions, self.codes_per_transition = transitions, codes_per_transition
        self.slots, self.visual_grid = transitions * codes_per_transition, tuple(visual_grid)
        self.times = 1 + scene.history_frames
        self.image_in = nn.Linear(images.width, width)
        self.image_place = nn.Parameter(0.02 * torch.randn(self.times, images.grid[0] * images.grid[1], width))
        self.velocity_in, self.acceleration_in = (
            nn.Sequential(nn.Linear(3, width), nn.GELU(), nn.Linear(width, width)) for _ in range(2)
        )
        self.command_in = nn.Embedding(len(Command), width)
        self.code_in = nn.Embedding(codes + 1, width)  # the last row starts a prediction
        self.slot_place = nn.Parameter(0.02 * torch.randn(self.slots, width))
        self.blocks = nn.ModuleList(Block(width=width, heads=heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.code_out = nn.Linear(width, codes)
        self.visual_out, self.action_out = nn.Linear(width, visual_width), nn.Linear(width, action_width)
        self._middle_layer, self.middle = None, None
        if middle_depth is not None:
            self._middle_layer = middle_layer(middle_depth, layers)
            self.middle = FeaturesOut(width=width, visual_width=visual_width, action_width=action_width)

    # ---- the scene, once ----

    def read(self, scenes: SceneBatch) -> SceneTokens:
        """Run the scene's tokens through all layers and keep their keys and values."""
        pixels = scenes.images if self.look == "camera" else torch.zeros_like(scenes.images)
        if pixels.shape[1] != self.times:
            raise ConfigError(
                f"the scenes hold {counted(pixels.shape[1], 'image')}, this student takes {self.times}: set "
                "model.scene.history_frames"
            )
        image = (self.image_in(self.images(pixels)) + self.image_place).flatten(1, 2)
        velocity = _state(scenes.velocity / VELOCITY_SCALE, scenes.velocity_known)
        acceleration = _state(scenes.acceleration / ACCELERATION_SCALE, scenes.acceleration_known)
        command = scenes.command.where(scenes.command_known, int(Command.UNKNOWN))
        state = [self.velocity_in(velocity), self.acceleration_in(acceleration), self.command_in(command)]
        tokens = torch.cat([image, torch.stack(state, 1)], 1)
        states, past = self._through(tokens, [None] * len(self.blocks), None)
        now = slice(image.shape[1] - image.shape[1] // self.times, image.shape[1])
        return SceneTokens(Depths(*(None if of is None else of[:, now] for of in states)), past)

    def _through(
        self, tokens: Float[Tensor, "B N D"], past: Sequence[KeysValues | None], mask: Tensor | None
    ) -> tuple[Depths, list[KeysValues]]:
        """Run tokens through all layers. past, mask: as in Block; returns all keys and values, too."""
        middle, after = None, []
        for number, (block, before) in enumerate(zip(self.blocks, past)):
            if number == self._middle_layer:
                middle = self.middle.norm(tokens)
            tokens, keys_values = block(tokens, before, mask)
            after.append(keys_values)
        return Depths(self.norm(tokens), middle), after

    # ---- the slots ----

    def slot_states(self, scene: SceneTokens, codes: Int64[Tensor, "B A"]) -> Float[Tensor, "B A D"]:
        """States of all slots at once, each given the earlier ones of `codes`."""
        return self._slots(scene, codes).last

    def decode_states(self, scene: SceneTokens) -> Float[Tensor, "B A D"]:
        """Greedy decoding, one slot at a time, with all keys and values cached."""
        return self._decoded(scene).last

    def _slots(self, scene: SceneTokens, codes: Int64[Tensor, "B A"]) -> Depths:
        before = F.pad(codes[:, :-1], (1, 0), value=self.codes)
        tokens = self.code_in(before) + self.slot_place
        known = scene.past[0][0].shape[2]
        mask = torch.ones(self.slots, known + self.slots, dtype=torch.bool, device=codes.device).tril(known)
        return self._through(tokens, scene.past, mask)[0]

    def _decoded(self, scene: SceneTokens) -> Depths:
        past, states, now = scene.past, [], scene.visual.last
        code = torch.full((len(now),), self.codes, device=now.device)
        for slot in range(self.slots):
            tokens = (self.code_in(code) + self.slot_place[slot])[:, None]
            slot_state, past = self._through(tokens, past, None)
            states.append(slot_state)
            code = self.code_out(slot_state.last)[:, 0].argmax(-1)
        return Depths(*(None if of[0] is None else torch.cat(of, 1) for of in zip(*states)))

    def _features(self, scene: SceneTokens, slots: Depths) -> LatentFeatures:
        """Vision and slot states in the shape of the teacher's features."""
        middle = None
        if self.middle is not None:
            middle = LatentFeatures(
                visual=self.middle.visual(self._pooled(scene.visual.middle)), action=self.middle.action(slots.middle)
            )
        visual = self.visual_out(self._pooled(scene.visual.last))
        return LatentFeatures(visual=visual, action=self.action_out(slots.last), middle=middle)

    def _pooled(self, visual: Float[Tensor, "B n D"]) -> Float[Tensor, "B g D"]:
        """States of the present image's tokens, pooled to the teacher's grid."""
        rows = visual.transpose(1, 2).unflatten(2, self.images.grid)
        return F.adaptive_avg_pool2d(rows, self.visual_grid).flatten(2).transpose(1, 2)

    def forward(self, scenes: SceneBatch, codes: Int64[Tensor, "B A"]) -> tuple[Float[Tensor, "B A K"], LatentFeatures]:
        """Logits of every slot, given the earlier ones of `codes`, and the features."""
        scene = self.read(scenes)
        slots = self._slots(scene, codes)
        return self.code_out(slots.last), self._features(scene, slots)

    def decode_slots(self, scenes: SceneBatch) -> tuple[Float[Tensor, "B A K"], LatentFeatures]:
        """Logits of every slot, given the greedy codes of the earlier ones, and the features."""
        scene = self.read(scenes)
        slots = self._decoded(scene)
        return self.code_out(slots.last), self._features(scene, slots)

    @torch.no_grad()
    def predict(self, batch: SceneBatch) -> LatentActions:
        """Greedy codes, logits on the prefixes that these codes form, and features."""
        logits, features = self.decode_slots(batch)
        return LatentActions(
            codes=logits.argmax(-1),
            environment=None,
            logits=logits,
            features=features,
            codebook_id=self.codebook_id,
            origin=self.origin,
        )


def parameter_split(student: Student) -> dict[str, int]:
    """The number of parameters by part; their sum is all that the car runs for the student."""
    whole = sum(p.numel() for p in student.parameters())
    encoder = sum(p.numel() for p in student.images.parameters())
    trunk = sum(p.numel() for p in student.blocks.parameters())
    return {"image encoder": encoder, "transformer": trunk, "embeddings and heads": whole - encoder - trunk}


def _state(values: Float[Tensor, "B 2"], known: Tensor) -> Float[Tensor, "B 3"]:
    """Values followed by their flag; unknown values are 0, whatever the batch holds."""
    flag = known.to(values.dtype)[:, None]
    return torch.cat([values * flag, flag], 1)

"""The teacher: a Qwen2.5-VL that predicts the ego's latent actions from what the car sees now.

LatentVLA (arXiv:2601.05611) predicts the 12 codes by ordinary decoding. We add a second way, the one pass:
12 placeholder tokens follow the prompt, and each predicts its slot without seeing any code. In training one
sequence serves both ways, by its attention mask:

    prompt | placeholders 1..12 | codes 1..11

Placeholder i and code i have the same position. Codes see the prompt and earlier codes, never a placeholder.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from transformers import DynamicCache

from latentdrive.checkpoint_parts import SpeaksCodes, checkpoint_part
from latentdrive.counting import counted
from latentdrive.data.batches.scene_cutting import SceneSpec
from latentdrive.errors import WrongShape
from latentdrive.teacher import hugging_face
from latentdrive.teacher.middle import MiddleRecorder
from latentdrive.teacher.prompt import Prompt, PromptWriter
from latentdrive.teacher.vocabulary import add_action_tokens, initialise_rows, make_room
from latentdrive.types import LatentActions, LatentFeatures, Origin, SceneBatch


class Context(NamedTuple):
    """A prompt as the language model takes it.

    real: which columns are not padding. image: columns of the present image's tokens. positions: time, height and
    width of every token, as the model's own `get_rope_index` counts them. visual: states of the vision tower,
    N = T x tokens. grid: rows and columns of one image's tokens. Without images, image and visual are None.
    """

    embedded: Float[Tensor, "B L D"]
    real: Bool[Tensor, "B L"]
    image: Int64[Tensor, "B n"] | None
    positions: Int64[Tensor, "3 B L"]
    visual: Float[Tensor, "B N D"] | None
    grid: tuple[int, int]


class SlotStates(NamedTuple):
    """The last hidden states that predict the slots, by either way."""

    autoregressive: Float[Tensor, "B A D"]
    one_pass: Float[Tensor, "B A D"]


@checkpoint_part
class Teacher(SpeaksCodes, nn.Module):
    """Qwen2.5-VL with tokens for `codes` codes and `transitions` x `codes_per_transition` slots.

    parts: network and processor. scene: what a scene holds of the past. images, state: what the prompt
    gives of a scene, see PromptWriter. decode: the way that `predict` takes. visual_grid: rows and
    columns to which the vision states of the present image are pooled for LatentFeatures. frozen: names
    of sub-networks that are not trained. seed: of the new tokens' initial rows. middle_depth: share of the
    language model's layers before the states that LatentFeatures has in `middle`; None for none.
    """

    origin = Origin.TEACHER

    def __init__(
        self,
        *,
        parts: hugging_face.VisionLanguage,
        codes: int,
        transitions: int,
        codes_per_transition: int,
        scene: SceneSpec,
        images: Literal["camera", "black", "none"],
        state: bool,
        decode: Literal["autoregressive", "one_pass"],
        visual_grid: Sequence[int],
        frozen: list[str],
        seed: int,
        middle_depth: float | None = None,
    ) -> None:
        super().__init__()
        self.network, self.processor = parts
        self.codes, self.transitions, self.codes_per_transition = codes, transitions, codes_per_transition
        self.slots, self.decode, self.visual_grid = transitions * codes_per_transition, decode, tuple(visual_grid)
        self.scene = scene
        self.vocabulary = add_action_tokens(self.processor.tokenizer, codes=codes, slots=self.slots)
        make_room(self.network, self.vocabulary)
        initialise_rows(self.network, self.vocabulary, seed=seed)
        self.write = PromptWriter(processor=self.processor, images=images, state=state)
        self.register_buffer("code_ids", torch.tensor(self.vocabulary.codes), persistent=False)
        self.register_buffer("slot_ids", torch.tensor(self.vocabulary.slots), persistent=False)
        self._recorder = MiddleRecorder(self.network, middle_depth)
        for name in frozen:
            self.network.get_submodule(name).requires_grad_(False)

    # ---- files in the checkpoint folder ----

    def save_files(self, folder: Path) -> None:
        """Write configuration, tokenizer and processor in the Hugging Face layout, see KeepsFiles."""
        hugging_face.write(folder, hugging_face.VisionLanguage(self.network, self.processor))

    @staticmethod
    def from_files(folder: Path) -> dict[str, Any]:
        """The argument `parts` from the files that `save_files` wrote."""
        return {"parts": hugging_face.load_without_weights(folder)}

    # ---- prompt ----

    def read(self, scenes: SceneBatch) -> Context:
        """Embed the prompts of a batch, with vision states in place of the image tokens."""
        prompt = self.write(scenes)
        embedded, visual, image, grid = self.network.get_input_embeddings()(prompt.ids), None, None, (0, 0)
        if prompt.patches is not None:
            states = self.network.model.get_image_features(prompt.patches, prompt.grids, return_dict=True).pooler_output
            visual = torch.cat(states).to(embedded.dtype)
            is_image = (prompt.ids == self.network.config.image_token_id)[..., None]
            if int(is_image.sum()) != len(visual):
                raise WrongShape(
                    f"the prompts have {counted(int(is_image.sum()), 'image token')} for "
                    f"{counted(len(visual), 'vision state')}"
                )
            embedded = embedded.masked_scatter(is_image, visual)
            visual = visual.unflatten(0, (len(scenes), -1))
            merge = self.network.config.vision_config.spatial_merge_size
            grid = (int(prompt.grids[0, 1]) // merge, int(prompt.grids[0, 2]) // merge)
            columns = is_image[..., 0].nonzero()[:, 1].unflatten(0, (len(scenes), -1))
            image = columns[:, -grid[0] * grid[1] :]  # the present image is the last one
        return Context(embedded, prompt.mask.bool(), image, self._positions(prompt), visual, grid)

    def _positions(self, prompt: Prompt) -> Int64[Tensor, "3 B L"]:
        """Positions by the model's own `get_rope_index`, called once for all different layouts of a batch."""
        kinds = (prompt.ids == self.network.config.image_token_id).int()
        layouts, group = torch.unique(torch.stack([kinds, prompt.mask.int()], 1), dim=0, return_inverse=True)
        first = torch.stack([(group == i).nonzero()[0, 0] for i in range(len(layouts))])
        per_scene = None if prompt.grids is None else prompt.grids.unflatten(0, (len(prompt.ids), -1))
        positions, _ = self.network.model.get_rope_index(
            prompt.ids[first],
            mm_token_type_ids=kinds[first],
            image_grid_thw=None if per_scene is None else per_scene[first].flatten(0, 1),
            attention_mask=prompt.mask[first],
        )
        return positions[:, group]

    # ---- both ways at once, as in training ----

    def forward(self, scenes: SceneBatch, codes: Int64[Tensor, "B A"]) -> SlotStates:
        """The states that predict each slot, given the earlier ones of `codes` and given none."""
        context = self.read(scenes)
        return self.slot_states(context, codes)

    def slot_states(self, context: Context, codes: Int64[Tensor, "B A"]) -> SlotStates:
        """As `forward`, for prompts that have been read."""
        length, slots = context.embedded.shape[1], self.slots
        table = self.network.get_input_embeddings()
        placeholders = table(self.slot_ids).expand(len(codes), -1, -1)
        embedded = torch.cat([context.embedded, placeholders, table(self.code_ids[codes[:, :-1]])], 1)
        steps = torch.arange(1, slots + 1, device=codes.device)
        after = context.positions[:, :, -1:] + torch.cat([steps, steps[:-1]])
        hidden = self._run(embedded, torch.cat([context.positions, after], 2), joint_mask(context.real, slots))
        return SlotStates(
            autoregressive=torch.cat([hidden[:, length - 1 : length], hidden[:, length + slots :]], 1),
            one_pass=hidden[:, length : length + slots],
        )

    def code_logits(self, states: Float[Tensor, "*b D"]) -> Float[Tensor, "*b K"]:
        """Logits over the K codes alone, in float32 also under autocast: differences of 0.01 nats matter."""
        with torch.autocast(states.device.type, enabled=False):
            return F.linear(states.float(), self.network.lm_head.weight[self.code_ids].float())

    @torch.no_grad()
    def mass_outside(self, states: Float[Tensor, "*b D"]) -> Float[Tensor, "*b"]:
        """Share of the probability over the whole vocabulary that lies on tokens other than the codes."""
        probabilities = self.network.lm_head(states).float().softmax(-1)
        return 1 - probabilities[..., self.code_ids].sum(-1)

    # ---- using it ----

    @torch.no_grad()
    def predict(self, batch: SceneBatch) -> LatentActions:
        """Greedy codes, logits on the prefixes that these codes form, and features; by the way that `decode` names."""
        context = self.read(batch)
        with self._recorder as middle:
            states = self.decode_states(context) if self.decode == "autoregressive" else self.one_pass_states(context)
        logits = self.code_logits(states)
        return LatentActions(
            codes=logits.argmax(-1),
            environment=None,
            logits=logits,
            features=self._features(context, states, middle.states),
            codebook_id=self.codebook_id,
            origin=self.origin,
        )

    def one_pass_states(self, context: Context) -> Float[Tensor, "B A D"]:
        """States of the placeholders, without any code in the sequence."""
        placeholders = self.network.get_input_embeddings()(self.slot_ids).expand(len(context.embedded), -1, -1)
        steps = torch.arange(1, self.slots + 1, device=placeholders.device)
        embedded = torch.cat([context.embedded, placeholders], 1)
        positions = torch.cat([context.positions, context.positions[:, :, -1:] + steps], 2)
        real = F.pad(context.real, (0, self.slots), value=True)
        return self._run(embedded, positions, causal_mask(real))[:, -self.slots :]

    def decode_states(self, context: Context) -> Float[Tensor, "B A D"]:
        """Ordinary greedy decoding, one slot at a time, with keys and values cached."""
        cache, states = DynamicCache(config=self.network.config.get_text_config()), []
        embedded, positions, real = context.embedded, context.positions, context.real
        mask = causal_mask(real)
        for _ in range(self.slots):
            states.append(self._run(embedded, positions, mask, cache)[:, -1:])
            token = self.code_ids[self.code_logits(states[-1]).argmax(-1)]
            embedded, positions = self.network.get_input_embeddings()(token), positions[:, :, -1:] + 1
            real = F.pad(real, (0, 1), value=True)
            mask = real[:, None, None]
        return torch.cat(states, 1)

    def _run(
        self,
        embedded: Float[Tensor, "B L D"],
        positions: Int64[Tensor, "3 B L"],
        allowed: Bool[Tensor, "B 1 L M"],
        cache: DynamicCache | None = None,
    ) -> Float[Tensor, "B L D"]:
        # By their places: the cache's keyword has another name in each line of transformers.
        token_ids = None
        return self.network.model.language_model(
            token_ids, allowed, positions, cache, embedded, use_cache=cache is not None
        ).last_hidden_state

    def _features(
        self, context: Context, states: Float[Tensor, "B A D"], middle: Float[Tensor, "B M D"] | None
    ) -> LatentFeatures:
        """Features of the slots and of the present image. middle: states of all columns, the slots' last."""
        size = context.grid[0] * context.grid[1]
        now = None if context.visual is None else context.visual[:, -size:]
        return LatentFeatures(
            visual=self._pooled(now, context, like=states),
            action=states,
            middle=None if middle is None else self._middle(context, middle),
        )

    def _middle(self, context: Context, states: Float[Tensor, "B M D"]) -> LatentFeatures:
        """As `_features`, of a middle layer: its states of the image tokens are pooled as those of the vision tower."""
        action, now = states[:, -self.slots :], None
        if context.image is not None:
            now = states.gather(1, context.image[..., None].expand(-1, -1, states.shape[-1]))
        return LatentFeatures(visual=self._pooled(now, context, like=action), action=action)

    def _pooled(
        self, image: Float[Tensor, "B n D"] | None, context: Context, *, like: Float[Tensor, "B A D"]
    ) -> Float[Tensor, "B g D"]:
        """States of an image's tokens, pooled to `visual_grid`; zeros, as wide as `like`, without an image."""
        rows, columns = self.visual_grid
        if image is None:
            return like.new_zeros(len(like), rows * columns, like.shape[-1])
        states = image.transpose(1, 2).unflatten(2, context.grid)  # tokens are ordered row by row
        pooled = F.adaptive_avg_pool2d(states.float(), (rows, columns)).flatten(2).transpose(1, 2)
        return pooled.to(like.dtype)


def causal_mask(real: Bool[Tensor, "B L"]) -> Bool[Tensor, "B 1 L L"]:
    """Which columns each row may see: itself and earlier ones, never padding.

    Padding sees itself, because its softmax needs a column.
    """
    length = real.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=real.device).tril()
    itself = torch.eye(length, dtype=torch.bool, device=real.device)
    return causal & real[:, None, None] | itself


def joint_mask(real: Bool[Tensor, "B L"], slots: int) -> Bool[Tensor, "B 1 S S"]:
    """Causal over the prompt, `slots` placeholders and `slots` - 1 codes; no code sees a placeholder."""
    length = real.shape[1]
    allowed = causal_mask(F.pad(real, (0, 2 * slots - 1), value=True))
    allowed[:, :, length + slots :, length : length + slots] = False
    return allowed

"""The recurrent-depth head of RD-VLA (arXiv:2602.07845): a plan that gets better with every step.

    features of a middle layer → prelude ──────────┐
    noise → scratchpad → adapter → core → core → norm → scratchpad → … → coda → plan
                          └── features of the last layer ──┘

The scratchpad has a row for every pose. One step joins it with the prelude, and passes it through two layers
whose weights are the same at every step. So the depth, and with it the time, can be chosen in the car: at
each step the coda gives a plan. In training the last steps alone carry gradients, which keeps memory constant.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from latentdrive.checkpoint_parts import checkpoint_part
from latentdrive.heads.layers import Features, HeadLayer, KeysValues

CORE_LAYERS = 2
GRADIENT_STEPS = 8  # the last steps, which carry gradients
CUT = 3.0  # where truncated normals end, in standard deviations
SCRATCHPAD_STD = math.sqrt(2 / 5)  # 0.632


class Progress(NamedTuple):
    """A head between two steps, for B samples.

    scratchpad: the rows that the next step refines. prelude: what every step is reminded of. core, coda: what
    their layers read.
    """

    scratchpad: Float[Tensor, "B K D"]
    prelude: Float[Tensor, "B K D"]
    core: tuple[KeysValues, ...]
    coda: KeysValues

    def of(self, rows: Tensor) -> "Progress":
        """That of some samples. rows: their indices, or a mask of all samples."""
        core = tuple(read.of(rows) for read in self.core)
        return Progress(self.scratchpad[rows], self.prelude[rows], core, self.coda.of(rows))


class Refined(NamedTuple):
    """What `refine` gives. steps: that each sample took. movement: by which its plan moved at the last one."""

    plans: Float[Tensor, "B K A"]
    steps: Tensor
    movement: Float[Tensor, "B"]
    scratchpad: Float[Tensor, "B K D"]


@checkpoint_part
class RecurrentDepth(nn.Module):
    """Prelude, recurrent core and coda over two depths of features.

    rows: poses of the plan. outputs: numbers of each pose. width, heads: of every layer; the paper has 8 heads.
    middle_widths, last_widths: widths of latent tokens and of vision tokens at both depths. ego: numbers of the
    ego's state; a projection of it is one more latent token at both depths. mean_steps: expected depth in
    training.
    """

    def __init__(
        self,
        *,
        rows: int,
        outputs: int,
        width: int,
        heads: int,
        middle_widths: tuple[int, int],
        last_widths: tuple[int, int],
        ego: int,
        mean_steps: float,
    ) -> None:
        super().__init__()
        self.mean_steps = mean_steps
        middle = {"token_width": middle_widths[0], "vision_width": middle_widths[1]}
        last = {"token_width": last_widths[0], "vision_width": last_widths[1]}
        self.queries = nn.Parameter(torch.empty(rows, width))
        self.ego_middle = nn.Linear(ego, middle_widths[0], bias=False)
        self.ego_last = nn.Linear(ego, last_widths[0], bias=False)
        self.prelude = HeadLayer(width=width, heads=heads, **middle)
        self.adapter = nn.Linear(2 * width, width, bias=False)
        self.adapter_scale = nn.Parameter(torch.ones(()))
        self.enter, self.leave = nn.RMSNorm(width), nn.RMSNorm(width)
        self.core = nn.ModuleList(HeadLayer(width=width, heads=heads, **last) for _ in range(CORE_LAYERS))
        self.coda = HeadLayer(width=width, heads=heads, **last)
        self.norm, self.out = nn.RMSNorm(width), nn.Linear(width, outputs, bias=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all weights anew: truncated normal numbers, smaller where a layer adds to its rows."""
        std = math.sqrt(2 / (5 * self.queries.shape[1]))
        smaller = math.sqrt(self.mean_steps * CORE_LAYERS)
        outputs = {id(linear) for layer in (self.prelude, *self.core, self.coda) for linear in layer.outputs}
        _truncated_normal(self.queries, std)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                _truncated_normal(module.weight, std / smaller if id(module) in outputs else std)

    # ---- step by step ----

    def noise(self, samples: int, generator: torch.Generator | None = None) -> Float[Tensor, "B K D"]:
        """Fresh scratchpads for the first step, on the CPU. generator: None draws from torch's own."""
        return _truncated_normal(torch.empty(samples, *self.queries.shape), SCRATCHPAD_STD, generator)

    def begin(
        self, middle: Features, last: Features, ego: Float[Tensor, "B E"], scratchpad: Float[Tensor, "B K D"]
    ) -> Progress:
        """Read the features once.

        scratchpad: `noise`, or that of an earlier frame ("warm start", which the paper does not have).
        """
        middle, last = (
            Features(torch.cat([read.tokens, project(ego)[:, None]], 1), read.vision)
            for read, project in ((middle, self.ego_middle), (last, self.ego_last))
        )
        queries = self.queries.expand(len(ego), -1, -1)
        prelude = self.prelude(queries, self.prelude.reading.keys_values(middle))
        core = tuple(layer.reading.keys_values(last) for layer in self.core)
        return Progress(scratchpad.to(prelude), prelude, core, self.coda.reading.keys_values(last))

    def step(self, progress: Progress) -> Progress:
        """One pass through the core."""
        joined = torch.cat([progress.scratchpad, progress.prelude], -1)
        rows = self.enter(self.adapter_scale * self.adapter(joined))
        for layer, read in zip(self.core, progress.core):
            rows = layer(rows, read)
        return progress._replace(scratchpad=self.leave(rows))

    def plan(self, progress: Progress) -> Float[Tensor, "B K A"]:
        """The plan after the steps so far."""
        return self.out(self.norm(self.coda(progress.scratchpad, progress.coda)))

    # ---- whole ----

    def forward(self, progress: Progress, steps: int) -> Float[Tensor, "B K A"]:
        """The plan after `steps` steps, of which the last GRADIENT_STEPS carry gradients."""
        with torch.no_grad():
            for _ in range(steps - GRADIENT_STEPS):
                progress = self.step(progress)
        for _ in range(min(steps, GRADIENT_STEPS)):
            progress = self.step(progress)
        return self.plan(progress)

    def refine(self, progress: Progress, *, delta: float, most: int, probe: float | None = None) -> Refined:
        """Step until every sample's plan rests, for at most `most` steps; samples at rest leave the batch.

        delta: mean squared change by one step below which a plan rests. RD-VLA has 5e-4 to 1e-3 for
        normalised actions, at most 32 steps, and one decision for the whole batch. Here every sample has
        its own, so that a plan never depends on its neighbours. With 0 every sample takes `most` steps.
        probe: see `_Decoding`.
        """
        rows = torch.arange(len(progress.scratchpad), device=progress.scratchpad.device)  # samples still refined
        decoding = _Decoding(progress, (self.queries.shape[0], self.out.out_features), probe)
        for count in range(1, most + 1):
            before, progress = progress, self.step(progress)
            decoded = decoding.chosen(rows, before, progress, last=count >= most - 1)
            if decoded.any():
                decoding.note(rows[decoded], self.plan(progress.of(decoded)))
            decoding.step(rows, progress)
            moving = decoding.moved[rows] >= delta
            if not moving.any():
                break
            rows, progress = rows[moving], progress.of(moving)
        return Refined(decoding.plans, decoding.steps, decoding.moved, decoding.scratchpad)


class _Decoding:
    """Plans of B samples while they are refined, and which of them are decoded after a step.

    probe: None decodes after every step. A number decodes a sample once the mean squared change of its scratchpad
    was below it, from then on after every step (lazy coda); and at the last two steps, which tell its movement.
    """

    def __init__(self, progress: Progress, shape: tuple[int, int], probe: float | None) -> None:
        batch, device = len(progress.scratchpad), progress.scratchpad.device
        self.probe, self.scratchpad = probe, progress.scratchpad.clone()
        self.plans = progress.scratchpad.new_zeros(batch, *shape)
        self.moved = progress.scratchpad.new_full((batch,), math.inf)
        self.steps = torch.zeros(batch, dtype=torch.long, device=device)
        self.begun = torch.full((batch,), probe is None, device=device)
        self.known = torch.zeros(batch, dtype=torch.bool, device=device)  # the plan after the step before

    def chosen(self, rows: Tensor, before: Progress, now: Progress, *, last: bool) -> Tensor:
        """Which of these samples are decoded: a mask."""
        if self.probe is not None:
            self.begun[rows] |= last | (movement(before.scratchpad, now.scratchpad) < self.probe)
        return self.begun[rows]

    def note(self, rows: Tensor, plans: Float[Tensor, "b K A"]) -> None:
        """Plans after a step."""
        moved = movement(self.plans[rows], plans)
        self.moved[rows] = torch.where(self.known[rows], moved, math.inf)
        self.plans[rows], self.known[rows] = plans.to(self.plans), True

    def step(self, rows: Tensor, progress: Progress) -> None:
        """These samples have taken one more step."""
        self.steps[rows] += 1
        self.scratchpad[rows] = progress.scratchpad


def movement(before: Float[Tensor, "B K A"], now: Float[Tensor, "B K A"]) -> Float[Tensor, "B"]:
    """Mean squared change of each sample's plan. That of the last step tells how uncertain the plan is."""
    return (now - before).square().flatten(1).mean(1)


def _truncated_normal(weight: Tensor, std: float, generator: torch.Generator | None = None) -> Tensor:
    return nn.init.trunc_normal_(weight, std=std, a=-CUT * std, b=CUT * std, generator=generator)

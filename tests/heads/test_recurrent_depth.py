"""The facts of RD-VLA (arXiv:2602.07845), one by one, on the built head."""

import math

import pytest
import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks

from latentdrive.heads.depth import draw_depth
from latentdrive.heads.layers import Features, GatedReading, rotate
from latentdrive.heads.recurrent_depth import GRADIENT_STEPS, Progress, RecurrentDepth, movement

WIDTH, ROWS, MEAN = 64, 8, 12.0


@pytest.fixture(scope="module")
def head() -> RecurrentDepth:
    torch.manual_seed(0)
    return RecurrentDepth(
        rows=ROWS,
        outputs=3,
        width=WIDTH,
        heads=8,
        middle_widths=(24, 40),
        last_widths=(24, 40),
        ego=11,
        mean_steps=MEAN,
    )


def _begin(head: RecurrentDepth, samples: int = 4, *, seed: int = 0, warm: torch.Tensor | None = None) -> Progress:
    draw = torch.Generator().manual_seed(1)
    depths = [
        Features(torch.randn(samples, 5, 24, generator=draw), torch.randn(samples, 7, 40, generator=draw)) for _ in "ab"
    ]
    ego = torch.randn(samples, 11, generator=draw)
    noise = head.noise(samples, torch.Generator().manual_seed(seed))
    return head.begin(*depths, ego, noise if warm is None else warm)


def test_there_is_one_prelude_two_tied_core_layers_and_one_coda(head: RecurrentDepth) -> None:
    layer = 3 * WIDTH**2 + WIDTH**2 + 2 * WIDTH**2 + 2 * WIDTH * (24 + 40) + 1 + 12 * WIDTH**2 + 3 * WIDTH
    rest = ROWS * WIDTH + 2 * 11 * 24 + 2 * WIDTH**2 + 1 + 3 * WIDTH + 3 * WIDTH
    assert sum(p.numel() for p in head.parameters()) == 4 * layer + rest
    assert not [name for name, _ in head.named_parameters() if name.endswith("bias")]
    assert head.core[0].attention.heads == head.core[0].reading.heads == 8


def test_the_prelude_reads_the_middle_layer_and_core_and_coda_read_the_last(head: RecurrentDepth) -> None:
    draw = torch.Generator().manual_seed(1)
    first, other = (
        Features(torch.randn(1, 5, 24, generator=draw), torch.randn(1, 7, 40, generator=draw)) for _ in range(2)
    )
    ego, warm = torch.zeros(1, 11), torch.zeros(1, ROWS, WIDTH)
    same = head.begin(first, first, ego, warm)
    middle, last = (head.begin(*pair, ego, warm) for pair in ((other, first), (first, other)))
    assert not torch.equal(middle.prelude, same.prelude) and torch.equal(last.prelude, same.prelude)
    assert torch.equal(middle.core[1].values, same.core[1].values) and torch.equal(middle.coda.values, same.coda.values)
    assert not torch.equal(last.core[1].values, same.core[1].values)
    assert not torch.equal(last.coda.values, same.coda.values)


def test_the_ego_state_is_one_more_latent_token(head: RecurrentDepth) -> None:
    assert _begin(head).core[0].token_keys.shape[2] == 5 + 1
    assert _begin(head).core[0].vision_keys.shape[2] == 7


def test_vision_logits_start_at_zero_within_one_softmax() -> None:
    torch.manual_seed(0)
    reading = GatedReading(width=16, heads=2, token_width=4, vision_width=6)
    rows, tokens, vision = torch.randn(1, 3, 16), torch.randn(1, 2, 4), torch.randn(1, 5, 6)

    def by_hand(gate: float) -> torch.Tensor:
        query = reading.query(rows).unflatten(-1, (2, 8)).transpose(1, 2)
        (key, value), (seen, shown) = (
            (part.unflatten(-1, (2, 8)).transpose(1, 2) for part in projected.chunk(2, -1))
            for projected in (reading.tokens(tokens), reading.vision(vision))
        )
        logits = torch.cat([query @ key.mT, math.tanh(gate) * (query @ seen.mT)], -1) / math.sqrt(8)
        return reading.out((logits.softmax(-1) @ torch.cat([value, shown], 2)).transpose(1, 2).flatten(2))

    for gate in (0.0, 0.7):
        nn.init.constant_(reading.gate, gate)
        read = reading(rows, reading.keys_values(Features(tokens, vision)))
        torch.testing.assert_close(read, by_hand(gate))
    assert GatedReading(width=16, heads=2, token_width=4, vision_width=6).gate.item() == 0


def test_rotary_positions_keep_lengths_and_depend_on_distances_alone() -> None:
    query, key = torch.randn(8, generator=torch.Generator().manual_seed(0)).repeat(2, 6, 1)
    query, key = rotate(query), rotate(key.flip(-1))
    torch.testing.assert_close(query.norm(dim=-1), query.norm(dim=-1)[:1].expand(6))
    products = query @ key.T
    torch.testing.assert_close(products[0, 2], products[3, 5])
    assert (products[0, 2] - products[0, 3]).abs() > 1e-3


def test_the_scratchpad_starts_as_truncated_noise_that_is_fresh_at_every_call(head: RecurrentDepth) -> None:
    noise = torch.cat([_begin(head, 64, seed=seed).scratchpad for seed in range(4)])
    # A normal number of standard deviation 1, cut at 3, has a standard deviation of 0.9866.
    assert noise.std().item() == pytest.approx(0.632 * 0.9866, rel=0.01)
    assert noise.abs().max() <= 3 * 0.6325
    assert not torch.equal(noise[:64], noise[64:128])
    torch.testing.assert_close(_begin(head, seed=3).scratchpad, _begin(head, seed=3).scratchpad, rtol=0, atol=0)


def test_a_warm_start_replaces_the_noise(head: RecurrentDepth) -> None:
    warm = torch.full((4, ROWS, WIDTH), 0.5)
    assert torch.equal(_begin(head, warm=warm).scratchpad, warm)


def test_weights_start_as_the_paper_has_them(head: RecurrentDepth) -> None:
    std = math.sqrt(2 / (5 * WIDTH)) * 0.9866
    assert head.adapter.weight.std().item() == pytest.approx(std, rel=0.05)
    assert head.coda.feed_forward.enter.weight.std().item() == pytest.approx(std, rel=0.05)
    assert head.adapter.weight.abs().max() <= 3 * math.sqrt(2 / (5 * WIDTH))
    for layer in (head.prelude, *head.core, head.coda):
        for linear in layer.outputs:
            assert linear.weight.std().item() == pytest.approx(std / math.sqrt(MEAN * 2), rel=0.05)
    assert head.adapter_scale.item() == 1 and head.adapter.in_features == 2 * WIDTH


def test_one_step_is_adapter_norm_two_layers_norm(head: RecurrentDepth) -> None:
    progress = _begin(head)
    rows = head.adapter(torch.cat([progress.scratchpad, progress.prelude], -1))
    rows = rows / rows.square().mean(-1, keepdim=True).sqrt()
    for layer, read in zip(head.core, progress.core):
        rows = layer(rows, read)
    rows = rows / rows.square().mean(-1, keepdim=True).sqrt()
    torch.testing.assert_close(head.step(progress).scratchpad, rows, rtol=1e-4, atol=1e-5)


def test_depths_in_training_are_those_of_the_paper() -> None:
    generator = torch.Generator().manual_seed(0)
    depths = torch.tensor([draw_depth(MEAN, generator) for _ in range(20_000)], dtype=torch.float64)
    assert depths.min() >= 1 and depths.max() <= 64
    assert depths.mean().item() == pytest.approx(13, abs=0.2)  # 1 + a Poisson number whose mean is 12 on average
    # Variance of a Poisson number with a log-normal mean: 12 + 144 (e^0.25 - 1).
    assert depths.var().item() == pytest.approx(12 + 144 * math.expm1(0.25), rel=0.1)
    assert (depths > 2 * MEAN).double().mean() > 0.05  # heavy-tailed
    deep = torch.tensor([draw_depth(1000.0, generator) for _ in range(200)])
    assert deep.max() == 64
    assert [draw_depth(MEAN, torch.Generator().manual_seed(5)) for _ in "ab"] == 2 * [
        draw_depth(MEAN, torch.Generator().manual_seed(5))
    ]


def test_only_the_last_eight_steps_hold_a_graph_and_memory_is_constant_in_depth(head: RecurrentDepth) -> None:
    def saved_bytes(steps: int) -> int:
        held = {}
        with saved_tensors_hooks(lambda t: held.__setitem__(t.data_ptr(), t.nbytes) or t, lambda t: t):
            progress = _begin(head)
            loss = head(progress, steps).abs().mean()
        loss.backward()
        return sum(held.values())

    assert GRADIENT_STEPS == 8
    assert saved_bytes(4) < saved_bytes(8)
    assert saved_bytes(9) == saved_bytes(32) == saved_bytes(64)


def test_steps_before_the_last_eight_get_no_gradient(head: RecurrentDepth) -> None:
    for steps, reached in ((GRADIENT_STEPS, True), (GRADIENT_STEPS + 1, False)):
        progress = _begin(head)
        progress = progress._replace(scratchpad=progress.scratchpad.requires_grad_())
        head(progress, steps).sum().backward()
        assert (progress.scratchpad.grad is not None) is reached


def test_every_weight_is_reached_by_the_loss(head: RecurrentDepth) -> None:
    head.zero_grad()
    progress = _begin(head)
    head(progress, 12).abs().mean().backward()
    # The gate is 0 at the start, so the keys of the vision get their first gradient once it has opened.
    assert [name for name, p in head.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_each_sample_stops_by_itself_and_alone_as_in_a_batch(head: RecurrentDepth) -> None:
    progress = _begin(head, 6)
    delta = head.refine(progress, delta=0.0, most=4).movement.median().item()  # some rest after 4 steps, some don't
    whole = head.refine(progress, delta=delta, most=32)
    assert len(set(whole.steps.tolist())) > 1
    for sample in range(6):
        alone = head.refine(progress.of(torch.tensor([sample])), delta=delta, most=32)
        assert alone.steps.item() == whole.steps[sample]
        torch.testing.assert_close(alone.plans[0], whole.plans[sample], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(alone.scratchpad[0], whole.scratchpad[sample], rtol=1e-4, atol=1e-5)
    assert (whole.movement[whole.steps < 32] < delta).all()


def test_a_fixed_depth_is_what_refining_without_a_bound_gives(head: RecurrentDepth) -> None:
    progress = _begin(head)
    refined = head.refine(progress, delta=0.0, most=5)
    assert refined.steps.tolist() == [5, 5, 5, 5]
    torch.testing.assert_close(refined.plans, head(progress, 5), rtol=0, atol=0)
    with torch.no_grad():
        assert not torch.isfinite(
            head.refine(progress, delta=1.0, most=1).movement
        ).any()  # one step moves from nothing


def test_a_lazy_coda_decodes_the_same_plans_less_often(head: RecurrentDepth, monkeypatch: pytest.MonkeyPatch) -> None:
    progress, decoded, plan = _begin(head, 6), [], head.plan
    monkeypatch.setattr(head, "plan", lambda progress: decoded.append(len(progress.scratchpad)) or plan(progress))
    eager = head.refine(progress, delta=0.0, most=8)
    often, decoded[:] = sum(decoded), []
    changes = movement(progress.scratchpad, head.step(progress).scratchpad).sort().values
    lazy = head.refine(progress, delta=0.0, most=8, probe=changes[2:4].mean().item())
    # Three samples are below the probe at the first step; the scratchpads of the others never are.
    assert (often, sum(decoded)) == (6 * 8, 3 * 8 + 3 * 2)
    for name in ("plans", "steps", "movement", "scratchpad"):
        torch.testing.assert_close(getattr(lazy, name), getattr(eager, name), rtol=1e-4, atol=1e-5)


def test_a_probe_that_never_rests_decodes_at_the_last_two_steps(head: RecurrentDepth) -> None:
    progress = _begin(head)
    lazy, eager = (head.refine(progress, delta=0.0, most=7, probe=probe) for probe in (0.0, None))
    for name in ("plans", "steps", "movement", "scratchpad"):
        torch.testing.assert_close(getattr(lazy, name), getattr(eager, name), rtol=0, atol=0)

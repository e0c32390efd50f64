"""Phases, determinism, what every configured loss teaches, and whether a tiny codebook learns at all."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from latentdrive.codebook import losses
from latentdrive.codebook.judging.evaluation import code, read_codes
from latentdrive.codebook.phase_losses import CodebookLossWeights, in_share, moving_weights, phase_loss
from latentdrive.codebook.phases import PhaseSchedule, enter
from latentdrive.codebook.training import CodebookTraining
from latentdrive.data.batches.transitions import with_motion
from latentdrive.errors import ConfigError
from tests.support.codebook import make_batch, make_model, settle, wake

torch.set_num_threads(1)
WEIGHTS = CodebookLossWeights(features=0.5, pixels=0.5, moving=10.0, regression=0.1, regression_share=1.0)
SCHEDULE = PhaseSchedule(motion=3, environment=4, reader=2, ego=5, warmup=2, open_share=0.5)


# ---- phases ----


def test_the_step_decides_the_phase():
    phases = [SCHEDULE.at(step) for step in range(SCHEDULE.steps)]
    assert phases == [
        *(("motion", i) for i in range(3)), *(("environment", i) for i in range(4)),
        *(("reader", i) for i in range(2)), *(("ego", i) for i in range(5)),
    ]  # fmt: skip
    assert SCHEDULE.steps == 14
    assert SCHEDULE.at(14) == SCHEDULE.at(100) == ("ego", 4)


def test_a_phase_of_no_steps_is_left_out():
    one_stage = PhaseSchedule(motion=0, environment=0, reader=0, ego=5, warmup=2, open_share=0.5)
    assert [one_stage.at(step)[0] for step in range(5)] == ["ego"] * 5
    assert one_stage.steps == 5


def test_the_learning_rate_rises_and_falls_anew_in_every_phase():
    schedule = PhaseSchedule(motion=10, environment=20, reader=10, ego=40, warmup=4, open_share=0.25)
    for start, length in ((0, 10), (10, 20), (30, 10), (40, 40)):
        rates = [schedule.learning_rate(step) for step in range(start, start + length)]
        assert rates[0] == pytest.approx(0.25, abs=0.01)
        assert max(rates) == rates[3] or rates[3] > 0.7
        assert rates[3:] == sorted(rates[3:], reverse=True)
        assert 0.05 < rates[-1] < 0.15
    assert schedule.learning_rate(80) > 0  # one step past the end, as the scheduler asks


def test_books_are_made_after_the_open_share_of_their_phase():
    schedule = PhaseSchedule(motion=10, environment=20, reader=10, ego=40, warmup=4, open_share=0.25)
    opened = [step for step in range(schedule.steps) if not schedule.quantised(step)]
    assert opened == [*range(10, 15), *range(40, 50)]


def test_phases_of_stage_1_are_refused_for_a_model_without_it():
    model = make_model(environment_slots=0, environment_sectors=False)
    with pytest.raises(ConfigError, match="phase ego only"):
        training(model)


# ---- what is learned from what ----


def training(
    model, *, seed: int = 0, weights: CodebookLossWeights = WEIGHTS, schedule: PhaseSchedule = SCHEDULE
) -> CodebookTraining:
    return CodebookTraining(
        model=model, optimizer=partial(torch.optim.AdamW, lr=2e-3, weight_decay=0.0), schedule=schedule, weights=weights,
        calibration_frames=8, reader_steps=2, probe_windows=8, seed=seed,
    )  # fmt: skip


def run(
    model, steps: list[str], *, seed: int = 0, weights: CodebookLossWeights = WEIGHTS, clips: int = 8
) -> list[float]:
    """Losses of plain training on one batch, a step for each phase named."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-3, weight_decay=0.0)
    batch, found = make_batch(clips=clips, moving=True), []
    model.train()
    for number, phase in enumerate(steps):
        torch.manual_seed(seed * 1000 + number)
        optimizer.zero_grad()
        loss, _ = phase_loss(model, batch, phase, weights, quantised=True)
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return found


def test_the_same_seed_gives_the_same_losses():
    steps = ["motion"] * 2 + ["environment"] * 3 + ["reader"] * 2 + ["ego"] * 3
    assert run(make_model(seed=3), steps) == run(make_model(seed=3), steps)
    assert run(make_model(seed=3), steps) != run(make_model(seed=4), steps)


def loss_and_gradient(model, phase: str, weights: CodebookLossWeights, batch) -> tuple[float, dict[str, torch.Tensor]]:
    model.zero_grad()
    torch.manual_seed(0)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    loss, _ = phase_loss(model.train(), batch, phase, weights, quantised=True)
    loss.backward()
    model.load_state_dict(state)  # the same books for the next call
    return loss.item(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(
    ("phase", "changed"),
    [
        ("motion", {"features": 0.0}), ("motion", {"pixels": 0.0}),
        ("environment", {"features": 0.0}), ("environment", {"pixels": 0.0}), ("environment", {"moving": 0.0}),
        ("ego", {"features": 0.0}), ("ego", {"pixels": 0.0}), ("ego", {"regression": 0.0}),
        ("ego", {"regression_share": 0.0}),
    ],
)  # fmt: skip
def test_every_weight_changes_the_gradient_of_its_phase(phase: str, changed: dict):
    model, batch = wake(settle(make_model(regress_motion=True))), make_batch(clips=8, moving=True)
    full, gradient = loss_and_gradient(model, phase, WEIGHTS, batch)
    less, other = loss_and_gradient(model, phase, replace(WEIGHTS, **changed), batch)
    assert full != less
    assert any(not torch.allclose(gradient[name], other[name]) for name in gradient)


@pytest.mark.parametrize("part", ["environment", "ego"])
def test_commitment_pulls_the_encoder_towards_its_book(part: str):
    model, batch = wake(settle(make_model())), make_batch(clips=8)
    _, gradient = loss_and_gradient(model, part, WEIGHTS, batch)
    getattr(model, f"{part}_book").commitment = 0.0
    _, without = loss_and_gradient(model, part, WEIGHTS, batch)
    encoder = [name for name in gradient if name.startswith(f"{part}_inverse")]
    assert any(not torch.allclose(gradient[name], without[name]) for name in encoder)


def test_the_regression_head_teaches_the_ego_encoder_and_only_from_its_share_of_the_clips():
    model, batch = wake(settle(make_model(regress_motion=True))), make_batch(clips=8)
    half = replace(WEIGHTS, regression=1.0, regression_share=0.4)
    chosen = in_share(batch.clip, 0.4)
    assert 0 < chosen.sum() < 8
    _, gradient = loss_and_gradient(model, "ego", half, batch)
    elsewhere = batch.motion.clone()
    elsewhere[~chosen] += 100
    loss, same = loss_and_gradient(model, "ego", half, replace(batch, motion=elsewhere))
    assert all(torch.allclose(gradient[name], same[name]) for name in gradient if "ego" in name or "head" in name)
    inside = batch.motion.clone()
    inside[chosen] += 100
    assert loss_and_gradient(model, "ego", half, replace(batch, motion=inside))[0] > loss + 1


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_the_share_of_clips_holds_in_every_stretch_of_the_list(share: float):
    chosen = in_share(torch.arange(1200), share)
    assert chosen.double().mean() == pytest.approx(share, abs=0.005)
    for begin in range(0, 1200, 100):  # a sorted list has all highways in one stretch
        assert chosen[begin : begin + 100].double().mean() == pytest.approx(share, abs=0.03)
    assert in_share(torch.arange(1200), 1.0).all() and not in_share(torch.arange(1200), 0.0).any()


def test_clips_without_poses_are_left_out_where_codes_come_from_the_encoder():
    """Motion that is not known is 0 in a batch: as if the car stood."""
    model, batch = wake(settle(make_model(environment_source="encoder"))), make_batch(clips=4)
    batch = replace(batch, motion_known=torch.tensor([True, False, True, False]))
    known = with_motion(batch)
    assert known.clip.tolist() == batch.clip[[0, 2]].tolist()
    assert loss_and_gradient(model, "ego", WEIGHTS, batch)[0] == loss_and_gradient(model, "ego", WEIGHTS, known)[0]
    assert read_codes(model, [batch]).clip.tolist() == np.repeat(known.clip.numpy(), 2).tolist()
    model.environment_source = "reader"
    assert len(read_codes(model, [batch]).clip) == 8


def test_a_relearned_encoder_keeps_its_queries_and_its_book():
    model, batch = wake(settle(make_model(environment_source="relearned"))), make_batch(clips=8)
    book = model.environment_book.vectors.clone()
    model.train()
    loss, _ = phase_loss(model, batch, "ego", WEIGHTS, quantised=True)
    loss.backward()
    assert model.reader.queries.grad is None and model.reader.head[1].weight.grad.abs().max() > 0
    assert torch.equal(book, model.environment_book.vectors)
    enter(model, "reader")
    assert model.reader.queries.requires_grad


def test_the_weight_of_moving_patches_is_1_plus_the_share_that_agents_cover():
    batch = make_batch(clips=2, transitions=1, moving=True)
    moving = torch.zeros(2, 1, 4, 8)
    moving[0, 0, 1, 2] = 0.5
    weights = moving_weights(replace(batch, moving=moving), 10.0, (4, 8))
    assert weights[0, 1, 2] == 6.0 and weights.sum() == 64 + 5
    assert moving_weights(replace(batch, moving=moving), 10.0, (2, 4))[0, 0, 1] == 1 + 10 * 0.5 / 4
    assert moving_weights(batch, 0.0, (4, 8)) is None
    assert moving_weights(replace(batch, moving=None), 10.0, (4, 8)) is None


@pytest.mark.parametrize("phase", ["motion", "environment", "reader"])
def test_clips_without_poses_take_no_part_in_stage_1(phase: str):
    model, batch = wake(settle(make_model())), make_batch(clips=8, moving=True)
    known = torch.arange(8) % 2 == 0
    batch = replace(batch, motion_known=known)
    loss, gradient = loss_and_gradient(model, phase, WEIGHTS, batch)
    noise = batch.frames.clone()
    noise[~known] = torch.randint(0, 256, noise[~known].shape, dtype=torch.uint8)
    again, same = loss_and_gradient(model, phase, WEIGHTS, replace(batch, frames=noise))
    assert loss == again and all(torch.equal(gradient[name], same[name]) for name in gradient)
    nobody, _ = loss_and_gradient(model, phase, WEIGHTS, replace(batch, motion_known=torch.zeros(8, dtype=torch.bool)))
    assert nobody == 0.0


# ---- learning ----


def test_a_tiny_codebook_overfits_eight_clips_and_its_codes_matter():
    """Eight passed walls: how far each moved can be known from the codes alone."""
    torch.manual_seed(0)
    model = make_model(codes=8, environment_slots=0, environment_sectors=False)
    shares = run(model, ["ego"] * 220, weights=replace(WEIGHTS, features=0.0, pixels=1.0))
    assert shares[0] > 0.95  # begins with a copy (and commitment)
    held = code(model, [make_batch(clips=8)], features=0.0, pixels=1.0, block_frames=None)
    assert held.share("true", of="copy").mean < 0.6
    assert held.share("ego_shuffled", of="true").mean > 1.1


def test_the_reader_learns_the_codes_of_the_encoder():
    model = wake(settle(make_model()))
    shares = run(model, ["reader"] * 60, clips=4)
    assert sum(shares[-5:]) < 0.5 * sum(shares[:5])


def test_a_share_of_1_is_the_copy():
    model, batch = settle(make_model()), make_batch()
    loss, logged = phase_loss(model, batch, "motion", replace(WEIGHTS, moving=0.0), quantised=True)
    assert loss.item() == pytest.approx(1.0, abs=1e-4)
    assert logged["motion/share_of_copy"].item() == pytest.approx(1.0, abs=1e-4)
    assert losses.SCALES >= 1

"""Phases, determinism, what every configured loss teaches, and whether a tiny codebook learns at all."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from latentdrive.codebook.judging.evaluation import code, read_codes
from latentdrive.codebook.losses import CodebookLoss, in_share
from latentdrive.codebook.phases import PhaseSchedule, enter
from latentdrive.codebook.training import CodebookTraining
from latentdrive.data.batches.transitions import with_motion
from latentdrive.errors import ConfigError
from tests.support.codebook import make_batch, make_model, phase_loss, settle, wake

torch.set_num_threads(1)
LOSS = CodebookLoss(features=0.5, pixels=0.5, moving=10.0, regression=0.1, regression_share=1.0)
SCHEDULE = PhaseSchedule(motion=3, environment=4, reader=2, ego=5, warmup=2, open_share=0.5)


def test_phases_of_stage_1_are_refused_for_a_model_without_it():
    model = make_model(environment_slots=0, environment_sectors=False)
    with pytest.raises(ConfigError, match="phase ego only"):
        training(model)


# ---- what is learned from what ----


def training(
    model, *, seed: int = 0, loss: CodebookLoss = LOSS, schedule: PhaseSchedule = SCHEDULE
) -> CodebookTraining:
    return CodebookTraining(
        model=model,
        optimizer=partial(torch.optim.AdamW, lr=2e-3, weight_decay=0.0),
        schedule=schedule,
        loss=loss,
        judges={},
        calibration_frames=8,
        seed=seed,
    )


def run(model, steps: list[str], *, seed: int = 0, loss: CodebookLoss = LOSS, clips: int = 8) -> list[float]:
    """Losses of plain training on one batch, a step for each phase named."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-3, weight_decay=0.0)
    batch, losses = make_batch(clips=clips, moving=True), []
    model.train()
    for number, phase in enumerate(steps):
        torch.manual_seed(seed * 1000 + number)
        optimizer.zero_grad()
        value, _ = phase_loss(model, batch, phase, loss)
        value.backward()
        optimizer.step()
        losses.append(value.item())
    return losses


def test_the_same_seed_gives_the_same_losses():
    steps = ["motion"] * 2 + ["environment"] * 3 + ["reader"] * 2 + ["ego"] * 3
    assert run(make_model(seed=3), steps) == run(make_model(seed=3), steps)
    assert run(make_model(seed=3), steps) != run(make_model(seed=4), steps)


def loss_and_gradient(model, phase: str, loss: CodebookLoss, batch) -> tuple[float, dict[str, torch.Tensor]]:
    model.zero_grad()
    torch.manual_seed(0)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    value, _ = phase_loss(model.train(), batch, phase, loss)
    value.backward()
    model.load_state_dict(state)  # the same books for the next call
    return value.item(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(
    ("phase", "changed"),
    [
        ("motion", {"features": 0.0}),
        ("motion", {"pixels": 0.0}),
        ("environment", {"features": 0.0}),
        ("environment", {"pixels": 0.0}),
        ("environment", {"moving": 0.0}),
        ("ego", {"features": 0.0}),
        ("ego", {"pixels": 0.0}),
        ("ego", {"regression": 0.0}),
        ("ego", {"regression_share": 0.0}),
    ],
)
def test_every_weight_changes_the_gradient_of_its_phase(phase: str, changed: dict):
    model, batch = wake(settle(make_model(regress_motion=True))), make_batch(clips=8, moving=True)
    full, gradient = loss_and_gradient(model, phase, LOSS, batch)
    less, other = loss_and_gradient(model, phase, replace(LOSS, **changed), batch)
    assert full != less
    assert any(not torch.allclose(gradient[name], other[name]) for name in gradient)


@pytest.mark.parametrize("part", ["environment", "ego"])
def test_commitment_pulls_the_encoder_towards_its_book(part: str):
    model, batch = wake(settle(make_model())), make_batch(clips=8)
    _, gradient = loss_and_gradient(model, part, LOSS, batch)
    getattr(model, f"{part}_book").commitment = 0.0
    _, without = loss_and_gradient(model, part, LOSS, batch)
    encoder = [name for name in gradient if name.startswith(f"{part}_inverse")]
    assert any(not torch.allclose(gradient[name], without[name]) for name in encoder)


def test_the_regression_head_teaches_the_ego_encoder_and_only_from_its_share_of_the_clips():
    model, batch = wake(settle(make_model(regress_motion=True))), make_batch(clips=8)
    half = replace(LOSS, regression=1.0, regression_share=0.4)
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


def test_clips_without_poses_are_left_out_where_codes_come_from_the_encoder():
    """Motion that is not known is 0 in a batch: as if the car stood."""
    model, batch = wake(settle(make_model(environment_source="encoder"))), make_batch(clips=4)
    batch = replace(batch, motion_known=torch.tensor([True, False, True, False]))
    known = with_motion(batch)
    assert known.clip.tolist() == batch.clip[[0, 2]].tolist()
    assert loss_and_gradient(model, "ego", LOSS, batch)[0] == loss_and_gradient(model, "ego", LOSS, known)[0]
    assert read_codes(model, [batch]).clip.tolist() == np.repeat(known.clip.numpy(), 2).tolist()
    model.environment_source = "reader"
    assert len(read_codes(model, [batch]).clip) == 8


def test_a_relearned_encoder_keeps_its_queries_and_its_book():
    model, batch = wake(settle(make_model(environment_source="relearned"))), make_batch(clips=8)
    book = model.environment_book.vectors.clone()
    model.train()
    loss, _ = phase_loss(model, batch, "ego", LOSS)
    loss.backward()
    assert model.reader.queries.grad is None and model.reader.head[1].weight.grad.abs().max() > 0
    assert torch.equal(book, model.environment_book.vectors)
    enter(model, "reader")
    assert model.reader.queries.requires_grad


@pytest.mark.parametrize("phase", ["motion", "environment", "reader"])
def test_clips_without_poses_take_no_part_in_stage_1(phase: str):
    model, batch = wake(settle(make_model())), make_batch(clips=8, moving=True)
    known = torch.arange(8) % 2 == 0
    batch = replace(batch, motion_known=known)
    loss, gradient = loss_and_gradient(model, phase, LOSS, batch)
    noise = batch.frames.clone()
    noise[~known] = torch.randint(0, 256, noise[~known].shape, dtype=torch.uint8)
    again, same = loss_and_gradient(model, phase, LOSS, replace(batch, frames=noise))
    assert loss == again and all(torch.equal(gradient[name], same[name]) for name in gradient)
    nobody, _ = loss_and_gradient(model, phase, LOSS, replace(batch, motion_known=torch.zeros(8, dtype=torch.bool)))
    assert nobody == 0.0


# ---- learning ----


def test_a_tiny_codebook_overfits_eight_clips_and_its_codes_matter():
    """Eight passed walls: how far each moved can be known from the codes alone."""
    torch.manual_seed(0)
    model = make_model(codes=8, environment_slots=0, environment_sectors=False)
    shares = run(model, ["ego"] * 220, loss=replace(LOSS, features=0.0, pixels=1.0))
    assert shares[0] > 0.95  # begins with a copy (and commitment)
    held = code(model, [make_batch(clips=8)], features=0.0, pixels=1.0, drive=str)
    assert held.share("true", of="copy").mean < 0.6
    assert held.share("ego_shuffled", of="true").mean > 1.1


def test_the_reader_learns_the_codes_of_the_encoder():
    model = wake(settle(make_model()))
    shares = run(model, ["reader"] * 60, clips=4)
    assert sum(shares[-5:]) < 0.5 * sum(shares[:5])


def test_a_share_of_1_is_the_copy():
    model, batch = settle(make_model()), make_batch()
    value, parts = phase_loss(model, batch, "motion", replace(LOSS, moving=0.0))
    assert value.item() == pytest.approx(1.0, abs=1e-4)
    assert parts["motion/share_of_copy"].item() == pytest.approx(1.0, abs=1e-4)

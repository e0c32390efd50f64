"""The teacher learns, every weight of its loss counts, and a resumed run ends like an uninterrupted one."""

import math
from functools import partial

import pytest
import torch

from latentdrive.schedule import CosineSchedule
from latentdrive.teacher.losses import TeacherLoss
from latentdrive.teacher.training import TeacherTraining, judge_scenes
from tests.support.fitting import fit
from tests.support.scene_batch import make_scenes
from tests.support.teacher import as_latents, make_codes, make_teacher

BOTH = {"autoregressive": 1.0, "one_pass": 1.0}


def make_training(folder, *, steps: int = 6, lr: float = 3e-3, weights: dict = BOTH, **model) -> TeacherTraining:
    return TeacherTraining(
        model=make_teacher(folder, **model),
        loss=TeacherLoss(**weights),
        optimizer=partial(torch.optim.AdamW, lr=lr),
        schedule=CosineSchedule(steps=steps, warmup=2, floor=0.1),
    )


def test_a_toy_overfits_eight_windows_both_ways(tmp_path):
    torch.manual_seed(0)
    module = make_training(tmp_path, steps=150, lr=1e-2)
    batch = (make_scenes(8, known=1.0), as_latents(make_codes(8)))
    fit(module, [batch] * 150, tmp_path / "ckpt", steps=150, save_every=150)
    numbers = judge_scenes(module.model.eval(), *batch)
    assert numbers["nats"].mean() < 0.15 and numbers["one_pass_nats"].mean() < 0.3
    assert numbers["top1"].mean() > 0.95 and numbers["agreement"].mean() > 0.9
    assert math.log(16) > 10 * numbers["nats"].mean()


def test_code_only_and_black_teachers_cannot_tell_eight_scenes_apart(tmp_path):
    """With no image and no prefix, the first slot's loss cannot fall below the entropy of the codes."""
    codes = make_codes(8)
    codes[:, 0] = torch.arange(8)
    batch = (make_scenes(8, known=1.0), as_latents(codes))
    module = make_training(tmp_path, steps=60, lr=1e-2, images="black", state=False)
    fit(module, [batch] * 60, tmp_path / "ckpt", steps=60, save_every=60)
    first = judge_scenes(module.model.eval(), *batch)
    assert first["nats_first"].mean() > math.log(8) / 4 - 0.02


@pytest.mark.parametrize("off", ["autoregressive", "one_pass"])
def test_each_weighted_loss_contributes_gradient(tmp_path, off):
    batch = (make_scenes(4), as_latents(make_codes(4)))
    gradients = []
    for weights in (BOTH, BOTH | {off: 0.0}):
        module = make_training(tmp_path, weights=weights)
        module.log = lambda *_, **__: None
        module.training_step(batch, 0).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None]))
    assert (gradients[0] - gradients[1]).norm() > 0.1 * gradients[0].norm()


def test_a_killed_and_resumed_run_ends_with_the_same_weights(tmp_path):
    batches = [(make_scenes(4, seed=i), as_latents(make_codes(4, seed=i))) for i in range(6)]
    whole, killed, resumed = (make_training(tmp_path / "tiny") for _ in range(3))
    fit(whole, batches, tmp_path / "a", steps=6)
    fit(killed, batches, tmp_path / "b", steps=3)
    fit(resumed, batches[3:], tmp_path / "c", steps=6, resume=tmp_path / "b" / "last.ckpt")
    ours, theirs = whole.model.state_dict(), resumed.model.state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_numbers_of_scenes_do_not_depend_on_their_batch(tmp_path):
    model = make_teacher(tmp_path)
    scenes, latents = make_scenes(6), as_latents(make_codes(6))
    together = judge_scenes(model, scenes, latents)
    alone = judge_scenes(model, scenes._map(lambda t: t[3:4]), latents._map(lambda t: t[3:4]))
    for key, value in alone.items():
        torch.testing.assert_close(together[key][3:4], value, atol=1e-4, rtol=0, msg=key)

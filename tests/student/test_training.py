"""The student learns its teacher's distributions, and a resumed run ends like an uninterrupted one."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from latentdrive.errors import StoreError
from latentdrive.schedule import CosineSchedule
from latentdrive.student.losses import StudentLoss
from latentdrive.student.training import StudentTraining, judge_scenes
from tests.support.fitting import fit
from tests.support.scene_batch import make_scenes
from tests.support.student import make_latents, make_student

ALL = StudentLoss(distillation=1.0, temperature=2.0, hard=0.5, features=0.3)


def make_training(*, steps: int = 6, lr: float = 3e-3, loss: StudentLoss = ALL) -> StudentTraining:
    schedule = CosineSchedule(steps=steps, warmup=2, floor=0.1)
    return StudentTraining(
        model=make_student(), loss=loss, optimizer=partial(torch.optim.AdamW, lr=lr), schedule=schedule
    )


def test_a_small_student_overfits_eight_windows(tmp_path):
    module = make_training(steps=90, lr=8e-3, loss=replace(ALL, temperature=1.0, hard=0.0))
    batch = (make_scenes(8), make_latents(8))
    before = judge_scenes(module.model.eval(), *batch)["kl"].mean()
    fit(module, [batch] * 90, tmp_path, steps=90, save_every=90)
    after = judge_scenes(module.model.eval(), *batch)
    assert after["kl"].mean() < 0.05 * before and after["top1"].mean() > 0.95 and after["decoded"].mean() > 0.9
    _, features = module.model(batch[0], batch[1].codes)
    assert (features.action - batch[1].features.action).square().mean() < 0.5


@pytest.mark.parametrize("name", ["distillation", "hard", "features"])
def test_each_weighted_loss_contributes_gradient(name):
    scenes, teacher = make_scenes(4), make_latents(4)
    gradients = []
    for loss in (ALL, replace(ALL, **{name: 0.0})):
        model = make_student()
        sum(loss(*model(scenes, teacher.codes), teacher).values()).backward()
        gradients.append(
            torch.cat([torch.zeros(p.numel()) if p.grad is None else p.grad.flatten() for p in model.parameters()])
        )
    assert (gradients[0] - gradients[1]).norm() > 1e-3 * gradients[0].norm()


def test_a_killed_and_resumed_run_ends_with_the_same_weights(tmp_path):
    batches = [(make_scenes(4, seed=i), make_latents(4, seed=i)) for i in range(6)]
    whole, killed, resumed = make_training(), make_training(), make_training()
    fit(whole, batches, tmp_path / "a", steps=6)
    fit(killed, batches, tmp_path / "b", steps=3)
    fit(resumed, batches[3:], tmp_path / "c", steps=6, resume=tmp_path / "b" / "last.ckpt")
    ours, theirs = whole.model.state_dict(), resumed.model.state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_a_store_without_logits_is_refused():
    teacher = replace(make_latents(2), logits=None)
    output = make_student()(make_scenes(2), teacher.codes)
    with pytest.raises(StoreError, match="label again with a teacher"):
        ALL(*output, teacher)

"""The base of all trainings: hooks that do nothing, and a learning rate that follows the schedule."""

from functools import partial

import pytest
import torch

from latentdrive.schedule import CosineSchedule
from latentdrive.stages.batches import StageBatches
from latentdrive.stages.training import Schedule, StageTraining


class NoBatches(StageBatches):
    """Batches of a stage that is never trained."""

    facts = estimate = train_batches = validation_batches = None


@pytest.fixture
def training() -> StageTraining:
    model = torch.nn.Linear(3, 1)
    model.bias.requires_grad_(False)
    schedule = CosineSchedule(steps=4, warmup=2, floor=0.1)
    return StageTraining(model=model, optimizer=partial(torch.optim.SGD, lr=2.0), schedule=schedule)


def test_only_trained_weights_reach_the_optimiser_and_the_rate_follows_the_schedule(training):
    made = training.configure_optimizers()
    (group,) = made["optimizer"].param_groups
    assert [id(p) for p in group["params"]] == [id(training.model.weight)]
    assert made["lr_scheduler"]["interval"] == "step"
    scheduler = made["lr_scheduler"]["scheduler"]
    for step in range(4):
        assert group["lr"] == pytest.approx(2.0 * training.schedule.learning_rate(step))
        made["optimizer"].step()
        scheduler.step()


def test_the_schedule_adds_nothing_to_the_resume_state(training):
    state = training.configure_optimizers()["lr_scheduler"]["scheduler"].state_dict()
    assert state["lr_lambdas"] == [None]


def test_hooks_do_nothing_by_default(training):
    batches = NoBatches(parents={}, former_ids={})
    assert training.prepare(batches, new=True) is None and training.evaluate(batches) == {}


def test_a_cosine_is_a_schedule():
    assert isinstance(CosineSchedule(steps=1, warmup=0, floor=1.0), Schedule)

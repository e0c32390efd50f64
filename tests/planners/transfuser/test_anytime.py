"""Transfuser with a recurrent-depth head: its plan after every step, alone and in a batch."""

from dataclasses import replace

import pytest
import torch

from latentdrive.build import build
from latentdrive.config import compose
from latentdrive.errors import ConfigError
from latentdrive.planners.anytime import AnytimePlanner
from latentdrive.planners.inputs.batch import PlannerTargets
from latentdrive.planners.transfuser.anytime import AnytimeTransfuser
from tests.support.transfuser import made_inputs, tiny


@pytest.fixture(scope="module")
def planner() -> AnytimeTransfuser:
    torch.manual_seed(0)
    return build(
        compose("train_planner", ["planner=ltf_anytime_tiny", "model.delta=0.0", "model.most_steps=5"]).model
    ).eval()


def _inputs(scenes: int):
    return made_inputs(scenes, seed=2, size=(64, 256), cells=None)


def test_only_a_planner_that_can_refine_is_an_anytime_planner(planner: AnytimeTransfuser) -> None:
    assert isinstance(planner, AnytimePlanner) and not isinstance(tiny("learned"), AnytimePlanner)


@torch.no_grad()
def test_step_by_step_gives_what_planning_at_once_gives(planner: AnytimeTransfuser) -> None:
    whole, state = planner(_inputs(3)), planner.begin(_inputs(3))
    for _ in range(5):
        state = planner.refine(state)
    parts = planner.finish(state)
    assert whole.steps.tolist() == parts.steps.tolist() == [5, 5, 5]
    for name in ("trajectory", "first", "movement", "agents", "semantics"):
        torch.testing.assert_close(getattr(parts, name), getattr(whole, name), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_before_the_first_step_there_is_the_plan_of_transfuser_s_own_head(planner: AnytimeTransfuser) -> None:
    output = planner.finish(planner.begin(_inputs(2)))
    assert torch.equal(output.trajectory, output.first) and output.steps.tolist() == [0, 0]
    assert not torch.equal(planner(_inputs(2)).trajectory, output.first)


@torch.no_grad()
def test_a_scene_is_planned_alone_as_in_a_batch_and_the_same_at_every_call(planner: AnytimeTransfuser) -> None:
    scenes = _inputs(3)
    together = planner(scenes).trajectory
    assert torch.equal(planner(scenes).trajectory, together)
    alone = replace(
        scenes,
        tokens=scenes.tokens[1:2],
        **{name: getattr(scenes, name)[1:2] for name in ("velocity", "acceleration", "command", "cameras")},
    )
    torch.testing.assert_close(planner(alone).trajectory[0], together[1], rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_a_warm_start_goes_on_from_an_earlier_scratchpad(planner: AnytimeTransfuser) -> None:
    state = planner.begin(_inputs(2))
    for _ in range(2):
        state = planner.refine(state)
    warm = planner.refine(planner.begin(_inputs(2), state.progress.scratchpad))
    torch.testing.assert_close(warm.plan, planner.refine(state).plan, rtol=1e-5, atol=1e-5)


def test_the_loss_reaches_every_weight_of_the_head_and_of_both_depths(planner: AnytimeTransfuser) -> None:
    model, loss = planner.train(), build(compose("train_planner", ["planner=ltf_anytime_tiny"]).training.loss)
    torch.manual_seed(3)
    targets = PlannerTargets(
        trajectory=torch.randn(2, 8, 3),
        agents=torch.randn(2, 16, 5),
        agents_real=torch.ones(2, 16, dtype=torch.bool),
        semantics=torch.randint(0, 7, (2, 64, 128)).to(torch.uint8),
    )
    parts = loss(model(_inputs(2)), targets, None)
    assert set(parts) == {"trajectory", "first", "agent_class", "agent_box", "semantics"}
    model.zero_grad()
    parts["trajectory"].backward(retain_graph=True)
    reached = {name for name, weight in model.named_parameters() if weight.grad is not None and weight.grad.any()}
    assert {name for name, _ in model.named_parameters() if name.startswith("head.")} <= reached
    assert any(name.startswith("decoder.layers.0") for name in reached)
    assert not any(name.startswith("trajectory.") for name in reached)
    parts["first"].backward()
    assert any(model.trajectory[0].weight.grad.flatten().abs() > 0)
    model.eval()


def test_the_depth_of_a_training_step_follows_from_its_seed(planner: AnytimeTransfuser) -> None:
    model, depths = planner.train(), []
    for seed in (0, 1, 2, 3, 0):
        torch.manual_seed(seed)
        depths.append(int(model(_inputs(1)).steps))
    model.eval()
    assert depths[0] == depths[-1] and len(set(depths)) > 1


def test_an_unknown_argument_is_refused_although_the_network_s_are_handed_on() -> None:
    node = compose("train_planner", ["planner=ltf_anytime_tiny"]).model.plain()
    with pytest.raises(ConfigError, match=r"has no argument widht; did you mean width\?"):
        build({**node, "widht": 128})
    with pytest.raises(ConfigError, match="needs layers"):
        build({key: value for key, value in node.items() if key != "layers"})


def test_full_size_adds_the_head_to_ltf_and_nothing_else() -> None:
    with torch.device("meta"):
        model = build(compose("train_planner", ["planner=ltf_anytime"]).model)
    counts = {"head": 0, "ltf": 0}
    for name, weight in model.named_parameters():
        counts["head" if name.startswith("head.") else "ltf"] += weight.numel()
    assert counts == {"head": 5_908_997, "ltf": 56_035_685}

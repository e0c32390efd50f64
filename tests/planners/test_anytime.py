"""Planners with a recurrent-depth head: their plan after every step, alone and in a batch."""

from dataclasses import replace

import pytest
import torch

from latentdrive.build import build
from latentdrive.config import compose
from latentdrive.errors import ConfigError, WrongShape
from latentdrive.planners.anytime import AnytimePlanner, RefinesPlans
from latentdrive.planners.inputs.batch import PlannerInputs, PlannerOutput, PlannerTargets
from latentdrive.planners.learned import LearnedPlanner
from latentdrive.types import LatentFeatures
from tests.support import ipad_made, transfuser


def blind(scenes: int) -> PlannerInputs:
    """The ego's state of some scenes."""
    return replace(transfuser.made_inputs(scenes, seed=2, size=(16, 16), cells=None), cameras=None)


def with_latents(inputs: PlannerInputs, *, middle: bool = True) -> PlannerInputs:
    """The same scenes with made-up features, of a middle layer, too."""
    draw = torch.Generator().manual_seed(4)

    def features(deeper: LatentFeatures | None) -> LatentFeatures:
        visual, action = (torch.randn(len(inputs), count, 96, generator=draw) for count in (8, 12))
        return LatentFeatures(visual=visual, action=action, middle=deeper)

    return replace(inputs, latents=features(features(None) if middle else None))


SMALL = {  # a configuration's option: (changes that make it small, inputs that fit)
    "ltf_anytime_tiny": ([], lambda scenes: transfuser.made_inputs(scenes, seed=2, size=(64, 256), cells=None)),
    "ipad_anytime_tiny": (
        [f"model.sensors.cameras.height={ipad_made.HEIGHT}", f"model.sensors.cameras.width={ipad_made.WIDTH}"],
        lambda scenes: ipad_made.made_inputs(scenes, seed=2),
    ),
    "latent_anytime_tiny": ([], lambda scenes: with_latents(blind(scenes))),
}
FIXED = ("model.anytime.delta=0.0", "model.anytime.most_steps=5")
TENSORS = ("velocity", "acceleration", "command", "cameras", "intrinsics", "camera_to_ego")


class Case:
    """An anytime planner of five steps, its configuration, and how to make inputs for it."""

    def __init__(self, option: str) -> None:
        self.option, (changes, self.inputs) = option, SMALL[option]
        self.cfg = compose("train_planner", [f"planner={option}", *changes, *FIXED])
        torch.manual_seed(0)
        self.planner: LearnedPlanner = build(self.cfg.model).eval()


def _second(tensor: torch.Tensor) -> torch.Tensor:
    return tensor[1:2]


@pytest.fixture(scope="module", params=SMALL)
def case(request: pytest.FixtureRequest) -> Case:
    return Case(request.param)


def assert_equal_outputs(one: PlannerOutput, other: PlannerOutput) -> None:
    pairs = [(one.trajectory, other.trajectory)]
    pairs += [(getattr(one.refinement, name), getattr(other.refinement, name)) for name in ("first", "movement")]
    for left, right in pairs:
        torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-4)
    assert one.refinement.steps.tolist() == other.refinement.steps.tolist()


def test_only_a_planner_that_can_refine_is_an_anytime_planner(case: Case) -> None:
    assert isinstance(case.planner, AnytimePlanner)
    assert not isinstance(transfuser.tiny("learned"), AnytimePlanner)


@torch.no_grad()
def test_step_by_step_gives_what_planning_at_once_gives(case: Case) -> None:
    whole, state = case.planner(case.inputs(3)), case.planner.begin(case.inputs(3))
    for _ in range(5):
        state = case.planner.refine(state)
    assert_equal_outputs(whole, case.planner.finish(state))
    assert whole.refinement.steps.tolist() == [5, 5, 5]


@torch.no_grad()
def test_before_the_first_step_there_is_the_planner_s_own_plan(case: Case) -> None:
    output = case.planner.finish(case.planner.begin(case.inputs(2)))
    assert torch.equal(output.trajectory, output.refinement.first) and output.refinement.steps.tolist() == [0, 0]
    assert not torch.equal(case.planner(case.inputs(2)).trajectory, output.refinement.first)


@torch.no_grad()
@pytest.mark.parametrize("option", ["ltf_anytime_tiny", "ipad_anytime_tiny"])
def test_the_plan_before_the_first_step_is_that_of_the_planner_without_a_head(option: str) -> None:
    case = Case(option)
    plain = super(RefinesPlans, case.planner).forward(case.inputs(2)).trajectory
    output = case.planner.finish(case.planner.begin(case.inputs(2)))
    torch.testing.assert_close(plain, output.refinement.first, rtol=0, atol=0)


@torch.no_grad()
def test_a_scene_is_planned_alone_as_in_a_batch_and_the_same_at_every_call(case: Case) -> None:
    scenes = case.inputs(3)
    together = case.planner(scenes).trajectory
    assert torch.equal(case.planner(scenes).trajectory, together)
    given = {name: getattr(scenes, name) for name in TENSORS if getattr(scenes, name) is not None}
    if scenes.latents is not None:
        given["latents"] = scenes.latents
    picked = {name: value._map(_second) if name == "latents" else _second(value) for name, value in given.items()}
    alone = replace(scenes, tokens=scenes.tokens[1:2], **picked)
    torch.testing.assert_close(case.planner(alone).trajectory[0], together[1], rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_a_warm_start_goes_on_from_an_earlier_scratchpad(case: Case) -> None:
    state = case.planner.begin(case.inputs(2))
    for _ in range(2):
        state = case.planner.refine(state)
    warm = case.planner.refine(case.planner.begin(case.inputs(2), case.planner.scratchpad(state)))
    further = case.planner.finish(case.planner.refine(state)).trajectory
    torch.testing.assert_close(case.planner.finish(warm).trajectory, further, rtol=1e-5, atol=1e-5)


def test_the_loss_of_the_refined_plan_reaches_every_weight_of_the_head(case: Case) -> None:
    model = case.planner.train()
    torch.manual_seed(3)
    output = model(case.inputs(2))
    model.zero_grad()
    output.trajectory.abs().sum().backward()
    reached = {name for name, weight in model.named_parameters() if weight.grad is not None and weight.grad.any()}
    # The gate starts at 0, so the keys of the vision get a gradient later; half of their projection are values.
    assert {name for name, _ in model.named_parameters() if name.startswith("head.")} <= reached
    assert any(not name.startswith("head.") for name in reached)
    model.eval()


def test_the_depth_of_a_training_step_follows_from_its_seed(case: Case) -> None:
    model, depths = case.planner.train(), []
    for seed in (0, 1, 2, 3, 0):
        torch.manual_seed(seed)
        depths.append(int(model(case.inputs(1)).refinement.steps))
    model.eval()
    assert depths[0] == depths[-1] and len(set(depths)) > 1


def test_training_weighs_the_plan_before_the_steps_and_the_refined_one() -> None:
    case = Case("ltf_anytime_tiny")
    model, loss = case.planner.train(), build(case.cfg.training, model=case.planner).loss
    torch.manual_seed(3)
    targets = PlannerTargets(
        trajectory=torch.randn(2, 8, 3),
        agents=torch.randn(2, 16, 5),
        agents_real=torch.ones(2, 16, dtype=torch.bool),
        semantics=torch.randint(0, 7, (2, 64, 128)).to(torch.uint8),
    )
    parts = loss(model(case.inputs(2)), targets, None)
    assert set(parts) == {"trajectory", "refined", "agent_class", "agent_box", "semantics"}
    model.zero_grad()
    parts["refined"].backward(retain_graph=True)
    assert all(weight.grad is None or not weight.grad.any() for weight in model.trajectory.parameters())
    parts["trajectory"].backward()
    assert model.trajectory[0].weight.grad.any()


@pytest.mark.parametrize(
    ("planner", "change"), [("ltf_anytime_tiny", "training.refined=null"), ("ltf_tiny", "+training.refined=1.0")]
)
def test_a_weight_of_the_refined_plan_belongs_to_planners_that_refine(planner: str, change: str) -> None:
    cfg = compose("train_planner", [f"planner={planner}", change])
    with pytest.raises(ConfigError, match=r"training\.refined weighs the plan of a planner that refines it"):
        build(cfg.training, model=build(cfg.model))


def test_an_unknown_argument_is_refused_although_the_network_s_are_handed_on() -> None:
    node = compose("train_planner", ["planner=ltf_anytime_tiny"]).model.plain()
    with pytest.raises(ConfigError, match=r"has no argument widht; did you mean width\?"):
        build({**node, "widht": 128})
    with pytest.raises(ConfigError, match="needs layers"):
        build({key: value for key, value in node.items() if key != "layers"})


def test_features_without_a_middle_layer_are_refused_by_name() -> None:
    planner, inputs = Case("latent_anytime_tiny").planner, blind(2)
    with pytest.raises(WrongShape, match="no states of a middle layer, which planner=latent_anytime reads"):
        planner(with_latents(inputs, middle=False))
    with pytest.raises(ConfigError, match="this planner reads a predictor's embeddings, and none were given"):
        planner(inputs)
    with pytest.raises(ConfigError, match="leave fusion out"):
        build(compose("train_planner", ["planner=latent_anytime_tiny", "fusion=latent_tiny"]).model)


@torch.no_grad()
def test_a_planner_over_features_reads_all_of_them() -> None:
    case = Case("latent_anytime_tiny")
    inputs = case.inputs(2)
    before, latents = case.planner(inputs).trajectory, inputs.latents
    for changed in (
        replace(latents, action=latents.action.flip(1)),  # the order of slots is seen
        replace(latents, visual=-latents.visual),
        replace(latents, middle=replace(latents.middle, action=-latents.middle.action)),
        replace(latents, middle=replace(latents.middle, visual=-latents.middle.visual)),
    ):
        assert (case.planner(replace(inputs, latents=changed)).trajectory - before).abs().max() > 1e-4


def test_the_middle_pass_of_ipad_comes_before_its_last() -> None:
    cfg = compose("train_planner", ["planner=ipad_anytime_tiny", "model.middle_pass=3"])
    with pytest.raises(ConfigError, match=r"middle_pass=3 must be at least 1 and below model\.passes=3"):
        build(cfg.model)


@pytest.mark.parametrize(
    ("option", "head", "own"), [("ltf_anytime", 5_908_997, 56_035_685), ("ipad_anytime", 5_908_997, 29_089_283)]
)
def test_full_size_adds_the_head_and_nothing_else(option: str, head: int, own: int) -> None:
    with torch.device("meta"):
        model = build(compose("train_planner", [f"planner={option}"]).model)
    counts = {"head": 0, "own": 0}
    for name, weight in model.named_parameters():
        counts["head" if name.startswith("head.") else "own"] += weight.numel()
    assert counts == {"head": head, "own": own}

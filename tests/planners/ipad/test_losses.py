"""iPad's losses and targets: by hand, part by part, against the scorer, and by overfitting a few scenes."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from latentdrive.errors import ConfigError
from latentdrive.pdms.scorer import Scorer
from latentdrive.pdms.versions import Version
from latentdrive.planners.inputs.batch import PlannerTargets
from latentdrive.planners.ipad.heads import TOTAL
from latentdrive.planners.ipad.losses import IpadLoss, best_of, box_error, chained
from latentdrive.planners.ipad.targets import agent_targets, area_targets, score_targets
from tests.support.ipad_made import PROPOSALS, made_inputs, made_task, scoring_scene, small
from tests.support.made_scenes import FRONT_M, OFF_Y, ONCOMING_Y, Other, driving, moved_scene, plan_of

OFF = {
    "trajectory": 0.0,
    "previous": 0.1,
    "score": 0.0,
    "sub_scores": 0.0,
    "agent_class": 0.0,
    "agent_box": 0.0,
    "area": 0.0,
}
ALL = IpadLoss(trajectory=1.0, previous=0.1, score=1.0, sub_scores=1.0, agent_class=1.0, agent_box=0.1, area=2.0)
CPU = torch.device("cpu")


def test_the_trajectory_loss_takes_the_best_proposal_of_every_pass():
    passes = torch.zeros(1, 2, 3, 2, 3)
    passes[0, 0, 0] = torch.tensor([[1.0, 0.0, 0.0], [3.0, -1.0, 0.5]])  # 1 and 4.5 away: 2.75
    passes[0, 0, 1:] = 10.0
    passes[0, 1, 2] = torch.tensor([[0.0, 0.0, 0.0], [0.0, 1.0, 0.0]])  # 0.5
    passes[0, 1, :2] = 10.0
    by_pass = best_of(passes, torch.zeros(1, 2, 3))
    assert by_pass.tolist() == pytest.approx([2.75, 0.5])
    assert chained(by_pass, 0.1).item() == pytest.approx(0.1 * 2.75 + 0.5)
    assert chained(torch.tensor([1.0, 2.0, 3.0]), 0.1).item() == pytest.approx(0.01 + 0.2 + 3.0)


def test_box_error_ignores_boxes_that_are_not_real():
    boxes, real = torch.zeros(2, 8), torch.tensor([True, False])
    target = torch.stack([torch.full((8,), 2.0), torch.full((8,), 50.0)])
    assert box_error(boxes, target, real).item() == 2.0
    assert box_error(boxes, target, torch.tensor([False, False])).item() == 0.0


def scored(plans: list[np.ndarray], *others: Other, version: Version = Version.PDMS_V1_1, speed: float = 5.0):
    """A scorer of one scene, and its scores of these plans."""
    scene = scoring_scene(speed, *others, generation=version.rules.generation)
    scorer = Scorer([scene], version=version)
    poses = torch.from_numpy(np.stack(plans))[None]
    return scorer, scorer.score_poses(poses, dt_s=0.5, states=True)


STRAIGHT, STANDS = plan_of(driving(5.0)), plan_of(driving(0.0))
PARKED = Other("vehicle", FRONT_M + 2.0 + 8.0, 0.0)  # 4 m long: its rear is 8 m ahead of the car's front


@pytest.mark.parametrize("version", [Version.PDMS_V1_1, Version.EPDMS_V2_2])
def test_score_targets_are_the_scorers_numbers(version):
    scorer, scores = scored([STRAIGHT, STANDS], PARKED, version=version)
    targets = score_targets(scores, CPU)
    comfort = scores.comfort if version is Version.PDMS_V1_1 else scores.history_comfort
    columns = [
        scores.no_at_fault_collisions,
        scores.drivable_area_compliance,
        scores.ego_progress,
        scores.time_to_collision_within_bound,
        comfort,
        scores.score,
    ]
    for number, column in enumerate(columns):
        assert torch.equal(targets[..., number], column.float())
    assert targets[0, 0, 0] == 0.0 and targets[0, 1, 0] == 1.0
    again = scorer.score_poses(torch.from_numpy(np.stack([STRAIGHT, STANDS]))[None].float(), dt_s=0.5)
    assert torch.allclose(targets[..., TOTAL], again.score.float())


def test_a_road_user_is_relevant_until_it_is_hit():
    scorer, scores = scored([STRAIGHT, STANDS], Other("vehicle", 20.0, 30.0), PARKED)
    boxes, real = agent_targets(scorer, scores, 40, CPU)
    hit, close = scores.collision_step[0, 0].item(), scores.ttc_step[0, 0].item()
    assert 14 <= hit <= 18 and 5 <= close < hit  # 8 m at 5 m/s take 1.6 s; too close 0.9 s before
    assert scores.collision_track[0].tolist() == [1, -1] and scores.ttc_track[0].tolist()[0] == 1
    assert real[0, 0, :, 0].tolist() == [step <= hit for step in range(1, 41)]
    assert real[0, 0, :, 1].tolist() == [step <= close for step in range(1, 41)]
    assert not real[0, 1, :, 0].any()
    x, middle = FRONT_M + 10.0, boxes[0, 0, 0, 0]
    assert middle.tolist() == pytest.approx([x + 2, 1, x - 2, 1, x - 2, -1, x + 2, -1], abs=1e-5)
    assert not boxes[~real].any()


def test_boxes_are_in_the_ego_frame():
    """Turning and shifting the whole scene changes nothing in the ego frame."""
    plans = torch.from_numpy(STRAIGHT)[None, None]
    scene = scoring_scene(5.0, Other("vehicle", FRONT_M + 10.03, 0.2))
    moved = moved_scene(scene, np.array([431000.4, 4585000.7, 2.0]))
    scorers = [Scorer([place], version=Version.PDMS_V1_1) for place in (scene, moved)]
    (boxes, real), (moved_boxes, moved_real) = (
        agent_targets(scorer, scorer.score_poses(plans, dt_s=0.5), 40, CPU) for scorer in scorers
    )
    assert torch.equal(real, moved_real) and real.any()
    torch.testing.assert_close(boxes, moved_boxes, atol=1e-4, rtol=0)


def test_a_scene_without_road_users_has_no_boxes():
    scorer, scores = scored([STRAIGHT])
    boxes, real = agent_targets(scorer, scores, 40, CPU)
    assert boxes.shape == (1, 1, 40, 2, 8) and not boxes.any() and not real.any()


def test_area_targets_flag_leaving_the_road_and_the_lanes_of_the_route():
    aside = STRAIGHT.copy()
    aside[:, 1] = OFF_Y * np.arange(1, 9) / 8
    over = STRAIGHT.copy()
    over[:, 1] = ONCOMING_Y * np.minimum(np.arange(1, 9) / 4, 1.0)
    scorer, scores = scored([STRAIGHT, aside, over])
    flags = area_targets(scorer, scores, 40, CPU)
    assert flags.shape == (1, 3, 40, 2) and not flags[0, 0].any()
    assert flags[0, 1, -1].all() and not flags[0, 1, 0].any()
    assert flags[0, 2, -1].tolist() == [False, True]
    assert torch.equal(flags[..., 0].any(-1), scores.drivable_area_compliance == 0)


def part_gradients(name: str) -> set[str]:
    """Parts of the network that get a gradient from one part of the loss."""
    torch.manual_seed(0)
    model = small().train()
    inputs, targets, scenes = made_task(4)
    loss = IpadLoss(**OFF | {name: 1.0})
    parts = loss(model(inputs), targets, Scorer(scenes, version=Version.PDMS_V1_1))
    assert set(parts) == {name} and torch.isfinite(parts[name])
    parts[name].backward()
    return {
        key.split(".")[0] for key, weight in model.named_parameters() if weight.grad is not None and weight.grad.any()
    }


SHARED = {"images", "status", "queries", "refiner"}


@pytest.mark.parametrize(
    ("name", "heads"),
    [
        ("trajectory", set()),
        ("score", {"score"}),
        ("sub_scores", {"score"}),
        ("agent_class", {"agents"}),
        ("area", {"areas"}),
    ],
)
def test_every_part_trains_its_head_and_the_shared_network(name, heads):
    assert part_gradients(name) == SHARED | heads


def test_the_box_part_trains_where_a_road_user_is_relevant():
    torch.manual_seed(0)
    model, inputs = small().train(), made_inputs(2)
    torch.nn.init.zeros_(model.refiner.decode.last.weight)
    with torch.no_grad():
        model.refiner.decode.last.bias.copy_(torch.tensor([20.0, 0.0, 0.0]))
    scenes = [scoring_scene(5.0, Other("vehicle", 9.0, 0.0), token=token) for token in inputs.tokens]
    loss = IpadLoss(**OFF | {"agent_box": 1.0})
    parts = loss(
        model(inputs), PlannerTargets(trajectory=torch.zeros(2, 8, 3)), Scorer(scenes, version=Version.PDMS_V1_1)
    )
    assert parts["agent_box"] > 1.0
    parts["agent_box"].backward()
    assert model.agents.layers.last.weight.grad.any() and model.queries.grad.any()


def test_a_part_without_weight_is_not_computed():
    """Every part but the trajectory needs a scorer; here there is none."""
    model, (inputs, targets, _) = small().train(), made_task(2)
    assert set(IpadLoss(**OFF | {"trajectory": 1.0})(model(inputs), targets, None)) == {"trajectory"}
    for name in ("score", "sub_scores", "agent_class", "agent_box", "area"):
        with pytest.raises(ConfigError, match="expected a scorer"):
            IpadLoss(**OFF | {name: 1.0})(model(inputs), targets, None)


def test_parts_are_proportional_to_their_weights():
    torch.manual_seed(0)
    model, (inputs, targets, scenes) = small().train(), made_task(2)
    output, scorer = model(inputs), Scorer(scenes, version=Version.PDMS_V1_1)
    once = ALL(output, targets, scorer)
    twice = replace(ALL, trajectory=2.0, score=2.0, sub_scores=2.0, agent_class=2.0, agent_box=0.2, area=4.0)
    for name, value in twice(output, targets, scorer).items():
        assert value.item() == pytest.approx(2 * once[name].item(), rel=1e-5), name
    assert set(once) == {"trajectory", "score", "sub_scores", "agent_class", "agent_box", "area"}


def test_in_evaluation_mode_agents_and_areas_have_no_loss():
    model, (inputs, targets, scenes) = small().eval(), made_task(2)
    parts = ALL(model(inputs), targets, Scorer(scenes, version=Version.PDMS_V1_1))
    assert set(parts) == {"trajectory", "score", "sub_scores"}


def test_only_parts_about_the_proposals_need_true_scores():
    none = replace(ALL, score=0.0, sub_scores=0.0, agent_class=0.0, agent_box=0.0, area=0.0)
    assert not none.scores
    for name in ("score", "sub_scores", "agent_class", "agent_box", "area"):
        assert replace(none, **{name: 1.0}).scores


def test_losses_are_finite_in_float32_under_bfloat16_and_with_damaged_proposals():
    torch.manual_seed(0)
    model, (inputs, targets, scenes) = small().train(), made_task(2)
    scorer = Scorer(scenes, version=Version.PDMS_V1_1)
    with torch.autocast("cpu", torch.bfloat16):
        parts = ALL(model(inputs), targets, scorer)
    assert all(value.dtype == torch.float32 and torch.isfinite(value) for value in parts.values())
    output = model(inputs)
    damaged = output.proposals.clone()
    damaged[0, 0, 0, 0] = torch.nan
    parts = ALL(replace(output, proposals=damaged), targets, scorer)
    assert torch.isfinite(parts["score"]) and torch.isfinite(parts["area"])


def test_it_overfits_four_scenes_and_chooses_the_proposal_that_scores_best():
    torch.manual_seed(0)
    model, (inputs, targets, scenes) = small(passes=2).train(), made_task(4)
    scorer = Scorer(scenes, version=Version.PDMS_V1_1)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(60):
        loss = torch.stack(list(ALL(model(inputs), targets, scorer).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        output = model.eval()(inputs)
    truth = scorer.score_poses(output.proposals, dt_s=0.5).score
    chosen = truth.gather(1, output.score_logits[..., TOTAL].argmax(1, keepdim=True))[:, 0]
    assert output.proposals.shape[1] == PROPOSALS
    assert best_of(output.passes, targets.trajectory)[-1] < 1.5
    assert (truth.amax(1) - chosen).mean() < 0.05 and chosen.mean() > 0.8

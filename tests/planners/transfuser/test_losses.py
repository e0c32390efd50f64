"""Transfuser's losses by hand, and against the numbers of NAVSIM's own."""

import json
import math

import numpy as np
import pytest
import torch

from latentdrive.errors import ConfigError
from latentdrive.planners.inputs.batch import PlannerOutput, PlannerTargets
from latentdrive.planners.losses import ImitationLoss, imitation
from latentdrive.planners.transfuser.losses import TransfuserLoss, box_distance, match
from latentdrive.planners.transfuser.model import TransfuserOutput
from tests.support.transfuser import HERE

GOLDEN = json.loads((HERE / "golden_transfuser.json").read_text())["losses"]
NAVSIM = TransfuserLoss(trajectory=10.0, agent_class=10.0, agent_box=1.0, semantics=10.0)


def rows(*xy: tuple[float, float]) -> torch.Tensor:
    """Boxes of 4 m x 2 m at these places, heading 0."""
    return torch.tensor([[[x, y, 0.0, 4.0, 2.0] for x, y in xy]])


def test_matching_minimises_the_sum_of_costs():
    # Nearest first would pair box 0 with the vehicle at 0 m and box 1 (10 m) with that at -3 m: 1 + 13 = 14.
    boxes, agents = rows((-1, 0), (10, 0)), rows((0, 0), (-3, 0))
    chosen = match(boxes, torch.zeros(1, 2), agents, torch.tensor([[True, True]]), class_weight=10.0, box_weight=1.0)
    assert chosen.tolist() == [[1, 0]]  # 2 + 10 = 12


def test_of_two_boxes_at_the_same_distance_the_confident_one_gets_the_real_vehicle():
    # Both boxes lie 1 m off. With logits of 0 and 4, the second is much cheaper to call real.
    agents, real = rows((5, 0), (0, 0)), torch.tensor([[True, False]])
    chosen = match(rows((4, 0), (6, 0)), torch.tensor([[0.0, 4.0]]), agents, real, class_weight=10.0, box_weight=1.0)
    assert chosen.tolist() == [[1, 0]]
    # At 60 m, the gain of 10 x ln 2 - 10 x ln(1 + e^-4) = 6.7, and as much for the empty row, is too little.
    far = match(rows((4, 0), (66, 0)), torch.tensor([[0.0, 4.0]]), agents, real, class_weight=10.0, box_weight=1.0)
    assert far.tolist() == [[0, 1]]


def test_padding_attracts_no_box():
    agents = rows((5, 0), (100, 100))  # the second row is padding
    chosen = match(
        rows((5, 1), (5, 3)),
        torch.zeros(1, 2),
        agents,
        torch.tensor([[True, False]]),
        class_weight=10.0,
        box_weight=1.0,
    )
    assert chosen.tolist() == [[0, 1]]


def test_box_distance_sums_five_numbers_and_averages_over_real_vehicles():
    boxes, vehicles = torch.zeros(2, 2, 5), torch.ones(2, 2, 5)
    vehicles[1, 1] = 7.0
    real = torch.tensor([[True, False], [False, True]])
    assert box_distance(boxes, vehicles, real).item() == (5 + 35) / 2
    assert box_distance(boxes, vehicles, torch.zeros(2, 2, dtype=torch.bool)).item() == 0.0


def test_each_part_by_hand():
    output = TransfuserOutput(
        trajectory=torch.zeros(1, 2, 3),
        agents=rows((3, 0), (8, 1)),
        agent_logits=torch.tensor([[0.0, 0.0]]),
        semantics=torch.zeros(1, 7, 4, 4),
    )
    targets = PlannerTargets(
        trajectory=torch.full((1, 2, 3), 0.5),
        agents=rows((8, 0), (0, 0)),
        agents_real=torch.tensor([[True, False]]),
        semantics=torch.zeros(1, 4, 4, dtype=torch.uint8),
    )
    parts = {key: value.item() for key, value in NAVSIM(output, targets, None).items()}
    expected = {"trajectory": 5.0, "agent_class": 10 * math.log(2), "agent_box": 1.0, "semantics": 10 * math.log(7)}
    assert parts == pytest.approx(expected, rel=1e-5)


def test_the_same_numbers_as_navsims_own_loss():
    rng = np.random.RandomState(3)
    scenes, agents = 3, 30
    real = np.arange(agents) < np.array([[0], [7], [12]])

    def number(array: np.ndarray) -> torch.Tensor:
        return torch.tensor(array, dtype=torch.float32)

    output = TransfuserOutput(
        trajectory=number(rng.normal(size=(scenes, 8, 3))),
        agents=number(rng.normal(size=(scenes, agents, 5)) * 8),
        agent_logits=number(rng.normal(size=(scenes, agents))),
        semantics=number(rng.normal(size=(scenes, 7, 8, 16))),
    )
    targets = PlannerTargets(
        trajectory=number(rng.normal(size=(scenes, 8, 3))),
        agents=number(rng.normal(size=(scenes, agents, 5)) * 8 * real[..., None]),
        agents_real=torch.tensor(real),
        semantics=torch.tensor(rng.randint(0, 7, (scenes, 8, 16)), dtype=torch.uint8),
    )
    parts = {key: value.item() for key, value in NAVSIM(output, targets, None).items()}
    assert parts == pytest.approx(GOLDEN, rel=1e-5)


def test_targets_without_vehicles_or_semantics_are_refused():
    output = TransfuserOutput(
        trajectory=torch.zeros(1, 2, 3),
        agents=rows((0, 0)),
        agent_logits=torch.zeros(1, 1),
        semantics=torch.zeros(1, 7, 4, 4),
    )
    with pytest.raises(ConfigError, match=r"set batches\.targets\.agents and batches\.targets\.semantics"):
        NAVSIM(output, PlannerTargets(trajectory=torch.zeros(1, 2, 3)), None)


def test_imitation_is_the_mean_distance_over_all_numbers():
    plan, human = torch.zeros(1, 2, 3), torch.tensor([[[1.0, -2.0, 0.0], [0.0, 3.0, 0.0]]])
    assert imitation(plan, human).item() == 1.0
    loss = ImitationLoss(trajectory=2.0)
    assert loss(PlannerOutput(trajectory=plan), PlannerTargets(trajectory=human), None)["trajectory"].item() == 2.0
    assert not loss.scores and not NAVSIM.scores

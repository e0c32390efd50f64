"""Transfuser's losses by hand, and the same numbers as NAVSIM's own."""

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
    """Boxes at these places; heading 0, 4 m by 2 m."""
    return torch.tensor([[[x, y, 0.0, 4.0, 2.0] for x, y in xy]])


def test_a_vehicle_is_matched_to_the_box_that_costs_least_in_sum():
    # Nearest first would give box 0 to the vehicle at 0 m (distance 1) and box 1 (at 10 m) to that at -3 m: 1 + 13. The sum says otherwise.
    boxes, agents = rows((-1, 0), (10, 0)), rows((0, 0), (-3, 0))
    chosen = match(boxes, torch.zeros(1, 2), agents, torch.tensor([[True, True]]), class_weight=10.0, box_weight=1.0)
    assert chosen.tolist() == [[1, 0]]  # 2 + 10


def test_a_box_that_is_sure_of_itself_gets_the_real_vehicle():
    # Both lie 1 m off. Logits of 0 and 4: the second is much the cheaper one to call real.
    agents, real = rows((5, 0), (0, 0)), torch.tensor([[True, False]])
    chosen = match(rows((4, 0), (6, 0)), torch.tensor([[0.0, 4.0]]), agents, real, class_weight=10.0, box_weight=1.0)
    assert chosen.tolist() == [[1, 0]]
    # Against 60 m, 10 x ln 2 - 10 x ln(1 + e^-4) = 6.7 and as much the other way for the empty row are too little.
    far = match(rows((4, 0), (66, 0)), torch.tensor([[0.0, 4.0]]), agents, real, class_weight=10.0, box_weight=1.0)
    assert far.tolist() == [[0, 1]]


def test_padding_attracts_no_box():
    agents = rows((5, 0), (100, 100))  # the second row is padding, wherever it lies
    chosen = match(
        rows((5, 1), (5, 3)),
        torch.zeros(1, 2),
        agents,
        torch.tensor([[True, False]]),
        class_weight=10.0,
        box_weight=1.0,
    )
    assert chosen.tolist() == [[0, 1]]


def test_box_distance_counts_all_five_numbers_a_real_vehicle():
    boxes, wanted = torch.zeros(2, 2, 5), torch.ones(2, 2, 5)
    wanted[1, 1] = 7.0
    real = torch.tensor([[True, False], [False, True]])
    assert box_distance(boxes, wanted, real).item() == (5 + 35) / 2
    assert box_distance(boxes, wanted, torch.zeros(2, 2, dtype=torch.bool)).item() == 0.0


def test_each_part_by_hand():
    output = TransfuserOutput(
        trajectory=torch.zeros(1, 2, 3), agents=rows((3, 0), (8, 1)), agent_logits=torch.tensor([[0.0, 0.0]]),
        semantics=torch.zeros(1, 7, 4, 4),
    )  # fmt: skip
    targets = PlannerTargets(
        trajectory=torch.full((1, 2, 3), 0.5), agents=rows((8, 0), (0, 0)), agents_real=torch.tensor([[True, False]]),
        semantics=torch.zeros(1, 4, 4, dtype=torch.uint8),
    )  # fmt: skip
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
        trajectory=number(rng.normal(size=(scenes, 8, 3))), agents=number(rng.normal(size=(scenes, agents, 5)) * 8),
        agent_logits=number(rng.normal(size=(scenes, agents))), semantics=number(rng.normal(size=(scenes, 7, 8, 16))),
    )  # fmt: skip
    targets = PlannerTargets(
        trajectory=number(rng.normal(size=(scenes, 8, 3))), agents=number(rng.normal(size=(scenes, agents, 5)) * 8 * real[..., None]),
        agents_real=torch.tensor(real), semantics=torch.tensor(rng.randint(0, 7, (scenes, 8, 16)), dtype=torch.uint8),
    )  # fmt: skip
    parts = {key: value.item() for key, value in NAVSIM(output, targets, None).items()}
    assert parts == pytest.approx(GOLDEN, rel=1e-5)


def test_targets_without_vehicles_or_view_are_refused():
    output = TransfuserOutput(
        trajectory=torch.zeros(1, 2, 3),
        agents=rows((0, 0)),
        agent_logits=torch.zeros(1, 1),
        semantics=torch.zeros(1, 7, 4, 4),
    )
    with pytest.raises(ConfigError, match=r"set batches\.targets\.agents and batches\.targets\.semantics"):
        NAVSIM(output, PlannerTargets(trajectory=torch.zeros(1, 2, 3)), None)


def test_imitation_is_the_mean_distance_of_every_number():
    plan, human = torch.zeros(1, 2, 3), torch.tensor([[[1.0, -2.0, 0.0], [0.0, 3.0, 0.0]]])
    assert imitation(plan, human).item() == 1.0
    loss = ImitationLoss(trajectory=2.0)
    assert loss(PlannerOutput(trajectory=plan), PlannerTargets(trajectory=human), None)["trajectory"].item() == 2.0
    assert not loss.scores and not NAVSIM.scores

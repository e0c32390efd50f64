"""tools/anytime_curve.py on a trained planner: its arms are what the planner does, and what it writes is measured.

Here and not beside the tests of the other tools, because the world and the trained planner are those of this folder.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anytime_curve
import numpy as np
import pytest
import torch
from anytime_arms import Arm, ArmsOf

from latentdrive.build import build
from latentdrive.config import compose
from latentdrive.errors import ConfigError
from latentdrive.planners.loading import load_planner
from latentdrive.run_folder import CHECKPOINT

COLD = Arm(delta=0.0, most=3)


@pytest.fixture(scope="module")
def checkpoint(trained: Callable[..., Path]) -> Path:
    return trained("planner=ltf_anytime_tiny") / CHECKPOINT


@pytest.fixture(scope="module")
def of(words: list[str], checkpoint: Path) -> ArmsOf:
    planner = load_planner(folder=str(checkpoint), latents=None, predictor=None, oracle_future=False, device="cpu")
    data = build(compose("evaluate", words).data)
    return ArmsOf(planner.eval(), data.open_scenes(split="test", needs=planner.needs))


@torch.no_grad()
def test_an_arm_plans_what_the_planner_plans(of: ArmsOf) -> None:
    scenes = [of.source[token] for token in of.source.tokens]
    settings = of.head.settings
    planned = of.plan({"as_is": Arm(delta=settings.delta, most=settings.most_steps)}, scenes, earlier=None)
    output = of.planner(of.inputs(scenes))
    torch.testing.assert_close(planned["as_is"].poses, output.trajectory, rtol=1e-4, atol=1e-4)
    assert planned["as_is"].steps.tolist() == output.refinement.steps.tolist()
    torch.testing.assert_close(planned["own"].poses, output.refinement.first, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_a_warm_start_goes_on_from_the_frame_half_a_second_before(of: ArmsOf) -> None:
    scenes = [of.source[token] for token in of.source.tokens]
    earlier = [of.earlier_scene(scene.token) for scene in scenes]
    for scene, before in zip(scenes, earlier):
        if before is not None:
            assert before.drive == scene.drive and scene.time_s - before.time_s == pytest.approx(0.5, abs=0.01)
    row = next(row for row, before in enumerate(earlier) if before is not None)
    warm = of.plan({"warm": Arm(delta=0.0, most=2, warm=True)}, scenes, earlier=COLD)["warm"]
    state = of.begin([earlier[row]])
    for _ in range(COLD.most):
        state = of.planner.refine(state)
    now = of.planner.begin(of.inputs([scenes[row]]), of.planner.scratchpad(state))
    by_hand = of.planner.finish(of.planner.refine(of.planner.refine(now))).trajectory
    torch.testing.assert_close(warm.poses[row], by_hand[0], rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_heads_are_timed_arm_by_arm_and_a_warm_start_pays_for_the_earlier_pass(of: ArmsOf) -> None:
    token = next(token for token in of.source.tokens if of.earlier_scene(token) is not None)
    arms = {"few": Arm(delta=0.0, most=1), "many": Arm(delta=0.0, most=24), "warm": Arm(delta=0.0, most=1, warm=True)}
    times = of.times_ms(arms, [of.source[token]] * 3, earlier=COLD)
    assert times["many"] > times["few"] > 0 and times["perceive"] > 0
    assert times["warm+earlier"] > times["warm"]


def test_the_curve_is_written_with_everything_that_was_chosen(
    words: list[str], checkpoint: Path, tmp_path: Path
) -> None:
    out = tmp_path / "curve.json"
    anytime_curve.main([str(checkpoint), "--out", str(out), "--timed", "2", "--", *words])
    written: dict[str, Any] = json.loads(out.read_text())
    arms = written["arms"]
    assert [arms[f"fixed_{count}"]["mean_steps"] for count in anytime_curve.FIXED] == list(anytime_curve.FIXED)
    assert arms["own"]["mean_steps"] == 0 and arms["own"]["minus_own"]["mean"] == 0 and arms["own"]["head_ms"] == 0
    assert written["chosen"]["delta"] in anytime_curve.DELTAS and written["chosen"]["probe"] in anytime_curve.PROBES
    steps = [arms[f"adaptive_{bound:g}"]["mean_steps"] for bound in anytime_curve.DELTAS]
    assert steps == sorted(steps)  # a smaller bound takes more steps
    chosen = arms[f"adaptive_{written['chosen']['delta']:g}"]
    assert arms["lazy"]["mean_steps"] >= chosen["mean_steps"]
    assert arms["warm"]["head_ms_with_the_earlier_pass"] > arms["warm"]["head_ms"] > 0
    assert written["scenes"] == 4 and written["failed_at_most"] == 0.0


def test_the_cheapest_setting_that_is_good_enough_is_chosen() -> None:
    rows = {0.002: (0.70, 4.0), 0.001: (0.797, 7.0), 0.0005: (0.80, 9.0)}
    rows = {bound: {"score": score, "steps": steps} for bound, (score, steps) in rows.items()}
    assert anytime_curve.cheapest(rows, 0.005, cost=lambda bound, row: row["steps"]) == 0.001
    assert anytime_curve.cheapest(rows, 0.001, cost=lambda bound, row: row["steps"]) == 0.0005
    assert anytime_curve.cheapest(rows, 0.2, cost=lambda bound, row: bound) == 0.0005


def test_numbers_of_an_arm_by_hand() -> None:
    columns = np.array([[0.0, 0.8, 0.6, 0.0], [4, 6, 6, 8], [3.0, 1.0, 2.0, np.nan]])
    own = np.array([[0.5, 0.5, 0.5, 0.5], [0, 0, 0, 0], [np.nan] * 4])
    numbers = anytime_curve.numbers_of(columns, own, ["a", "a", "b", "b"])
    assert numbers["score"]["mean"] == pytest.approx(0.35) and numbers["minus_own"]["mean"] == pytest.approx(-0.15)
    assert numbers["mean_steps"] == 6 and numbers["failed"] == 2 and numbers["auroc"]["mean"] == 1.0


def test_a_planner_that_plans_at_once_is_refused(trained: Callable[..., Path], tmp_path: Path) -> None:
    folder = trained("planner=ego_mlp") / CHECKPOINT
    with pytest.raises(ConfigError, match="holds a EgoMlp, which does not refine its plan"):
        anytime_curve.main([str(folder), "--out", str(tmp_path / "a.json"), "--", "data=navsim"])

"""Which scenes count as synthetic: the source says so. A token's length alone must not cost a scene
part of its score."""

from dataclasses import replace

import numpy as np
import pytest

from latentdrive.evaluation.planning import Plans
from latentdrive.evaluation.scoring import ScoredPlans, score_plans, with_extended_comfort
from latentdrive.pdms.prepare import prepare_scene
from latentdrive.pdms.versions import V2, Version
from latentdrive.types import SceneTruth
from tests.support.scenario import logs, scenario, write_scenario

TOKENS = ("made-scenario@4.0", "made-scenario@4.5")  # as long as the tokens of NAVSIM's synthetic scenes


@pytest.fixture(scope="module")
def truths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, SceneTruth]:
    """Two decision points of one recording, half a second apart."""
    source = logs(write_scenario(tmp_path_factory.mktemp("scenario") / "a.pkl", scenario("made-scenario")))
    assert {len(token) for token in TOKENS} == {17}
    return {token: source.truth(token) for token in TOKENS}


def scored(truths: dict[str, SceneTruth]) -> ScoredPlans:
    """The human driver's plan in each scene, scored by NAVSIM v2."""
    scenes = {token: prepare_scene(truth, V2) for token, truth in truths.items()}
    plans = Plans(trajectories={token: truth.human for token, truth in truths.items()}, failures={})
    plain = score_plans(
        plans,
        tokens=TOKENS,
        drives=["made"] * 2,
        prepared=scenes.__getitem__,
        version=Version.EPDMS_V2_2,
        device="cpu",
        batch=2,
        advance=lambda more: None,
    )
    return with_extended_comfort(plain)


def test_a_scenario_with_a_token_of_17_characters_keeps_human_filter_and_extended_comfort(truths):
    assert prepare_scene(truths[TOKENS[1]], V2).human_terms is not None
    first, second = scored(truths).results.terms["two_frame_extended_comfort"]
    assert np.isnan(first) and second == 1.0


def test_a_synthetic_scene_has_neither(truths):
    synthetic = {token: replace(truth, synthetic=True) for token, truth in truths.items()}
    assert prepare_scene(synthetic[TOKENS[1]], V2).human_terms is None
    assert np.isnan(scored(synthetic).results.terms["two_frame_extended_comfort"]).all()

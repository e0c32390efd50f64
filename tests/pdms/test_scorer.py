"""Scorer and prepare at their edges: bad plans, wrong shapes, wrong scenes, empty roads, cars off the map."""

import inspect
import math

import numpy as np
import pytest
import torch

from latentdrive.errors import StoreError, UnreadableScene, WrongShape
from latentdrive.pdms.prepare import prepare_scene
from latentdrive.pdms.scene import VX
from latentdrive.pdms.score import PdmScores
from latentdrive.pdms.scorer import Scorer
from latentdrive.pdms.versions import V1, V2, Version
from latentdrive.types import Trajectory
from tests.support.made_scenes import STRAIGHT_LINE, Other, driving, made_scene, plan_of
from tests.support.made_truths import TRAFFIC, made_truth, moved_truth, plans, street_truth
from tests.support.small_maps import road_map

NUMBERS = ("score", "product", "progress_m", "collision_step", "collision_track", "ttc_step", *V2.columns, *V1.columns)


def going(speed: float = 5.0) -> np.ndarray:
    """A car at the origin that drives along x."""
    state = np.zeros(11)
    state[VX] = speed
    return state


def scorer(*scenes, version: Version = Version.EPDMS_V2_2) -> Scorer:
    return Scorer(scenes or [made_scene(Other("vehicle", 30.0, 0.3), ego=going())], version=version)


def scored(poses: np.ndarray, *scenes, dt_s: float = 0.5, version: Version = Version.EPDMS_V2_2) -> PdmScores:
    return scorer(*scenes, version=version).score(Trajectory(poses=poses, dt_s=dt_s))


def numbers(scores: PdmScores) -> dict[str, torch.Tensor]:
    return {name: value for name in NUMBERS if (value := getattr(scores, name)) is not None}


def assert_equal(scores: PdmScores, expected: PdmScores, rows: slice = slice(None)) -> None:
    expected_numbers = numbers(expected)
    assert numbers(scores).keys() == expected_numbers.keys()
    for name, value in numbers(scores).items():
        assert torch.equal(value[:, rows], expected_numbers[name][:, rows]), name


STRAIGHT = plan_of(driving(5.0))


@pytest.mark.parametrize("version", Version)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e200])
@pytest.mark.parametrize("where", [(0, 0), (7, 2), (3, 1)])
def test_a_plan_that_is_no_number_scores_0_and_is_named(version: Version, bad: float, where: tuple):
    scene = made_scene(Other("vehicle", 30.0, 0.3), ego=going(), generation=version.rules.generation, token="abc")
    poses = np.tile(STRAIGHT, (1, 4, 1, 1))
    good = scored(poses, scene, version=version)
    poses[0, 2][where] = bad
    scores = scored(poses, scene, version=version)
    assert good.failures == {} and good.valid.all()
    assert scores.valid.tolist() == [[True, True, False, True]]
    assert scores.failures == {"abc": "trajectory 2: NaN or infinite numbers among its poses"}
    for name, value in numbers(scores).items():
        assert value[0, 2] == (-1 if name.endswith(("step", "track")) else 0.0), name
    for rows in (slice(0, 2), slice(3, 4)):
        assert_equal(scores, good, rows)


def test_several_bad_plans_are_counted_by_scene():
    scenes = [made_scene(ego=going(), token=name) for name in "abc"]
    poses = np.tile(STRAIGHT, (3, 3, 1, 1))
    poses[0, 1:] = math.nan
    poses[2, 0] = math.inf
    assert scored(poses, *scenes).failures == {
        "a": "trajectories 1 and 1 more: NaN or infinite numbers among its poses",
        "c": "trajectory 0: NaN or infinite numbers among its poses",
    }
    invalid = np.full((1, 1, 8, 3), math.nan)
    assert scored(invalid, scenes[0]).failures == {"a": "trajectory: NaN or infinite numbers among its poses"}


def test_only_bad_plans_leave_a_result_of_zeros():
    scores = scored(np.full((1, 2, 8, 3), math.nan))
    assert scores.score.tolist() == [[0.0, 0.0]] and not scores.valid.any()


@pytest.mark.parametrize(
    ("shape", "got"),
    [
        ((2, 4, 8, 3), r"\[2, 4, 8, 3\]"),
        ((4, 8, 3), r"\[4, 8, 3\]"),
        ((1, 4, 8, 2), r"\[1, 4, 8, 2\]"),
        ((1, 0, 8, 3), r"\[1, 0, 8, 3\]"),
        ((1, 4, 0, 3), r"\[1, 4, 0, 3\]"),
        ((8, 3), r"\[8, 3\]"),
    ],
)
def test_wrong_shapes_are_named_with_what_was_expected(shape: tuple, got: str):
    # While tests run, the type checker sees wrong shapes first; users get this message.
    score_poses = inspect.unwrap(Scorer.score_poses)
    with pytest.raises(WrongShape, match=rf"expected poses \[1 scene, proposals, poses, 3\], got {got}"):
        score_poses(scorer(), torch.zeros(shape), dt_s=0.5)


@pytest.mark.parametrize("dt_s", [0.0, -0.5, math.nan])
def test_poses_must_be_some_time_apart(dt_s: float):
    with pytest.raises(WrongShape, match=f"dt_s={dt_s}"):
        scored(STRAIGHT[None, None], dt_s=dt_s)


def test_scenes_of_the_other_generation_are_refused_by_name():
    scenes = [made_scene(), made_scene(generation=1, token="old"), made_scene(generation=1)]
    message = r"scene old \(2 in all\) was prepared for NAVSIM v1, but epdms_v2\.2 needs v2: prepare the scenes by"
    with pytest.raises(StoreError, match=message):
        Scorer(scenes, version="epdms_v2.2")
    with pytest.raises(StoreError, match=r"prepared for NAVSIM v2, but pdms_v1\.1 needs v1"):
        Scorer(scenes[:1], version=Version.PDMS_V1_1)


def test_no_scenes_at_all_are_refused():
    with pytest.raises(WrongShape, match="got no scenes; expected at least one"):
        Scorer([], version="pdms_v1.1")


def test_an_unknown_version_is_refused():
    with pytest.raises(ValueError, match="pdms_v3"):
        Scorer([made_scene()], version="pdms_v3")


@pytest.mark.parametrize("generation", [1, 2])
def test_a_road_without_anybody_is_scored(generation: int):
    version = Version.PDMS_V1_1 if generation == 1 else Version.EPDMS_V2_2
    scores = scored(STRAIGHT[None, None], made_scene(ego=going(), generation=generation), version=version)
    assert scores.score.item() == pytest.approx(1.0, abs=1e-9) and scores.tracks == ((),)


def test_float32_plans_are_widened_before_anything_else():
    poses = np.stack([STRAIGHT, *plans(0, 5)])[None]
    narrow = poses.astype(np.float32)
    assert_equal(scored(narrow), scored(narrow.astype(np.float64)))
    assert not torch.equal(scored(narrow).progress_m, scored(poses).progress_m)  # they are not the same plans


def test_what_was_given_is_not_changed():
    poses = np.tile(STRAIGHT, (1, 2, 1, 1))
    poses[0, 1, 3] = math.nan
    before = poses.copy()
    scored(poses)
    np.testing.assert_array_equal(poses, before)


def test_a_plan_behind_the_car_is_scored_as_any_other():
    # A plan that backs up makes no progress. One that jumps 60 m back and goes on from there is followed ahead.
    jumps, backs = STRAIGHT - np.array([60.0, 0.0, 0.0]), STRAIGHT * np.array([-1.0, 1.0, 1.0])
    scores = scored(np.stack([jumps, backs, STRAIGHT])[None], made_scene(ego=going()))
    assert scores.valid.all() and scores.failures == {}
    assert torch.isfinite(scores.score).all()
    assert scores.progress_m[0, 1] == 0.0 and scores.ego_progress[0, 1] == 0.0
    assert (scores.score[0, :2] < scores.score[0, 2]).all()


def test_other_samplings_and_short_plans_are_scored():
    dense = plan_of(driving(5.0)).repeat(5, 0)
    dense[:, 0] = 0.5 * np.arange(1, 41)
    assert scored(dense[None, None], dt_s=0.1).progress_m.item() == pytest.approx(20.0, abs=0.01)
    assert scored(STRAIGHT[None, None, :1]).progress_m.item() < 6.0


def test_progress_is_compared_with_the_reference():
    # 20 m of progress against 40 m with a product of 1, of 0.5, and of 0, which does not count.
    for product, share in ((1.0, 0.5), (0.5, 1.0), (0.0, 1.0)):
        scene = made_scene(ego=going(), reference_m=40.0, reference_product=product)
        assert scored(STRAIGHT[None, None], scene).ego_progress.item() == pytest.approx(share, abs=1e-4)


def test_the_human_filters_in_v2_2_and_only_the_printed_terms_in_v2_0():
    human = np.array([1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0])  # the human leaves the road too
    scene = made_scene(ego=going(), human_terms=human, road=())
    scores = {version: scored(STRAIGHT[None, None], scene, version=version) for version in list(Version)[1:]}
    assert [result.drivable_area_compliance.item() for result in scores.values()] == [1.0, 1.0]
    assert scores[Version.EPDMS_V2_0].score.item() == 0.0
    unfiltered = scored(STRAIGHT[None, None], made_scene(ego=going(), road=()))
    assert unfiltered.drivable_area_compliance.item() == unfiltered.score.item() == 0.0
    assert scores[Version.EPDMS_V2_2].product.item() == scores[Version.EPDMS_V2_2].driving_direction_compliance.item()


@pytest.mark.parametrize("rules", [V1, V2])
def test_a_scene_without_a_route_is_named(rules):
    with pytest.raises(UnreadableScene, match=r"^drive: scene made: the scene has no route"):
        prepare_scene(street_truth(route=()), rules)


def test_a_scene_on_an_empty_map_or_with_a_foreign_route_is_named():
    with pytest.raises(UnreadableScene, match=r"scene made: .*roadblock r0 is not in map small"):
        prepare_scene(street_truth(place=road_map()), V2)
    with pytest.raises(UnreadableScene, match="scene made: route: roadblock nowhere"):
        prepare_scene(street_truth(route=("r0", "nowhere")), V2)


@pytest.mark.parametrize("rules", [V1, V2])
def test_a_car_off_the_map_takes_the_nearest_roadblock(rules):
    # 40 m beside the street, north of r1's middle: no roadblock within 1 m, so the nearest one and its lane
    # begin the route.
    away = street_truth(ego=(40.0, 42.0, 0.0))
    scene = prepare_scene(away, rules)
    assert scene.centreline[0].tolist() == [30.0, 0.0, 0.0]
    version = Version.PDMS_V1_1 if rules is V1 else Version.EPDMS_V2_2
    scores = scored(STRAIGHT[None, None], scene, version=version)
    assert scores.valid.all()
    if rules is V1:
        assert scores.drivable_area_compliance.item() == scores.score.item() == 0.0
    else:
        assert scene.human_terms[V2.columns.index("drivable_area_compliance")] == 0.0  # the human was there too
        assert scores.drivable_area_compliance.item() == 1.0


@pytest.mark.parametrize("rules", [V1, V2])
def test_a_car_further_away_than_the_map_is_fetched_has_no_areas_and_is_still_scored(rules):
    scene = prepare_scene(street_truth(ego=(40.0, 500.0, 0.0)), rules)
    assert len(scene.areas.ids) == 0
    version = Version.PDMS_V1_1 if rules is V1 else Version.EPDMS_V2_0
    assert scored(STRAIGHT[None, None], scene, version=version).score.item() == 0.0


@pytest.mark.parametrize("rules", [V1, V2])
def test_an_empty_street_is_prepared(rules):
    alone = made_truth(street_truth().map, ("r0", "j0", "r1", "j1", "r2"))
    scene = prepare_scene(alone, rules)
    assert len(scene.tracks) == 0 and scene.tracks.poses.shape == (rules.track_steps, 0, 3)
    assert scene.reference_progress_m > 5.0
    assert scene.centreline.shape[1] == STRAIGHT_LINE.shape[1]


def test_traffic_is_prepared_as_it_was_made():
    scene = prepare_scene(moved_truth(street_truth(), np.array([1000.0, 2000.0, 0.0])), V2)
    assert set(scene.tracks.tokens) == {row[0] for row in TRAFFIC}
    assert scene.lights.connectors == ("c1",)
    # Red in frames 6 to 8 after now: from step 30 on, the last of them at step 40 alone.
    assert np.flatnonzero(scene.lights.red[:, 0]).tolist() == list(range(30, 41))

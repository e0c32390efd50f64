"""What must not change a score.

These are the place of the scene, the order of plans and scenes, things far away, whole turns, and
invalid plans beside it. Scenes are made by hand, or golden ones where there are any; each is
prepared once.
"""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from latentdrive.pdms.prepare import prepare_scene
from latentdrive.pdms.scene import ScoringScene
from latentdrive.pdms.score import PdmScores
from latentdrive.pdms.scorer import AT_ONCE, Scorer
from latentdrive.pdms.versions import V1, V2, Version
from latentdrive.types import SceneTruth, Trajectory
from tests.support.golden_files import FILES, golden
from tests.support.made_scenes import moved_scene
from tests.support.made_truths import highway_truth, made_truth, moved_truth, plans, street_truth

VERSIONS = (Version.PDMS_V1_1, Version.EPDMS_V2_2)
GOLDEN = [name for name in ("001_intersection", "015_tight") if name in FILES]
SCENES = ("street", "highway", *GOLDEN)
CONTINUOUS = ("ego_progress", "score", "progress_m")
DISCRETE = sorted({*V1.columns, *V2.columns, "product", "collision_step", "ttc_step"} - {*CONTINUOUS})
MANY = 16

seeds = st.integers(0, 2**31)
headings = st.floats(-np.pi, np.pi)
whole_metres = st.integers(-4_000_000, 4_000_000).map(float)
few, fewest = settings(max_examples=3), settings(max_examples=1)


@cache
def truth(name: str) -> SceneTruth:
    if name == "street":
        return street_truth()
    return highway_truth() if name == "highway" else golden(name).truth(0)


@cache
def prepared(name: str, version: Version) -> ScoringScene:
    return prepare_scene(truth(name), version.rules)


@cache
def scorer(name: str, version: Version) -> Scorer:
    return Scorer([prepared(name, version)], version=version)


def score(scored_by: Scorer, poses: np.ndarray) -> PdmScores:
    return scored_by.score(Trajectory(poses=poses, dt_s=0.5))


def assert_same(scores: PdmScores, expected: PdmScores, close: float, places: list[int] | slice = slice(None)) -> None:
    """Discrete terms are equal, continuous ones close; column k of `scores` is column places[k] of `expected`."""
    for name in (*DISCRETE, *CONTINUOUS):
        values, other = getattr(scores, name), getattr(expected, name)
        if values is None or other is None:
            assert values is other, name
            continue
        torch.testing.assert_close(
            values,
            other[:, places],
            rtol=0,
            atol=close if name in CONTINUOUS else 0,
            equal_nan=True,
            msg=lambda text, name=name: f"{name}: {text}",
        )
    assert hit(scores) == [[row[k] for k in np.arange(len(row))[places]] for row in hit(expected)]
    close_m = (scores.reference_progress_m - expected.reference_progress_m).abs().max()
    assert close_m <= max(close, 1e-12)


def hit(scores: PdmScores) -> list[list[str]]:
    """Names of who is hit."""
    return [
        ["" if track < 0 else names[track] for track in row]
        for names, row in zip(scores.tracks, scores.collision_track.tolist())
    ]


every_scene = pytest.mark.parametrize("name", SCENES)
every_version = pytest.mark.parametrize("version", VERSIONS)


@every_version
def test_the_made_scenes_and_plans_meet_every_rule(version: Version):
    # Without this, the other tests of this file would prove little.
    scores = [score(scorer("street", version), plans(seed, 150)[None]) for seed in range(2)]
    for name in version.rules.columns:
        values = [getattr(result, name) for result in scores]
        if values[0] is not None:
            assert len(torch.cat(values).unique()) > 1, name


@every_version
@pytest.mark.parametrize("name", ["street", "highway"])
@few
@given(seed=seeds, x=whole_metres, y=whole_metres)
def test_whole_metres_change_nothing(name: str, version: Version, seed: int, x: float, y: float):
    moved = prepare_scene(moved_truth(truth(name), np.array([x, y, 0.0])), version.rules)
    poses = plans(seed, MANY)[None]
    assert_same(score(Scorer([moved], version=version), poses), score(scorer(name, version), poses), 1e-6)


@every_version
@few
@given(seed=seeds, by=headings)
def test_turning_the_whole_scene_changes_nothing_where_the_map_lies_inside_the_square(
    version: Version, seed: int, by: float
):
    moved = prepare_scene(moved_truth(truth("street"), np.array([0.0, 0.0, by])), version.rules)
    poses = plans(seed, MANY)[None]
    assert_same(score(Scorer([moved], version=version), poses), score(scorer("street", version), poses), 1e-6)


@every_version
@every_scene
@few
@given(seed=seeds, by=headings, x=st.floats(-1e3, 1e3))
def test_turning_a_prepared_scene_changes_nothing(name: str, version: Version, seed: int, by: float, x: float):
    moved = moved_scene(prepared(name, version), np.array([x, -2 * x, by]))
    poses = plans(seed, MANY)[None]
    assert_same(score(Scorer([moved], version=version), poses), score(scorer(name, version), poses), 1e-6)


def test_a_map_that_reaches_beyond_the_square_is_cut_by_the_axes():
    # While the road lies along an axis, its part from x = 102.5 on is not fetched, and 30 m/s for 4 s leave
    # the map. When it is turned by 45 degrees, the square reaches 141 m along the road, and the same plan
    # stays on it.
    straight = np.stack([15.0 * np.arange(1, 9), np.zeros(8), np.zeros(8)], -1)[None, None]
    scores = []
    for degrees in (0.0, 45.0, 90.0):
        moved = moved_truth(truth("highway"), np.array([0.0, 0.0, np.radians(degrees)]))
        scores.append(score(Scorer([prepare_scene(moved, V1)], version=VERSIONS[0]), straight))
    assert [result.drivable_area_compliance.item() for result in scores] == [0.0, 1.0, 0.0]


@every_version
@every_scene
@few
@given(seed=seeds)
def test_the_order_of_plans_does_not_matter(name: str, version: Version, seed: int):
    poses = plans(seed, MANY)
    order = np.random.default_rng(seed).permutation(MANY)
    mixed, plain = (score(scorer(name, version), ordered[None]) for ordered in (poses[order], poses))
    assert_same(mixed, plain, 0.0, order.tolist())


@every_version
@every_scene
@few
@given(seed=seeds, heading=headings, speed=st.floats(0, 5))
def test_somebody_far_away_changes_nothing(name: str, version: Version, seed: int, heading: float, speed: float):
    scene = prepared(name, version)
    others, (x, y) = scene.tracks, scene.ego[:2]
    way = np.arange(len(others.poses))[:, None] * 0.1 * speed + 150.0
    poses = np.concatenate([x + way * np.cos(heading), y + way * np.sin(heading), np.full_like(way, heading)], -1)
    place = seed % (len(others) + 1)  # first, last, or among the others
    more = replace(
        others,
        tokens=(*others.tokens[:place], "far", *others.tokens[place:]),
        names=(*others.names[:place], "vehicle", *others.names[place:]),
        sizes=np.insert(others.sizes, place, [4.0, 2.0], axis=0),
        poses=np.insert(others.poses, place, poses, axis=1),
        present=np.insert(others.present, place, True, axis=1),
        first_velocity=np.insert(others.first_velocity, place, 0.0, axis=0),
    )
    poses = plans(seed, MANY)[None]
    fuller = Scorer([replace(scene, tracks=more)], version=version)
    assert_same(score(fuller, poses), score(scorer(name, version), poses), 0.0)


@every_version
def test_somebody_far_away_changes_nothing_in_the_raw_scene_either(version: Version):
    # Beyond the 100 m that PDM-Closed looks: its trajectory stays the same too.
    fuller = prepare_scene(street_truth(("far", "vehicle", 30.0, 160.0, 0.5, 3.0, 1.0)), version.rules)
    poses = plans(1, MANY)[None]
    assert_same(score(Scorer([fuller], version=version), poses), score(scorer("street", version), poses), 0.0)
    np.testing.assert_array_equal(fuller.reference, prepared("street", version).reference)


@every_version
@every_scene
@fewest
@given(seed=seeds)
def test_many_plans_at_once_score_as_one_by_one(name: str, version: Version, seed: int):
    poses = plans(seed, MANY)
    together = score(scorer(name, version), poses[None])
    for k, plan in enumerate(poses):
        assert_same(score(scorer(name, version), plan[None, None]), together, 1e-9, [k])


@every_version
@every_scene
def test_more_plans_than_are_scored_at_once_are_cut_without_a_trace(name: str, version: Version):
    _, rows = AT_ONCE["cpu"]
    poses = plans(5, rows + 7)
    together = score(scorer(name, version), poses[None])
    assert together.score.shape == (1, rows + 7)
    places = [0, rows - 1, rows, rows + 6]
    assert_same(score(scorer(name, version), poses[places][None]), together, 1e-9, places)


@every_version
@fewest
@given(seed=seeds)
def test_many_scenes_at_once_score_as_one_by_one(version: Version, seed: int):
    rng = np.random.default_rng(seed)
    names = [*SCENES, *rng.choice(SCENES, AT_ONCE["cpu"][0])]
    rng.shuffle(names)
    poses = np.stack([plans(seed + k, 7) for k in range(len(names))])
    together = score(Scorer([prepared(name, version) for name in names], version=version), poses)
    for k, name in enumerate(names):
        alone = score(scorer(name, version), poses[k : k + 1])
        for column in (*DISCRETE, *CONTINUOUS):
            values, others = getattr(alone, column), getattr(together, column)
            if values is not None:
                close = 1e-9 if column in CONTINUOUS else 0.0
                torch.testing.assert_close(values[0], others[k], rtol=0, atol=close, equal_nan=True)
        assert hit(alone)[0] == hit(together)[k]


@every_version
@every_scene
@few
@given(seed=seeds, turns=st.lists(st.integers(-3, 3), min_size=8, max_size=8))
def test_whole_turns_of_the_heading_change_nothing(name: str, version: Version, seed: int, turns: list[int]):
    poses = plans(seed, MANY)
    turned = poses + np.stack([np.zeros(8), np.zeros(8), 2 * np.pi * np.array(turns)], -1)
    assert_same(score(scorer(name, version), turned[None]), score(scorer(name, version), poses[None]), 1e-9)


@every_version
@every_scene
@few
@given(seed=seeds, place=st.integers(0, MANY), bad=st.sampled_from([np.nan, np.inf, -np.inf]))
def test_a_plan_that_is_no_number_changes_no_other(name: str, version: Version, seed: int, place: int, bad: float):
    poses = plans(seed, MANY)
    broken = np.insert(poses, place, bad, axis=0)
    scores = score(scorer(name, version), broken[None])
    assert scores.score[0, place] == 0.0 and len(scores.failures) == 1
    # Not to the bit: a batch of another size is cut into other vectors by the processor.
    assert_same(score(scorer(name, version), poses[None]), scores, 1e-9, [k for k in range(MANY + 1) if k != place])


@every_version
@every_scene
def test_preparing_and_scoring_again_gives_every_bit_again(name: str, version: Version):
    poses = plans(3, MANY)[None]
    again = Scorer([prepare_scene(truth(name), version.rules)], version=version)
    assert_same(score(again, poses), score(scorer(name, version), poses), 0.0)


@every_version
def test_scores_lie_between_0_and_1(version: Version):
    for name in SCENES:
        for seed in range(2):
            scores = score(scorer(name, version), plans(seed, MANY)[None])
            for term in (*version.rules.columns, "score", "product"):
                values = getattr(scores, term)
                assert values is None or ((values >= 0.0) & (values <= 1.0)).all(), (name, term)


def test_v1_and_v2_drive_alike():
    # Simulated states don't depend on the version.
    poses = Trajectory(poses=plans(2, MANY)[None], dt_s=0.5)
    states = [scorer("street", version).score(poses, states=True).states for version in VERSIONS]
    assert torch.equal(*states)


def test_a_scene_of_one_car_alone_knows_no_tracks():
    alone = made_truth(street_truth().map, truth("street").route)
    scenes = [prepare_scene(alone, V2), prepared("street", VERSIONS[1])]
    poses = np.stack([plans(4, 6), plans(4, 6)])
    both = score(Scorer(scenes, version=VERSIONS[1]), poses)
    assert hit(both)[0] == [""] * 6 and both.tracks[0] == ()

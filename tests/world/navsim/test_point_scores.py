"""Scores of candidate moments are those of the data set as it is read; splits keep the moments within bounds."""

from functools import cache
from pathlib import Path

import pytest

from latentdrive.data.maps.nuplan_maps import NuplanMaps
from latentdrive.data.navsim.log import read_log
from latentdrive.data.navsim.scene_filter import read_split
from latentdrive.data.navsim.scenes import Cut, Sensors, open_scene, open_truth
from latentdrive.pdms.prepare import prepare_scene
from latentdrive.pdms.scorer import Scorer
from latentdrive.pdms.versions import Version
from latentdrive.planners.baselines.constant_velocity import ConstantVelocity
from latentdrive.planners.baselines.human import Human
from latentdrive.types import Trajectory
from latentdrive.world.navsim.point_scores import PointScore, read_scores, too_easy, too_hard, write_scores
from latentdrive.world.navsim.split_files import UNFILTERED


def point_score(row: int, *, human: float, straight: float) -> PointScore:
    return PointScore(row=row, human=human, constant_velocity=straight)


def test_a_moment_is_dropped_for_one_reason_and_the_bounds_themselves_are_kept(navsim_world):
    points = navsim_world.points
    verdicts = {
        (score.human, score.constant_velocity): (too_easy(score, points), too_hard(score, points))
        for score in (
            point_score(3, human=human, straight=straight)
            for human, straight in ((0.8, 0.8), (0.79, 0.0), (1.0, 0.81), (0.5, 0.9))
        )
    }
    assert list(verdicts.values()) == [(False, False), (False, True), (True, False), (True, False)]


def test_scores_of_other_rows_are_no_scores(tmp_path: Path):
    path = tmp_path / "drive.scores.json"
    scores = [point_score(3, human=0.9, straight=0.1), point_score(7, human=1.0, straight=0.0)]
    assert read_scores(path, [3, 7]) is None
    write_scores(path, scores)
    assert read_scores(path, [3, 7]) == scores
    assert read_scores(path, [3]) is None and read_scores(path, [3, 8]) is None


@pytest.fixture(scope="module")
def opened(navsim_folder, navsim_orders):
    """name of a log, row → scene and truth as data=navsim opens them, only from the files on disk."""
    maps, log_of = NuplanMaps(root=navsim_folder / "maps", version="nuplan-maps-v1.0"), cache(read_log)

    nothing = Sensors(cameras=(), frames="now", lidar=False, at_least=None)

    def scene(name: str, row: int):
        path = navsim_orders[name].files.log
        log = log_of(path)
        cut = Cut(log=log, token=log.tokens[row].decode(), drive=name, first=row - 3, now=row, end=row + 11)
        return open_scene(cut, path.parent, nothing), open_truth(cut, path, maps)

    return scene


def test_scores_are_those_of_the_planners_on_the_files(navsim_orders, opened):
    compared = 0
    for name, order in navsim_orders.items():
        for score in order.scores()[::5]:
            scene, truth = opened(name, score.row)
            scorer = Scorer([prepare_scene(truth, Version.PDMS_V1_1.rules)], version="pdms_v1.1")
            human = scorer.score(Trajectory(poses=Human().plan([truth]).poses[:, None], dt_s=0.5)).score.item()
            straight = ConstantVelocity().plan([scene]).poses[:, None]
            blind = scorer.score(Trajectory(poses=straight, dt_s=0.5)).score.item()
            assert (score.human, score.constant_velocity) == pytest.approx((human, blind), abs=1e-5)
            compared += 1
    assert compared >= 12


def test_splits_hold_the_moments_within_bounds_and_unfiltered_ones_hold_all(navsim_folder, navsim_world, navsim_orders):
    bounds = navsim_world.points
    dropped = good_total = 0
    for name, split in navsim_world.splits.items():
        left, everything = (read_split(navsim_folder / "splits", name + end) for end in ("", UNFILTERED))
        assert left.data_split == everything.data_split == split.data_split
        scores = {}
        for order in navsim_orders.values():
            if order.split == name:
                tokens = [token for _, token, _ in order.card()["points"]]
                scores |= dict(zip(tokens, order.scores(), strict=True))
        assert set(left.filter.tokens) | set(everything.filter.tokens) <= set(scores)
        good = [
            token
            for token, score in scores.items()
            if score.constant_velocity <= bounds.constant_velocity_at_most and score.human >= bounds.human_at_least
        ]
        assert set(left.filter.tokens) <= set(good)
        assert len(left.filter.tokens) == min(split.points, len(good))
        assert len(everything.filter.tokens) == min(split.points, len(scores))
        good_total, dropped = good_total + len(good), dropped + len(scores) - len(good)
    assert good_total > 10 and dropped > 3


def test_counts_say_what_was_dropped_and_why(navsim_folder, navsim_world, navsim_orders):
    counts = navsim_world.write(navsim_folder, processes=1)  # nothing is missing
    for name, numbers in counts.items():
        scores = [score for order in navsim_orders.values() if order.split == name for score in order.scores()]
        assert numbers["candidates"] == len(scores)
        assert numbers["dropped_as_too_easy"] == sum(score.constant_velocity > 0.8 for score in scores)
        assert numbers["dropped_as_too_hard"] == sum(score.constant_velocity <= 0.8 > score.human for score in scores)
        left = numbers["candidates"] - numbers["dropped_as_too_easy"] - numbers["dropped_as_too_hard"]
        assert numbers["points"] == min(left, numbers["points_wanted"])
        assert numbers["points_unfiltered"] == min(numbers["candidates"], numbers["points_wanted"])

"""The annotated video shows the plan where it lies, and says what happened."""

from collections import Counter

import numpy as np
import pytest

from latentdrive.export.runtime import PLANNED, STOP, Status
from latentdrive.playback.annotated import HEIGHT, PAINTS, PANEL, annotated, summary_lines
from latentdrive.playback.loop import Moment

GREY = np.full((90, 160, 3), 90, np.uint8)
FORWARD = np.array([[0.0, 0, 1, 1.5], [-1, 0, 0, 0], [0, -1, 0, 1.6], [0, 0, 0, 1]])
LENS = np.array([[120.0, 0, 80], [0, 120.0, 45], [0, 0, 1]])


def moment(source: str = PLANNED, *, time_s: float = 1.0, faults: tuple[str, ...] = (), aside: float = 0.0) -> Moment:
    poses = np.zeros((8, 3))
    poses[:, 0], poses[:, 1] = 4.0 * np.arange(1, 9), aside * np.arange(1, 9)
    status = Status(
        source=source,
        faults=faults,
        alarm=bool(faults),
        missed=0.3,
        elapsed_s=0.012,
        steps=5,
        movement=0.1,
        provider="cpu",
        counts=Counter(),
    )
    return Moment(time_s=time_s, frame_s=time_s, poses=poses, status=status)


def coloured(picture: np.ndarray, source: str) -> np.ndarray:
    """Which pixels of the camera's picture have the source's colour."""
    return (np.abs(picture[:HEIGHT, : picture.shape[1] - 160].astype(int) - PAINTS[source]) < 30).all(-1)


@pytest.mark.parametrize("source", [PLANNED, STOP])
def test_the_plan_lies_on_the_road_in_the_colour_of_its_source(source: str):
    picture = annotated(GREY, moment(source), (LENS, FORWARD))
    rows, columns = np.nonzero(coloured(picture, source))
    assert picture.shape == (HEIGHT + PANEL, 640, 3) and len(rows) > 200
    assert rows.min() > HEIGHT / 2  # below the horizon
    assert abs(np.median(columns) - 320) < 8  # straight ahead
    left = annotated(GREY, moment(source, aside=0.5), (LENS, FORWARD))
    assert np.median(np.nonzero(coloured(left, source))[1]) < 300


def test_without_a_calibration_the_plan_is_drawn_from_above_alone():
    picture = annotated(GREY, moment(), None)
    assert not coloured(picture, PLANNED).any()
    inset = picture[6:156, -156:-6].astype(int)
    assert (np.abs(inset - PAINTS[PLANNED]) < 40).all(-1).sum() > 30


def test_before_the_first_plan_the_picture_stands_alone():
    picture = annotated(GREY, None, (LENS, FORWARD))
    assert (picture[:HEIGHT] == 90).all() and not picture[HEIGHT:].any()


def test_faults_are_written_below():
    plain, faulty = annotated(GREY, moment(), None), annotated(GREY, moment(faults=("stale_ego",)), None)
    assert (plain[HEIGHT + 20 :] > 40).sum() == 0 < (faulty[HEIGHT + 20 :] > 40).sum()


def test_the_summary_counts_sources_and_faults():
    lines = summary_lines([moment(), moment(), moment(STOP, faults=("stale_ego",))])
    assert lines == [
        "3 plans: 2 planned, 1 stopping",
        "a plan took 12.0 ms (p99 12.0, worst 12.0)",
        "  1 times stale_ego",
    ]
    assert summary_lines([]) == ["no plan was asked for"]

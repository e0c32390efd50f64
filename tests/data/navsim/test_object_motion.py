"""An object whose velocity, heading or height is unknown stays where it is; what must go is counted by frame."""

from pathlib import Path

import numpy as np
import pytest

from latentdrive.data.navsim.log import NavsimLog, read_log
from latentdrive.data.navsim.object_motion import LONGEST_GAP_S, Sighting, heading_at, velocity_at
from tests.support.navsim_fixture import SPEED_MPS, frames, write_log


def log(tmp_path: Path, content: list) -> NavsimLog:
    return read_log(write_log(tmp_path, "north", content))


def spoilt(key: str, cell, value: float, *rows: int, count: int = 3) -> list:
    """Frames in which one number of the first object, the car, is unknown. It keeps its place 10 m ahead of the ego,
    which drives at 5 m/s.
    """
    content = frames("north", count)
    for row in rows:
        content[row]["anns"][key][0, cell] = value
    return content


@pytest.mark.parametrize("value", [np.nan, np.inf, -1e30])
@pytest.mark.parametrize("row", [0, 1, 2])
def test_an_unknown_velocity_follows_from_the_objects_own_positions(tmp_path: Path, row: int, value: float):
    columns = log(tmp_path, spoilt("gt_velocity_3d", 1, value, row))
    assert np.diff(columns.object_ends).tolist() == [2, 2, 2] and columns.lost_boxes.tolist() == [0, 0, 0]
    assert columns.estimated_boxes.tolist() == [int(k == row) for k in range(3)]
    np.testing.assert_allclose(columns.velocity[2 * row], [SPEED_MPS, 0.0], atol=1e-9)
    np.testing.assert_allclose(columns.velocity[2 * ((row + 1) % 3)], [3.0, 1.0])  # what is known stays as it is


def test_an_object_that_is_seen_once_or_long_before_stands(tmp_path: Path):
    content = spoilt("gt_velocity_3d", 0, np.nan, 1)
    content[0]["anns"]["track_tokens"][0] = content[2]["anns"]["track_tokens"][0] = "another"
    np.testing.assert_array_equal(log(tmp_path, content).velocity[2], [0.0, 0.0])
    far = [Sighting(0.0, 0.0, 0.0, 0.0), Sighting(LONGEST_GAP_S + 0.1, 9.0, 9.0, 0.0)]
    assert velocity_at(far, 1) == (0.0, 0.0)
    assert velocity_at([*far, Sighting(LONGEST_GAP_S + 0.6, 11.0, 9.0, 0.0)], 1) == pytest.approx((4.0, 0.0))


def test_an_unknown_heading_is_that_of_the_nearest_sighting_else_of_the_motion_else_the_object_is_lost(tmp_path: Path):
    columns = log(tmp_path, spoilt("gt_boxes", 6, np.nan, 1))
    assert columns.boxes[2, 6] == pytest.approx(0.1) and columns.estimated_boxes.tolist() == [0, 1, 0]
    moving = log(tmp_path, spoilt("gt_boxes", 6, np.nan, 0, 1, 2))
    np.testing.assert_allclose(moving.boxes[::2, 6], 0.0, atol=1e-9)  # it moves as the ego does
    alone = log(tmp_path, spoilt("gt_boxes", 6, np.nan, 0, count=1))
    assert len(alone.boxes) == 1 and alone.lost_boxes.tolist() == [1] and alone.estimated_boxes.tolist() == [0]
    assert np.isnan(heading_at([Sighting(0.0, 0.0, 0.0, np.nan)], 0))


@pytest.mark.parametrize("cell", [2, 5])
def test_heights_cost_no_object_its_place(tmp_path: Path, cell: int):
    columns = log(tmp_path, spoilt("gt_boxes", cell, np.nan, 1))
    assert np.diff(columns.object_ends).tolist() == [2, 2, 2] and columns.boxes[2, cell] == 0.0
    assert not columns.lost_boxes.any() and not columns.estimated_boxes.any()


@pytest.mark.parametrize("value", [np.nan, 1e30])
@pytest.mark.parametrize("cell", [0, 1, 3, 4])
def test_what_has_no_place_or_size_goes_and_is_counted_by_frame(tmp_path: Path, cell: int, value: float):
    columns = log(tmp_path, spoilt("gt_boxes", cell, value, 1))
    assert np.diff(columns.object_ends).tolist() == [2, 1, 2] and columns.lost_boxes.tolist() == [0, 1, 0]


def test_sound_boxes_are_untouched(tmp_path: Path):
    columns = log(tmp_path, frames("north", 3))
    given = [frame["anns"] for frame in frames("north", 3)]
    np.testing.assert_array_equal(columns.boxes, np.concatenate([anns["gt_boxes"] for anns in given]))
    np.testing.assert_array_equal(columns.velocity, np.concatenate([anns["gt_velocity_3d"][:, :2] for anns in given]))

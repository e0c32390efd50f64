"""Files beside a clip that are not as they must be are named."""

from pathlib import Path

import pytest

from latentdrive.data.clips.sidecars import read_camera, read_track
from latentdrive.errors import UnreadableClip

HEADER = "time_s,x_m,y_m,heading_rad,speed_mps\n"


def test_a_row_of_ten_numbers_is_not_two_poses(tmp_path: Path):
    path = tmp_path / "a.poses.csv"
    path.write_text(HEADER + "0,0,0,0,1,1,1,0,0,1\n")
    with pytest.raises(UnreadableClip, match="a row does not hold five numbers"):
        read_track(path, first_s=0.0, last_s=1.0, slack_s=0.1)


def test_a_camera_with_a_number_that_no_float_holds_is_named(tmp_path: Path):
    path = tmp_path / "a.camera.json"
    path.write_text('{"intrinsics": [[1' + "0" * 400 + ", 0, 0], [0, 1, 0], [0, 0, 1]]}")
    with pytest.raises(UnreadableClip, match="not a camera"):
        read_camera(path)

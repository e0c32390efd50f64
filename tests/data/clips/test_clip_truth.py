"""How others move by the ground truth, on clips small enough to count by hand, and damaged files of it."""

from pathlib import Path

import numpy as np
import pytest

from latentdrive.data.clips.clip_truth import ARRAYS, others_motion, read_truth
from latentdrive.errors import UnreadableClip
from latentdrive.types import ClipTruth

NOWHERE = [np.nan] * 4


def truth(boxes: list, motion: list) -> ClipTruth:
    """One frame. boxes: N 4, motion: N 2."""
    count = len(boxes)
    return ClipTruth(
        times_s=np.zeros(1),
        agent_poses=np.zeros((1, count, 3), np.float32),
        agent_sizes=np.ones((count, 3), np.float32),
        boxes=np.array([boxes], np.float32).reshape(1, count, 4),
        image_motion=np.array([motion], np.float32).reshape(1, count, 2),
        transition_s=0.5,
        key="clip",
    )


FIRST = np.array([0])


def test_the_motion_of_a_third_is_the_mean_over_all_its_pixels():
    # The upper half of the left third moves by 4 % to the right and 2 % up: 2 and -1 % on average.
    motion = others_motion(truth([[0.0, 0.0, 1 / 3, 0.5]], [[0.04, -0.02]]), FIRST)
    np.testing.assert_allclose(motion[0], [[2.0, -1.0], [0, 0], [0, 0]], atol=1e-5)


def test_a_box_over_two_thirds_counts_in_both():
    motion = others_motion(truth([[0.5, 0.0, 1.0, 1.0]], [[0.1, 0.0]]), FIRST)
    np.testing.assert_allclose(motion[0, :, 0], [0.0, 5.0, 10.0], atol=1e-4)


def test_where_boxes_overlap_the_nearer_one_counts():
    # The second box reaches lower in the picture, so it is nearer.
    motion = others_motion(truth([[0.0, 0.0, 1 / 3, 0.5], [0.0, 0.0, 1 / 3, 1.0]], [[0.9, 0.9], [0.01, 0.02]]), FIRST)
    np.testing.assert_allclose(motion[0, 0], [1.0, 2.0], atol=1e-5)


def test_agents_out_of_view_and_empty_scenes_move_nothing():
    assert not others_motion(truth([NOWHERE], [[np.nan, np.nan]]), FIRST).any()
    assert others_motion(truth([], []), FIRST).shape == (1, 3, 2)


def write_truth(path: Path, **changed) -> Path:
    arrays = {
        "times_s": np.zeros(2),
        "agent_poses": np.zeros((2, 1, 3)),
        "agent_sizes": np.ones((1, 3)),
        "boxes": np.zeros((2, 1, 4)),
        "image_motion": np.zeros((2, 1, 2)),
        "transition_s": np.float64(0.5),
        "key": np.array("k"),
    }
    np.savez(path, **(arrays | changed))
    return path


def test_truth_is_read_back(tmp_path: Path):
    read = read_truth(write_truth(tmp_path / "a.truth.npz"))
    assert read.key == "k" and read.transition_s == 0.5 and read.boxes.dtype == np.float32


def test_damaged_truth_is_named(tmp_path: Path):
    (tmp_path / "b.truth.npz").write_bytes(b"PK no archive")
    np.savez_compressed(tmp_path / "e.truth.npz", **{name: np.arange(1000.0) for name in ARRAYS})
    whole = (tmp_path / "e.truth.npz").read_bytes()
    (tmp_path / "e.truth.npz").write_bytes(whole[:200] + bytes(50) + whole[250:])
    for path, reason in (
        (tmp_path / "b.truth.npz", "no truth can be read"),
        (tmp_path / "missing.truth.npz", "no truth can be read"),
        (tmp_path / "e.truth.npz", "no truth can be read"),
        (write_truth(tmp_path / "c.truth.npz", boxes=np.zeros((1, 1, 4))), "boxes has shape"),
        (write_truth(tmp_path / "d.truth.npz", key=np.array([{}], dtype=object)), "no truth can be read"),
    ):
        with pytest.raises(UnreadableClip, match=reason):
            read_truth(path)

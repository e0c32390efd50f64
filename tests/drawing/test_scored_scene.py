"""The picture of a scored scene: directions, the track that was hit, and plans that lie far
away."""

import numpy as np
import pytest

from latentdrive.drawing.colours import HUMAN, LIGHT, RED
from latentdrive.drawing.scored_scene import PLANNED, SIDE, SIMULATED, TITLE, Note, scored_scene_picture
from tests.support.evaluation import PLACE, make_scoring_scene, states_ahead

LOST = Note(text="progress 0.50")


def ahead(metres: float, left: float = 0.0) -> np.ndarray:
    return np.linspace([metres / 8, left / 8, 0], [metres, left, 0], 8)


def drawn(**changed) -> np.ndarray:
    options = {"title": "t0", "notes": [LOST], "states": states_ahead(), "planned": None, "human": None, "hit": ""}
    return scored_scene_picture(make_scoring_scene("t0"), **options | changed)


def view(picture: np.ndarray) -> np.ndarray:
    return picture[TITLE : TITLE + SIDE]


def places(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Rows and columns whose colour is close to this one; lines are smoothed."""
    return np.argwhere((np.abs(picture.astype(int) - np.array(colour)) < 30).all(-1))


def test_ahead_is_above_and_left_is_left():
    picture = drawn(planned=ahead(30.0, 10.0), human=ahead(20.0, -5.0))
    planned, human = places(view(picture), PLANNED), places(view(picture), HUMAN)
    top, bottom = planned[planned[:, 0].argmin()], planned[planned[:, 0].argmax()]
    assert top[0] < bottom[0] - 200 and top[1] < bottom[1] - 60  # forward and to the left
    assert human[human[:, 0].argmin()][1] > human[human[:, 0].argmax()][1] + 20  # to the right
    assert len(places(view(picture), SIMULATED)) and len(places(view(picture), LIGHT))


def test_the_track_that_was_hit_is_outlined_in_red():
    collision = Note(text="at-fault collision", step=12)
    hit, unhurt = drawn(notes=[collision, LOST], hit="car"), drawn()
    assert len(places(view(hit), RED)) > len(places(view(unhurt), RED))
    assert hit.shape[0] > unhurt.shape[0]  # it has one note more


def test_a_plan_in_another_frame_and_a_failed_scene_are_drawn_as_well():
    assert drawn(planned=np.full((8, 3), 1e6)).shape[1] == SIDE
    assert drawn(states=None, planned=np.full((8, 3), np.nan), human=ahead(3.0)).shape[1] == SIDE
    assert PLACE[2] == pytest.approx(np.pi / 2)

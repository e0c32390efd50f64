"""Plans of several planners in one picture: two views, one colour for each plan, and a legend."""

import numpy as np

from latentdrive.drawing.bird_view import PANEL
from latentdrive.drawing.colours import DRIVER, HUMAN, PAINTS, with_colours
from latentdrive.drawing.plans import side_by_side, with_legend
from tests.support.evaluation import make_scoring_scene
from tests.support.plan_pictures import HEIGHT, WIDTH, grey_image, places, straight_plan


def test_the_human_always_has_its_own_colour_and_the_others_take_turns():
    for names in (("a", DRIVER, "b"), (DRIVER, "a", "b"), ("a", "b", DRIVER)):
        plans = with_colours(dict.fromkeys(names, straight_plan(1.0)))
        assert {name: colour for name, (_, colour) in plans.items()} == {"a": PAINTS[0], "b": PAINTS[1], DRIVER: HUMAN}
    assert "b" not in with_colours({"a": straight_plan(1.0)})


def test_both_views_show_all_plans_and_the_legend_names_them():
    plans = {DRIVER: straight_plan(20.0), "a": straight_plan(20.0, 5.0)}
    picture = side_by_side(grey_image(), make_scoring_scene("t"), plans)
    width = round(WIDTH * PANEL / HEIGHT)
    assert picture.shape[1] == width + PANEL and picture.dtype == np.uint8
    for panel in (picture[:PANEL, :width], picture[:PANEL, width:], picture[PANEL:]):
        assert len(places(panel, HUMAN)) and len(places(panel, PAINTS[0]))


def test_plans_that_are_not_finite_or_lie_behind_are_drawn_as_far_as_possible():
    plans = {
        "nan": np.full((8, 3), np.nan),
        "back": straight_plan(-9.0),
        "far": np.full((8, 3), 1e7),
        "none": np.zeros((0, 3)),
    }
    assert side_by_side(grey_image(), make_scoring_scene("t"), plans).dtype == np.uint8


def test_names_that_do_not_fit_go_into_another_row():
    pixels = np.zeros((10, 200, 3), np.uint8)
    one_row, two_rows = (
        with_legend(pixels, with_colours({f"planner {k}": straight_plan(9.0) for k in range(count)}))
        for count in (1, 6)
    )
    assert two_rows.shape[0] > one_row.shape[0] > 10 and two_rows.shape[1] == 200

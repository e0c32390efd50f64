"""Drawings: where paths lead, and valid markup."""

import math
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from latentdrive.report.drawings import View, code_graph, colour, fan, path_ahead, picture, picture_motion


def test_a_straight_motion_kept_up_leads_straight_ahead():
    np.testing.assert_allclose(path_ahead(np.array([5.0, 0.0, 0.0]), times=3), [[0, 0], [5, 0], [10, 0], [15, 0]])


def test_a_quarter_turn_kept_up_four_times_leads_back():
    places = path_ahead(np.array([1.0, 0.0, math.pi / 2]), times=4)
    np.testing.assert_allclose(places, [[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]], atol=1e-12)


def test_gentle_bends_are_stretched_and_sharp_ones_are_not():
    gentle = View.of(np.tile([5.0, 0.0, 0.01], (10, 1)))
    sharp = View.of(np.tile([5.0, 0.0, 0.4], (10, 1)))
    assert gentle.stretch == 5.0 and sharp.stretch == 1.0


def test_sixteen_codes_have_sixteen_colours():
    assert len({colour(code, 16) for code in range(16)}) == 16


def test_left_is_drawn_left():
    view = View(reach_m=40.0, stretch=1.0)
    drawn = ElementTree.fromstring(fan(np.tile([5.0, 0.0, 0.2], (3, 1)), np.zeros(3), view=view, paint="red"))
    arrow = next(line for line in drawn.iter() if line.get("stroke-width") == "3.5")
    start, *_, end = (tuple(map(float, pair.split(","))) for pair in arrow.get("points").split())
    assert end[0] < start[0] and end[1] < start[1]  # to the left and up: forward


@pytest.mark.parametrize("known", [True, False])
def test_the_graph_shows_the_codes_in_use_and_no_others(known):
    follows = np.zeros((4, 4), int)
    follows[0, 1] = follows[1, 0] = 3
    along = np.arange(4.0) if known else None
    shown = ElementTree.fromstring(code_graph(follows, along, along))
    assert [text.text for text in shown.iter() if text.tag == "text"] == ["0", "1"]
    assert sum(part.tag == "path" for part in shown.iter()) == 4  # a curve and a head each way


def test_arrows_point_where_the_picture_moves():
    flow = np.zeros((2, 1, 1))
    flow[0] = 0.1
    drawn = ElementTree.fromstring(
        picture_motion(flow, 0 * flow, background=picture(np.zeros((3, 8, 8), np.uint8)), paint="red")
    )
    usual, own = (part.get("d") for part in drawn.iter() if part.tag == "path")
    assert usual == "M80.0 48.0l0.0 0.0" and own.startswith("M80.0 48.0l16.0 0.0")

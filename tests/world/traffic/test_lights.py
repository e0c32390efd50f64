"""Traffic lights and the right of way in roundabouts: who may go when."""

import numpy as np
import pytest

from latentdrive.world.traffic.lights import Lights, LightTimes
from tests.support.junctions import circle, crossing

TIMES = LightTimes(green_s=(10.0, 10.0), amber_s=4.0, clear_s=1.0)
NORTH, EAST = ("o0", "ir0"), ("o1", "ir1")


@pytest.fixture(scope="module")
def layout():
    return crossing(0, arms=(4, 4))


def test_the_two_roads_have_green_in_turn(layout):
    lights = Lights(layout, TIMES, green_s=10.0, shift_s=0.0)
    colours = {
        time: (lights.colour(NORTH, time), lights.colour(EAST, time))
        for time in (0.0, 9.9, 10.1, 13.9, 14.5, 15.1, 30.1)
    }
    assert colours == {
        0.0: ("green", "red"),
        9.9: ("green", "red"),
        10.1: ("amber", "red"),
        13.9: ("amber", "red"),
        14.5: ("red", "red"),
        15.1: ("red", "green"),
        30.1: ("green", "red"),
    }


def test_one_of_the_two_roads_is_always_red(layout):
    lights = Lights.at_random(np.random.default_rng(3), layout, TIMES)
    for time in np.arange(0.0, 60.0, 0.1):
        assert "red" in (lights.colour(NORTH, time), lights.colour(EAST, time))


def test_a_light_can_be_held_red_until_a_moment(layout):
    lights = Lights.red_until(np.random.default_rng(3), layout, TIMES, road=EAST, until_s=7.0)
    assert {lights.colour(EAST, time) for time in np.arange(-5.0, 7.0, 0.1)} == {"red"}
    assert lights.colour(EAST, 7.05) == "green" and lights.colour(NORTH, 7.05) == "red"


def test_an_approach_yields_to_those_who_pass_its_entry():
    gives_way = circle(0).gives_way
    assert gives_way[("o0", "in0")] == (("enter1", "exit0"), ("exit0", "enter0")) and len(gives_way) == 4

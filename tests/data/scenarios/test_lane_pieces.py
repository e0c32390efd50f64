"""Lane features before they become a map: what counts as a lane, and lines and polygons that exporters damage."""

import numpy as np
import pytest

from latentdrive.data.scenarios.lane_pieces import centre_line, is_lane, linked_pieces, polygon_of
from tests.support.scenario import along, lane


@pytest.mark.parametrize(
    ("feature", "expected"),
    [
        ({"type": "LANE_SURFACE_STREET"}, True),
        ({"type": "LANE_SURFACE_UNSTRUCTURE"}, True),
        ({"type": "LANE_BIKE_LANE"}, False),
        ({"type": "CROSSWALK"}, False),
        ({"type": None}, False),
        ({}, False),
        ("LANE", False),
    ],
)
def test_lanes_are_features_that_cars_drive_on(feature: object, expected: bool):
    assert is_lane(feature) is expected


def test_repeated_points_of_a_centre_line_are_dropped():
    line = centre_line({"polyline": [(0, 0, 1), (0, 0, 1), (3, 4, 1)]})
    np.testing.assert_array_equal(line, [[0, 0], [3, 4]])


@pytest.mark.parametrize("polyline", [None, [], [(0, 0)], [(0, 0), (0, 0)], [(0, np.nan), (1, 0)], ["ab"], 3])
def test_a_line_of_fewer_than_two_points_or_without_numbers_is_none(polyline: object):
    assert centre_line({"polyline": polyline}) is None


def test_a_polygon_that_crosses_itself_is_reduced_to_its_largest_part():
    bow = polygon_of({"polygon": [(0, 0), (4, 0), (4, 4), (5, 4), (5, -1), (3, -1), (3, 4), (0, 4)]})
    assert bow.is_valid and bow.area > 8
    assert polygon_of({}) is None and polygon_of({"polygon": [(0, 0), (1, 1)]}) is None


def test_entries_of_one_side_are_enough_to_link_two_lanes():
    """Exporters name successors, predecessors, or both, by id or in a dictionary."""
    lines = along((0, 0), (40, 0)), along((40, 0), (80, 0))
    for names in ({"exit_lanes": ["B"]}, {"exit_lanes": [{"feature_id": "B"}]}):
        pieces = linked_pieces({"A": lane(lines[0], **names), "B": lane(lines[1])})
        assert list(pieces) == ["A", "B", "A>B"] and pieces["A>B"].connector and pieces["A>B"].joint
    pieces = linked_pieces({"A": lane(lines[0]), "B": lane(lines[1], entry_lanes=["A"])})
    assert [*pieces["A"].after, *pieces["B"].before] == ["A>B", "A>B"]


def test_no_features_give_no_pieces():
    assert linked_pieces({}) == {}

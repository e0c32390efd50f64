"""The dictionary of the ego codes on the page."""

import numpy as np
import pytest

from latentdrive.report.dictionary_section import dictionary_section
from tests.support.report import make_dictionary


def test_a_code_is_named_by_what_the_car_does_when_it_appears():
    section = dictionary_section(make_dictionary(), scale_known=True)
    names = {card.code: card.name for card in section.cards}
    assert names[0] == "as usual" and names[1].endswith("left") and names[2].endswith("right")
    assert "turns 5.7° left (usually goes straight)" in section.cards[1].meaning
    assert section.unused == [3]


def test_what_follows_a_code_is_named_with_its_share():
    cards = dictionary_section(make_dictionary(), scale_known=True).cards
    assert [(code, share) for code, _, share in cards[2].followers] == [
        (1, pytest.approx(2 / 3)),
        (0, pytest.approx(1 / 3)),
    ]


def test_without_poses_and_flow_pictures_alone_explain_the_codes():
    section = dictionary_section(make_dictionary(poses=False, flow=False), scale_known=True)
    assert "no poses" in section.intro
    assert all((card.fan, card.flow, card.meaning) == ("", "", "") and card.strips for card in section.cards)


def test_the_page_says_that_metres_of_estimated_poses_are_a_guess():
    assert "metres are a guess" in dictionary_section(make_dictionary(), scale_known=False).intro


def test_usage_is_shown_slot_by_slot():
    chart = dictionary_section(make_dictionary(), scale_known=True).charts[0]
    np.testing.assert_allclose(np.array(chart.data[0]["z"], float), [[1 / 3, 1 / 3, 1 / 3, 0]] * 2, atol=1e-4)

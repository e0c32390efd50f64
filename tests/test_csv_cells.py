"""Cells of CSV files hold texts and no formulas."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentdrive.csv_cells import cell, text_of


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1+1", "@SUM(A1)", "\t=1", '=HYPERLINK("http://x")'])
def test_no_cell_is_a_formula(text: str):
    assert cell(text) == f"'{text}" and text_of(cell(text)) == text


@given(st.text(st.characters(codec="utf-8", exclude_characters="\r")))
def test_every_text_comes_back(text: str):
    file = io.StringIO(newline="")
    csv.writer(file, lineterminator="\n").writerow([cell(text)])
    file.seek(0)
    rows = list(csv.reader(file))
    assert text_of(rows[0][0] if rows and rows[0] else "") == text


def test_a_carriage_return_is_shown():
    assert cell("\r=1") == "\\r=1"


def test_bytes_that_are_no_utf8_are_shown():
    name = b"clip-\xff.mp4".decode("utf-8", "surrogateescape")
    assert cell(name) == "clip-\\udcff.mp4"

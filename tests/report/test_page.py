"""The page is one file that needs no network, and a browser draws all of it without a script
error."""

import re

import numpy as np
import pytest

from latentdrive.report.charts import bars, grouped_bars, lines, matrix
from latentdrive.report.dictionary_section import dictionary_section
from latentdrive.report.page import write_page
from latentdrive.report.sections import Section
from tests.support.report import make_dictionary

CURVE = (np.arange(3.0), np.array([1.0, np.nan, 0.5]))


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    charts = [
        lines("curve", "says </script><b> a<!--<script>", {"a": CURVE, "b": CURVE}, level=1.0),
        bars("bars", "", {"one": 1.0, "two": 2.0}, level=1.5, good="above", within={"one": (0.5, 1.5)}, across=True),
        grouped_bars("groups", "", {"a": [1.0, 2.0], "b": [np.nan, 1.0]}, ["x", "y"], percent=True),
        matrix("cells", "", np.eye(3), rows="abc", columns="abc", across="x", down="y", numbers=True),
    ]
    section = Section(
        title="<i>a run</i> a<!--<script>",
        kind="train codebook",
        about="about",
        facts={"command": "latentdrive train codebook"},
        misses=["yaw change: 0.50; the aim is at least 0.75"],
        charts={"What was measured": charts},
        dictionary=dictionary_section(make_dictionary(), scale_known=True),
    )
    plain = Section(title="b", kind="label", about="", facts={})
    write_page(path, [section, plain], title="a title", command="latentdrive report runs/a")
    return path


def test_nothing_is_fetched_from_elsewhere(page):
    html = page.read_text(encoding="utf-8")
    outside = re.findall(r"""<(?:script|link|img|image|iframe)[^>]*(?:src|href)=["']?(?!data:|#)([^"'\s>]+)""", html)
    assert outside == [] and "@import" not in html


def test_texts_are_escaped_and_drawings_are_not(page):
    html = page.read_text(encoding="utf-8")
    assert "&lt;i&gt;a run&lt;/i&gt;" in html and "<i>a run</i>" not in html
    assert '<svg viewBox="0 0 640 520"' in html


def test_a_browser_draws_every_chart_without_a_script_error(page, in_browser):
    dom = in_browser(page)
    root = re.search(r"<html[^>]*>", dom)[0]
    assert 'data-errors=""' in root
    assert 'data-drawn="6"' in root  # four, and two of the dictionary
    drawn = re.findall(
        r'<div class="plot[^>]*data-chart="chart-\d+".*?(?=<script type="application/json")', dom, re.DOTALL
    )
    assert len(drawn) == 6
    for chart in drawn:
        assert re.search(r'class="main-svg"', chart) and re.search(
            r'class="(?:trace|hm|barlayer|heatmaplayer|scatterlayer)', chart
        )
    assert dom.count('class="strip"') == 7  # five examples of codes, two transplants

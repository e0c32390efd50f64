"""The scenes over which means are taken: all, or those of the first stage together with what
follows them."""

import gzip
import json

import numpy as np
import pytest

from latentdrive.evaluation.results import StageLinks
from latentdrive.pdms.versions import V2
from tests.support.evaluation import make_results
from tests.support.golden_files import FOLDER

CASES = [
    case
    for path in sorted(FOLDER.glob("aggregation/two_stage_*.json.gz"))
    for case in json.loads(gzip.decompress(path.read_bytes()))["cases"]
]


@pytest.mark.skipif(not CASES, reason="no golden files")
@pytest.mark.parametrize("number", range(len(CASES) or 1))
def test_the_devkits_means_follow_from_the_rows_alone(number: int):
    listed, expected = CASES[number]["rows"], CASES[number]["expected_rows"]
    row = {scene["token"]: index for index, scene in enumerate(listed)}
    original_rows = np.full(len(listed), -1)
    for original, followers in CASES[number]["mapping"]:
        for pair in followers:
            for after, before in zip(pair, original):
                original_rows[row[after]] = row[before]

    def column(name: str) -> np.ndarray:
        return np.array([expected[token].get(name, listed[index].get(name)) for token, index in row.items()], float)

    results = make_results(
        column("score").tolist(),
        [""] * len(listed),
        tokens=tuple(row),
        links=StageLinks(original=original_rows, weight=column("weight")),
        terms={name: column(name) for name in V2.columns},
    )
    averaged = [results.averaged(), *results.stages()]
    for name, scenes in zip(("combined", "stage_one", "stage_two"), averaged):
        assert scenes.means() == pytest.approx(CASES[number][f"expected_{name}"], abs=1e-9)


def test_in_two_stages_a_scene_is_multiplied_by_what_follows_it_by_hand():
    links = StageLinks(original=np.array([-1, 0, 0, -1, 3]), weight=np.array([1.0, 0.75, 0.25, 1.0, 1.0]))
    results = make_results([0.5, 1.0, 0.2, 0.8, 0.5], list("aaxbb"), links=links)
    first, second = results.stages()
    assert first.tokens == second.tokens == results.averaged().tokens == ("t0", "t3") and first.drives == ("a", "b")
    assert first.columns["score"].tolist() == [0.5, 0.8] and second.columns["score"].tolist() == pytest.approx(
        [0.8, 0.5]
    )
    assert results.averaged().columns["score"].tolist() == pytest.approx([0.4, 0.4])


def test_in_one_stage_every_scene_counts():
    results = make_results([0.5, 1.0], ["a", "b"])
    assert results.stages() == () and results.averaged().tokens == results.tokens
    assert results.averaged().means()["score"] == 0.75

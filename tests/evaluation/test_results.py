"""What means are taken over: every scene, or every scene of the first stage with what follows it."""

import gzip
import json

import numpy as np
import pytest

from latentdrive.evaluation.results import Follows
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
def test_the_devkits_means_come_out_of_the_rows_alone(number: int):
    listed, expected = CASES[number]["rows"], CASES[number]["expected_rows"]
    row = {one["token"]: index for index, one in enumerate(listed)}
    follows = np.full(len(listed), -1)
    for original, followers in CASES[number]["mapping"]:
        for pair in followers:
            for after, before in zip(pair, original):
                follows[row[after]] = row[before]

    def column(name: str) -> np.ndarray:
        return np.array([expected[token].get(name, listed[index].get(name)) for token, index in row.items()], float)

    results = make_results(
        column("score").tolist(), [""] * len(listed), tokens=tuple(row), follows=Follows(row=follows, weight=column("weight")),
        terms={name: column(name) for name in V2.columns},
    )  # fmt: skip
    found = [results.counted(), *results.stages()]
    for name, counted in zip(("combined", "stage_one", "stage_two"), found):
        assert counted.means() == pytest.approx(CASES[number][f"expected_{name}"], abs=1e-9)


def test_of_two_stages_a_scene_counts_times_what_follows_it_by_hand():
    follows = Follows(row=np.array([-1, 0, 0, -1, 3]), weight=np.array([1.0, 0.75, 0.25, 1.0, 1.0]))
    results = make_results([0.5, 1.0, 0.2, 0.8, 0.5], list("aaxbb"), follows=follows)
    one, two = results.stages()
    assert one.tokens == two.tokens == results.counted().tokens == ("t0", "t3") and one.drives == ("a", "b")
    assert one.columns["score"].tolist() == [0.5, 0.8] and two.columns["score"].tolist() == pytest.approx([0.8, 0.5])
    assert results.counted().columns["score"].tolist() == pytest.approx([0.4, 0.4])


def test_of_one_stage_every_scene_counts():
    results = make_results([0.5, 1.0], ["a", "b"])
    assert results.stages() == () and results.counted().tokens == results.tokens
    assert results.counted().means()["score"] == 0.75

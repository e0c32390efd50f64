"""Reading prepared scenes: what was prepared comes back.

What is missing, damaged or foreign is named, and repaired by another build.
"""

import multiprocessing
import pickle
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latentdrive.errors import StoreError
from latentdrive.pdms.storage import building, scene_file, store
from latentdrive.pdms.storage.store import ScoringStore
from latentdrive.pdms.versions import V1, V2, Rules
from latentdrive.types import SceneTruth
from tests.support.golden_files import FILES, SCENES, golden
from tests.support.scoring_store import TOKENS, Drives, build, damage, file_of, prepare, prepare_v1, prepare_v2, same


class GoldenDrives:
    """The scenes that the devkit scored; a file is a drive."""

    def location(self, token: str) -> Path:
        return Path(token.rpartition("@")[0])

    def truth(self, token: str) -> SceneTruth:
        name, _, number = token.rpartition("@")
        return replace(golden(name).truth(int(number)), token=token)


def read_all(opened: ScoringStore, answers: Any) -> None:
    answers.put({token: opened.get(token).tracks.poses[0, 0, 0] for token in opened.tokens})


def test_a_store_gives_back_what_was_prepared(tmp_path: Path):
    report = build(tmp_path)
    opened = ScoringStore(tmp_path, rules=V1)
    assert (report.built, report.kept, report.rebuilt, report.failed) == (5, 0, {}, {})
    assert set(opened.tokens) == set(TOKENS) and len(opened) == 5 and "b@1" in opened and damage(tmp_path) == {}
    assert report.bytes_per_scene == sum(p.stat().st_size for p in tmp_path.glob("*.scenes")) / 5
    for token in TOKENS:
        assert same(opened.get(token), prepare_v1(Drives().truth(token)))
    assert "5 scenes prepared, 0 kept" in report.lines()[0]


def test_a_damaged_byte_is_named_and_repaired(tmp_path: Path):
    build(tmp_path)
    path = file_of(tmp_path, "a")
    content = bytearray(path.read_bytes())
    content[-40] ^= 1  # within the last part: scenes lie behind the polygons
    path.write_bytes(content)
    opened = ScoringStore(tmp_path)
    wrong = damage(tmp_path)
    assert len(wrong) == 1
    (token,) = wrong
    with pytest.raises(
        StoreError, match=rf"scene {token} of the store {tmp_path}: .* is damaged, its checksum.*latentdrive evaluate"
    ):
        opened.get(token)
    report = build(tmp_path)
    assert (report.kept, report.rebuilt) == (4, {building.DAMAGED: 1}) and damage(tmp_path) == {}


@pytest.mark.parametrize("keep", [0, 100, -1])
def test_a_file_that_is_cut_short_is_named_and_repaired(tmp_path: Path, keep: int):
    build(tmp_path)
    path = file_of(tmp_path, "a")
    path.write_bytes(path.read_bytes()[:keep])
    opened = ScoringStore(tmp_path)
    assert set(opened.tokens) == {"b@0", "b@1", "c@0"}
    with pytest.raises(StoreError, match=r"no scene a@0 among 3; 1 of its files can't be read.*cut short or damaged"):
        opened.get("a@0")
    report = build(tmp_path)
    assert (report.kept, report.rebuilt) == (3, {building.DAMAGED: 2}) and damage(tmp_path) == {}


def test_a_file_that_shrinks_after_opening_is_named(tmp_path: Path):
    build(tmp_path)
    opened = ScoringStore(tmp_path)
    file_of(tmp_path, "c").unlink()
    with pytest.raises(
        StoreError, match=r"scene c@0 of the store .*was removed after the store was opened; run the same command"
    ):
        opened.get("c@0")


def test_a_missing_scene_and_a_missing_store_say_what_to_do(tmp_path: Path):
    build(tmp_path)
    with pytest.raises(StoreError, match=rf"the store {tmp_path} has no scene x@0 among 5; .*latentdrive evaluate"):
        ScoringStore(tmp_path).get("x@0")
    with pytest.raises(StoreError, match=r"is no store of prepared scenes, because it has no store\.json"):
        ScoringStore(tmp_path / "nowhere")
    (tmp_path / "store.json").write_text("{")
    with pytest.raises(StoreError, match=r"store\.json is damaged"):
        ScoringStore(tmp_path)


def test_the_other_generation_is_refused_by_reader_and_builder(tmp_path: Path):
    build(tmp_path)
    with pytest.raises(StoreError, match=r"prepared by the rules of NAVSIM v1, but v2 is needed: give another folder"):
        ScoringStore(tmp_path, rules=V2)
    with pytest.raises(StoreError, match="NAVSIM v1, but v2 is needed"):
        build(tmp_path, prepare=prepare_v2, rules=V2)


def test_a_file_of_the_other_generation_in_a_store_is_refused(tmp_path: Path):
    build(tmp_path / "one")
    build(tmp_path / "two", prepare=prepare_v2, rules=V2)
    file_of(tmp_path / "one", "a").write_bytes(file_of(tmp_path / "two", "a").read_bytes())
    with pytest.raises(StoreError, match="scene a@0 of the store"):
        ScoringStore(tmp_path / "one").get("a@0")
    assert build(tmp_path / "one").rebuilt == {building.DAMAGED: 2}


def test_another_format_is_named_and_built_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as older:
        for module in (store, building, scene_file):
            older.setattr(module, "FORMAT", 0)
        build(tmp_path)
    with pytest.raises(StoreError, match="has format 0, but this version reads 2"):
        ScoringStore(tmp_path)
    report = build(tmp_path, tokens=("a@0", "a@1"))
    assert report.rebuilt == {building.DAMAGED: 2}
    with pytest.raises(StoreError, match=r"no scene b@0.* has format 0, but this version reads 2"):
        ScoringStore(tmp_path).get("b@0")


def test_two_processes_build_the_same_files_and_two_read_them_at_once(tmp_path: Path):
    build(tmp_path / "one")
    report = build(tmp_path / "two", processes=2)
    assert report.built == 5
    for path in (tmp_path / "one").glob("*.scenes"):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
    opened = pickle.loads(pickle.dumps(ScoringStore(tmp_path / "two")))
    answers = multiprocessing.get_context("fork").SimpleQueue()
    readers = [multiprocessing.get_context("fork").Process(target=read_all, args=(opened, answers)) for _ in range(2)]
    for reader in readers:
        reader.start()
    restored = [answers.get() for _ in readers]
    for reader in readers:
        reader.join()
    assert restored[0] == restored[1] == {token: 20.0 + float(token[2:]) for token in TOKENS}


@pytest.mark.skipif(not FILES, reason="no golden files")
@pytest.mark.parametrize("rules", [V1, V2], ids=["v1", "v2"])
def test_golden_scenes_come_back_bit_by_bit_small_and_quickly(tmp_path: Path, rules: Rules):
    tokens = tuple(f"{name}@{number}" for name in FILES[::12] for number in range(SCENES))
    scenes = {token: prepare(GoldenDrives().truth(token), rules) for token in tokens}
    report = build(tmp_path, GoldenDrives(), tokens, prepare=partial(prepare, rules=rules), rules=rules)
    assert report.built == len(tokens) and report.bytes_per_scene < 30_000
    opened, spent = ScoringStore(tmp_path, rules=rules), []
    for token in tokens:
        start = time.perf_counter()
        restored = opened.get(token)
        spent.append(time.perf_counter() - start)
        assert same(restored, scenes[token])
    assert np.median(spent) < 0.02  # below 1 ms by itself; the type checks of tests slow it down

"""Building a store: fresh scenes stay, stale ones are prepared again, failures are listed, killed builds continue."""

import csv
import multiprocessing
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latentdrive.errors import DiskFull, MapError, NotWritable, StoreError, WorkerDied
from latentdrive.pdms.map.index import index_of
from latentdrive.pdms.storage import building
from latentdrive.pdms.storage.building import build_store
from latentdrive.pdms.storage.store import ScoringStore
from latentdrive.pdms.versions import V1
from latentdrive.types import MapArea, SceneTruth
from tests.support.scoring_store import (
    TOKENS,
    TOWN,
    Drives,
    build,
    damage,
    prepare_as_x,
    prepare_but_not_b,
    prepare_until_killed,
    prepare_v1,
    prepare_v2,
)


def test_a_second_build_keeps_everything_and_touches_no_file(tmp_path: Path):
    build(tmp_path)
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.scenes")}
    report = build(tmp_path)
    assert (report.built, report.kept, report.rebuilt) == (0, 5, {})
    assert before == {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.scenes")}


def test_scenes_that_nobody_asks_for_stay(tmp_path: Path):
    build(tmp_path, tokens=("a@0", "b@0"))
    report = build(tmp_path, tokens=("a@1",))
    assert (report.built, report.kept) == (1, 0)
    assert set(ScoringStore(tmp_path).tokens) == {"a@0", "a@1", "b@0"}


def test_what_the_log_says_differently_now_is_prepared_anew(tmp_path: Path):
    build(tmp_path)
    opened = ScoringStore(tmp_path)
    assert opened.get("a@0").tracks.first_velocity[0, 0] == 2
    report = build(tmp_path, Drives(speed=3.0), ("a@0", "a@1"))
    assert (report.built, report.kept, report.rebuilt) == (0, 0, {building.STALE: 2})
    assert opened.get("a@0").tracks.first_velocity[0, 0] == 3  # opened before: it reads the file that is there now
    assert any(line == f"2 of these were prepared again: {building.STALE}" for line in report.lines())


def test_scenes_that_fail_are_listed_and_end_nothing(tmp_path: Path):
    report = build(tmp_path, Drives(bad=("c@0",)), prepare=prepare_but_not_b)
    assert report.built == 3
    assert report.failed == {"b@0": "ValueError: its lanes lead nowhere", "c@0": "logs/c.pkl: the disk is away"}
    assert "2 scenes can't be prepared (see failed.csv); the first one, b@0: ValueError" in report.lines()[-1]
    with (tmp_path / "failed.csv").open() as file:
        assert [row["token"] for row in csv.DictReader(file)] == ["b@0", "c@0"]
    with pytest.raises(StoreError, match=r"no scene b@0 among 3: it could not be prepared \(ValueError: its lanes"):
        ScoringStore(tmp_path).get("b@0")
    report = build(tmp_path, tokens=("b@0",))  # what is tried again leaves the list; the rest stays
    assert report.built == 1 and "c@0" in (tmp_path / "failed.csv").read_text()
    assert "b@0" not in (tmp_path / "failed.csv").read_text()


def test_a_scene_that_fails_now_does_not_stay_as_it_was_before(tmp_path: Path):
    build(tmp_path)
    report = build(tmp_path, Drives(speed=3.0), ("b@0",), prepare=prepare_but_not_b)
    assert "b@0" in report.failed and "b@0" not in ScoringStore(tmp_path)
    build(tmp_path, Drives(bad=("b@1",)), ("b@1",))  # nobody can tell whether it changed: it stays, and is listed
    assert "b@1" in ScoringStore(tmp_path) and "b@1" in (tmp_path / "failed.csv").read_text()


def test_a_scene_prepared_by_other_rules_or_under_another_name_is_not_kept(tmp_path: Path):
    report = build(tmp_path, tokens=("a@0",), prepare=prepare_v2)
    assert report.failed == {"a@0": "it was prepared as scene a@0 by the rules of NAVSIM v2, expected v1"}
    report = build(tmp_path, tokens=("a@0",), prepare=prepare_as_x)
    assert (
        report.failed == {"a@0": "it was prepared as scene x by the rules of NAVSIM v1, expected v1"}
        and len(ScoringStore(tmp_path)) == 0
    )


def build_and_die(folder: Path) -> None:
    build(folder, prepare=prepare_until_killed)


def test_a_killed_build_goes_on_where_it_stopped(tmp_path: Path):
    killed = multiprocessing.get_context("fork").Process(target=build_and_die, args=(tmp_path,))
    killed.start()
    killed.join()
    assert killed.exitcode == -signal.SIGKILL
    assert set(ScoringStore(tmp_path).tokens) == {"a@0", "a@1", "b@0", "b@1"}
    report = build(tmp_path)
    assert (report.built, report.kept) == (1, 4) and damage(tmp_path) == {}


def build_slowly(folder: Path, begun: Any) -> None:
    def slowly(scene: SceneTruth) -> Any:
        begun.set()
        time.sleep(1.0)
        return prepare_v1(scene)

    build(folder, tokens=("a@0",), prepare=slowly)


def test_two_builds_at_once_lose_no_scene(tmp_path: Path):
    context = multiprocessing.get_context("fork")
    begun, told = context.Event(), []
    first = context.Process(target=build_slowly, args=(tmp_path, begun))
    first.start()
    assert begun.wait(timeout=60)
    options = {"rules": V1, "processes": 1, "memory_gb": 8.0, "progress": None}
    report = build_store(tmp_path, Drives(), ("a@0", "a@1"), prepare_v1, **options, waiting=told.append)
    first.join(timeout=60)
    assert first.exitcode == 0 and (report.built, report.kept) == (1, 1)
    assert set(ScoringStore(tmp_path).tokens) == {"a@0", "a@1"} and damage(tmp_path) == {}
    assert len(told) == 1 and f"{tmp_path} is being written by another process ({first.pid}" in told[0]


@pytest.mark.parametrize("error", [NotWritable("no room"), DiskFull("no room")])
def test_a_cache_that_cannot_be_written_ends_the_build_and_fails_no_scene(tmp_path: Path, error: NotWritable):
    def prepare(_: SceneTruth) -> Any:
        raise error

    with pytest.raises(type(error), match="no room"):
        build(tmp_path, prepare=prepare)


def test_scenes_whose_process_is_killed_end_the_build_once_all_others_are_prepared(tmp_path: Path):
    with pytest.raises(WorkerDied, match=r"1 of 3 logs were killed twice.*the first is c\.pkl.*lower processes"):
        build(tmp_path, prepare=prepare_until_killed, processes=2)
    assert set(ScoringStore(tmp_path).tokens) == {"a@0", "a@1", "b@0", "b@1"}
    assert "killed, perhaps for want of memory" in (tmp_path / "failed.csv").read_text()
    report = build(tmp_path)
    assert (report.built, report.kept, report.failed) == (1, 4, {})


def test_progress_counts_files_of_the_log(tmp_path: Path):
    shown = []

    def progress(items: Any, *, what: str, total: int) -> Any:
        shown.append((what, total))
        return items

    build_store(tmp_path, Drives(), TOKENS, prepare_v1, rules=V1, processes=1, memory_gb=1.0, progress=progress)
    assert shown == [("preparing scenes", 3)]


def test_a_map_that_can_not_be_used_fails_its_scenes(tmp_path: Path):
    class Flat(Drives):
        def truth(self, token: str) -> SceneTruth:
            line = MapArea(id="line", rings=(np.zeros((2, 2)),))
            return replace(super().truth(token), map=replace(TOWN, carparks=(line,)))

    with pytest.raises(MapError):
        index_of(Flat().truth("a@0").map)
    report = build(tmp_path, Flat())
    assert report.built == 0 and len(report.failed) == 5 and "line" in report.failed["a@0"]

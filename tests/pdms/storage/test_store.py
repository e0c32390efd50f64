"""Prepared scenes on disk: every bit comes back, and what is missing, stale, damaged or foreign is named and repaired."""

import csv
import multiprocessing
import os
import pickle
import signal
import time
from dataclasses import fields, is_dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latentdrive.errors import MapError, StoreError, UnreadableScene, WrongShape
from latentdrive.pdms.history import ego_history, ego_state
from latentdrive.pdms.map.areas import areas_near
from latentdrive.pdms.map.index import index_of
from latentdrive.pdms.scene import Areas, Polygons, RedLights, ScoringScene, Tracks
from latentdrive.pdms.storage import scene_file, store
from latentdrive.pdms.storage.scene_file import SceneFile, write_scenes
from latentdrive.pdms.storage.scene_key import scene_key
from latentdrive.pdms.storage.store import ScoringStore, build_store
from latentdrive.pdms.traffic import red_lights, replay
from latentdrive.pdms.versions import V1, V2, Rules
from latentdrive.types import MapArea, SceneTruth
from tests.support.golden_files import FILES, SCENES, golden
from tests.support.recorded_traffic import NOWHERE, objects, truth

ROAD = MapArea(id="road", rings=(np.array([[-50.0, -5.0], [200.0, -5.0], [200.0, 5.0], [-50.0, 5.0]]),))
ISLE = MapArea(id="isle", rings=(ROAD.rings[0] + 20.0, ROAD.rings[0] * 0.1 + 20.0))
TOWN = replace(NOWHERE, roadblocks=(ROAD,), intersections=(ISLE,))
TOKENS = ("a@0", "a@1", "b@0", "b@1", "c@0")


class Drives:
    """Made-up scenes: file@number, a car ahead that is `number` metres farther. speed: of that car; bad: tokens without a log."""

    def __init__(self, *, speed: float = 2.0, bad: tuple[str, ...] = ()) -> None:
        self.speed, self.bad = speed, bad

    def location(self, token: str) -> Path:
        return Path("logs") / f"{token.partition('@')[0]}.pkl"

    def truth(self, token: str) -> SceneTruth:
        if token in self.bad:
            raise UnreadableScene(self.location(token), "the disk is away")
        x = 20.0 + float(token.partition("@")[2])
        ahead = [objects(("car", "vehicle", x + self.speed * 0.5 * i, 0, 0, self.speed, 0)) for i in range(11)]
        return replace(truth(*ahead, road_map=TOWN), token=token, drive=token.partition("@")[0])


class GoldenDrives:
    """The scenes that the devkit scored; a file is a drive."""

    def location(self, token: str) -> Path:
        return Path(token.rpartition("@")[0])

    def truth(self, token: str) -> SceneTruth:
        name, _, number = token.rpartition("@")
        return replace(golden(name).truth(int(number)), token=token)


def prepare(scene: SceneTruth, rules: Rules) -> ScoringScene:
    """What this package's parts for the store can say of a scene; the reference is a straight line."""
    index, now = index_of(scene.map), scene.frames[scene.now]
    steps = np.arange(51.0)
    line = np.stack([now.ego_pose[0] + steps, np.full(51, now.ego_pose[1]), steps / 7], -1)
    return ScoringScene(
        token=scene.token,
        drive=scene.drive,
        synthetic=scene.synthetic,
        generation=rules.generation,
        time_us=now.timestamp_us,
        ego=ego_state(now),
        areas=areas_near(index, now.ego_pose, ()),
        centreline=line,
        tracks=replay(scene, rules),
        lights=red_lights(scene, rules, index),
        reference=line,
        reference_states=np.tile(ego_state(now), (41, 1)) + np.arange(41.0)[:, None] / 3,
        reference_product=0.5,
        reference_progress_m=1 / 3,
        history=ego_history(scene) if rules.generation == 2 else np.zeros((0, 11)),
        human=scene.human.poses,
        human_terms=np.arange(8.0) if rules.generation == 2 else None,
    )


prepare_v1, prepare_v2 = partial(prepare, rules=V1), partial(prepare, rules=V2)


def prepare_but_not_b(scene: SceneTruth) -> ScoringScene:
    if scene.token == "b@0":
        raise ValueError("its lanes lead nowhere")
    return prepare_v1(scene)


def prepare_as_x(scene: SceneTruth) -> ScoringScene:
    return prepare_v1(replace(scene, token="x"))


def prepare_until_killed(scene: SceneTruth) -> ScoringScene:
    if scene.drive == "c":
        os.kill(os.getpid(), signal.SIGKILL)
    return prepare_v1(scene)


def build(
    folder: Path,
    source: Any = None,
    tokens: tuple = TOKENS,
    *,
    prepare: Any = prepare_v1,
    rules: Rules = V1,
    processes: int = 1,
):
    return build_store(
        folder, source or Drives(), tokens, prepare, rules=rules, processes=processes, memory_gb=8.0, progress=None
    )


def build_and_die(folder: Path) -> None:
    build(folder, prepare=prepare_until_killed)


def read_all(opened: ScoringStore, answers: Any) -> None:
    answers.put({token: opened.get(token).tracks.poses[0, 0, 0] for token in opened.tokens})


def file_of(folder: Path, name: str) -> Path:
    return next(folder.glob(f"{name}.pkl-*.scenes"))


def same(a: Any, b: Any) -> bool:
    """Equal in every bit, type and shape."""
    if is_dataclass(a):
        return type(a) is type(b) and all(same(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    return type(a) is type(b) and np.array(a).tobytes() == np.array(b).tobytes() and a == a and repr(a) == repr(b)


def odd_scene(seed: int) -> ScoringScene:
    """A scene of random bits: NaN, infinities and -0 among them; holes, an area without rings, names beyond ASCII."""
    rng = np.random.default_rng(seed)
    random = lambda *shape: rng.integers(0, 2**63, shape, np.int64).view(np.float64)  # noqa: E731
    rings = Polygons(
        vertices=random(12, 2), ends=np.array([0, 4, 7, 12], np.int32), owner=np.array([0, 0, 2], np.int32)
    )
    reference = random(51, 3)
    reference[0] = np.nan, -np.inf, -0.0
    return ScoringScene(
        token=f"tökén/{seed}", drive="", synthetic=seed % 2 == 1, generation=2, time_us=2**60 + seed, ego=random(11),
        areas=Areas(
            ids=("1", "1", "ü"), layers=np.array([0, 4, 3], np.int8), on_route=np.array([True, False, True]), polygons=rings
        ),
        centreline=np.zeros((0, 3)),
        tracks=Tracks(
            tokens=("", "x\0y", "z"), names=("vehicle", "barrier", "vehicle"), sizes=random(3, 2), poses=random(41, 3, 3),
            present=rng.random((41, 3)) < 0.5, first_velocity=random(3, 2),
        ),
        lights=RedLights(
            connectors=("7",), red=rng.random((41, 1)) < 0.5,
            polygons=Polygons(vertices=random(3, 2), ends=np.array([0, 3], np.int32), owner=np.zeros(1, np.int32)),
        ),
        reference=reference, reference_states=random(41, 11), reference_product=-0.0, reference_progress_m=0.1,
        history=random(15, 11), human=random(8, 3), human_terms=random(8) if seed % 2 else None,
    )  # fmt: skip


def test_every_bit_comes_back(tmp_path: Path):
    scenes = {scene.token: ("key", scene) for scene in map(odd_scene, range(3))}
    write_scenes(tmp_path / "x.scenes", scenes, generation=2)
    with SceneFile(tmp_path / "x.scenes") as file:
        areas = file.areas()
        assert set(file.header.scenes) == set(scenes)
        for token, (_, scene) in scenes.items():
            found = file.scene(token, areas)
            assert same(found, scene) and not same(found, replace(scene, time_us=0))


def test_polygons_that_scenes_share_are_kept_once(tmp_path: Path):
    build(tmp_path, tokens=("a@0", "a@1"))
    with SceneFile(file_of(tmp_path, "a")) as file:
        assert file.areas().ids == ["road", "isle"]


def test_rings_out_of_order_are_refused(tmp_path: Path):
    scene = odd_scene(0)
    rings = replace(scene.areas.polygons, owner=np.array([2, 0, 0], np.int32))
    scene = replace(scene, areas=replace(scene.areas, polygons=rings))
    with pytest.raises(WrongShape, match="rings of 3 polygons are not in the polygons' order"):
        write_scenes(tmp_path / "x.scenes", {scene.token: ("key", scene)}, generation=2)


def test_a_store_gives_back_what_was_prepared(tmp_path: Path):
    report = build(tmp_path)
    opened = ScoringStore(tmp_path, rules=V1)
    assert (report.built, report.kept, report.rebuilt, report.failed) == (5, 0, {}, {})
    assert set(opened.tokens) == set(TOKENS) and len(opened) == 5 and "b@1" in opened and opened.verify() == {}
    assert report.bytes_per_scene == sum(p.stat().st_size for p in tmp_path.glob("*.scenes")) / 5
    for token in TOKENS:
        assert same(opened.get(token), prepare_v1(Drives().truth(token)))
    assert "5 scenes prepared, 0 kept" in report.lines()[0]


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
    assert (report.built, report.kept, report.rebuilt) == (0, 0, {store.STALE: 2})
    assert opened.get("a@0").tracks.first_velocity[0, 0] == 3  # opened before: it reads the file that is there now
    assert any(line == f"2 of these were prepared anew: {store.STALE}" for line in report.lines())


def test_the_key_holds_all_that_is_read_and_nothing_else():
    scene = Drives().truth("a@0")
    key = scene_key(scene, V1, 1)
    assert key == scene_key(Drives().truth("a@0"), V1, 1)
    first, last = scene.frames[0], scene.frames[-1]
    unread = replace(scene, frames=(replace(first, ego_pose=np.ones(3)), *scene.frames[1:]))
    assert scene_key(unread, V1, 1) == key  # v1 reads no past
    assert scene_key(unread, V2, 1) != scene_key(scene, V2, 1)
    ended = replace(scene, frames=(*scene.frames[:-1], replace(last, objects=objects())))
    assert scene_key(ended, V1, 1) != key and scene_key(ended, V2, 1) == scene_key(scene, V2, 1)  # v2 reads 4 s
    wider = replace(TOWN, roadblocks=(replace(ROAD, rings=(ROAD.rings[0] * 2,)),))
    others = [replace(scene, map=wider), replace(scene, route=("R",)), replace(scene, token="x")]
    assert len({key, *(scene_key(one, V1, 1) for one in others), scene_key(scene, V1, 2), scene_key(scene, V2, 1)}) == 6
    zebra = replace(TOWN, crosswalks=(ROAD,))
    assert scene_key(replace(scene, map=zebra), V1, 1) == key


def test_a_damaged_byte_is_named_and_repaired(tmp_path: Path):
    build(tmp_path)
    path = file_of(tmp_path, "a")
    content = bytearray(path.read_bytes())
    content[-40] ^= 1  # within the last part: scenes lie behind the polygons
    path.write_bytes(content)
    opened = ScoringStore(tmp_path)
    wrong = opened.verify()
    assert len(wrong) == 1
    (token,) = wrong
    with pytest.raises(
        StoreError, match=rf"scene {token} of the store {tmp_path}: .* is damaged, its checksum.*latentdrive evaluate"
    ):
        opened.get(token)
    report = build(tmp_path)
    assert (report.kept, report.rebuilt) == (4, {store.DAMAGED: 1}) and ScoringStore(tmp_path).verify() == {}


@pytest.mark.parametrize("keep", [0, 100, -1])
def test_a_file_that_is_cut_short_is_named_and_repaired(tmp_path: Path, keep: int):
    build(tmp_path)
    path = file_of(tmp_path, "a")
    path.write_bytes(path.read_bytes()[:keep])
    opened = ScoringStore(tmp_path)
    assert path.name in opened.verify() and set(opened.tokens) == {"b@0", "b@1", "c@0"}
    with pytest.raises(StoreError, match=r"no scene a@0 among 3; 1 of its files can't be read.*cut short or damaged"):
        opened.get("a@0")
    report = build(tmp_path)
    assert (report.kept, report.rebuilt) == (3, {store.DAMAGED: 2}) and ScoringStore(tmp_path).verify() == {}


def test_a_file_that_shrinks_after_opening_is_named(tmp_path: Path):
    build(tmp_path)
    opened = ScoringStore(tmp_path)
    file_of(tmp_path, "c").unlink()
    with pytest.raises(
        StoreError, match=r"scene c@0 of the store .*is gone since the store was opened; run the same command"
    ):
        opened.get("c@0")


def test_a_missing_scene_and_a_missing_store_say_what_to_do(tmp_path: Path):
    build(tmp_path)
    with pytest.raises(StoreError, match=rf"the store {tmp_path} has no scene x@0 among 5; .*latentdrive evaluate"):
        ScoringStore(tmp_path).get("x@0")
    with pytest.raises(StoreError, match=r"is no store of prepared scenes, it has no store\.json"):
        ScoringStore(tmp_path / "nowhere")
    (tmp_path / "store.json").write_text("{")
    with pytest.raises(StoreError, match=r"store\.json is damaged"):
        ScoringStore(tmp_path)


def test_the_other_generation_is_refused_by_reader_and_builder(tmp_path: Path):
    build(tmp_path)
    with pytest.raises(StoreError, match=r"prepared by the rules of NAVSIM v1, v2 is asked for: give another folder"):
        ScoringStore(tmp_path, rules=V2)
    with pytest.raises(StoreError, match="NAVSIM v1, v2 is asked for"):
        build(tmp_path, prepare=prepare_v2, rules=V2)


def test_a_file_of_the_other_generation_in_a_store_is_refused(tmp_path: Path):
    build(tmp_path / "one")
    build(tmp_path / "two", prepare=prepare_v2, rules=V2)
    file_of(tmp_path / "one", "a").write_bytes(file_of(tmp_path / "two", "a").read_bytes())
    with pytest.raises(StoreError, match="scene a@0 of the store"):
        ScoringStore(tmp_path / "one").get("a@0")
    assert build(tmp_path / "one").rebuilt == {store.DAMAGED: 2}


def test_another_format_is_named_and_built_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as older:
        older.setattr(store, "FORMAT", 0)
        older.setattr(scene_file, "FORMAT", 0)
        build(tmp_path)
    with pytest.raises(StoreError, match="has format 0, this version reads 2"):
        ScoringStore(tmp_path)
    report = build(tmp_path, tokens=("a@0", "a@1"))
    assert report.rebuilt == {store.DAMAGED: 2}
    with pytest.raises(StoreError, match=r"no scene b@0.* has format 0, this version reads 2"):
        ScoringStore(tmp_path).get("b@0")


def test_scenes_that_fail_are_listed_and_end_nothing(tmp_path: Path):
    report = build(tmp_path, Drives(bad=("c@0",)), prepare=prepare_but_not_b)
    assert report.built == 3
    assert report.failed == {"b@0": "ValueError: its lanes lead nowhere", "c@0": "logs/c.pkl: the disk is away"}
    assert "2 scenes can't be prepared (failed.csv), the first one: b@0: ValueError" in report.lines()[-1]
    with (tmp_path / "failed.csv").open() as file:
        assert [row["token"] for row in csv.DictReader(file)] == ["b@0", "c@0"]
    with pytest.raises(StoreError, match=r"no scene b@0 among 3: it could not be prepared \(ValueError: its lanes"):
        ScoringStore(tmp_path).get("b@0")
    report = build(tmp_path, tokens=("b@0",))  # what was tried again leaves the list, the rest stays
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
    assert report.failed == {"a@0": "it was prepared as scene a@0 by the rules of NAVSIM v2"}
    report = build(tmp_path, tokens=("a@0",), prepare=prepare_as_x)
    assert (
        report.failed == {"a@0": "it was prepared as scene x by the rules of NAVSIM v1"}
        and len(ScoringStore(tmp_path)) == 0
    )


def test_a_killed_build_goes_on_where_it_stopped(tmp_path: Path):
    killed = multiprocessing.get_context("fork").Process(target=build_and_die, args=(tmp_path,))
    killed.start()
    killed.join()
    assert killed.exitcode == -signal.SIGKILL
    assert set(ScoringStore(tmp_path).tokens) == {"a@0", "a@1", "b@0", "b@1"}
    report = build(tmp_path)
    assert (report.built, report.kept) == (1, 4) and ScoringStore(tmp_path).verify() == {}


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
    found = [answers.get() for _ in readers]
    for reader in readers:
        reader.join()
    assert found[0] == found[1] == {token: 20.0 + float(token[2:]) for token in TOKENS}


def test_progress_counts_files_of_the_log(tmp_path: Path):
    seen = []

    def progress(items: Any, *, what: str, total: int) -> Any:
        seen.append((what, total))
        return items

    build_store(tmp_path, Drives(), TOKENS, prepare_v1, rules=V1, processes=1, memory_gb=1.0, progress=progress)
    assert seen == [("preparing scenes", 3)]


def test_a_map_that_can_not_be_used_fails_its_scenes(tmp_path: Path):
    class Flat(Drives):
        def truth(self, token: str) -> SceneTruth:
            line = MapArea(id="line", rings=(np.zeros((2, 2)),))
            return replace(super().truth(token), map=replace(TOWN, carparks=(line,)))

    with pytest.raises(MapError):
        index_of(Flat().truth("a@0").map)
    report = build(tmp_path, Flat())
    assert report.built == 0 and len(report.failed) == 5 and "line" in report.failed["a@0"]


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
        found = opened.get(token)
        spent.append(time.perf_counter() - start)
        assert same(found, scenes[token])
    assert np.median(spent) < 0.02  # below 1 ms unwatched; here annotations are checked too

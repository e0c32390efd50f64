"""The scene cache: each scene is opened once, interrupted filling continues, and unreadable scenes are named."""

import multiprocessing
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from latentdrive.errors import DiskFull, NotWritable, UnreadableScene
from latentdrive.locks import LOCK
from latentdrive.planners.inputs import scene_cache
from latentdrive.planners.inputs.scene_cache import SceneCache
from latentdrive.progress import unwatched

TOKENS = [f"t{number}" for number in range(7)]


class Maker:
    """Opens scene i as a picture and a scalar of the number i. bad: unreadable scenes. stop: scene that interrupts."""

    def __init__(self, bad: tuple[int, ...] = (), stop: int | None = None) -> None:
        self.bad, self.stop, self.opened = bad, stop, []

    def __call__(self, token: str) -> dict[str, np.ndarray]:
        number = int(token[1:])
        self.opened.append(number)
        if number == self.stop:
            raise KeyboardInterrupt
        if number in self.bad:
            raise UnreadableScene(token, "the image is not there")
        return {"picture": np.full((2, 3), number, np.uint8), "number": np.int64(number)}


def fill(folder: Path, maker: Maker, **changes) -> SceneCache:
    cache = SceneCache(folder, TOKENS, maker, **{"content": "sensors"} | changes)
    cache.fill(workers=0, progress=unwatched)
    return cache


def test_every_scene_is_opened_once_and_read_back(tmp_path: Path):
    maker = Maker()
    cache = fill(tmp_path, maker)
    assert maker.opened == list(range(7)) and cache.rows() == list(range(7))
    arrays = cache.read([5, 2])
    assert arrays["number"].tolist() == [5, 2] and arrays["picture"][0].tolist() == [[5] * 3] * 2
    assert list(cache.read([5], names=("number",))) == ["number"]
    again = Maker()
    assert fill(tmp_path, again).rows() == list(range(7)) and not again.opened


def test_another_content_has_a_cache_of_its_own(tmp_path: Path):
    fill(tmp_path, Maker())
    other = Maker()
    fill(tmp_path, other, content="other sensors")
    assert len(other.opened) == 7


def test_interrupted_filling_keeps_whole_scenes_and_continues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(scene_cache, "CHUNK", 2)
    with pytest.raises(KeyboardInterrupt):
        fill(tmp_path, Maker(stop=5))
    rest = Maker()
    cache = fill(tmp_path, rest)
    assert rest.opened == [4, 5, 6] and cache.read(cache.rows())["number"].tolist() == list(range(7))


def test_an_unreadable_scene_is_named_at_every_filling_until_it_is_repaired(tmp_path: Path):
    for _ in range(2):
        cache = fill(tmp_path, Maker(bad=(3,)))
        assert cache.reasons == {"t3": "the image is not there"} and cache.rows() == [0, 1, 2, 4, 5, 6]
    repaired = Maker()
    cache = fill(tmp_path, repaired)
    assert repaired.opened == [3] and not cache.reasons and len(cache.rows()) == 7


def test_the_size_is_known_before_anything_is_written(tmp_path: Path):
    cache = SceneCache(tmp_path, TOKENS, Maker(bad=(0,)), content="sensors")
    assert cache.bytes() == 7 * (6 + 8) and not list(tmp_path.iterdir())


def files_of(cache: SceneCache) -> list[Path]:
    return sorted(path for path in cache.folder.iterdir() if path.name != LOCK)


def test_no_altered_bit_goes_unnoticed_and_what_was_altered_is_made_anew(tmp_path: Path, capsys):
    cache, draws = fill(tmp_path, Maker()), np.random.default_rng(0)
    whole = {path: path.read_bytes() for path in files_of(cache)}
    made_anew = 0
    for _ in range(100):
        path = list(whole)[draws.integers(len(whole))]
        damaged = bytearray(whole[path])
        damaged[draws.integers(len(damaged))] ^= 1 << int(draws.integers(8))
        path.write_bytes(damaged)
        maker = Maker()
        arrays = fill(tmp_path, maker).read(list(range(7)))
        assert arrays["number"].tolist() == list(range(7)) and arrays["picture"].mean((1, 2)).tolist() == list(range(7))
        made_anew += bool(maker.opened)
        again = Maker()
        assert fill(tmp_path, again).read(list(range(7)))["number"].tolist() == list(range(7)) and not again.opened
        for path, content in whole.items():
            path.write_bytes(content)
    assert made_anew > 20 and "was altered on the disk, and is made anew" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["picture.npy", "number.npy", "state.npz"])
@pytest.mark.parametrize("damage", ["cut", "empty", "gone"])
def test_a_file_that_is_cut_short_or_gone_is_made_anew(tmp_path: Path, name: str, damage: str):
    path = fill(tmp_path, Maker()).folder / name
    path.unlink() if damage == "gone" else os.truncate(path, path.stat().st_size // 2 if damage == "cut" else 0)
    maker = Maker()
    assert fill(tmp_path, maker).read([6])["number"].tolist() == [6] and maker.opened == list(range(7))


def test_a_state_that_is_damaged_during_training_costs_time_and_no_scene(tmp_path: Path):
    cache = fill(tmp_path, Maker())
    (cache.folder / "state.npz").write_bytes(b"damaged")
    assert cache.read([5, 2])["number"].tolist() == [5, 2]
    assert fill(tmp_path, Maker()).read(list(range(7)))["number"].tolist() == list(range(7))


def test_a_row_that_was_altered_and_whose_scene_is_gone_is_named(tmp_path: Path):
    cache = fill(tmp_path, Maker())
    path = cache.folder / "number.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(UnreadableScene, match="t6"):
        fill(tmp_path, Maker(bad=(6,))).read([5, 6])


def test_a_row_that_was_altered_is_read_although_the_cache_can_not_be_written(tmp_path: Path, monkeypatch):
    cache = fill(tmp_path, Maker())
    path = cache.folder / "number.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")

    def refused(*_: object, **__: object) -> None:
        raise NotWritable("read-only")

    monkeypatch.setattr(scene_cache, "one_writer", refused)
    assert cache.read([5, 6])["number"].tolist() == [5, 6]


def test_a_disk_that_fills_ends_the_filling_by_name_and_the_same_command_goes_on(tiny_disk: Path):
    class Large(Maker):
        def __call__(self, token: str) -> dict[str, np.ndarray]:
            number = int(token[1:])
            return {"picture": np.full((3, 80_000), number, np.uint8)}

    with pytest.raises(DiskFull, match=r"the disk is full while writing .*picture\.npy"):
        fill(tiny_disk, Large())
    subprocess.run(["mount", "-o", "remount,size=4m", tiny_disk], check=True)
    cache = fill(tiny_disk, Large())
    assert [rows.tolist() for rows in np.unique(cache.read(cache.rows())["picture"], axis=2)[:, 0]] == [
        [number] for number in range(7)
    ]


def _fill(folder: Path) -> None:
    cache = fill(folder, Maker())
    assert cache.read(list(range(7)))["number"].tolist() == list(range(7))


def test_several_processes_share_one_cache(tmp_path: Path):
    processes = [multiprocessing.get_context("fork").Process(target=_fill, args=(tmp_path,)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=120)
    assert [process.exitcode for process in processes] == [0] * 4

"""The scene cache: each scene is opened once, interrupted filling continues, and unreadable scenes are named."""

from pathlib import Path

import numpy as np
import pytest

from latentdrive.errors import UnreadableScene
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

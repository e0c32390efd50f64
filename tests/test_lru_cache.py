"""The bounded cache: what was used last stays, and worker processes start with nothing."""

import pickle

import pytest

from latentdrive.lru_cache import LruCache


def test_the_value_that_was_not_used_for_longest_makes_room():
    cache: LruCache[str, int] = LruCache(2)
    cache["a"], cache["b"] = 1, 2
    assert cache["a"] == 1
    cache["c"] = 3
    assert [name in cache for name in "abc"] == [True, False, True]
    with pytest.raises(KeyError):
        cache["b"]


def test_a_value_is_made_once_and_a_failure_is_not_kept():
    cache: LruCache[str, int] = LruCache(2)
    made: list[str] = []

    def fail() -> int:
        raise ValueError("not now")

    with pytest.raises(ValueError, match="not now"):
        cache.get("a", fail)
    assert [cache.get("a", lambda: made.append("a") or 7) for _ in range(3)] == [7, 7, 7] and made == ["a"]


def test_a_worker_process_gets_an_empty_cache_of_the_same_size():
    cache: LruCache[str, int] = LruCache(1)
    cache["a"] = 1
    copy = pickle.loads(pickle.dumps(cache))
    assert copy.size == 1 and "a" not in copy and "a" in cache

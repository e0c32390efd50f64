"""A bounded cache of values that are expensive to open. Worker processes get it empty."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class LruCache(Generic[Key, Value]):
    """Keeps the `size` most recently used values.

    A pickled cache is empty, so worker processes open files of their own.
    functools.lru_cache can't be pickled, and it would keep every value that it makes.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._values: OrderedDict[Key, Value] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {"size": self.size, "_values": OrderedDict()}

    def __contains__(self, key: Key) -> bool:
        return key in self._values

    def __getitem__(self, key: Key) -> Value:
        """The value of a key, which becomes the one used last. Raises KeyError."""
        self._values.move_to_end(key)
        return self._values[key]

    def __setitem__(self, key: Key, value: Value) -> None:
        """Keep a value; the one that was not used for longest makes room."""
        self._values[key] = value
        self._values.move_to_end(key)
        if len(self._values) > self.size:
            self._values.popitem(last=False)

    def get(self, key: Key, make: Callable[[], Value]) -> Value:
        """The value of a key, made now unless it is kept. What `make` raises is not kept."""
        if key in self._values:
            return self[key]
        value = make()
        self[key] = value
        return value

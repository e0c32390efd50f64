"""Content identity: hashes of configurations that stay the same when a module moves.

A fingerprint, a store's address and the key of a result are digests over configurations. A configuration names its
classes by module path (`_target_: latentdrive.student.model.Student`), and a module path is no content. Every digest
therefore covers the configuration as `identity_of` gives it, in which a class of this package goes by its own name
(`Student`). `tests/test_identity.py` holds these names unique.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

PACKAGE = "latentdrive."
TARGET = "_target_"


def own_name(target: str) -> str:
    """The name of a class or function without its module: `Student`, `Body.of_nuplan`, `load_qwen`.

    Names outside this package stay whole: `torch.optim.AdamW`.
    """
    if not target.startswith(PACKAGE):
        return target
    parts = target.split(".")
    first_class = next((place for place, part in enumerate(parts) if part[:1].isupper()), len(parts) - 1)
    return ".".join(parts[first_class:])


def identity_of(node: Any) -> Any:
    """A configuration, or any part of one, in which each `_target_` of this package is replaced by its own name."""
    if isinstance(node, Mapping):
        return {
            key: own_name(value) if key == TARGET and isinstance(value, str) else identity_of(value)
            for key, value in node.items()
        }
    if isinstance(node, list | tuple):
        return [identity_of(value) for value in node]
    return node


def digest(content: Any, digits: int = 16) -> str:
    """The first hexadecimal digits of the sha256 over `content` as JSON with sorted keys."""
    return hashlib.sha256(json.dumps(identity_of(content), sort_keys=True, default=str).encode()).hexdigest()[:digits]


FormerIds = Mapping[str, Sequence[str]]


def same_id(one: str, other: str, *former: FormerIds) -> bool:
    """Whether two ids mean the same content. former: what is known of earlier ids, current id → earlier ones."""
    known: dict[str, set[str]] = {one: {one}, other: {other}}
    for ids in former:
        for current, earlier in ids.items():
            for name in known:
                if name == current or name in earlier:
                    known[name] |= {current, *earlier}
    return not known[one].isdisjoint(known[other])

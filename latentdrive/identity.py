"""Identity of content: digests of configurations that stay the same when a module moves.

A checkpoint's fingerprint, a store's address and the key of a result are digests over configurations. A
configuration names classes by their modules (`_target_: latentdrive.student.model.Student`), but a
module's place is no content. Digests therefore cover what `identity_of` gives, in which a class of this
package has its own name (`Student`). `tests/test_identity.py` keeps these names unique.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

PACKAGE = "latentdrive."
TARGET = "_target_"


def own_name(target: str) -> str:
    """The name of a class, method or function without its module: `Student`, `Body.of_nuplan`, `load_qwen`.

    Names outside this package keep their module: `torch.optim.AdamW`.
    """
    if not target.startswith(PACKAGE):
        return target
    parts = target.split(".")
    first_class = next((place for place, part in enumerate(parts) if part[:1].isupper()), len(parts) - 1)
    return ".".join(parts[first_class:])


def identity_of(node: Any) -> Any:
    """A configuration, or a part of one, with own names in place of the `_target_`s of this package."""
    if isinstance(node, Mapping):
        return {
            key: own_name(value) if key == TARGET and isinstance(value, str) else identity_of(value)
            for key, value in node.items()
        }
    if isinstance(node, list | tuple):
        return [identity_of(value) for value in node]
    return node


def digest(content: Any, digits: int = 16) -> str:
    """The first hexadecimal digits of the sha256 over the identity of `content`, as JSON with sorted keys."""
    return hashlib.sha256(json.dumps(identity_of(content), sort_keys=True, default=str).encode()).hexdigest()[:digits]


FormerIds = Mapping[str, Sequence[str]]  # current id → ids that the same content had before


def same_id(first: str, second: str, *former: FormerIds) -> bool:
    """Whether two ids mean the same content, by all that is known of former ids."""
    return not _all_ids(first, former).isdisjoint(_all_ids(second, former))


def _all_ids(name: str, former: Sequence[FormerIds]) -> set[str]:
    """The id itself, and all ids that stand in one entry of `former` with it."""
    ids = {name}
    for known in former:
        for current, earlier in known.items():
            if name == current or name in earlier:
                ids |= {current, *earlier}
    return ids

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
# Keys that configurations of earlier versions lack, each with the value that does what those versions did. At that
# value a key is no part of an identity, so that earlier runs keep theirs.
LATER_KEYS = {"complete_only": False, "video_hz": None, "middle_depth": None}


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
    """A configuration, or a part of one, with own names in place of the `_target_`s of this package.

    Keys become text: a YAML file from elsewhere may mix numbers and words, which have no order.
    LATER_KEYS are left out where they change nothing.
    """
    if isinstance(node, Mapping):
        return {
            str(key): own_name(value) if key == TARGET and isinstance(value, str) else identity_of(value)
            for key, value in node.items()
            if not (key in LATER_KEYS and value is LATER_KEYS[key])
        }
    if isinstance(node, list | tuple):
        return [identity_of(value) for value in node]
    return node


def digest(content: Any, digits: int = 16) -> str:
    """The first hexadecimal digits of the sha256 over the identity of `content`, as JSON with sorted keys."""
    return hashlib.sha256(json.dumps(identity_of(content), sort_keys=True, default=str).encode()).hexdigest()[:digits]


FormerIds = Mapping[str, Sequence[str]]  # current id → ids that the same content had before


MOST_FORMER_IDS = 16  # of one id; a longer list is no honest one


def are_former_ids(value: Any) -> bool:
    """Whether a value read from a file is a table of former ids: id → a short list of ids, all of them text."""
    return isinstance(value, Mapping) and all(
        isinstance(ids, list | tuple)
        and len(ids) <= MOST_FORMER_IDS
        and all(isinstance(name, str) and name for name in (current, *ids))
        for current, ids in value.items()
    )


def same_id(one: str, other: str, *former: FormerIds) -> bool:
    """Whether two ids mean the same content: they are equal, or one is a former id of the other.

    former: what is known of earlier ids, current id → earlier ones. Entries of third ids count for nothing, so that no
    file can make one of two contents that it does not speak of.
    """
    return one == other or any(one in ids.get(other, ()) or other in ids.get(one, ()) for ids in former)

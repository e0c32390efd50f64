"""What Hydra and omegaconf say about a wrong override, in one sentence that says what to type instead."""

import difflib
import re
from collections.abc import Callable, Collection, Sequence

# Keys of earlier versions, and what they are called now; what stood below a key stands below the new one.
RENAMED = {
    "split": "data.split.test",
    "data.scenes.split": "data.split.test",
    "data.train.split": "data.split.train",
    "data.val.split": "data.split.val",
    **{f"data.source.{key}": f"data.options.{key}" for key in ("fit", "images_hz", "poses", "field_of_view_deg")},
    **{f"data.source.{key}": f"data.part.{key}" for key in ("path", "train_share", "gap_s")},
    "data.source.part": "data.part.times",
    **{f"data.{part}.part": f"data.{part}.times" for part in ("train", "val", "probe")},
    "training.weights": "training.loss",
    "model.eyes": "model.sensors",
    **{f"{node}.traffic.replay.own_way": f"{node}.traffic.replay.ego_motion" for node in ("world", "video")},
}
ALL_KEYS = "--cfg job shows all keys"


def foreign_errors() -> tuple[type[Exception], ...]:
    """What Hydra and omegaconf raise for a wrong override. Of ValueErrors, `explain` knows a few."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    return HydraException, OmegaConfBaseException, ValueError


def explain(error: Exception, known: Callable[[], Sequence[str]], groups: Collection[str]) -> str | None:
    """One sentence about an error that Hydra raised; None where a ValueError is none of Hydra's.

    known: gives the keys and groups that the configuration has. groups: those of all configurations.
    """
    text = str(error).strip()
    for pattern, say in _SENTENCES:
        if match := re.search(pattern, text, re.DOTALL):
            return say(match)
    if match := re.search(r"Could not (?:override|delete from config\.?) '([^'@]+)", text):
        return unknown(match[1], known(), groups)
    if isinstance(error, ValueError):
        return None
    override = getattr(error, "override", None)
    if isinstance(override, str):
        return _unreadable(override, text)
    return " ".join(text.split("\nSet the environment variable")[0].split())


def _unreadable(override: str, text: str) -> str:
    key, _, value = override.partition("=")
    reason = next((line for line in text.splitlines() if not line.startswith(("Error parsing", "See http"))), "")
    quoted = value.replace("'", "\\'")
    return f"{override} can't be read as key=value ({reason}): put the value in quotes, {key}=\"'{quoted}'\""


def _no_option(match: re.Match) -> str:
    group, _, option = match[1].rpartition("/")
    options = sorted(match[2].split())
    near = difflib.get_close_matches(option, options, 1)
    guess = f"; did you mean {group}={near[0]}?" if near else ""
    return f"{group}={option}: there is no such option, {group} may be {', '.join(options)}{guess}"


def _comma(match: re.Match) -> str:
    key, _, value = match[1].partition("=")
    return f"{match[1]} holds a comma: a list is {key}=[{value}], a text is {key}=\"'{value}'\", and -m runs each"


_SENTENCES: tuple[tuple[str, Callable[[re.Match], str]], ...] = (
    (r"\w+ raised while resolving interpolation: ([^\n]*)", lambda match: match[1]),
    (
        r"Missing mandatory value: ([\w.]+)",
        lambda match: f"{match[1]} has no value: give it on the command line, as {match[1]}=...",
    ),
    (r"Could not find '([^']+)'\s+Available options in [^\n]*((?:\n\t\S+)+)", _no_option),
    (r"Ambiguous value for argument '(.*?)'\n", _comma),
    (
        r"Multiple values for ([\w/]+)\.",
        lambda match: f"{match[1]} is chosen already: write {match[1]}=OPTION, without a +",
    ),
    (
        r"Interpolation key '([^']+)' not found(?:\s+full_key: (\S+))?",
        lambda match: f"{match[2] or 'a value'} refers to {match[1]}, which is not in the configuration; {ALL_KEYS}",
    ),
    (
        r"Config group override must be a string or a list",
        lambda match: "a group such as data= takes the name of one of its options; --help lists them",
    ),
)


def renamed(key: str) -> str | None:
    """What a key of an earlier version is called now; None if there was none of that name."""
    for old, new in RENAMED.items():
        if key == old or key.startswith(f"{old}."):
            return new + key.removeprefix(old)
    return None


def unknown(key: str, known: Sequence[str] = (), groups: Collection[str] = ()) -> str:
    """What to type instead of a key that the configuration does not have. known, groups: as for `explain`."""
    if (new := renamed(key)) is not None:
        return f"unknown key {key}: it is called {new} now; type {new}=..."
    if key in groups:
        return f"unknown key {key}: this command does not take {key}=...; --help shows what it takes"
    near = difflib.get_close_matches(key, known, 1, cutoff=0.5)
    if near == [key]:  # another option of a group has it
        return f"this command has no key {key} as it is typed: +{key}=... adds it"
    return f"unknown key {key}" + (f"; did you mean {near[0]}?" if near else ";") + f" {ALL_KEYS}"

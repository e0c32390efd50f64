"""Which scenes of a recording are used: NAVSIM's split files and scene filters, read as they are.

A split is `NAME.yaml` (its `data_split`, and the name of its filter) beside a folder
`scene_filter/` with the filters. index.py applies a filter; two_stage.py and synthetic.py use the
second stage of a two-stage split.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from latentdrive.errors import ConfigError
from latentdrive.plain_files import read_yaml
from latentdrive.types import FROZEN

FOREIGN = ("_target_", "_convert_")  # keys of NAVSIM's own loader, which are skipped
FILTERS = "scene_filter"  # folder beside the splits
SPLIT_KEYS = ("defaults", "data_split", "reactive_all_mapping")
LISTS = (
    "log_names", "tokens", "synthetic_scene_tokens", "reactive_synthetic_initial_tokens",
    "non_reactive_synthetic_initial_tokens",
)  # fmt: skip
LEAST = {"num_history_frames": 1, "num_future_frames": 0, "frame_interval": 1, "max_scenes": 1}
MOST = 10**9  # of frames and scenes
LARGEST_BYTES = 100_000_000  # of a split or filter; navtrain lists 100,000 tokens in 3 MB


@dataclass(**FROZEN)
class SceneFilter:
    """NAVSIM's SceneFilter; names and defaults are those of its file format.

    A scene has num_history_frames (now included) + num_future_frames frames, and a new one begins
    every frame_interval frames (None: scenes do not overlap). has_route: only scenes with a route
    now. log_names, tokens: only these, None for all. The other keys belong to the second stage of
    NAVSIM v2, and are used where a split has no mapping (its private test data).
    """

    num_history_frames: int = 4
    num_future_frames: int = 10
    frame_interval: int | None = None
    has_route: bool = True
    max_scenes: int | None = None
    log_names: tuple[str, ...] | None = None
    tokens: tuple[str, ...] | None = None
    include_synthetic_scenes: bool = False
    all_mapping: Any = None
    synthetic_scene_tokens: tuple[str, ...] | None = None
    reactive_synthetic_initial_tokens: tuple[str, ...] | None = None
    non_reactive_synthetic_initial_tokens: tuple[str, ...] | None = None

    @property
    def num_frames(self) -> int:
        """Number of frames of a scene."""
        return self.num_history_frames + self.num_future_frames

    def description(self) -> dict[str, Any]:
        """What is asked of a scene, and how many logs and tokens are listed (None: no list)."""
        lists = {name: getattr(self, name) for name in ("log_names", "tokens")}
        return {
            "num_history_frames": self.num_history_frames,
            "num_future_frames": self.num_future_frames,
            "frame_interval": self.frame_interval,
            "has_route": self.has_route,
            "max_scenes": self.max_scenes,
            **{name: None if names is None else len(names) for name, names in lists.items()},
        }

    @property
    def synthetic_tokens(self) -> tuple[str, ...]:
        """Initial tokens of the synthetic scenes that the filter lists, each once; empty if it lists none."""
        lists = (
            self.synthetic_scene_tokens,
            self.reactive_synthetic_initial_tokens,
            self.non_reactive_synthetic_initial_tokens,
        )
        return tuple(dict.fromkeys(token for tokens in lists for token in tokens or ()))

    @property
    def interval(self) -> int:
        """Number of frames from one scene's start to the next."""
        return self.num_frames if self.frame_interval is None else self.frame_interval


@dataclass(**FROZEN)
class SecondStage:
    """An original scene and the synthetic scenes of NAVSIM v2 that follow it.

    now, previous: tokens of the original scene and of the one 0.5 s before it. followers: (now,
    previous) initial tokens of the synthetic scenes, which start where a plan may have led.
    """

    now: str
    previous: str
    followers: tuple[tuple[str, str], ...]

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """All pairs (now, previous); the original one comes first."""
        return (self.now, self.previous), *self.followers


@dataclass(**FROZEN)
class Split:
    """NAVSIM's split. data_split: folder of its logs. second_stages: its mapping; empty for splits of one stage, and
    for the private test split of two stages.
    """

    name: str
    data_split: str
    filter: SceneFilter
    second_stages: tuple[SecondStage, ...]

    @property
    def has_second_stage(self) -> bool:
        """Whether there are synthetic scenes, with or without a mapping that says which scene they follow."""
        return bool(self.second_stages or self.filter.include_synthetic_scenes or self.filter.synthetic_tokens)

    @property
    def second_stage_tokens(self) -> tuple[str, ...]:
        """Initial tokens of the synthetic scenes that mapping or filter list; empty if neither does."""
        mapped = dict.fromkeys(token for stage in self.second_stages for pair in stage.followers for token in pair)
        return tuple(mapped) or self.filter.synthetic_tokens


def read_split(folder: str | Path, name: str) -> Split:
    """The split `folder/name.yaml` with its filter.

    Raises ConfigError for absent files and for keys NAVSIM does not have.
    """
    folder = Path(folder)
    path = folder / f"{name}.yaml"
    if not path.is_file():
        splits = sorted(file.stem for file in folder.glob("*.yaml")) if folder.is_dir() else None
        content = "that folder is not there" if splits is None else f"it holds {', '.join(splits) or 'no splits'}"
        raise ConfigError(
            f"no split {name!r}: looked for {path}; {content}. A split is {name}.yaml beside a folder {FILTERS}/; the "
            "NAVSIM devkit has both in navsim/planning/script/config/common/train_test_split. Give that folder: "
            "data.splits=FOLDER"
        )
    content = _mapping(path)
    if unknown := [key for key in content if key not in SPLIT_KEYS]:
        raise ConfigError(f"{path}: unknown key {', '.join(map(str, unknown))}; a split has {', '.join(SPLIT_KEYS)}")
    defaults, mapping = content.get("defaults") or [], content.get("reactive_all_mapping") or []
    if not (isinstance(defaults, list) and isinstance(mapping, list)):
        raise ConfigError(f"{path}: defaults and reactive_all_mapping must be lists")
    filters = [entry[FILTERS] for entry in defaults if isinstance(entry, Mapping) and FILTERS in entry]
    if len(filters) != 1 or not isinstance(content.get("data_split"), str):
        raise ConfigError(f"{path}: it must name one filter (defaults: - {FILTERS}: NAME) and a data_split")
    return Split(
        name=name,
        data_split=content["data_split"],
        filter=read_scene_filter(folder / FILTERS / f"{filters[0]}.yaml"),
        second_stages=second_stages_of(path, mapping),
    )


def read_scene_filter(path: str | Path) -> SceneFilter:
    """One of NAVSIM's scene filters. Raises ConfigError if it is absent or has a key that NAVSIM does not have."""
    path = Path(path)
    return scene_filter_of(_mapping(path), str(path))


def scene_filter_of(content: Mapping[Any, Any], where: str) -> SceneFilter:
    """A filter from its keys and values.

    where: they come from, for messages. Raises ConfigError for keys NAVSIM does not have.
    """
    values = {key: value for key, value in content.items() if key not in FOREIGN}
    known = [field.name for field in fields(SceneFilter)]
    if unknown := [str(key) for key in values if key not in known]:
        raise ConfigError(f"{where}: unknown key {', '.join(unknown)}; a scene filter has {', '.join(known)}")
    for name in LISTS:
        if values.get(name) is not None:
            values[name] = _strings(where, name, values[name])
    for name in ("has_route", "include_synthetic_scenes"):
        if not isinstance(values.get(name, False), bool):
            raise ConfigError(f"{where}: {name} must be true or false, got {values[name]!r}")
    for name, least in LEAST.items():
        value = values.get(name, least)
        if value is None and name in ("frame_interval", "max_scenes"):
            continue
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= MOST:
            raise ConfigError(
                f"{where}: {name} must be a whole number of at least {least}, and at most {MOST}, got {value!r}"
            )
    return SceneFilter(**values)


def choose_split(
    *, data_split: str | None, split: str | None, splits: str | None, filter: Mapping[str, Any] | None
) -> Split:
    """The split of that name in the folder `splits`; without a name, the scenes of `data_split` that `filter` selects.

    data_split, if given, replaces the split's own, so that other data can have the devkit's splits.
    Raises ConfigError if neither a split nor data_split and filter are given.
    """
    if split is None:
        if data_split is None or filter is None:
            raise ConfigError(
                "without a split (data.split.test=null), name the logs: data.source.data_split=mini (or trainval, "
                "test, ...), and give data.scenes.filter"
            )
        everything = scene_filter_of(filter, "data.scenes.filter")
        return Split(name=f"all of {data_split}", data_split=data_split, filter=everything, second_stages=())
    if splits is None:
        raise ConfigError(f"split={split} needs data.splits, the folder that holds {split}.yaml and scene_filter/")
    named = read_split(Path(splits).expanduser(), split)
    if data_split is not None and data_split != named.data_split:
        return replace(named, data_split=data_split)
    return named


def _mapping(path: Path) -> dict[Any, Any]:
    try:
        content = read_yaml(path, largest_bytes=LARGEST_BYTES)
    except OSError as error:
        raise ConfigError(f"{path} can't be opened ({error.strerror})") from None
    except ValueError as error:
        raise ConfigError(f"{path} {error}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path} must hold keys and values, it holds {type(content).__name__}")
    return content


def _strings(where: str, name: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        raise ConfigError(f"{where}: {name} must be a list or null, got {type(value).__name__}")
    if wrong := [entry for entry in value if not isinstance(entry, str)]:
        # Unquoted, a token such as 0123456789012345 is a number, and its leading zero is gone.
        raise ConfigError(f"{where}: {name} holds {wrong[0]!r}, which is no text: write it in quotes")
    return tuple(value)


def second_stages_of(path: Path, entries: Any) -> tuple[SecondStage, ...]:
    """The entries of a split's mapping.

    path: of its file, for messages. Raises ConfigError for an entry of another form.
    """
    stages = []
    for number, entry in enumerate(entries, 1):
        try:
            now, previous, synthetic = entry
            pairs = tuple((first, second) for first, second in synthetic)
        except (TypeError, ValueError):
            now, previous, pairs = None, None, ()
        if not all(isinstance(token, str) for token in (now, previous, *(token for pair in pairs for token in pair))):
            raise ConfigError(
                f"{path}: entry {number} of reactive_all_mapping must hold tokens as "
                "[now, previous, [[now, previous], ...]]"
            )
        stages.append(SecondStage(now=now, previous=previous, followers=pairs))
    return tuple(stages)

"""One frame of a NAVSIM recording: from the dictionary in a pickle to checked arrays, or to one
sentence on what is wrong.

First step of reading a log; log.py puts the frames into columns. Frames of logs and frames of
NAVSIM v2's synthetic scenes name their entries differently; both become a Frame.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64

from latentdrive.data.pickles.names import StandIn
from latentdrive.types import FROZEN, MAP_ALIASES

CAMERAS = ("cam_f0", "cam_l0", "cam_l1", "cam_l2", "cam_r0", "cam_r1", "cam_r2", "cam_b0")
LIDAR = "lidar"
OBJECT_NAMES = ("vehicle", "pedestrian", "bicycle", "traffic_cone", "barrier", "czone_sign", "generic_object")
MISSING, SHAPE, NUMBER, VALUE = "key missing", "wrong shape or type", "not finite", "impossible value"
LATEST_US = 1 << 62  # larger whole numbers do not fit the columns
LARGEST = 1e9  # of a number in a frame: no place on Earth is that many metres away, and single precision can square it
LONGEST = 200  # characters of an id, a name or a path; longer ones are refused


class BadFrame(Exception):
    """Why a frame can't be used. kind: MISSING, SHAPE, NUMBER or VALUE."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


@dataclass(**FROZEN)
class Objects:
    """Annotated objects in the ego frame.

    boxes: x, y, z, length, width, height, heading; the heading is NaN where it is unknown. velocity:
    NaN where it is unknown; object_motion.py fills both. names: index into OBJECT_NAMES. lost:
    number of boxes that were left out because their place or their size is unknown or impossible.
    """

    boxes: Float64[np.ndarray, "N 7"]
    velocity: Float64[np.ndarray, "N 2"]
    names: Int64[np.ndarray, "N"]
    tracks: tuple[str, ...]
    lost: int


NO_OBJECTS = Objects(boxes=np.zeros((0, 7)), velocity=np.zeros((0, 2)), names=np.zeros(0, np.int64), tracks=(), lost=0)


@dataclass(**FROZEN)
class Views:
    """The eight cameras in the order of CAMERAS. paths: below the sensor folder, empty where a camera has no image.

    rotation, translation: camera to ego. OpenScene calls them "sensor2lidar", but its lidar frame is the ego frame.
    """

    paths: tuple[str, ...]
    rotation: Float64[np.ndarray, "8 3 3"]
    translation: Float64[np.ndarray, "8 3"]
    intrinsics: Float64[np.ndarray, "8 3 3"]
    distortion: Float64[np.ndarray, "8 5"]


@dataclass(**FROZEN)
class Frame:
    """One frame as recorded. pose: x, y, heading, global. motion: vx, vy, ax, ay.

    Private test data lack what only a score needs. route, lights (lane connector, is red): None where
    the recording does not name them. objects: None where it has no annotations. location: name of
    the map, empty where it names none. lidar: path, empty where there is none.
    """

    token: str
    timestamp_us: int
    pose: Float64[np.ndarray, "3"]
    motion: Float64[np.ndarray, "4"]
    command: int
    route: tuple[str, ...] | None
    lights: tuple[tuple[str, bool], ...] | None
    objects: Objects | None
    views: Views
    lidar: str
    location: str


def log_frame(entry: Any) -> Frame:
    """One entry of a log pickle. Raises BadFrame with the key, what was expected and what came."""
    entry = _mapping("frame", entry)
    translation = _numbers("ego2global_translation", _get(entry, "ego2global_translation"), (3,))
    yaw = heading_of(_numbers("ego2global_rotation", _get(entry, "ego2global_rotation"), (4,)))
    views = _mapping("cams", _get(entry, "cams"))
    location = "" if entry.get("map_location") is None else _text("map_location", entry["map_location"])
    return Frame(
        **_common(entry),
        pose=np.array([translation[0], translation[1], yaw]),
        motion=_numbers("ego_dynamic_state", _get(entry, "ego_dynamic_state"), (4,)),
        command=_command(_get(entry, "driving_command")),
        objects=None if entry.get("anns") is None else _objects("anns", entry["anns"], prefix="gt_"),
        views=_views("cams", {str(name).lower(): value for name, value in views.items()}),
        location=MAP_ALIASES.get(location, location),
    )


def synthetic_frame(entry: Any, location: str) -> Frame:
    """One frame of a NAVSIM v2 synthetic scene. Raises BadFrame as `log_frame` does."""
    entry = _mapping("frame", entry)
    ego = _mapping("ego_status", _get(entry, "ego_status"))
    flag = _get(ego, "in_global_frame", "ego_status.")
    if not (isinstance(flag, bool | np.bool_) and flag):
        raise BadFrame(VALUE, f"ego_status.in_global_frame: expected true, got {_shown(flag)}")
    velocity = _numbers("ego_status.ego_velocity", _get(ego, "ego_velocity", "ego_status."), (2,))
    acceleration = _numbers("ego_status.ego_acceleration", _get(ego, "ego_acceleration", "ego_status."), (2,))
    annotations = entry.get("annotations")
    return Frame(
        **_common(entry),
        pose=_numbers("ego_status.ego_pose", _get(ego, "ego_pose", "ego_status."), (3,)),
        motion=np.concatenate([velocity, acceleration]),
        command=_command(_get(ego, "driving_command", "ego_status.")),
        objects=None if annotations is None else _objects("annotations", annotations, prefix=""),
        views=_views("camera_dict", _mapping("camera_dict", _get(entry, "camera_dict"))),
        location=location,
    )


def heading_of(rotation: Float64[np.ndarray, "4"]) -> float:
    """Heading of a quaternion w, x, y, z as the devkit computes it.

    It is the yaw of R = Rx(roll) Ry(pitch) Rz(yaw), atan2(-R01, R00). On level ground this equals
    the usual yaw, atan2(R10, R00). Raises BadFrame for a quaternion of length 0.
    """
    length = float(np.linalg.norm(rotation))
    if length < 1e-9:
        raise BadFrame(VALUE, "ego2global_rotation: expected a quaternion w, x, y, z, got zeros")
    w, x, y, z = rotation / length
    return float(np.arctan2(2 * (w * z - x * y), 1 - 2 * (y * y + z * z)))


def _common(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Entries that both kinds of frames name alike."""
    timestamp = _get(entry, "timestamp")
    if isinstance(timestamp, bool) or not isinstance(timestamp, int | np.integer):
        raise BadFrame(SHAPE, f"timestamp: expected whole microseconds, got {_shown(timestamp)}")
    if not 0 <= timestamp < LATEST_US:
        raise BadFrame(VALUE, f"timestamp: expected microseconds since 1970, got {_shown(int(timestamp))}")
    route, lights = entry.get("roadblock_ids"), entry.get("traffic_lights")
    return {
        "token": _text("token", _get(entry, "token")),
        "timestamp_us": int(timestamp),
        "route": None if route is None else _route(route),
        "lights": None if lights is None else tuple(map(_light, _list("traffic_lights", lights))),
        "lidar": _path("lidar_path", _get(entry, "lidar_path")),
    }


def _route(entry: Any) -> tuple[str, ...]:
    return tuple(_id("roadblock_ids", roadblock) for roadblock in _list("roadblock_ids", entry))


def _route(entry: Any) -> tuple[str, ...]:
    return tuple(_id("roadblock_ids", roadblock) for roadblock in _list("roadblock_ids", entry))


def _light(entry: Any) -> tuple[str, bool]:
    pair = _list("traffic_lights", entry)
    if len(pair) != 2:
        raise BadFrame(SHAPE, f"traffic_lights: expected pairs (lane connector, is red), got {_shown(entry)}")
    if not isinstance(pair[1], bool | int | np.bool_ | np.integer):
        raise BadFrame(SHAPE, f"traffic_lights: expected true or false for red, got {_shown(pair[1])}")
    return _id("traffic_lights", pair[0]), bool(pair[1])


def _command(value: Any) -> int:
    flags = _numbers("driving_command", value, (4,))
    if sorted(flags.tolist()) != [0, 0, 0, 1]:
        raise BadFrame(VALUE, f"driving_command: expected one 1 and three 0, got {flags.tolist()}")
    return int(np.argmax(flags))


def _objects(key: str, value: Any, *, prefix: str) -> Objects:
    entry = _mapping(key, value)
    columns = (f"{prefix}boxes", f"{prefix}names", "instance_tokens", "track_tokens", f"{prefix}velocity_3d")
    values = {name: _get(entry, name, f"{key}.") for name in columns}
    lengths = {name: len(_list(f"{key}.{name}", column)) for name, column in values.items()}
    if len(set(lengths.values())) != 1:
        counts = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise BadFrame(SHAPE, f"{key}: expected equal lengths, got {counts}")
    boxes, names, _, track_tokens, velocity = values.values()
    count = len(velocity)
    if not count:
        return NO_OBJECTS
    boxes = _numbers(f"{key}.{prefix}boxes", boxes, (count, 7), finite=False)
    velocity = _numbers(f"{key}.{prefix}velocity_3d", velocity, (count, 3), finite=False)[:, :2]
    labels = [_text(f"{key}.{prefix}names", name) for name in names]
    if unknown := [name for name in labels if name not in OBJECT_NAMES]:
        expected = ", ".join(OBJECT_NAMES)
        raise BadFrame(VALUE, f"{key}.{prefix}names: expected one of {expected}, got {_shown(unknown[0])}")
    tokens = [_id(f"{key}.track_tokens", token) for token in track_tokens]
    # Heights, above the ground and of the box, enter no score: they must not cost an object its place.
    boxes[:, [2, 5]] = np.where(_is_number(boxes[:, [2, 5]]), boxes[:, [2, 5]], 0.0)
    boxes[~_is_number(boxes[:, 6]), 6] = np.nan
    velocity[~_is_number(velocity).all(1)] = np.nan
    usable = _is_number(boxes[:, :5]).all(1) & (boxes[:, 3:5] > 0).all(1)
    return Objects(
        boxes=boxes[usable],
        velocity=velocity[usable],
        names=np.array([OBJECT_NAMES.index(name) for name in labels], np.int64)[usable],
        tracks=tuple(token for token, use in zip(tokens, usable) if use),
        lost=int((~usable).sum()),
    )


def _views(key: str, views: Mapping[str, Any]) -> Views:
    paths, columns = [], {"rotation": [], "translation": [], "intrinsics": [], "distortion": []}
    names = {
        "rotation": ("sensor2lidar_rotation", (3, 3)),
        "translation": ("sensor2lidar_translation", (3,)),
        "intrinsics": ("cam_intrinsic", (3, 3)),
        "distortion": ("distortion", (5,)),
    }
    for camera in CAMERAS:
        where = f"{key}.{camera}."
        view = _mapping(where[:-1], _get(views, camera, f"{key}."))
        paths.append(_path(f"{where}data_path", _get(view, "data_path", where)))
        for column, (name, shape) in names.items():
            value = _get(view, name, where)
            # A camera without an image may lack its calibration, too.
            absent = value is None and not paths[-1]
            columns[column].append(np.full(shape, np.nan) if absent else _numbers(where + name, value, shape))
    return Views(paths=tuple(paths), **{name: np.stack(rows) for name, rows in columns.items()})


def _get(entry: Mapping[str, Any], key: str, where: str = "") -> Any:
    if key not in entry:
        raise BadFrame(MISSING, f"{where}{key}: expected, but not there")
    return entry[key]


def _mapping(key: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise BadFrame(SHAPE, f"{key}: expected a dictionary, got {_shown(value)}")
    return value


def _list(key: str, value: Any) -> Any:
    if not isinstance(value, list | tuple | np.ndarray) or (isinstance(value, np.ndarray) and value.ndim == 0):
        raise BadFrame(SHAPE, f"{key}: expected a list, got {_shown(value)}")
    return value


def _id(key: str, value: Any) -> str:
    """An id, as text. Some writers store whole numbers."""
    if isinstance(value, int | np.integer) and not isinstance(value, bool) and abs(value) < LATEST_US:
        return str(int(value))
    return _text(key, value)


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str) or not value or len(value) > LONGEST or not value.isprintable():
        raise BadFrame(SHAPE, f"{key}: expected text, got {_shown(value)}")
    return str(value)


def _path(key: str, value: Any) -> str:
    """A path below the sensor folder, empty for None. Raises BadFrame for a path that leads out of it."""
    if value is None:
        return ""
    if isinstance(value, StandIn) and value.module == "pathlib" and all(isinstance(part, str) for part in value.args):
        value = str(PurePosixPath(*value.args))
    text = _text(key, value)
    if text.startswith("/") or ".." in PurePosixPath(text).parts:
        raise BadFrame(VALUE, f"{key}: expected a path below the sensor folder, got {text!r}")
    return text


def _numbers(key: str, value: Any, shape: tuple[int, ...], *, finite: bool = True) -> Float64[np.ndarray, "..."]:
    try:
        array = np.array(value, np.float64)
    except (TypeError, ValueError, OverflowError):
        raise BadFrame(SHAPE, f"{key}: expected {_size(shape)} numbers, got {_shown(value)}") from None
    if array.shape != shape:
        raise BadFrame(SHAPE, f"{key}: expected {_size(shape)} numbers, got {_size(array.shape)}")
    if finite and not np.isfinite(array).all():
        raise BadFrame(NUMBER, f"{key}: expected finite numbers, got {array[~np.isfinite(array)].flat[0]}")
    if finite and not _is_number(array).all():
        raise BadFrame(VALUE, f"{key}: expected numbers up to {LARGEST:g}, got {array[~_is_number(array)].flat[0]:g}")
    return array


def _is_number(array: Float64[np.ndarray, "*shape"]) -> Bool[np.ndarray, "*shape"]:
    """Which entries are finite and within LARGEST."""
    return np.abs(array) <= LARGEST


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) if shape else "a single value, not"


def _shown(value: Any) -> str:
    text = repr(value) if isinstance(value, str | int | float | bool | None) else type(value).__name__
    return text if len(text) < 60 else f"{text[:57]}..."

"""One NAVSIM log in columns: from the pickle, once, to an archive of plain arrays that opens in milliseconds.

After frames.py, which checks each frame, and object_motion.py, which fills in what is unknown about
moving objects. log_folder.py keeps the logs of a split, and scenes.py
cuts scenes from one. A frame that can't be used keeps its row, so that its neighbours stay as far
apart as they were; `problems` says why.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int8, Int32, Int64, Shaped

from latentdrive.data.navsim.frames import CAMERAS, NO_OBJECTS, BadFrame, Frame, Views, log_frame
from latentdrive.data.navsim.object_motion import completed
from latentdrive.data.pickles.reading import read_pickle
from latentdrive.errors import RefusedPickle, UnreadableLogFile, raise_if_out_of_files
from latentdrive.files import read_arrays, write_atomic
from latentdrive.types import FROZEN, Command

FORMAT = 2  # raise it when the same pickle would give other arrays: caches are then remade
TIME = "time does not grow"
# Why a frame can't be used, by number; 0 means that it can.
PROBLEMS = ("", "key missing", "wrong shape or type", "not finite", "impossible value", TIME)
Text = Shaped[np.ndarray, "..."]  # one axis of UTF-8 bytes


# Stands in the row of a frame that can't be used.
BLANK = Frame(
    token="",
    timestamp_us=0,
    pose=np.full(3, np.nan),
    motion=np.full(4, np.nan),
    command=int(Command.UNKNOWN),
    route=(),
    lights=(),
    objects=NO_OBJECTS,
    views=Views(
        paths=("",) * len(CAMERAS),
        rotation=np.full((8, 3, 3), np.nan),
        translation=np.full((8, 3), np.nan),
        intrinsics=np.full((8, 3, 3), np.nan),
        distortion=np.full((8, 5), np.nan),
    ),
    lidar="",
    location="",
)


@dataclass(**FROZEN)
class NavsimLog:
    """The F frames of one log at 2 Hz, oldest first.

    Lists of varying length are concatenated: row r has ends[r]:ends[r + 1]. poses: x, y, heading of
    the rear axle, global. motion: vx, vy, ax, ay, forward and left. problems: index into PROBLEMS.
    reasons: one sentence for each bad frame, in order. boxes: x, y, z, length, width, height,
    heading, in the ego frame of their own frame. object_names: index into OBJECT_NAMES. tracks:
    index into track_tokens. road_told: whether a frame names its route and lights. Cameras are in the
    order of CAMERAS; rotation and translation lead from camera to ego. lost_boxes: number of
    annotated boxes that were left out, by frame. estimated_boxes: number of boxes whose velocity or
    heading was unknown and follows from the same object's other frames, by frame.
    """

    location: Text
    tokens: Text
    timestamps_us: Int64[np.ndarray, "F"]
    poses: Float64[np.ndarray, "F 3"]
    motion: Float32[np.ndarray, "F 4"]
    commands: Int8[np.ndarray, "F"]
    problems: Int8[np.ndarray, "F"]
    reasons: Text
    routes: Text
    route_ends: Int64[np.ndarray, "F+1"]
    lights: Text
    red: Bool[np.ndarray, "L"]
    light_ends: Int64[np.ndarray, "F+1"]
    road_told: Bool[np.ndarray, "F"]
    annotated: Bool[np.ndarray, "F"]
    boxes: Float64[np.ndarray, "N 7"]
    velocity: Float64[np.ndarray, "N 2"]
    object_names: Int8[np.ndarray, "N"]
    tracks: Int32[np.ndarray, "N"]
    track_tokens: Text
    object_ends: Int64[np.ndarray, "F+1"]
    lost_boxes: Int64[np.ndarray, "F"]
    estimated_boxes: Int64[np.ndarray, "F"]
    images: Shaped[np.ndarray, "F 8"]
    rotation: Float64[np.ndarray, "F 8 3 3"]
    translation: Float64[np.ndarray, "F 8 3"]
    intrinsics: Float64[np.ndarray, "F 8 3 3"]
    distortion: Float64[np.ndarray, "F 8 5"]
    lidars: Text

    def __len__(self) -> int:
        return len(self.timestamps_us)

    @property
    def place(self) -> str:
        """nuPlan's name of the map; empty if no frame can be used."""
        return self.location[0].decode()

    def route(self, row: int) -> tuple[str, ...]:
        """Roadblocks of the route at one frame."""
        return tuple(block.decode() for block in self.routes[self.route_ends[row] : self.route_ends[row + 1]])

    def image(self, row: int, camera: str) -> str:
        """Path of an image below the sensor folder; empty where there is none."""
        return self.images[row, CAMERAS.index(camera)].decode()

    def lidar(self, row: int) -> str:
        """Path of the point cloud below the sensor folder; empty where there is none."""
        return self.lidars[row].decode()

    def reason(self, row: int) -> str:
        """Why a frame can't be used."""
        return self.reasons[int((self.problems[:row] > 0).sum())].decode()

    @property
    def has_route(self) -> Bool[np.ndarray, "F"]:
        """Frames with at least one roadblock, and those whose route the recording does not name."""
        return (np.diff(self.route_ends) > 0) | ~self.road_told


def read_log(path: str | Path) -> NavsimLog:
    """A log pickle, checked. Raises UnreadableLogFile if it is no list of frames, or asks to run something."""
    path = Path(path)
    try:
        entries = read_pickle(path)
    except RefusedPickle as error:
        reason = str(error).removeprefix(f"{path}: ")
        raise UnreadableLogFile(path, f"refused: {reason}") from error
    if not isinstance(entries, list):
        raise UnreadableLogFile(
            path,
            f"it holds {type(entries).__name__}, a NAVSIM log is a list of frames: keep only logs in this folder",
        )
    return log_of(_checked(entries))


def log_of(frames: Iterable[Frame | BadFrame]) -> NavsimLog:
    """The columns of these frames; a BadFrame says why one can't be used.

    Frames whose time does not grow become bad ones.
    """
    frames = _in_time(list(frames))
    rows = [frame if isinstance(frame, Frame) else BLANK for frame in frames]
    places = [frame.location for frame in frames if isinstance(frame, Frame)]
    return NavsimLog(
        location=_texts(places[:1] or [""]),
        tokens=_texts([row.token for row in rows]),
        timestamps_us=np.array([row.timestamp_us for row in rows], np.int64),
        poses=_stack([row.pose for row in rows], (3,)),
        motion=_stack([row.motion for row in rows], (4,)).astype(np.float32),
        commands=np.array([row.command for row in rows], np.int8),
        lidars=_texts([row.lidar for row in rows]),
        **_problem_columns(frames),
        **_road_columns(rows),
        **_object_columns(rows),
        **_camera_columns([row.views for row in rows]),
    )


def stamp_of(path: Path) -> tuple[int, int, int]:
    """What identifies a cached log: our format, the pickle's size and its time of change. Raises OSError."""
    status = path.stat()
    return FORMAT, status.st_size, status.st_mtime_ns


def open_log(path: Path, cache: Path) -> NavsimLog:
    """The log from its archive `cache`, which is remade if it is absent, damaged, or of another pickle."""
    try:
        stamp = stamp_of(path)
    except OSError as error:
        raise_if_out_of_files(error)
        raise UnreadableLogFile(path, f"it can't be opened ({error.strerror}): is the disk mounted?") from error
    return _cached(cache, stamp) or _store(cache, stamp, read_log(path))


def _cached(cache: Path, stamp: tuple[int, int, int]) -> NavsimLog | None:
    try:
        arrays = read_arrays(cache)
        if tuple(arrays.pop("stamp").tolist()) == stamp:
            return NavsimLog(**arrays)
    except (OSError, ValueError, KeyError, TypeError) as error:  # absent, damaged, or of an older format
        raise_if_out_of_files(error)
    return None


def _store(cache: Path, stamp: tuple[int, int, int], log: NavsimLog) -> NavsimLog:
    arrays = {column.name: getattr(log, column.name) for column in fields(NavsimLog)}

    def write(new: Path) -> None:
        with open(new, "wb") as file:
            np.savez(file, stamp=np.array(stamp, np.int64), **arrays)

    write_atomic(cache, write)
    return log


def _checked(entries: Sequence[Any]) -> Iterable[Frame | BadFrame]:
    for number, entry in enumerate(entries):
        try:
            yield log_frame(entry)
        except BadFrame as error:
            yield BadFrame(error.kind, f"frame {number}, {error}")


def _in_time(frames: list[Frame | BadFrame]) -> list[Frame | BadFrame]:
    """The same frames, except that each one no later than the last readable time stamp before it becomes a BadFrame."""
    before = None
    for number, frame in enumerate(frames):
        if not isinstance(frame, Frame):
            continue
        if before is not None and frame.timestamp_us <= before:
            frames[number] = BadFrame(
                TIME,
                f"frame {number}, timestamp: expected more than {before} of the frame before, got "
                f"{frame.timestamp_us}: one of the two is wrong",
            )
        before = frame.timestamp_us
    return frames


def _problem_columns(frames: Sequence[Frame | BadFrame]) -> dict[str, np.ndarray]:
    """Which frames can't be used, and why."""
    bad = [frame for frame in frames if isinstance(frame, BadFrame)]
    kinds = [PROBLEMS.index(frame.kind) if isinstance(frame, BadFrame) else 0 for frame in frames]
    return {"problems": np.array(kinds, np.int8), "reasons": _texts([str(frame) for frame in bad])}


def _road_columns(rows: Sequence[Frame]) -> dict[str, np.ndarray]:
    """Routes and traffic lights."""
    routes, lights_by_row = [row.route or () for row in rows], [row.lights or () for row in rows]
    lights = [light for row in lights_by_row for light in row]
    return {
        "routes": _texts([roadblock for route in routes for roadblock in route]),
        "route_ends": _ends(routes),
        "lights": _texts([connector for connector, _ in lights]),
        "red": np.array([red for _, red in lights], bool),
        "light_ends": _ends(lights_by_row),
        "road_told": np.array([row.route is not None and row.lights is not None for row in rows], bool),
    }


def _object_columns(rows: Sequence[Frame]) -> dict[str, np.ndarray]:
    """Annotated objects. A frame without annotations has none, as a bad one."""
    objects, estimated = completed(rows)
    tracks = [token for frame in objects for token in frame.tracks]
    track_tokens = sorted(set(tracks))
    number = {token: k for k, token in enumerate(track_tokens)}
    return {
        "annotated": np.array([row.objects is not None and row is not BLANK for row in rows], bool),
        "boxes": np.concatenate([np.zeros((0, 7)), *(frame.boxes for frame in objects)]),
        "velocity": np.concatenate([np.zeros((0, 2)), *(frame.velocity for frame in objects)]),
        "object_names": np.concatenate([np.zeros(0, np.int8), *(frame.names.astype(np.int8) for frame in objects)]),
        "tracks": np.array([number[token] for token in tracks], np.int32),
        "track_tokens": _texts(track_tokens),
        "object_ends": _ends([frame.tracks for frame in objects]),
        "lost_boxes": np.array([frame.lost for frame in objects], np.int64),
        "estimated_boxes": estimated,
    }


def _camera_columns(views: Sequence[Views]) -> dict[str, np.ndarray]:
    """Paths and calibration of the cameras."""
    paths = np.array([[path.encode() for path in view.paths] for view in views], np.bytes_)
    return {
        "images": paths.reshape(-1, len(CAMERAS)),
        "rotation": _stack([view.rotation for view in views], (8, 3, 3)),
        "translation": _stack([view.translation for view in views], (8, 3)),
        "intrinsics": _stack([view.intrinsics for view in views], (8, 3, 3)),
        "distortion": _stack([view.distortion for view in views], (8, 5)),
    }


def _texts(texts: Sequence[str]) -> Text:
    return np.array([text.encode() for text in texts], np.bytes_).reshape(-1)


def _stack(rows: Sequence[np.ndarray], shape: tuple[int, ...]) -> Float64[np.ndarray, "..."]:
    return np.array(rows, np.float64).reshape(-1, *shape)


def _ends(lists: Sequence[Sequence[Any]]) -> Int64[np.ndarray, "n"]:
    return np.concatenate([[0], np.cumsum([len(items) for items in lists], dtype=np.int64)]).astype(np.int64)

"""One NAVSIM log in columns: from the pickle, once, to an archive of plain arrays that opens in milliseconds.

After navsim_frames.py, which checks each frame; navsim_index.py keeps the logs of a split, navsim_scenes.py cuts scenes from
one. A frame that can't be used stays in its row, so that neighbours keep their distance; `problems` says why.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int8, Int32, Int64, Shaped

from latentdrive.data.navsim.frames import CAMERAS, BadFrame, Frame, Objects, Views, log_frame
from latentdrive.data.pickles.reading import read_pickle
from latentdrive.data.unreadable import raise_if_out_of_files
from latentdrive.errors import RefusedPickle, UnreadableLogFile
from latentdrive.files import read_arrays, write_atomic
from latentdrive.types import FROZEN, Command

FORMAT = 1  # raise it when the same pickle would give other arrays: caches are then made anew
TIME = "time does not grow"
# Why a frame can't be used, by number; 0: it can.
PROBLEMS = ("", "key missing", "wrong shape or type", "not finite", "impossible value", TIME)
Text = Shaped[np.ndarray, "..."]  # one axis of UTF-8 bytes


@dataclass(**FROZEN)
class NavsimLog:
    """Frames of one log, F of them, at 2 Hz, oldest first. Lists of varying length lie behind one another; row r's are from
    ends[r] to ends[r + 1].

    poses: x, y, heading of the rear axle, global; motion: vx, vy, ax, ay, forward and left. problems: index into PROBLEMS;
    reasons: one sentence for each bad frame, in order. boxes: x, y, z, length, width, height, heading in the ego frame of their
    frame; object_names: index into OBJECT_NAMES; tracks: index into track_tokens. Camera axes are those of CAMERAS; rotation,
    translation: camera to ego. lost_boxes: annotated boxes that were left out.
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
    annotated: Bool[np.ndarray, "F"]
    boxes: Float64[np.ndarray, "N 7"]
    velocity: Float64[np.ndarray, "N 2"]
    object_names: Int8[np.ndarray, "N"]
    tracks: Int32[np.ndarray, "N"]
    track_tokens: Text
    object_ends: Int64[np.ndarray, "F+1"]
    lost_boxes: Int64[np.ndarray, "1"]
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
        """nuPlan's name of the map; empty where no frame can be used."""
        return self.location[0].decode()

    def route(self, row: int) -> tuple[str, ...]:
        """Roadblocks of the route at one frame."""
        return tuple(one.decode() for one in self.routes[self.route_ends[row] : self.route_ends[row + 1]])

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
        """Frames with at least one roadblock."""
        return np.diff(self.route_ends) > 0


def read_log(path: str | Path) -> NavsimLog:
    """A log pickle, checked. Raises UnreadableLogFile for a file that is no list of frames, or asks to run something."""
    path = Path(path)
    try:
        entries = read_pickle(path)
    except RefusedPickle as error:
        reason = str(error).removeprefix(f"{path}: ")
        raise UnreadableLogFile(path, f"refused: {reason}") from error
    if not isinstance(entries, list):
        raise UnreadableLogFile(
            path,
            f"it holds {type(entries).__name__}, a NAVSIM log is a list of frames: only logs may lie in this folder",
        )
    return log_of(_checked(entries))


def log_of(frames: Iterable[Frame | BadFrame]) -> NavsimLog:
    """Frames, or why they can't be used, in columns. A frame that is no later than the one before it becomes a bad one."""
    frames = _in_time(list(frames))
    good = [frame for frame in frames if isinstance(frame, Frame)]
    blank = _blank()
    rows = [frame if isinstance(frame, Frame) else blank for frame in frames]
    bad = [frame for frame in frames if not isinstance(frame, Frame)]
    objects = [blank.objects if row.objects is None else row.objects for row in rows]
    track_tokens = sorted({token for one in objects for token in one.tracks})
    number = {token: k for k, token in enumerate(track_tokens)}
    return NavsimLog(
        location=_texts([good[0].location if good else ""]),
        tokens=_texts([row.token for row in rows]),
        timestamps_us=np.array([row.timestamp_us for row in rows], np.int64),
        poses=_stack([row.pose for row in rows], (3,)),
        motion=_stack([row.motion for row in rows], (4,)).astype(np.float32),
        commands=np.array([row.command for row in rows], np.int8),
        problems=np.array(
            [PROBLEMS.index(frame.kind) if isinstance(frame, BadFrame) else 0 for frame in frames], np.int8
        ),
        reasons=_texts([str(frame) for frame in bad]),
        routes=_texts([one for row in rows for one in row.route]),
        route_ends=_ends([row.route for row in rows]),
        lights=_texts([name for row in rows for name, _ in row.lights]),
        red=np.array([red for row in rows for _, red in row.lights], bool),
        light_ends=_ends([row.lights for row in rows]),
        annotated=np.array([row.objects is not None and row is not blank for row in rows], bool),
        boxes=np.concatenate([np.zeros((0, 7)), *(one.boxes for one in objects)]),
        velocity=np.concatenate([np.zeros((0, 2)), *(one.velocity for one in objects)]),
        object_names=np.concatenate([np.zeros(0, np.int8), *(one.names.astype(np.int8) for one in objects)]),
        tracks=np.array([number[token] for one in objects for token in one.tracks], np.int32),
        track_tokens=_texts(track_tokens),
        object_ends=_ends([one.tracks for one in objects]),
        lost_boxes=np.array([sum(one.lost for one in objects)], np.int64),
        images=np.array([[path.encode() for path in row.views.paths] for row in rows], np.bytes_).reshape(
            -1, len(CAMERAS)
        ),
        rotation=_stack([row.views.rotation for row in rows], (8, 3, 3)),
        translation=_stack([row.views.translation for row in rows], (8, 3)),
        intrinsics=_stack([row.views.intrinsics for row in rows], (8, 3, 3)),
        distortion=_stack([row.views.distortion for row in rows], (8, 5)),
        lidars=_texts([row.lidar for row in rows]),
    )


def stamp_of(path: Path) -> tuple[int, int, int]:
    """What a cached log is recognised by: our format, the pickle's size and its time of change. Raises OSError."""
    found = path.stat()
    return FORMAT, found.st_size, found.st_mtime_ns


def open_log(path: Path, cache: Path) -> NavsimLog:
    """The log from its archive `cache`, which is made (anew) where it is absent, damaged, or of another pickle."""
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
    arrays = {one.name: getattr(log, one.name) for one in fields(NavsimLog)}

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
    """The same frames; those that are no later than the last one with a readable time stamp are bad."""
    before = None
    for number, frame in enumerate(frames):
        if not isinstance(frame, Frame):
            continue
        if before is not None and frame.timestamp_us <= before:
            frames[number] = BadFrame(
                TIME,
                f"frame {number}, timestamp: expected more than {before} of the frame before, got {frame.timestamp_us}: one of "
                "the two is wrong",
            )
        before = frame.timestamp_us
    return frames


def _blank() -> Frame:
    """What stands in the row of a frame that can't be used."""
    nan = np.full
    return Frame(
        token="",
        timestamp_us=0,
        pose=nan(3, np.nan),
        motion=nan(4, np.nan),
        command=int(Command.UNKNOWN),
        route=(),
        lights=(),
        objects=Objects(
            boxes=np.zeros((0, 7)), velocity=np.zeros((0, 2)), names=np.zeros(0, np.int64), tracks=(), lost=0
        ),
        views=Views(
            paths=("",) * len(CAMERAS),
            rotation=nan((8, 3, 3), np.nan),
            translation=nan((8, 3), np.nan),
            intrinsics=nan((8, 3, 3), np.nan),
            distortion=nan((8, 5), np.nan),
        ),
        lidar="",
        location="",
    )


def _texts(texts: Sequence[str]) -> Text:
    return np.array([text.encode() for text in texts], np.bytes_).reshape(-1)


def _stack(rows: Sequence[np.ndarray], shape: tuple[int, ...]) -> Float64[np.ndarray, "..."]:
    return np.array(rows, np.float64).reshape(-1, *shape)


def _ends(lists: Sequence[Sequence[Any]]) -> Int64[np.ndarray, "n"]:
    return np.concatenate([[0], np.cumsum([len(one) for one in lists], dtype=np.int64)]).astype(np.int64)

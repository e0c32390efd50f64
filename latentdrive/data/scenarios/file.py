"""One scenario file in ScenarioNet form, checked and reduced to 2 Hz, the rate of NAVSIM's frames.

First step of reading recorded traffic. The file is a pickled dictionary: `tracks` (state arrays at
the recording's own rate), `map_features`, `dynamic_map_states` (traffic lights) and `metadata`. The
map is kept as it is; road_map.py reads it when it is needed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64

from latentdrive.data.pickles.reading import read_pickle
from latentdrive.errors import RefusedPickle, UnreadableLogFile
from latentdrive.geometry import compose, nearest_rows
from latentdrive.types import FROZEN

FRAME_S = 0.5  # time between two frames, as in NAVSIM
LONGEST_S = 86_400  # of a recording
TIME_SLACK_S = 0.02  # how far a row of the recording may lie from the time of its frame
NAMES = {  # ScenarioNet's type → NAVSIM's name; every other type is a generic_object
    "VEHICLE": "vehicle",
    "PEDESTRIAN": "pedestrian",
    "CYCLIST": "bicycle",
    "TRAFFIC_CONE": "traffic_cone",
    "TRAFFIC_BARRIER": "barrier",
}
# From one row to the next, no car changes its velocity by LEAP_MPS (exporters' clocks jitter by
# half a row), and none goes from REVERSE_MPS forward to REVERSE_MPS backward.
LEAP_MPS, REVERSE_MPS = 20.0, 1.0
RED = ("TRAFFIC_LIGHT_RED", "LANE_STATE_STOP", "LANE_STATE_ARROW_STOP", "LANE_STATE_FLASHING_STOP")


@dataclass(**FROZEN)
class Tracks:
    """The N tracks of other objects over F frames, global frame. Rows where `valid` is False are 0.

    poses: of the centres. sizes: length, width, height. velocity: as the exporter wrote it; some exporters look ahead.
    """

    names: tuple[str, ...]
    ids: tuple[str, ...]
    valid: Bool[np.ndarray, "N F"]
    poses: Float64[np.ndarray, "N F 3"]
    centre_z_m: Float64[np.ndarray, "N F"]
    sizes: Float64[np.ndarray, "N F 3"]
    velocity: Float64[np.ndarray, "N F 2"]


@dataclass(**FROZEN)
class Scenario:
    """A recording at 2 Hz. ego_poses: rear axle, NaN where unknown. path_poses: all known ones, at the full rate.

    features: the map as the file has it. lights: by frame, (id of the lane that the light stands
    over, is red). no_size, not_finite: number of tracks that were left out or cut because a size is
    zero, or because a number of a valid row is NaN or infinite. leaps: number of places where the
    ego's recorded position leaps; its pose is unknown from there to the next frame.
    """

    path: Path
    id: str
    location: str
    times_s: Float64[np.ndarray, "F"]
    ego_poses: Float64[np.ndarray, "F 3"]
    path_poses: Float64[np.ndarray, "R 3"]
    tracks: Tracks
    features: Mapping[str, Any]
    lights: tuple[tuple[tuple[str, bool], ...], ...]
    no_size: int
    not_finite: int
    leaps: int


def read_scenario(path: Path, *, ego_ahead_m: float) -> Scenario:
    """Read and check one file. ego_ahead_m: how far the ego's recorded position lies ahead of its rear axle.

    Raises UnreadableLogFile, with the key at fault, if the file is not a complete scenario.
    """
    content = _content(path)
    meta, tracks, features = (_section(path, content, key) for key in ("metadata", "tracks", "map_features"))
    if "left" in str(meta.get("coordinate", "")):
        raise UnreadableLogFile(
            path,
            f"its coordinates are {meta['coordinate']}, so left and right would be exchanged: export it right-handed",
        )
    times = _array(path, meta, "ts", "metadata", rows=None, columns=1)[:, 0]
    if len(times) < 2 or not np.isfinite(times).all() or (np.diff(times) <= 0).any():
        raise UnreadableLogFile(path, "metadata['ts'] must hold two or more finite times that grow")
    rows = _frame_rows(path, times)
    sdc = str(meta.get("sdc_id", ""))
    if sdc not in tracks:
        raise UnreadableLogFile(path, f"metadata['sdc_id'] is {sdc!r}, and no track has that name")
    ego, leaps = _without_leaps(_ego(path, tracks[sdc], len(times), ego_ahead_m), times, rows)
    others = {name: track for name, track in tracks.items() if name != sdc}
    columns, no_size, not_finite = _tracks(path, others, len(times), rows)
    names = (content.get("id"), meta.get("scenario_id"), meta.get("id"))
    return Scenario(
        path=path,
        id=_first_text(names, otherwise=path.stem),
        location=_first_text([meta.get("map")], otherwise="unknown"),
        times_s=times[rows],
        ego_poses=ego[rows],
        path_poses=ego[np.isfinite(ego).all(-1)],
        tracks=columns,
        features=features,
        lights=_lights(path, content.get("dynamic_map_states"), len(times), rows),
        no_size=no_size,
        not_finite=not_finite,
        leaps=leaps,
    )


def _first_text(values: Iterable[Any], *, otherwise: str) -> str:
    """The first of the values that is text, or a number that stands for it."""
    return next((str(value) for value in values if isinstance(value, str | int) and value), otherwise)


def _content(path: Path) -> Mapping[str, Any]:
    try:
        content = read_pickle(path)
    except RefusedPickle as error:
        raise UnreadableLogFile(path, str(error).removeprefix(f"{path}: ")) from error
    if not isinstance(content, Mapping):
        raise UnreadableLogFile(path, f"a scenario is a dictionary, this is a {type(content).__name__}")
    return content


def _section(path: Path, content: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """An entry that holds entries by name. Some exporters use numbers as names."""
    section = content.get(key)
    if not isinstance(section, Mapping):
        kind = type(section).__name__
        raise UnreadableLogFile(path, f"{key!r} must hold a dictionary, it holds {kind}: export the scenario again")
    return {str(name): value for name, value in section.items()}


def _array(
    path: Path, parent: Mapping[str, Any], key: str, where: str, *, rows: int | None, columns: int
) -> Float64[np.ndarray, "R C"]:
    """An array of numbers with shape [rows, `columns` or more].

    where: its place, for the UnreadableLogFile that this raises.
    """
    try:
        array = np.asarray(parent[key], np.float64)
    except KeyError:
        raise UnreadableLogFile(path, f"{where} has no {key!r}: export the scenario again") from None
    except (TypeError, ValueError) as error:
        raise UnreadableLogFile(path, f"{where}[{key!r}] does not hold numbers ({error})") from None
    array = array[:, None] if array.ndim == 1 else array
    if array.ndim != 2 or array.shape[1] < columns or rows not in (None, len(array)):
        raise UnreadableLogFile(
            path,
            f"{where}[{key!r}] has shape {array.shape}, expected {rows or 'any number of'} rows of {columns} or more "
            "numbers: export the scenario again",
        )
    return array


def _frame_rows(path: Path, times: Float64[np.ndarray, "R"]) -> np.ndarray:
    """Rows at the first time and every FRAME_S after it.

    Recordings that are annotated at 2 Hz have their annotations there.
    """
    duration_s = times[-1] - times[0]
    if duration_s > LONGEST_S:
        raise UnreadableLogFile(
            path, f"metadata['ts'] covers {duration_s:.0f} s, more than {LONGEST_S} s: are the times in seconds?"
        )
    frames_s = times[0] + np.arange(int((duration_s + TIME_SLACK_S) / FRAME_S) + 1) * FRAME_S
    rows = nearest_rows(times, frames_s)
    far = np.abs(times[rows] - frames_s)
    if far.max() > TIME_SLACK_S:
        at = frames_s[far.argmax()]
        raise UnreadableLogFile(
            path,
            f"metadata['ts'] has no row within {TIME_SLACK_S} s of {at:.2f} s: there must be one every {FRAME_S} s",
        )
    return rows


def _state(path: Path, track: Any, name: str, rows: int) -> dict[str, np.ndarray]:
    """The arrays of a track: pose [R, 3], z [R], velocity [R, 2], valid [R]. NaN is kept."""
    if not isinstance(track, Mapping) or not isinstance(track.get("state"), Mapping):
        raise UnreadableLogFile(path, f"tracks[{name!r}] holds no 'state': export the scenario again")
    state, where = track["state"], f"tracks[{name!r}]['state']"
    position = _array(path, state, "position", where, rows=rows, columns=2)
    heading = _array(path, state, "heading", where, rows=rows, columns=1)
    return {
        "pose": np.concatenate([position[:, :2], heading[:, :1]], -1),
        "z": position[:, 2] if position.shape[1] > 2 else np.zeros(rows),
        "velocity": _array(path, state, "velocity", where, rows=rows, columns=2)[:, :2],
        "valid": _array(path, state, "valid", where, rows=rows, columns=1)[:, 0] > 0,
    }


def _ego(path: Path, track: Any, rows: int, ahead_m: float) -> Float64[np.ndarray, "R 3"]:
    state = _state(path, track, "ego", rows)
    offset = np.broadcast_to(np.array([-ahead_m, 0.0, 0.0]), state["pose"].shape)
    with np.errstate(invalid="ignore"):
        poses = compose(state["pose"], offset)
    return np.where(state["valid"][:, None] & np.isfinite(poses), poses, np.nan)


def _without_leaps(
    poses: Float64[np.ndarray, "R 3"], times: Float64[np.ndarray, "R"], rows: np.ndarray
) -> tuple[Float64[np.ndarray, "R 3"], int]:
    """The ego's poses, with NaN from every leap to the next frame; and the number of leaps.

    The nuScenes exporter often places the ego's last rows behind the rows before them, as if the
    car reversed at 20 m/s.
    """
    velocity = np.diff(poses[:, :2], axis=0) / np.diff(times)[:, None]
    turned = (velocity[1:] * velocity[:-1]).sum(-1) < 0
    turned &= np.minimum(*np.linalg.norm([velocity[1:], velocity[:-1]], axis=-1)) > REVERSE_MPS
    leaps = np.flatnonzero(turned | (np.linalg.norm(np.diff(velocity, axis=0), axis=1) > LEAP_MPS)) + 2
    frames = np.append(rows, len(poses))
    poses, count, unknown_until = poses.copy(), 0, -1
    for leap in leaps:
        count += bool(leap > unknown_until)
        unknown_until = int(frames[np.searchsorted(frames, leap)])
        poses[leap : unknown_until + 1] = np.nan
    return poses, count


def _tracks(path: Path, tracks: Mapping[str, Any], times: int, rows: np.ndarray) -> tuple[Tracks, int, int]:
    """Tracks at the frames; the number of tracks without a size; the number with values that are not finite."""
    names, ids, valid_rows, values, no_size, not_finite = [], [], [], [], 0, 0
    for name, track in tracks.items():
        state = _state(path, track, name, times)
        where = f"tracks[{name!r}]['state']"
        columns = [
            _array(path, track["state"], key, where, rows=times, columns=1)[rows, 0]
            for key in ("length", "width", "height")
        ]
        sizes, valid = np.stack(columns, -1), state["valid"][rows]
        row = np.concatenate([state["pose"][rows], state["z"][rows, None], sizes, state["velocity"][rows]], -1)
        # Velocity and heights may be unknown: a score takes velocity from positions, and needs no height.
        finite = np.isfinite(row[:, [0, 1, 2, 4, 5]]).all(-1)
        row = np.where(np.isfinite(row), row, 0.0)
        sized = (sizes[:, :2] > 0).all(-1)
        not_finite += bool((valid & ~finite).any())
        no_size += bool((valid & finite & ~sized).any())
        valid = valid & finite & sized
        if valid.any():
            names.append(NAMES.get(str(track.get("type"))) or _name_by_source(track))
            ids.append(name)
            valid_rows.append(valid)
            values.append(np.where(valid[:, None], row, 0.0))
    table = np.array(values, np.float64).reshape(-1, len(rows), 9)
    tracks_at_frames = Tracks(
        names=tuple(names),
        ids=tuple(ids),
        valid=np.array(valid_rows, bool).reshape(-1, len(rows)),
        poses=table[..., :3],
        centre_z_m=table[..., 3],
        sizes=table[..., 4:7],
        velocity=table[..., 7:],
    )
    return tracks_at_frames, no_size, not_finite


def _name_by_source(track: Mapping[str, Any]) -> str:
    """NAVSIM's name by the type in the exporter's source, which the exporter keeps."""
    meta = track.get("metadata")
    kind = str(meta.get("type", "")).lower() if isinstance(meta, Mapping) else ""
    return "czone_sign" if "czone" in kind else "generic_object"


def _lights(path: Path, states: Any, times: int, rows: np.ndarray) -> tuple[tuple[tuple[str, bool], ...], ...]:
    if states is None:
        return ((),) * len(rows)
    if not isinstance(states, Mapping):
        raise UnreadableLogFile(path, f"'dynamic_map_states' must hold a dictionary, it holds {type(states).__name__}")
    frames: list[list[tuple[str, bool]]] = [[] for _ in rows]
    for name, light in states.items():
        state = light.get("state") if isinstance(light, Mapping) else None
        states_shown = state.get("object_state") if isinstance(state, Mapping) else None
        if states_shown is None or len(states_shown) != times:
            raise UnreadableLogFile(
                path, f"dynamic_map_states[{name!r}] must show {times} states: export the scenario again"
            )
        for frame, row in zip(frames, rows):
            if states_shown[row] is not None:
                frame.append((str(light.get("lane") or name), str(states_shown[row]) in RED))
    return tuple(map(tuple, frames))

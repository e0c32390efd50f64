"""The synthetic scenes of NAVSIM v2's second stage: scenes rendered where a plan of the first stage may have led.

Beside scene_source.py, which holds the original scenes of the first stage. Each scene is a pickle
with its frames. What other road users do after its last frame is stored as objects of nuPlan's
classes (nuplan_objects.py).
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from latentdrive.counting import counted
from latentdrive.data.navsim.frames import LONGEST, BadFrame, synthetic_frame
from latentdrive.data.navsim.log import log_of
from latentdrive.data.navsim.log_folder import cache_name
from latentdrive.data.navsim.nuplan_objects import NotNuplan, detected_objects, light_states
from latentdrive.data.navsim.object_motion import with_velocities
from latentdrive.data.navsim.scene_filter import SecondStage, read_split
from latentdrive.data.navsim.scenes import Cut, Maps, Sensors, box_counts, open_scene, open_truth, sensor_paths
from latentdrive.data.pickles.reading import read_pickle
from latentdrive.data.unreadable import UnreadableLog
from latentdrive.errors import NoScenes, RefusedPickle, UnreadableLogFile, UnreadableScene, raise_if_out_of_files
from latentdrive.files import read_arrays, write_atomic
from latentdrive.lru_cache import LruCache
from latentdrive.progress import Progress
from latentdrive.types import FROZEN, BoxCounts, Command, LoggedFrame, Scene, SceneTruth

PICKLES, BLOBS = "synthetic_scene_pickles", "sensor_blobs"
STEP_US = 500_000  # time between two frames
OPEN_SCENES = 16  # scenes that stay in memory: a scene and its truth are usually needed together
FORMAT = 2  # format number of the cached list of tokens
SYNTHETIC_TOKEN = 17  # characters; by this length NAVSIM tells a synthetic scene from an original one, which has 16


@dataclass(**FROZEN)
class SyntheticScene:
    """One scene as its file holds it.

    original: token of the scene that it was made from, None if the file does not say.
    later_objects, later_lights: stand-ins of nuPlan's objects, one entry for each frame after the
    scene's last one.
    """

    cut: Cut
    original: str | None
    later_objects: Sequence[Any]
    later_lights: Sequence[Any]


class SyntheticScenes:
    """Synthetic scenes by initial token (17 characters); a SceneSource.

    path: folder that holds synthetic_scene_pickles/ and sensor_blobs/, such as navhard_two_stage or
    warmup_two_stage. split, splits: a two-stage split and its folder as in NavsimLogs; None for
    every scene that is there, as for a split that lists none. maps, cameras, camera_frames, lidar,
    complete_only, at_least, cache_folder, max_unreadable, progress: as in NavsimLogs. absent: tokens
    that the split names, but no file has. incomplete_scenes: left out, because a sensor file is
    missing. unreadable: reason by file name.
    """

    def __init__(
        self,
        *,
        path: str,
        split: str | None,
        splits: str | None,
        maps: Maps | None,
        cameras: Sequence[str],
        camera_frames: str,
        lidar: bool,
        complete_only: bool = False,
        at_least: Sequence[int] | None,
        cache_folder: str,
        max_unreadable: float,
        progress: Progress | None = None,
    ) -> None:
        self.folder, self.maps = Path(path).expanduser(), maps
        size = None if at_least is None else (int(at_least[0]), int(at_least[1]))
        self.sensors = Sensors(cameras=tuple(cameras), frames=camera_frames, lidar=lidar, at_least=size)
        self.second_stages: tuple[SecondStage, ...] = ()
        listed: tuple[str, ...] = ()
        if split is not None and splits is not None:
            chosen = read_split(Path(splits).expanduser(), split)
            self.second_stages, listed = chosen.second_stages, chosen.second_stage_tokens
        self._open: LruCache[str, SyntheticScene] = LruCache(OPEN_SCENES)
        self._files, self.unreadable = self._listed(Path(cache_folder).expanduser(), max_unreadable, progress)
        self.absent = tuple(token for token in listed if token not in self._files)
        self.tokens: tuple[str, ...] = tuple(token for token in listed if token in self._files)
        self.tokens = self.tokens or tuple(sorted(self._files))
        there = len(self.tokens)
        self.tokens = tuple(filter(self._is_complete, self.tokens)) if complete_only else self.tokens
        self.incomplete_scenes = there - len(self.tokens)
        if not self.tokens or (listed and len(self.absent) == len(listed)):
            raise NoScenes(
                f"{self.folder / PICKLES}: {counted(len(self._files), 'synthetic scene')}, "
                f"{len(self.unreadable):,} unreadable files; none of the {len(listed):,} that split {split} names. "
                "Give the folder that was made for this "
                "split"
            )

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, token: str) -> Scene:
        """What the car sees. Raises UnreadableScene."""
        return open_scene(self.read(token).cut, self.folder / BLOBS, self.sensors)

    def truth(self, token: str) -> SceneTruth:
        """What scoring may know.

        In the frames after the scene's end, only others are known: the ego's pose and motion are
        NaN. Raises UnreadableScene and MapError as NavsimLogs does.
        """
        scene, path = self.read(token), self.location(token)
        truth = open_truth(scene.cut, path, self.maps)
        frames = with_velocities((*truth.frames, *_later(scene, truth.frames[-1], path)))
        return replace(truth, frames=frames, synthetic=len(token) == SYNTHETIC_TOKEN)

    def drive(self, token: str) -> str:
        """Name of the log that the scene was made from."""
        return self.read(token).cut.drive

    def location(self, token: str) -> Path:
        """File of the scene."""
        if token not in self._files:
            raise UnreadableScene(self.folder / PICKLES, f"no synthetic scene {token!r} among {len(self._files):,}")
        return self.folder / PICKLES / self._files[token]

    def start(self, token: str) -> tuple[int, Float64[np.ndarray, "3"]]:
        """Time of now in microseconds, and the rear axle's pose then, global. Raises UnreadableScene."""
        return self.read(token).cut.start

    def description(self) -> dict[str, Any]:
        """The substrate of a two-stage score: a fingerprint over names and sizes of the scenes' files."""
        files = sorted((self._files[token], self.location(token).stat().st_size) for token in self.tokens)
        fingerprint = hashlib.sha256(json.dumps(files).encode()).hexdigest()[:12]
        substrate = {"folder": self.folder.name, "scenes": len(self.tokens), "fingerprint": fingerprint}
        return {"substrate": substrate, "incomplete_scenes": self.incomplete_scenes}

    def box_counts(self, token: str) -> BoxCounts:
        """What is known of the boxes in the scene's frames. Raises UnreadableScene."""
        return box_counts(self.read(token).cut)

    def read(self, token: str) -> SyntheticScene:
        """One scene, from memory or from its file. Raises UnreadableScene if it is damaged or lacks something."""
        path = self.location(token)
        try:
            return self._open.get(token, lambda: read_synthetic(path))
        except UnreadableLogFile as error:
            raise UnreadableScene(path, error.reason) from error

    def summary(self) -> str:
        """The number of scenes that were found, in a sentence."""
        text = f"{counted(len(self.tokens), 'synthetic scene')} after {len(self.second_stages):,} original ones"
        if self.absent:
            text += f"; {len(self.absent):,} that the split names are not there, for example {self.absent[0]}"
        if self.incomplete_scenes:
            text += f"; {self.incomplete_scenes:,} left out, because a sensor file is missing"
        if self.unreadable:
            name, reason = next(iter(self.unreadable.items()))
            text += f"; {counted(len(self.unreadable), 'unreadable file')}, the first one: {name}: {reason}"
        return text

    def _is_complete(self, token: str) -> bool:
        """Whether every file of the requested sensors is there."""
        paths = sensor_paths(self.read(token).cut, self.sensors)
        return all(path and (self.folder / BLOBS / path).is_file() for path in paths)

    def _listed(
        self, cache: Path, max_unreadable: float, progress: Progress | None
    ) -> tuple[dict[str, str], dict[str, str]]:
        """File name by initial token, and reason by name of an unreadable file.

        Files of known size and time are not read again.
        """
        paths = sorted((self.folder / PICKLES).glob("*.pkl"))
        if not paths:
            problem = "holds none" if (self.folder / PICKLES).is_dir() else "is not there"
            raise NoScenes(
                f"no synthetic scenes: {self.folder / PICKLES} {problem}. Give NAVSIM v2's folder navhard_two_stage "
                f"(or warmup_two_stage), which holds {PICKLES}/*.pkl and {BLOBS}/"
            )
        stored = cache / f"{cache_name(self.folder)}.npz"
        known = _known(stored)
        stamps = {path.name: [FORMAT, path.stat().st_size, path.stat().st_mtime_ns] for path in paths}
        # Unreadable files are tried again: the disk may have been repaired since.
        new = [
            path
            for path in paths
            if path.name not in known or known[path.name][2] or known[path.name][0] != stamps[path.name]
        ]
        for path in new if progress is None else progress(new, what="reading synthetic scenes"):
            known[path.name] = (stamps[path.name], *_token_of(path))
        known = {path.name: known[path.name] for path in paths}
        if new:
            _save(stored, known)
        bad = {name: reason for name, (_, _, reason) in known.items() if reason}
        bound = UnreadableLog(clips=len(paths), max_unreadable=max_unreadable, file=None)
        for number, (name, reason) in enumerate(bad.items()):
            bound.add(number, UnreadableLogFile(self.folder / PICKLES / name, reason))
        return {token: name for name, (_, token, reason) in known.items() if not reason}, bad


def read_synthetic(path: Path) -> SyntheticScene:
    """The scene in a file. Raises UnreadableLogFile with the frame and the key that is wrong."""
    try:
        content = read_pickle(path)
    except RefusedPickle as error:
        raise UnreadableLogFile(path, f"refused: {str(error).removeprefix(f'{path}: ')}") from error
    if not isinstance(content, dict) or not isinstance(content.get("scene_metadata"), dict):
        raise UnreadableLogFile(path, "it is no synthetic scene: expected a dictionary with scene_metadata and frames")
    metadata, frames = content["scene_metadata"], content.get("frames")
    history = _checked_history(path, metadata, frames)
    checked = []
    for number, entry in enumerate(frames):
        try:
            checked.append(synthetic_frame(entry, metadata.get("map_name") or ""))
        except BadFrame as error:
            raise UnreadableLogFile(path, f"frame {number}, {error}") from error
    log = log_of(checked)
    if log.problems.any():
        raise UnreadableLogFile(path, log.reason(int(np.flatnonzero(log.problems)[0])))
    token, drive = metadata["initial_token"], metadata["log_name"]
    original = metadata.get("corresponding_original_initial_token")
    return SyntheticScene(
        cut=Cut(log=log, token=token, drive=drive, first=0, now=history - 1, end=len(frames)),
        original=None if original is None else str(original),
        later_objects=_listed(path, content, "extended_detections_tracks"),
        later_lights=_listed(path, content, "extended_traffic_light_data"),
    )


def _listed(path: Path, content: Mapping[str, Any], key: str) -> Sequence[Any]:
    """A list with an entry for each later frame; empty where there is none."""
    entries = content.get(key)
    if entries is None:
        return ()
    if not isinstance(entries, list | tuple):
        raise UnreadableLogFile(path, f"{key}: expected a list, got {type(entries).__name__}")
    return entries


def _checked_history(path: Path, metadata: dict[str, Any], frames: Any) -> int:
    """Number of history frames, now included, after a check of everything that is read of the metadata."""
    texts = ("log_name", "initial_token")
    if missing := [name for name in (*texts, "num_history_frames") if name not in metadata]:
        raise UnreadableLogFile(path, f"scene_metadata.{missing[0]}: expected, but not there")
    for name in (*texts, "map_name"):
        text = "" if name == "map_name" and metadata.get(name) is None else metadata[name]
        if not isinstance(text, str) or not text.isprintable() or len(text) > LONGEST:
            raise UnreadableLogFile(path, f"scene_metadata.{name}: expected text, got {type(text).__name__}")
    history = metadata["num_history_frames"]
    count = len(frames) if isinstance(frames, list) else 0
    if not isinstance(history, int) or not 1 <= history <= count:
        raise UnreadableLogFile(
            path, f"num_history_frames is {history!r} with {counted(count, 'frame')}: now must be one of them"
        )
    return history


def _later(scene: SyntheticScene, last: LoggedFrame, path: Path) -> Iterator[LoggedFrame]:
    """The frames after the last one, with others and lights, but without the ego."""
    try:
        for number, detections in enumerate(scene.later_objects):
            lights = light_states(scene.later_lights[number]) if number < len(scene.later_lights) else ()
            yield LoggedFrame(
                token="",
                timestamp_us=last.timestamp_us + STEP_US * (number + 1),
                ego_pose=np.full(3, np.nan),
                velocity=np.full(2, np.nan, np.float32),
                acceleration=np.full(2, np.nan, np.float32),
                command=Command.UNKNOWN,
                objects=detected_objects(detections),
                lights=lights,
            )
    except (NotNuplan, TypeError, IndexError) as error:
        raise UnreadableScene(
            path,
            "what others do after the scene's end (extended_detections_tracks) is not as nuPlan writes it: "
            f"{error}. Download the file again",
        ) from error


def _token_of(path: Path) -> tuple[str, str]:
    """Initial token and an empty reason, or an empty token and why the file is unreadable."""
    try:
        return read_synthetic(path).cut.token, ""
    except UnreadableLogFile as error:
        return "", error.reason


def _known(stored: Path) -> dict[str, tuple[list[int], str, str]]:
    """Stamp, initial token and reason by file name, as `_save` stored them; empty if nothing is stored."""
    try:
        arrays = read_arrays(stored)
        texts = [[text.decode() for text in arrays[name].tolist()] for name in ("names", "tokens", "reasons")]
        return {name: (stamp, token, reason) for name, token, reason, stamp in zip(*texts, arrays["stamps"].tolist())}
    except (OSError, ValueError, KeyError) as error:  # absent, damaged, or of another format
        raise_if_out_of_files(error)
        return {}


def _save(stored: Path, known: dict[str, tuple[list[int], str, str]]) -> None:
    def text(values: Sequence[str]) -> np.ndarray:
        return np.array([value.encode() for value in values], np.bytes_)

    def write(new: Path) -> None:
        stamps, tokens, reasons = zip(*known.values())
        with open(new, "wb") as file:
            np.savez(file, names=text([*known]), tokens=text(tokens), reasons=text(reasons), stamps=np.array(stamps))

    write_atomic(stored, write)

"""The synthetic scenes of NAVSIM v2's second stage: where a planner may have come to, as scenes of their own.

Beside navsim_logs.py, which holds the original scenes of the first stage. Each scene is a pickle with its frames; what others do
after its last frame stands beside them as objects of nuPlan, read here through stand-ins.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from latentdrive.data.navsim.folders import cache_name
from latentdrive.data.navsim.frames import LONGEST, BadFrame, synthetic_frame
from latentdrive.data.navsim.log import log_of
from latentdrive.data.navsim.log_folder import Progress
from latentdrive.data.navsim.nuplan_objects import detected_objects, light_states
from latentdrive.data.navsim.scene_filter import SecondStage, read_split
from latentdrive.data.navsim.scenes import Cut, Maps, Sensors, open_scene, open_truth
from latentdrive.data.pickles.reading import read_pickle
from latentdrive.data.unreadable import UnreadableLog, raise_if_out_of_files
from latentdrive.errors import NoScenes, RefusedPickle, UnreadableLogFile, UnreadableScene
from latentdrive.files import read_arrays, write_atomic
from latentdrive.types import FROZEN, Command, LoggedFrame, Scene, SceneTruth

PICKLES, BLOBS = "synthetic_scene_pickles", "sensor_blobs"
STEP_US = 500_000  # between two frames
OPEN_SCENES = 16  # that stay in memory: a scene and its truth are usually asked for together
FORMAT = 1  # of the list of tokens


@dataclass(**FROZEN)
class SyntheticScene:
    """One scene as it lies in its file. later_objects, later_lights: of nuPlan's classes, a list each for the frames after the last.

    original: token of the original scene that it was made from, None where the file does not say.
    """

    cut: Cut
    original: str | None
    later_objects: Sequence[Any]
    later_lights: Sequence[Any]


class SyntheticScenes:
    """Synthetic scenes by initial token (17 characters); a SceneSource.

    path: folder that holds synthetic_scene_pickles/ and sensor_blobs/, as navhard_two_stage or warmup_two_stage. split, splits: a
    two-stage split and its folder as in NavsimLogs, or None for every scene there is. maps, cameras, camera_frames, lidar,
    at_least, cache_folder, max_unreadable, progress: as in NavsimLogs.
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
        at_least: Sequence[int] | None,
        cache_folder: str,
        max_unreadable: float,
        progress: Progress | None = None,
    ) -> None:
        self.folder, self.maps = Path(path).expanduser(), maps
        size = None if at_least is None else (int(at_least[0]), int(at_least[1]))
        self.sensors = Sensors(cameras=tuple(cameras), frames=camera_frames, lidar=lidar, at_least=size)
        self.second_stages: tuple[SecondStage, ...] = ()
        if split is not None and splits is not None:
            self.second_stages = read_split(Path(splits).expanduser(), split).second_stages
        self._open: OrderedDict[str, SyntheticScene] = OrderedDict()
        self._files, self.unreadable = self._listed(Path(cache_folder).expanduser(), max_unreadable, progress)
        asked = dict.fromkeys(token for stage in self.second_stages for pair in stage.followers for token in pair)
        self.absent = tuple(token for token in asked if token not in self._files)
        self.tokens: tuple[str, ...] = tuple(token for token in asked if token in self._files) or tuple(
            sorted(self._files)
        )
        if not self.tokens or (asked and len(self.absent) == len(asked)):
            raise NoScenes(
                f"{self.folder / PICKLES}: {len(self._files):,} synthetic scenes, {len(self.unreadable):,} unreadable files; none of "
                f"the {len(asked):,} that split {split} names. Give the folder that was made for this split"
            )

    def __getstate__(self) -> dict[str, Any]:
        """For worker processes: scenes are opened anew there."""
        return self.__dict__ | {"_open": OrderedDict()}

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, token: str) -> Scene:
        """What the car sees. Raises UnreadableScene."""
        return open_scene(self.read(token).cut, self.folder / BLOBS, self.sensors)

    def truth(self, token: str) -> SceneTruth:
        """What scoring may know. The ego of the frames after the scene's end is nowhere: its pose and motion are NaN there.

        Raises UnreadableScene and MapError as NavsimLogs does.
        """
        scene, path = self.read(token), self.location(token)
        truth = open_truth(scene.cut, path, self.maps)
        return replace(truth, frames=(*truth.frames, *_later(scene, truth.frames[-1], path)))

    def drive(self, token: str) -> str:
        """Name of the log that the scene was made from."""
        return self.read(token).cut.drive

    def location(self, token: str) -> Path:
        """The scene's file."""
        if token not in self._files:
            raise UnreadableScene(self.folder / PICKLES, f"no synthetic scene {token!r} among {len(self._files):,}")
        return self.folder / PICKLES / self._files[token]

    def read(self, token: str) -> SyntheticScene:
        """One scene from its file, or of the last few. Raises UnreadableScene where it is damaged, or lacks something."""
        path = self.location(token)
        if token not in self._open:
            try:
                self._open[token] = read_synthetic(path)
            except UnreadableLogFile as error:
                raise UnreadableScene(path, error.reason) from error
            if len(self._open) > OPEN_SCENES:
                self._open.popitem(last=False)
        self._open.move_to_end(token)
        return self._open[token]

    def summary(self) -> str:
        """What was found, in a sentence."""
        text = f"{len(self.tokens):,} synthetic scenes after {len(self.second_stages):,} original ones"
        if self.absent:
            text += f"; {len(self.absent):,} that the split names are not there, for example {self.absent[0]}"
        if self.unreadable:
            name, reason = next(iter(self.unreadable.items()))
            text += f"; {len(self.unreadable):,} unreadable files, the first one: {name}: {reason}"
        return text

    def _listed(
        self, cache: Path, max_unreadable: float, progress: Progress | None
    ) -> tuple[dict[str, str], dict[str, str]]:
        """File name by initial token, and reason by name of an unreadable file; files known by size and time are not read again."""
        paths = sorted((self.folder / PICKLES).glob("*.pkl"))
        if not paths:
            where = "holds none" if (self.folder / PICKLES).is_dir() else "is not there"
            raise NoScenes(
                f"no synthetic scenes: {self.folder / PICKLES} {where}. Give NAVSIM v2's folder navhard_two_stage (or "
                f"warmup_two_stage), with {PICKLES}/*.pkl and {BLOBS}/ in it"
            )
        stored = cache / f"{cache_name(self.folder)}.npz"
        known = _known(stored)
        stamps = {path.name: [FORMAT, (found := path.stat()).st_size, found.st_mtime_ns] for path in paths}
        # What could not be read is tried anew: a disk may have been mended since.
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
    about = content["scene_metadata"]
    names = ("log_name", "map_name", "initial_token", "num_history_frames")
    if missing := [name for name in names if name not in about]:
        raise UnreadableLogFile(path, f"scene_metadata.{missing[0]}: expected, but not there")
    for name in names[:3]:
        if not isinstance(about[name], str) or not about[name].isprintable() or len(about[name]) > LONGEST:
            raise UnreadableLogFile(path, f"scene_metadata.{name}: expected text, got {type(about[name]).__name__}")
    history, frames = about["num_history_frames"], content.get("frames")
    if not isinstance(history, int) or not isinstance(frames, list) or not 1 <= history <= len(frames):
        count = len(frames) if isinstance(frames, list) else 0
        raise UnreadableLogFile(path, f"num_history_frames is {history!r} with {count} frames: now must be one of them")
    read = []
    for number, entry in enumerate(frames):
        try:
            read.append(synthetic_frame(entry, about["map_name"]))
        except BadFrame as error:
            raise UnreadableLogFile(path, f"frame {number}, {error}") from error
    log = log_of(read)
    if log.problems.any():
        raise UnreadableLogFile(path, log.reason(int(np.flatnonzero(log.problems)[0])))
    original = about.get("corresponding_original_initial_token")
    return SyntheticScene(
        cut=Cut(
            log=log,
            token=about["initial_token"],
            drive=about["log_name"],
            first=0,
            now=history - 1,
            end=len(frames),
        ),
        original=None if original is None else str(original),
        later_objects=content.get("extended_detections_tracks") or (),
        later_lights=content.get("extended_traffic_light_data") or (),
    )


def _later(scene: SyntheticScene, last: LoggedFrame, path: Path) -> Iterator[LoggedFrame]:
    """The frames after the last one: others and lights, no ego."""
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
    except (AttributeError, TypeError, ValueError, IndexError) as error:
        raise UnreadableScene(
            path,
            f"what others do after the scene's end (extended_detections_tracks) is not as nuPlan writes it: {error}",
        ) from error


def _token_of(path: Path) -> tuple[str, str]:
    """Initial token and no reason, or no token and why the file is unreadable."""
    try:
        return read_synthetic(path).cut.token, ""
    except UnreadableLogFile as error:
        return "", error.reason


def _known(stored: Path) -> dict[str, tuple[list[int], str, str]]:
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

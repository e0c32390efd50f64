"""What is played: the front camera's frames with their times, and the ego's motion that is told with them."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import av
import numpy as np
from jaxtyping import Float, UInt8

from latentdrive.data.clips.sidecars import SAME_TIME_S, Track, read_camera, read_track, sidecar
from latentdrive.data.clips.video import decode, image_times, numbered_images, read_images
from latentdrive.data.picture_size import fit_picture, fitted, scaled_intrinsics
from latentdrive.errors import ConfigError
from latentdrive.types import FROZEN

LOOK_BACK_S = 0.5  # over which the acceleration is taken from speeds
Picture = tuple[float, UInt8[np.ndarray, "H W 3"]]
Calibration = tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, "4 4"]]


@dataclass(**FROZEN)
class Motion:
    """The ego's motion at one moment, forward: m/s and m/s^2. distance_m: driven since the start; None if unknown."""

    speed_mps: float
    acceleration_mps2: float
    distance_m: float | None


@runtime_checkable
class Source(Protocol):
    """Frames of the front camera at the bundle's size. live: they come when they come, and can't be asked again.

    calibration: of these frames; None where it is unknown.
    """

    live: bool
    calibration: Calibration | None

    def frames(self) -> Iterator[Picture]:
        """Times in seconds, and pictures."""

    def motion(self, time_s: float) -> Motion | None:
        """What is told of the ego at a frame, from nothing later; None where nothing is known yet."""


class RecordedSource:
    """A video file, or a folder of numbered images; NAME.poses.csv and NAME.camera.json beside it are read.

    size: rows and columns of the bundle's camera. fit: crop or stretch. images_hz: of a folder without times.txt.
    speed_mps: of a recording without poses. Raises ConfigError where neither says how fast the car drives, and
    UnreadableClip for files that can't be read.
    """

    live = False

    def __init__(
        self, path: Path, *, size: tuple[int, int], fit: str, images_hz: float | None, speed_mps: float | None
    ) -> None:
        if not path.exists():
            raise ConfigError(
                f"source={path} does not exist: name a video, a folder of images, camera:0 or egodriver:PORT"
            )
        self.path, self.size, self.fit, self.images_hz, self.speed_mps = path, size, fit, images_hz, speed_mps
        self.track: Track | None = read_track(sidecar(path, ".poses.csv"), first_s=np.inf, last_s=-np.inf, slack_s=0.0)
        if self.track is None and speed_mps is None:
            raise ConfigError(
                f"nothing says how fast the car in {path} drives: put {sidecar(path, '.poses.csv').name} beside it, or "
                "add speed_mps=NUMBER, which is then told at every frame"
            )
        self.calibration = self._calibration()

    def frames(self) -> Iterator[Picture]:
        """Frames by the recording's times."""
        for time_s, picture, _ in self._stored(self.size):
            yield time_s, np.ascontiguousarray(picture)

    def motion(self, time_s: float) -> Motion | None:
        """From poses recorded up to this time; None before the first."""
        if self.track is None:
            return Motion(speed_mps=float(self.speed_mps or 0.0), acceleration_mps2=0.0, distance_m=None)
        known = self.track.times_s <= time_s + SAME_TIME_S
        if not known.any():
            return None
        times, speeds = self.track.times_s[known], self.track.speed_mps[known]
        before = np.interp(times[-1] - LOOK_BACK_S, times, speeds)
        span = min(LOOK_BACK_S, times[-1] - times[0])
        acceleration = (speeds[-1] - before) / span if span > 0 else 0.0
        steps = np.hypot(*np.diff(self.track.poses[known][:, :2], axis=0).T)
        return Motion(speed_mps=float(speeds[-1]), acceleration_mps2=float(acceleration), distance_m=float(steps.sum()))

    def _stored(self, size: tuple[int, int]):
        if not self.path.is_dir():
            return decode(self.path, size, self.fit)
        images, numbers = numbered_images(self.path)
        return read_images(images, image_times(self.path, numbers, self.images_hz), size, self.fit)

    def _calibration(self) -> Calibration | None:
        camera = read_camera(sidecar(self.path, ".camera.json"))
        if camera is None or camera.intrinsics is None or camera.camera_to_ego is None:
            return None
        _, _, stored = next(self._stored(self.size))
        view = fit_picture(stored.shown, self.size, self.fit).view
        return scaled_intrinsics(
            camera.intrinsics, view=view, stored=(stored.height, stored.width), size=self.size
        ), camera.camera_to_ego


class LiveCamera:
    """A camera of this machine, by its number. speed_mps: is told at every frame.

    Raises ConfigError where there is no such camera, or nothing says how fast the car drives.
    """

    live, calibration = True, None

    def __init__(self, number: int, *, size: tuple[int, int], fit: str, speed_mps: float | None) -> None:
        if speed_mps is None:
            raise ConfigError("nothing says how fast the car drives: add speed_mps=NUMBER to source=camera:NUMBER")
        self.device, self.size, self.fit, self.speed_mps = f"/dev/video{number}", size, fit, speed_mps
        try:
            self.container = av.open(self.device, format="v4l2")
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"source=camera:{number} can't be opened ({error}): is it there, and not in use?"
            ) from None

    def frames(self) -> Iterator[Picture]:
        """Frames as they come, until the camera ends or the run is interrupted."""
        started = time.monotonic()
        for picture in self.container.decode(video=0):
            yield time.monotonic() - started, fitted(picture.to_ndarray(format="rgb24"), self.size, self.fit)

    def motion(self, time_s: float) -> Motion:
        """The told speed."""
        return Motion(speed_mps=self.speed_mps, acceleration_mps2=0.0, distance_m=None)

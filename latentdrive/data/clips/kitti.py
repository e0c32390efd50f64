"""KITTI odometry as clips with true poses (Geiger et al., CVPR 2012; the poses are those of the left grey camera).

Two layouts: the odometry benchmark's (`sequences/NN/image_0`, `times.txt`, labelled `calib.txt`, `poses/NN.txt`) and a
flat folder (`image_l/`, `poses.txt`, `calib.txt` whose rows are P0, P1 without labels, `images_hz` in place of times).
Camera frame (x right, y down, z forward) → ego frame (x forward, y left); the camera's place on the car is not in these
files, so poses stay those of the camera.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from latentdrive.data.clips.clip_reader import ClipReader, Frames, ReaderOptions
from latentdrive.data.clips.clip_source import Part
from latentdrive.data.clips.image_folder import image_times, numbered_images, read_images, read_times
from latentdrive.data.clips.sidecars import Camera, Track
from latentdrive.errors import NoClips, UnreadableClip
from latentdrive.geometry import backward_speed, planar_poses

FLAT_IMAGES = "image_l"
CAMERAS = {FLAT_IMAGES: 0, "image_0": 0, "image_1": 1, "image_2": 2, "image_3": 3}  # folder → row of calib.txt


@dataclass(frozen=True, kw_only=True)
class Sequence:
    """Where one sequence's files are; `times` is None in the flat layout, `poses` may be absent on disk."""

    name: str
    images: Path
    times: Path | None
    calib: Path
    poses: Path


class KittiOdometry(ClipReader):
    """Sequences of one folder (a ClipSource), each a clip and a drive of its own.

    path: folder that holds `sequences/` (and `poses/`), or one flat folder. camera: image_0 … image_3, for the odometry
    layout. images_hz: rate of the flat folder's images. The rest as in VideoFolder. Grey images get three equal channels.
    """

    def __init__(
        self,
        *,
        path: str,
        camera: str,
        rate_hz: float,
        height: int,
        width: int,
        fit: str,
        part: str,
        train_share: float,
        gap_s: float,
        images_hz: float | None,
        poses: str,
        field_of_view_deg: float,
    ) -> None:
        options = ReaderOptions(
            rate_hz=rate_hz,
            height=height,
            width=width,
            fit=fit,
            images_hz=images_hz,
            poses=poses,
            field_of_view_deg=field_of_view_deg,
        )
        super().__init__(options=options, part=Part(name=part, train_share=train_share, gap_s=gap_s))
        self.sequences = find_sequences(Path(path).expanduser(), camera)

    def __len__(self) -> int:
        return len(self.sequences)

    def location(self, index: int) -> Path:
        """Folder of the images."""
        return self.sequences[index].images

    def key(self, index: int) -> str:
        """Name of the sequence."""
        return self.sequences[index].name

    def drive(self, index: int) -> str:
        """A sequence is one drive."""
        return self.sequences[index].name

    def files(self, index: int) -> list[Path]:
        """Images, poses, calibration and times."""
        one = self.sequences[index]
        return [one.images, one.poses, one.calib, *([] if one.times is None else [one.times])]

    def frames(self, index: int, size: tuple[int, int], fit: str) -> Frames:
        """The images at their times."""
        images, times = self._images(index)
        return read_images(images, times, size, fit)

    def track(self, index: int, first_s: float, last_s: float) -> Track | None:
        """True poses of the camera, one an image; None for the sequences without (11 to 21)."""
        path = self.sequences[index].poses
        if not path.is_file():
            return None
        images, times = self._images(index)
        poses = planar_poses(read_matrices(path))
        if len(poses) < len(images):
            raise UnreadableClip(
                path,
                f"{len(poses)} poses for {len(images)} images: complete it, or remove it to use the images without",
            )
        poses = poses[: len(images)]
        note = f"recorded: {path.name}, metres, of the camera (not the rear axle)"
        return Track(times_s=times, poses=poses, speed_mps=backward_speed(times, poses), note=note)

    def camera(self, index: int) -> Camera | None:
        """Intrinsics of the camera, from its row of calib.txt."""
        one = self.sequences[index]
        if not one.calib.is_file():
            return None
        return Camera(intrinsics=read_projection(one.calib, CAMERAS[one.images.name])[:, :3], camera_to_ego=None)

    def header_duration_s(self, index: int) -> float | None:
        """Images by their rate."""
        count = sum(1 for _ in self.location(index).iterdir())
        return count / (self.options.images_hz or 10.0)  # KITTI records at 10 Hz

    def _images(self, index: int) -> tuple[list[Path], Float64[np.ndarray, "T"]]:
        one = self.sequences[index]
        images, numbers = numbered_images(one.images)
        if one.times is not None:
            return images, read_times(one.times, len(images))
        return images, image_times(one.images, numbers, self.options.images_hz)


def find_sequences(path: Path, camera: str) -> list[Sequence]:
    """Sequences below a folder, sorted by name. Raises NoClips with what was looked for."""
    if (path / FLAT_IMAGES).is_dir():
        flat = Sequence(
            name=path.name,
            images=path / FLAT_IMAGES,
            times=path / "times.txt" if (path / "times.txt").is_file() else None,
            calib=path / "calib.txt",
            poses=path / "poses.txt",
        )
        return [flat]
    folders = sorted((path / "sequences").glob("*")) if (path / "sequences").is_dir() else []
    found = [
        Sequence(
            name=folder.name,
            images=folder / camera,
            times=folder / "times.txt",
            calib=folder / "calib.txt",
            poses=path / "poses" / f"{folder.name}.txt",
        )
        for folder in folders
        if camera in CAMERAS and (folder / camera).is_dir()
    ]
    if not found:
        raise NoClips(
            f"data.path={path} holds neither sequences/NN/{camera}/ nor {FLAT_IMAGES}/. Give the folder of the KITTI odometry "
            f"data: data.path=FOLDER, and data.source.camera one of {', '.join(sorted(CAMERAS)[:4])}"
        )
    return found


def read_matrices(path: Path) -> Float64[np.ndarray, "T 3 4"]:
    """Rows of twelve numbers as matrices. Raises UnreadableClip for other rows and for NaN, naming the line."""
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        if line.strip():
            rows.append(_numbers(path, number, line))
    if not rows:
        raise UnreadableClip(path, "no poses in it: remove it to use the images without")
    return np.array(rows, np.float64).reshape(-1, 3, 4)


def read_projection(path: Path, row: int) -> Float64[np.ndarray, "3 4"]:
    """One camera's projection matrix: the row labelled `P0:` and so on, or the `row`-th row where there are no labels."""
    lines = [line for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    rows = dict(line.split(":", 1) for line in lines if ":" in line)
    rows = rows or {f"P{number}": line for number, line in enumerate(lines)}
    line = rows.get(f"P{row}")
    if line is None:
        raise UnreadableClip(path, f"no row P{row} for this camera: choose another camera, or remove the file")
    return np.array(_numbers(path, row + 1, line), np.float64).reshape(3, 4)


def _numbers(path: Path, number: int, line: str) -> list[float]:
    try:
        values = [float(word) for word in line.split()]
    except ValueError:
        values = []
    if len(values) != 12 or not np.isfinite(values).all():
        raise UnreadableClip(path, f"line {number} must hold twelve finite numbers, it holds {line.strip()[:60]!r}")
    return values

"""KITTI odometry as clips with true poses (Geiger et al., CVPR 2012). The poses are those of the left grey camera.

There are two layouts: the odometry benchmark's (`sequences/NN/image_0`, `times.txt`, labelled
`calib.txt`, `poses/NN.txt`), and a flat folder (`image_l/`, `poses.txt`, `calib.txt` whose rows are
P0, P1 without labels, `images_hz` in place of times). Poses are turned from the camera frame (x
right, y down, z forward) into an ego frame (x forward, y left). They stay those of the camera,
because these files do not say where on the car it is.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from latentdrive.counting import counted
from latentdrive.data.clips.clip_files import image_times, numbered_images, read_images, read_times
from latentdrive.data.clips.clip_source import ClipOptions, Frames, Part
from latentdrive.data.clips.decoding import Damage
from latentdrive.data.clips.file_clips import FileClips
from latentdrive.data.clips.sidecars import Camera, Track
from latentdrive.errors import NoClips, UnreadableClip
from latentdrive.geometry import backward_speed, planar_poses

FLAT_IMAGES = "image_l"
CAMERAS = {FLAT_IMAGES: 0, "image_0": 0, "image_1": 1, "image_2": 2, "image_3": 3}  # folder → row of calib.txt
RECORDED_HZ = 10.0  # images a second of the recordings, for a guess at their length


@dataclass(frozen=True, kw_only=True)
class Sequence:
    """Where the files of one sequence are. times: None in the flat layout. poses: this file may be absent."""

    name: str
    images: Path
    times: Path | None
    calib: Path
    poses: Path


class KittiOdometry(FileClips):
    """Sequences of one folder, each a clip and a drive of its own. Grey images get three equal channels.

    part.path: folder that holds `sequences/` (and `poses/`), or one flat folder. camera: image_0 to
    image_3, for the odometry layout. options.images_hz: rate of a flat folder's images.
    """

    identity_name = "KittiOdometry"

    def __init__(self, *, options: ClipOptions, part: Part, camera: str) -> None:
        super().__init__(options=options, part=part)
        self.sequences = find_sequences(Path(part.path).expanduser(), camera)

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
        sequence = self.sequences[index]
        return [sequence.images, sequence.poses, sequence.calib, *([] if sequence.times is None else [sequence.times])]

    def frames(self, index: int, size: tuple[int, int], fit: str, damage: Damage | None = None) -> Frames:
        """The images, in order of their times."""
        images, times = self._images(index)
        return read_images(images, times, size, fit)

    def track(self, index: int, first_s: float, last_s: float) -> Track | None:
        """True poses of the camera, one for each image; None for the sequences that have none (11 to 21)."""
        path = self.sequences[index].poses
        if not path.is_file():
            return None
        images, times = self._images(index)
        poses = planar_poses(read_matrices(path))
        if len(poses) < len(images):
            raise UnreadableClip(
                path,
                f"it holds {counted(len(poses), 'pose')} for {counted(len(images), 'image')}: complete it, or "
                "remove it to use the images without poses",
            )
        poses = poses[: len(images)]
        note = f"recorded: {path.name}, metres, of the camera (not the rear axle)"
        return Track(times_s=times, poses=poses, speed_mps=backward_speed(times, poses), note=note)

    def camera(self, index: int) -> Camera | None:
        """Intrinsics of the camera, from its row of calib.txt."""
        sequence = self.sequences[index]
        if not sequence.calib.is_file():
            return None
        projection = read_projection(sequence.calib, CAMERAS[sequence.images.name])
        return Camera(intrinsics=projection[:, :3], camera_to_ego=None)

    def header_duration_s(self, index: int) -> float | None:
        """Number of images over their rate."""
        count = sum(1 for _ in self.location(index).iterdir())
        return count / (self.options.images_hz or RECORDED_HZ)

    def _images(self, index: int) -> tuple[list[Path], Float64[np.ndarray, "T"]]:
        sequence = self.sequences[index]
        images, numbers = numbered_images(sequence.images)
        if sequence.times is not None:
            return images, read_times(sequence.times, len(images))
        return images, image_times(sequence.images, numbers, self.options.images_hz)


def find_sequences(path: Path, camera: str) -> list[Sequence]:
    """Sequences below a folder, sorted by name. Raises NoClips, which says what was looked for."""
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
    sequences = [
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
    if not sequences:
        raise NoClips(
            f"data.path={path} holds neither sequences/NN/{camera}/ nor {FLAT_IMAGES}/. Give the folder of the KITTI "
            f"odometry data with data.path=FOLDER, and one of {', '.join(sorted(CAMERAS)[:4])} with data.source.camera"
        )
    return sequences


def read_matrices(path: Path) -> Float64[np.ndarray, "T 3 4"]:
    """Rows of twelve numbers as matrices. Raises UnreadableClip, naming the line, for other rows and for NaN."""
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        if line.strip():
            rows.append(_numbers(path, number, line))
    if not rows:
        raise UnreadableClip(path, "it holds no poses: remove it to use the images without poses")
    return np.array(rows, np.float64).reshape(-1, 3, 4)


def read_projection(path: Path, row: int) -> Float64[np.ndarray, "3 4"]:
    """One camera's projection matrix: the row labelled `P0:` and so on, or the `row`-th row if rows have no labels."""
    lines = [line for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    rows = dict(line.split(":", 1) for line in lines if ":" in line)
    rows = rows or {f"P{number}": line for number, line in enumerate(lines)}
    line = rows.get(f"P{row}")
    if line is None:
        raise UnreadableClip(path, f"it has no row P{row} for this camera: choose another camera, or remove the file")
    return np.array(_numbers(path, row + 1, line), np.float64).reshape(3, 4)


def _numbers(path: Path, number: int, line: str) -> list[float]:
    try:
        values = [float(word) for word in line.split()]
    except ValueError:
        values = []
    if len(values) != 12 or not np.isfinite(values).all():
        raise UnreadableClip(path, f"line {number} must hold twelve finite numbers, it holds {line.strip()[:60]!r}")
    return values

"""comma2k19 as clips with true poses (Schäfer et al., arXiv 1812.05752): a highway commute at 20
Hz, a minute a segment.

Layout: CHUNK/ROUTE/SEGMENT/ with `video.hevc`, `global_pose/frame_*` and
`processed_log/CAN/*/{t,value}` (npy without suffix). Positions are ECEF. Orientations are
quaternions w, x, y, z of the camera (x forward, y right, z down) in ECEF. They become planar poses
(x forward, y left) in the plane that touches the ellipsoid at the first frame. The poses stay those
of the camera, because these files do not say where on the car it is.
"""

import os
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from latentdrive.counting import counted
from latentdrive.data.clips.clip_source import ClipOptions, Frames, Part
from latentdrive.data.clips.decoding import Damage
from latentdrive.data.clips.file_clips import FileClips
from latentdrive.data.clips.sidecars import Camera, Track
from latentdrive.data.clips.video import decode
from latentdrive.errors import ConfigError, NoClips, UnreadableClip, raise_if_out_of_files
from latentdrive.files import read_array
from latentdrive.geometry import wrap_angle

VIDEO, POSES, CAN = "video.hevc", "global_pose", "processed_log/CAN"
EARTH_M = np.array([6378137.0, 6378137.0, 6356752.314245])  # half axes of the WGS84 ellipsoid
NEAR_EARTH_M = 1e5  # how far positions may lie from its surface
UNIT = 1e-3  # how far a quaternion's length may be from 1
SLACK_S = 0.5  # how much of a segment's ends the car's speed may leave out
STOPPED_MPS = 5.0  # below this speed the direction of motion says nothing
AGREE_RAD = np.radians(15)  # how far the camera may look beside the direction of motion, as it is mounted


class Comma2k19(FileClips):
    """Segments of one folder, each a clip; the segments of a route are one drive, whose minutes follow
    each other without a gap.

    part.path: a segment, or a folder that contains segments at any depth. intrinsics: fx, fy, cx,
    cy of video.hevc in pixels, or None if unknown. Frame k of the video was taken at the k-th of
    `frame_times`.
    """

    identity_name = "Comma2k19"

    def __init__(self, *, options: ClipOptions, part: Part, intrinsics: list[float] | None) -> None:
        super().__init__(options=options, part=part)
        if intrinsics is not None and len(intrinsics) != 4:
            raise ConfigError(f"data.source.intrinsics must be fx, fy, cx, cy in pixels, or null; got {intrinsics}")
        self.intrinsics = None if intrinsics is None else tuple(map(float, intrinsics))
        self.root = Path(part.path).expanduser().resolve()
        self.segments = find_segments(self.root)

    def __len__(self) -> int:
        return len(self.segments)

    def location(self, index: int) -> Path:
        """Folder of the segment."""
        return self.segments[index]

    def key(self, index: int) -> str:
        """Path of the segment below the folder; its route and number if the folder is the segment itself."""
        segment = self.segments[index]
        return segment.relative_to(self.root if segment != self.root else self.root.parent.parent).as_posix()

    def drive(self, index: int) -> str:
        """The route, which is the folder that the segment lies in."""
        parent = self.key(index).rpartition("/")[0]
        return parent or self.root.name

    def files(self, index: int) -> list[Path]:
        """Video, poses and speed."""
        segment = self.segments[index]
        poses = [segment / POSES / f"frame_{name}" for name in ("times", "positions", "orientations", "velocities")]
        return [segment / VIDEO, *poses, *(segment / CAN / "speed" / name for name in ("t", "value"))]

    def identity(self, index: int) -> dict:
        """As for every source, and the intrinsics. Raises UnreadableClip for a segment without a video."""
        self._video(index)
        return super().identity(index) | {"intrinsics": self.intrinsics}

    def frames(self, index: int, size: tuple[int, int], fit: str, damage: Damage | None = None) -> Frames:
        """Frames of the video at the recorded times, the first at 0. Raises UnreadableClip unless
        there is one time a frame.
        """
        video, damage = self._video(index), damage or Damage()
        times = read_times(self.segments[index])
        # The stream's own rate counts for nothing. At one frame a second, a frame's time is its number.
        for number, frame, stored in decode(video, size, fit, told_hz=1.0, damage=damage):
            if number < len(times):
                yield float(times[int(number)] - times[0]), frame, stored
        if damage.frames != len(times):
            raise UnreadableClip(
                video,
                f"it holds {counted(damage.frames, 'frame')} for {len(times)} frame_times, so no frame's time is "
                "certain. Copy it again",
            )

    def track(self, index: int, first_s: float, last_s: float) -> Track | None:
        """True poses of the camera, one for each frame."""
        return read_poses(self.segments[index])

    def camera(self, index: int) -> Camera | None:
        """The intrinsics that the configuration gives, or None."""
        if self.intrinsics is None:
            return None
        fx, fy, cx, cy = self.intrinsics
        return Camera(intrinsics=np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], np.float64), camera_to_ego=None)

    def header_duration_s(self, index: int) -> float | None:
        """From the first frame's time to the last one's."""
        times = read_times(self.segments[index])
        return float(times[-1] - times[0])

    def _video(self, index: int) -> Path:
        video = self.segments[index] / VIDEO
        if not video.is_file():
            raise UnreadableClip(
                video,
                f"the segment has no {VIDEO}, only logs: copy the video there, or remove the segment from the folder",
            )
        return video


def find_segments(root: Path) -> list[Path]:
    """Folders at or below `root` that hold global_pose/ or video.hevc, by route and then by number. Raises NoClips."""
    segments = []
    for folder, inside, files in os.walk(root, followlinks=True):
        if POSES in inside or VIDEO in files:
            segments.append(Path(folder))
            inside.clear()
    if not segments:
        raise NoClips(
            f"data.path={root} holds no segment (CHUNK/ROUTE/SEGMENT with {VIDEO} and {POSES}/). Give a folder of "
            "unpacked comma2k19 chunks, a route, or a segment: data.path=FOLDER"
        )
    return sorted(segments, key=lambda path: (path.parent, int(path.name) if path.name.isdigit() else -1, path.name))


def read_poses(segment: Path) -> Track:
    """Poses of the camera at every frame: seconds since the first frame, planar metres in the frame of the first pose.

    The speed is the car's own (CAN) if the segment has it, else that of the poses. No video is
    needed. Raises UnreadableClip for files that are missing, damaged, of another shape or length,
    not finite, out of order in time, or at odds with each other.
    """
    times = read_times(segment)
    positions = _rows(segment, "frame_positions", len(times), 3)
    quaternions = _rows(segment, "frame_orientations", len(times), 4)
    velocities = _rows(segment, "frame_velocities", len(times), 3)
    height_m = np.abs(np.linalg.norm(positions / EARTH_M, axis=1) - 1) * EARTH_M.min()
    if height_m.max() > NEAR_EARTH_M:
        row = int(height_m.argmax())
        raise UnreadableClip(
            segment / POSES / "frame_positions",
            f"row {row} is {positions[row]}: expected ECEF metres near the Earth's surface",
        )
    length = np.linalg.norm(quaternions, axis=1)
    if np.abs(length - 1).max() > UNIT:
        row = int(np.abs(length - 1).argmax())
        raise UnreadableClip(
            segment / POSES / "frame_orientations",
            f"the quaternion in row {row} has length {length[row]:.4f}: expected 1, that of a rotation",
        )
    ahead = _forward(quaternions / length[:, None])
    axes = _level_axes(positions[0], ahead[0])
    local, facing, velocity = (positions - positions[0]) @ axes.T, ahead @ axes.T, velocities @ axes.T
    heading = np.arctan2(facing[:, 1], facing[:, 0])
    _check_motion(segment, heading, velocity)
    speed, source = _car_speed(segment, times)
    if speed is None:
        speed, source = (facing * velocity).sum(-1), "frame_velocities"
    return Track(
        times_s=times - times[0],
        poses=np.column_stack([local, heading]),
        speed_mps=speed,
        note=f"recorded: {POSES}, metres, of the camera (not the rear axle); speed: {source}",
    )


def read_times(segment: Path) -> Float64[np.ndarray, "T"]:
    """Time of every frame in seconds since the device was switched on. Raises UnreadableClip."""
    path = segment / POSES / "frame_times"
    times = _array(path)
    times = times[:, 0] if times.ndim == 2 and times.shape[1] == 1 else times
    if times.ndim != 1 or len(times) < 2:
        raise UnreadableClip(path, f"it has shape {times.shape}, expected the times of two frames or more")
    if (np.diff(times) <= 0).any():
        row = int(np.flatnonzero(np.diff(times) <= 0)[0]) + 1
        raise UnreadableClip(path, f"time does not grow at row {row} ({times[row - 1]:.3f}, then {times[row]:.3f} s)")
    return times


def _array(path: Path) -> Float64[np.ndarray, "..."]:
    """A file of finite numbers. Raises UnreadableClip."""
    try:
        array = read_array(path)
        if not np.issubdtype(array.dtype, np.number) or np.iscomplexobj(array):
            raise ValueError(f"its type is {array.dtype}")
    except FileNotFoundError:
        raise UnreadableClip(path, "the file is missing: copy the segment again") from None
    except ValueError as error:
        raise UnreadableClip(path, f"not an array of numbers in npy form ({error}): copy it again") from None
    except OSError as error:
        raise_if_out_of_files(error)
        raise UnreadableClip(path, f"it can't be opened ({error.strerror}): is the disk mounted?") from error
    array = array.astype(np.float64)
    if not np.isfinite(array).all():
        place = tuple(np.argwhere(~np.isfinite(array))[0].tolist())
        row = place[0] if place else 0
        raise UnreadableClip(path, f"row {row} holds {array[place]}: cut the segment there, or remove it")
    return array


def _rows(segment: Path, name: str, count: int, columns: int) -> Float64[np.ndarray, "T C"]:
    """One of the files of poses, checked for its shape. Raises UnreadableClip."""
    path = segment / POSES / name
    array = _array(path)
    if array.shape != (count, columns):
        raise UnreadableClip(
            path, f"it has shape {array.shape}, expected ({count}, {columns}), one row for each of frame_times"
        )
    return array


def _forward(quaternions: Float64[np.ndarray, "T 4"]) -> Float64[np.ndarray, "T 3"]:
    """Direction in ECEF that the camera faces: the first column of the rotation of each unit quaternion w, x, y, z."""
    w, x, y, z = quaternions.T
    return np.stack([1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)], -1)


def _level_axes(position: Float64[np.ndarray, "3"], ahead: Float64[np.ndarray, "3"]) -> Float64[np.ndarray, "2 3"]:
    """Forward and left as ECEF rows, in the plane that touches the ellipsoid (or one concentric to
    it) at a position.
    """
    up = position / EARTH_M**2
    up = up / np.linalg.norm(up)
    forward = ahead - (ahead @ up) * up
    forward = forward / np.linalg.norm(forward)
    return np.stack([forward, np.cross(up, forward)])


def _check_motion(segment: Path, heading: Float64[np.ndarray, "T"], velocity: Float64[np.ndarray, "T 2"]) -> None:
    """Raise UnreadableClip if the camera does not face the direction of motion: its axes are then
    not the expected ones.
    """
    fast = np.linalg.norm(velocity, axis=1) > STOPPED_MPS
    if not fast.any():
        return
    apart = np.median(wrap_angle(np.arctan2(velocity[fast, 1], velocity[fast, 0]) - heading[fast]))
    if abs(apart) > AGREE_RAD:
        raise UnreadableClip(
            segment / POSES / "frame_orientations",
            f"the car moves {np.degrees(apart):.0f} degrees beside the direction that the camera faces: expected "
            "quaternions w, x, y, z of axes forward, right, down in ECEF",
        )


def _car_speed(segment: Path, at: Float64[np.ndarray, "T"]) -> tuple[Float64[np.ndarray, "T"] | None, str]:
    """The car's own speed at these times, and the folder it is from; None if the segment has none."""
    folder = segment / CAN / "speed"
    if not folder.is_dir():
        return None, ""
    times, speed = _array(folder / "t").reshape(-1), _array(folder / "value")
    speed = speed[:, 0] if speed.ndim == 2 and speed.shape[1] == 1 else speed
    if speed.shape != times.shape or not len(times):
        raise UnreadableClip(
            folder / "value",
            f"it has shape {speed.shape} for {counted(len(times), 'time')} in t: expected one value each",
        )
    if (np.diff(times) < 0).any():
        raise UnreadableClip(folder / "t", f"time goes back at row {int(np.flatnonzero(np.diff(times) < 0)[0]) + 1}")
    if times[0] > at[0] + SLACK_S or times[-1] < at[-1] - SLACK_S:
        raise UnreadableClip(
            folder / "t",
            f"speeds from {times[0]:.1f} to {times[-1]:.1f} s do not cover the frames, {at[0]:.1f} to {at[-1]:.1f} s: "
            f"remove {folder} to use the speed of the poses",
        )
    return np.interp(at, times, speed), f"{CAN}/speed"

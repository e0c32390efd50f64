"""comma2k19 as clips with true poses (Schäfer et al., arXiv 1812.05752): a highway commute, a minute a segment, 20 Hz.

Layout: CHUNK/ROUTE/SEGMENT/ with `video.hevc`, `global_pose/frame_*` and `processed_log/CAN/*/{t,value}` (npy without suffix).
Positions are ECEF, orientations quaternions w, x, y, z of the camera (x forward, y right, z down) in ECEF → planar poses
(x forward, y left) in the plane that touches the ellipsoid at the first frame. The camera's place on the car is not in these
files, so poses stay those of the camera.
"""

import os
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from latentdrive.data.clips.clip_reader import ClipReader, Frames, ReaderOptions
from latentdrive.data.clips.clip_source import Part
from latentdrive.data.clips.sidecars import Camera, Track
from latentdrive.data.clips.video import decode
from latentdrive.errors import ConfigError, NoClips, UnreadableClip, raise_if_out_of_files
from latentdrive.geometry import wrap_angle

VIDEO, POSES, CAN = "video.hevc", "global_pose", "processed_log/CAN"
EARTH_M = np.array([6378137.0, 6378137.0, 6356752.314245])  # half axes of the WGS84 ellipsoid
NEAR_EARTH_M = 1e5  # positions lie no farther from its surface
UNIT = 1e-3  # how far a quaternion's length may be from 1
SLACK_S = 0.5  # how much of a segment's ends the car's speed may leave out
STOPPED_MPS = 5.0  # below, the direction of motion says nothing
AGREE_RAD = np.radians(15)  # camera and motion point the same way, but for how the device is mounted


class Comma2k19(ClipReader):
    """Segments of one folder (a ClipSource), each a clip; the segments of a route are one drive.

    path: a segment, or a folder that contains segments at any depth. intrinsics: fx, fy, cx, cy of video.hevc in pixels, or None
    where unknown. The rest as in VideoFolder. The k-th frame of the video is at the k-th of `frame_times`.
    """

    def __init__(
        self,
        *,
        path: str,
        rate_hz: float,
        height: int,
        width: int,
        fit: str,
        part: str,
        train_share: float,
        gap_s: float,
        poses: str,
        intrinsics: list[float] | None,
        field_of_view_deg: float,
    ) -> None:
        options = ReaderOptions(
            rate_hz=rate_hz,
            height=height,
            width=width,
            fit=fit,
            images_hz=None,
            poses=poses,
            field_of_view_deg=field_of_view_deg,
        )
        super().__init__(options=options, part=Part(name=part, train_share=train_share, gap_s=gap_s))
        if intrinsics is not None and len(intrinsics) != 4:
            raise ConfigError(f"data.source.intrinsics must be fx, fy, cx, cy in pixels, or null; got {intrinsics}")
        self.intrinsics = None if intrinsics is None else tuple(map(float, intrinsics))
        self.root = Path(path).expanduser().resolve()
        self.segments = find_segments(self.root)

    def __len__(self) -> int:
        return len(self.segments)

    def location(self, index: int) -> Path:
        """Folder of the segment."""
        return self.segments[index]

    def key(self, index: int) -> str:
        """Path of the segment below the folder; route and number where the folder is the segment."""
        segment = self.segments[index]
        return segment.relative_to(self.root if segment != self.root else self.root.parent.parent).as_posix()

    def drive(self, index: int) -> str:
        """The route: what the segment's folder lies in."""
        parent = self.key(index).rpartition("/")[0]
        return parent or self.root.name

    def files(self, index: int) -> list[Path]:
        """Video, poses and speed."""
        segment = self.segments[index]
        poses = [segment / POSES / f"frame_{name}" for name in ("times", "positions", "orientations", "velocities")]
        return [segment / VIDEO, *poses, *(segment / CAN / "speed" / name for name in ("t", "value"))]

    def identity(self, index: int) -> dict:
        """As in every reader; raises UnreadableClip for a segment of logs alone."""
        self._video(index)
        return super().identity(index) | {"intrinsics": self.intrinsics}

    def frames(self, index: int, size: tuple[int, int], fit: str) -> Frames:
        """Frames of the video at the recorded times, the first at 0. Raises UnreadableClip where their numbers differ."""
        video = self._video(index)
        times = read_times(self.segments[index])
        count = 0
        for _, frame, stored in decode(video, size, fit):
            if count < len(times):
                yield float(times[count] - times[0]), frame, stored
            count += 1
        if count != len(times):
            raise UnreadableClip(
                video,
                f"it holds {count} frames for {len(times)} frame_times: which is when can't be told. Copy it again",
            )

    def track(self, index: int, first_s: float, last_s: float) -> Track | None:
        """True poses of the camera, one a frame."""
        return read_poses(self.segments[index])

    def camera(self, index: int) -> Camera | None:
        """The intrinsics given; None without."""
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
    """Segments at or below a folder: what holds global_pose/ or video.hevc; by route, then by number. Raises NoClips."""
    found = []
    for folder, inside, files in os.walk(root, followlinks=True):
        if POSES in inside or VIDEO in files:
            found.append(Path(folder))
            inside.clear()
    if not found:
        raise NoClips(
            f"data.path={root} holds no segment (CHUNK/ROUTE/SEGMENT with {VIDEO} and {POSES}/). Give a folder of unpacked "
            "comma2k19 chunks, a route, or a segment: data.path=FOLDER"
        )
    return sorted(found, key=lambda one: (one.parent, int(one.name) if one.name.isdigit() else -1, one.name))


def read_poses(segment: Path) -> Track:
    """Poses of the camera at every frame: seconds since the first frame, planar metres in the frame of the first pose.

    The speed is the car's own (CAN) where the segment has it, else that of the poses. Needs no video. Raises UnreadableClip for
    files that are missing, damaged, of another shape or count, not finite, out of order in time, or at odds with each other.
    """
    times = read_times(segment)
    positions = _rows(segment, "frame_positions", len(times), 3)
    quaternions = _rows(segment, "frame_orientations", len(times), 4)
    velocities = _rows(segment, "frame_velocities", len(times), 3)
    off = np.abs(np.linalg.norm(positions / EARTH_M, axis=1) - 1) * EARTH_M.min()
    if off.max() > NEAR_EARTH_M:
        row = int(off.argmax())
        raise UnreadableClip(
            segment / POSES / "frame_positions",
            f"row {row} is {positions[row]}: expected ECEF metres near the Earth's surface",
        )
    length = np.linalg.norm(quaternions, axis=1)
    if np.abs(length - 1).max() > UNIT:
        row = int(np.abs(length - 1).argmax())
        raise UnreadableClip(
            segment / POSES / "frame_orientations",
            f"row {row} has length {length[row]:.4f}: a rotation's quaternion has 1",
        )
    ahead = _forward(quaternions / length[:, None])
    axes = _level_axes(positions[0], ahead[0])
    local, looks, moves = (positions - positions[0]) @ axes.T, ahead @ axes.T, velocities @ axes.T
    heading = np.arctan2(looks[:, 1], looks[:, 0])
    _check_motion(segment, heading, moves)
    speed, source = _car_speed(segment, times)
    if speed is None:
        speed, source = (looks * moves).sum(-1), "frame_velocities"
    return Track(
        times_s=times - times[0],
        poses=np.column_stack([local, heading]),
        speed_mps=speed,
        note=f"recorded: {POSES}, metres, of the camera (not the rear axle); speed: {source}",
    )


def read_times(segment: Path) -> Float64[np.ndarray, "T"]:
    """Time of every frame, seconds since the device was switched on. Raises UnreadableClip."""
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
    """A file of finite numbers."""
    try:
        array = np.load(path, allow_pickle=False)
        if not np.issubdtype(array.dtype, np.number) or np.iscomplexobj(array):
            raise ValueError(f"its type is {array.dtype}")
    except FileNotFoundError:
        raise UnreadableClip(path, "the file is missing: copy the segment again") from None
    except (ValueError, EOFError) as error:
        raise UnreadableClip(path, f"not an array of numbers in npy form ({error}): copy it again") from None
    except OSError as error:
        raise_if_out_of_files(error)
        raise UnreadableClip(path, f"it can't be opened ({error.strerror}): is the disk mounted?") from error
    array = array.astype(np.float64)
    if not np.isfinite(array).all():
        row = np.argwhere(~np.isfinite(array))[0]
        raise UnreadableClip(path, f"row {row[0]} holds {array[tuple(row)]}: cut the segment there, or remove it")
    return array


def _rows(segment: Path, name: str, count: int, columns: int) -> Float64[np.ndarray, "T C"]:
    path = segment / POSES / name
    array = _array(path)
    if array.shape != (count, columns):
        raise UnreadableClip(
            path, f"it has shape {array.shape}, expected ({count}, {columns}): a row for each frame_times"
        )
    return array


def _forward(quaternions: Float64[np.ndarray, "T 4"]) -> Float64[np.ndarray, "T 3"]:
    """Where the camera looks, in ECEF: the first column of the rotation of each unit quaternion w, x, y, z."""
    w, x, y, z = quaternions.T
    return np.stack([1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)], -1)


def _level_axes(position: Float64[np.ndarray, "3"], ahead: Float64[np.ndarray, "3"]) -> Float64[np.ndarray, "2 3"]:
    """Forward and left in the plane that touches the ellipsoid below a position (or one concentric to it), as ECEF rows."""
    up = position / EARTH_M**2
    up = up / np.linalg.norm(up)
    forward = ahead - (ahead @ up) * up
    forward = forward / np.linalg.norm(forward)
    return np.stack([forward, np.cross(up, forward)])


def _check_motion(segment: Path, heading: Float64[np.ndarray, "T"], moves: Float64[np.ndarray, "T 2"]) -> None:
    """A camera that looks elsewhere than the car goes means that its axes are not those that are expected."""
    fast = np.linalg.norm(moves, axis=1) > STOPPED_MPS
    if not fast.any():
        return
    apart = np.median(wrap_angle(np.arctan2(moves[fast, 1], moves[fast, 0]) - heading[fast]))
    if abs(apart) > AGREE_RAD:
        raise UnreadableClip(
            segment / POSES / "frame_orientations",
            f"the car moves {np.degrees(apart):.0f} degrees beside where the camera looks: expected quaternions w, x, y, z of axes "
            "forward, right, down in ECEF",
        )


def _car_speed(segment: Path, at: Float64[np.ndarray, "T"]) -> tuple[Float64[np.ndarray, "T"] | None, str]:
    """The car's own speed at these times; None where the segment has none."""
    folder = segment / CAN / "speed"
    if not folder.is_dir():
        return None, ""
    times, speed = _array(folder / "t").reshape(-1), _array(folder / "value")
    speed = speed[:, 0] if speed.ndim == 2 and speed.shape[1] == 1 else speed
    if speed.shape != times.shape or not len(times):
        raise UnreadableClip(
            folder / "value", f"it has shape {speed.shape} for {len(times)} times in t: expected one value each"
        )
    if (np.diff(times) < 0).any():
        raise UnreadableClip(folder / "t", f"time goes back at row {int(np.flatnonzero(np.diff(times) < 0)[0]) + 1}")
    if times[0] > at[0] + SLACK_S or times[-1] < at[-1] - SLACK_S:
        raise UnreadableClip(
            folder / "t",
            f"speeds from {times[0]:.1f} to {times[-1]:.1f} s do not cover the frames, {at[0]:.1f} to {at[-1]:.1f} s: remove "
            f"{folder} to use the speed of the poses",
        )
    return np.interp(at, times, speed), f"{CAN}/speed"

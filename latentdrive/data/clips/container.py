"""A video's container: which of its streams is the video, how long it says it is, and when a picture is shown.

The bottom of reading a video. decoding.py takes the pictures out of it, video.py makes a clip of them.
"""

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import av
from av.stream import Disposition

from latentdrive.data.picture_files import LARGEST_PIXELS
from latentdrive.errors import UnreadableClip, raise_if_out_of_files

# How much earlier than its header says a video may end: intact files are exact to a frame, edit
# lists to a few.
TRUNCATED_SHARE, TRUNCATED_S = 0.01, 0.3
STILLS = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
PROBED_PACKETS = 1000  # that are looked at to tell a video from a cover picture
FASTEST_HZ = 240.0  # raw H.264 may state the fineness of its clock (1000 Hz) as its rate
SQUAREST = 8.0  # pixels wider or higher than this are damage: a picture of them would have no bound


class Video:
    """An open container and its video stream. `told_hz`: frames a second as a person tells them, None to believe the
    file.
    """

    def __init__(self, path: Path, container: av.container.InputContainer, told_hz: float | None) -> None:
        self.path, self.told_hz = path, told_hz
        self._container, self.stream = container, _best_stream(path, container)
        self.stream.codec_context.options = {"max_pixels": str(LARGEST_PIXELS)}
        self._start_s = float((self.stream.start_time or 0) * self.stream.time_base)
        self._reached_s = self._start_s
        self.sound = False  # known to be intact to its end, as far as a decoder can tell
        self.broken = ""  # why the container can't be read to its end
        self._stated_hz = None if told_hz else self._find_stated_hz()

    def packets(self) -> Iterator[av.Packet]:
        """Packets of the video stream, an empty one last. It ends early, and sets `broken`, where the container is
        damaged.
        """
        packets = self._container.demux(self.stream)
        while True:
            try:
                packet = next(packets, None)
            except av.error.InvalidDataError as error:
                self.broken = error.strerror
                return
            if packet is None:
                return
            if packet.pts is not None and packet.size:
                end_s = float((packet.pts + (packet.duration or 0)) * packet.time_base)
                self._reached_s = max(self._reached_s, end_s)
            yield packet

    def time_of(self, number: int, picture: av.VideoFrame) -> float:
        """Seconds at which the `number`-th frame is shown."""
        if self.told_hz:
            return number / self.told_hz
        return picture.time if picture.time is not None else number / self._stated_hz

    @property
    def pixel_aspect(self) -> float:
        """Width of a stored pixel over its height. Raises UnreadableClip where no camera has such pixels."""
        ratio = self.stream.sample_aspect_ratio or self.stream.codec_context.sample_aspect_ratio
        aspect = float(ratio) if ratio else 1.0
        if not 1 / SQUAREST <= aspect <= SQUAREST:
            raise UnreadableClip(
                self.path,
                f"its pixels have the shape {ratio.numerator}:{ratio.denominator}, which no camera's have: correct the "
                "header, for example with ffmpeg -i FILE -c copy -aspect 16:9 NEW",
            )
        return aspect

    @property
    def duration_s(self) -> float | None:
        """Length by the header; None if the header does not say it. At a told rate, the length at that rate."""
        end_s = self._stated_end_s()
        if end_s is None:
            return None
        rate = self.stream.average_rate
        return (end_s - self._start_s) * (float(rate) / self.told_hz if self.told_hz and rate else 1.0)

    def require_whole(self) -> None:
        """Raise UnreadableClip if the packets, which have all been read, end earlier than the header says."""
        end_s = self._stated_end_s()
        if end_s is None or self.broken:
            return
        stated_s, held_s = end_s - self._start_s, self._reached_s - self._start_s
        if held_s < stated_s * (1 - TRUNCATED_SHARE) - TRUNCATED_S:
            raise UnreadableClip(
                self.path,
                f"truncated: its header says {stated_s:.1f} s, only {held_s:.1f} s can be decoded. Copy it again",
            )

    def _stated_end_s(self) -> float | None:
        """When the video ends by its header, on the clock of its time stamps."""
        container, stream = self._container, self.stream
        if stream.duration:
            return self._start_s + float(stream.duration * stream.time_base)
        if len(container.streams) > 1 or not container.duration:
            # The container's length alone is stated, and with sound it may be the sound's.
            return None
        stated_s = container.duration / av.time_base
        # Matroska's "duration" is the time of the end, whenever the first picture comes.
        return stated_s if "matroska" in container.format.name else self._start_s + stated_s

    def _find_stated_hz(self) -> float:
        """The rate by the file, for pictures without time stamps. Raises UnreadableClip if a raw stream states none."""
        if not self._container.format.flags & av.format.Flags.no_timestamps.value:
            return float(self.stream.guessed_rate or 0) or 1.0
        rate = self.stream.codec_context.framerate
        if not rate or not 0 < rate <= FASTEST_HZ:
            raise UnreadableClip(
                self.path,
                "a raw stream that does not say how many frames a second it has: give the camera's rate with "
                "data.options.video_hz=10, or put it into a container with ffmpeg -r 10 -i FILE -c copy FILE.mp4",
            )
        return float(rate)


@contextmanager
def opened(path: Path, told_hz: float | None = None) -> Iterator[Video]:
    """The video of a file; it is closed at the end. Raises UnreadableClip."""
    with errors_named(path):
        try:
            size = path.stat().st_size
        except ValueError as error:  # a name that no file can have
            raise UnreadableClip(path, f"it can't be opened ({error}): correct the list") from None
        if size == 0:
            raise UnreadableClip(path, "the file is empty (0 bytes): copy it again")
        with _container(path) as container:
            yield Video(path, container, told_hz)


@contextmanager
def errors_named(path: Path) -> Iterator[None]:
    """Turn FFmpeg's errors, and those of the disk, into UnreadableClip."""
    try:
        yield
    except av.error.FFmpegError as error:
        raise_if_out_of_files(error)
        raise UnreadableClip(
            path,
            f"not a readable video ({error.strerror}): it may be truncated or no video at all. "
            "Try ffplay, or copy it again",
        ) from error
    except OSError as error:
        raise_if_out_of_files(error)
        raise UnreadableClip(path, f"it can't be opened ({error.strerror}): is the disk mounted?") from error


def _container(path: Path) -> av.container.InputContainer:
    return av.open(os.fspath(path), metadata_errors="replace")


def _best_stream(path: Path, container: av.container.InputContainer) -> av.VideoStream:
    """The largest stream of moving pictures: no cover, no preview. Raises UnreadableClip if there is none."""
    streams = [stream for stream in container.streams.video if stream.codec_context is not None]
    moving = [stream for stream in streams if not stream.disposition & STILLS]
    if not moving:
        what = "only a cover picture and no video" if streams else "no video stream"
        raise UnreadableClip(path, f"it holds {what}")
    if len(moving) == 1:
        return moving[0]
    counts: Counter[int] = Counter()
    with _container(path) as probe:  # a second one, because a raw pipe of packets can't be turned back
        for packet in islice(probe.demux(*(probe.streams[stream.index] for stream in moving)), PROBED_PACKETS):
            counts[packet.stream.index] += packet.size > 0

    def rank(stream: av.VideoStream) -> tuple[bool, int, bool, int]:
        default = bool(stream.disposition & Disposition.default)
        return counts[stream.index] > 1, stream.width * stream.height, default, -stream.index

    return max(moving, key=rank)

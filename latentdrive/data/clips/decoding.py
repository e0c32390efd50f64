"""From a video's packets to the frames that can be used: damage that the decoder knows of is left out and counted.

A damaged frame is dropped with all frames after it up to the next key frame, because they are made from it. What
FFmpeg says of damage is its flags (corrupt packets and frames, decoding errors), packets that it refuses, and the
errors that it logs. Not all damage can be known: bits that give another valid picture pass unseen.

An intact video is decoded by several threads. At the first sign of damage the video is decoded again by one thread,
so that each message belongs to one packet.
"""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import av

from latentdrive.data.clips.container import Video, opened
from latentdrive.errors import raise_if_out_of_files


@dataclass
class Damage:
    """What was met while a video was decoded.

    frames: in the file, dropped ones included. reported: frames that the decoder reports as damaged, or can't decode.
    dropped: these, and the frames after them up to the next key frame. gaps: places behind which used frames follow
    again. first: where damage began, in the decoder's words.
    """

    frames: int = 0
    reported: int = 0
    dropped: int = 0
    gaps: int = 0
    first: str = ""

    @property
    def note(self) -> str:
        """One sentence; empty for an intact video."""
        if not self.first:
            return ""
        follow = self.dropped - self.reported
        with_them = f", {follow} more up to the next key frame were dropped with them" if follow > 0 else ""
        return f"{self.reported} of {self.frames} frames are damaged{with_them}; the first damage is {self.first}"

    def begin(self, at_s: float | None, packet: int, why: str) -> None:
        """Note the first damage, by its time or else by its packet."""
        if not self.first:
            self.first = f"at {at_s:.2f} s ({why})" if at_s is not None else f"in packet {packet} ({why})"


def usable_frames(path: Path, *, told_hz: float | None, damage: Damage) -> Iterator[tuple[Video, int, av.VideoFrame]]:
    """The container, number in order of presentation, and picture of every frame that can be used.

    damage: is filled meanwhile; where its `gaps` grow, frames are missing before the frame that comes with it. Raises
    UnreadableClip if the container can't be opened or the file was cut short.
    """
    done = 0
    with opened(path, told_hz) as video:
        with closing(_until_damage(video)) as pictures:
            for picture in pictures:
                yield video, done, picture
                done += 1
        damage.frames = done
        if video.sound:
            video.require_whole()
            return
    with opened(path, told_hz) as video:
        for number, picture in _around_damage(video, damage, known=done):
            yield video, number, picture
        video.require_whole()


def errors_logged() -> int:
    """How many errors FFmpeg has logged in this process since they are counted."""
    return av.logging.get_last_error()[0]


def _count_errors() -> None:
    """Have FFmpeg's errors counted, without printing them."""
    if av.logging.get_level() is None:
        av.logging.set_level(av.logging.PANIC)


def _until_damage(video: Video) -> Iterator[av.VideoFrame]:
    """Frames as several threads decode them, up to the first sign of damage; `video.sound` says whether there was none.

    A frame is given out after the threads have finished it and all that it is made from, so what was logged till then
    is all that there is to say of it.
    """
    _count_errors()
    video.stream.thread_type = "AUTO"
    before = errors_logged()
    try:
        for packet in video.packets():
            try:
                pictures = video.stream.decode(packet)
            except av.error.FFmpegError as error:
                raise_if_out_of_files(error)
                return
            if errors_logged() != before or packet.is_corrupt or any(picture.is_corrupt for picture in pictures):
                return
            yield from pictures
        video.sound = not video.broken
    finally:
        # Threads that are still decoding may log, for which they need the interpreter. Closing the decoder waits for
        # them without letting go of it; this waits, too, but lets go.
        video.stream.codec_context.flush_buffers()


def _around_damage(video: Video, damage: Damage, *, known: int) -> Iterator[tuple[int, av.VideoFrame]]:
    """Numbers and pictures of the frames that can be used, decoded by one thread, without the first `known` ones."""
    context = video.stream.codec_context
    context.thread_type, context.thread_count, context.copy_opaque = "NONE", 1, True
    verdict, shown, errors = _Verdict(), 0, errors_logged()
    for order, packet in enumerate(video.packets()):
        packet.opaque = order
        if errors_logged() != errors:  # the container lacks something before this packet
            verdict.damaged.add(order - 0.5)
            damage.begin(_time_of(packet), order, _last_error())
        pictures, why, errors = [], "the file marks it as corrupt" if packet.is_corrupt else "", errors_logged()
        try:
            pictures = video.stream.decode(packet)
        except av.error.FFmpegError as error:
            raise_if_out_of_files(error)
            why = error.strerror
        if errors_logged() != errors:
            why, errors = _last_error(), errors_logged()
        if why and packet.size:  # the last packet, which asks for what is left, is empty
            verdict.note(order, packet.pts)
            damage.begin(_time_of(packet), order, why)
        for picture in pictures:
            made_from = order if picture.opaque is None else picture.opaque
            own = picture.is_corrupt or made_from in verdict.damaged
            if own:
                damage.begin(picture.time, made_from, "the decoder marks it as corrupt")
            usable = verdict.usable(made_from, picture, own=own)
            damage.reported += own
            damage.dropped += not usable
            if usable and shown >= known:
                damage.gaps += verdict.take_gap()
                yield shown + verdict.lost, picture
            shown += 1
    lost = verdict.lost + len(verdict.silent)
    damage.frames, damage.reported, damage.dropped = shown + lost, damage.reported + lost, damage.dropped + lost
    if video.broken:
        damage.begin(None, damage.frames, f"the container is damaged: {video.broken}")


def _time_of(packet: av.Packet) -> float | None:
    return None if packet.pts is None else float(packet.pts * packet.time_base)


def _last_error() -> str:
    return av.logging.get_last_error()[1][2].strip()


class _Verdict:
    """Which frames can be used. Packets are counted in the order in which they are decoded.

    damaged: packets of damaged frames since the last intact key frame; a half stands for what is missing between two.
    silent: those that have given no frame so far, with their time stamps. lost: those before that key frame that never
    did.
    """

    def __init__(self) -> None:
        self.damaged: set[float] = set()
        self.silent: dict[int, int | None] = {}
        self.lost = 0
        self._dropping = self._gap = False

    def note(self, order: int, pts: int | None) -> None:
        """Note a packet that is damaged; it may give a frame or none."""
        self.damaged.add(order)
        self.silent[order] = pts

    def usable(self, order: int, picture: av.VideoFrame, *, own: bool) -> bool:
        """Whether the next frame in order of presentation, made from packet `order`, is intact with all before it back
        to a key frame. own: it is damaged itself.
        """
        self.silent.pop(order, None)
        absent = {other for other, pts in self.silent.items() if _may_precede(other, pts, order, picture)}
        missing = own or bool(absent) or any(other <= order for other in self.damaged)
        self._gap |= missing
        self._dropping |= missing
        if picture.key_frame and not own:
            self._dropping, self.lost = False, self.lost + len(absent)
            self.damaged = {other for other in self.damaged if other > order}
            self.silent = {other: pts for other, pts in self.silent.items() if other not in absent}
        return not self._dropping

    def take_gap(self) -> bool:
        """Whether frames are missing before this one; said once."""
        gap, self._gap = self._gap, False
        return gap


def _may_precede(silent: int, pts: int | None, order: int, picture: av.VideoFrame) -> bool:
    """Whether the frame of a silent packet would be shown before this picture, made from packet `order`.

    Without time stamps that is known of key frames alone, before which all earlier packets are shown.
    """
    if pts is not None and picture.pts is not None:
        return pts < picture.pts
    return silent < order or not picture.key_frame

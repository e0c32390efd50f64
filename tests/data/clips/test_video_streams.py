"""Which stream of a file is the video, how its pixels and its clock are meant, and when it was cut short."""

import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from latentdrive.build import build
from latentdrive.config import compose
from latentdrive.data.clips.container import opened
from latentdrive.data.clips.visual_odometry import VisualOdometry
from latentdrive.errors import ConfigError, UnreadableClip
from latentdrive.identity import digest
from tests.support.data import folder, write_video
from tests.support.videos import CASES, encode, street

shared = pytest.mark.skipif(not CASES.is_dir(), reason="skipped: there are no shared cases")
DISC = (slice(20, 76), slice(52, 108))  # rows and columns of a square in a picture of 96 x 160


def marked(count: int = 40, size: tuple[int, int] = (96, 160)) -> list[np.ndarray]:
    """A moving grey street with a red square of 56 x 56 pixels in its middle and a blue corner, upper left."""
    frames = [frame.copy() for frame in street(count, (96, 160))]
    for frame in frames:
        frame[DISC] = [255, 0, 0]
        frame[:20, :30] = [0, 0, 255]
    return [np.ascontiguousarray(np.kron(f, np.ones((size[0] // 96, size[1] // 160, 1), np.uint8))) for f in frames]


def red(picture: np.ndarray) -> tuple[int, int]:
    """Height and width of the red square in a picture [3, H, W]."""
    r, g, b = picture.astype(int)
    inside = (r > 150) & (g < 90) & (b < 90)
    rows, columns = inside.shape
    return int(inside[:, columns // 2].sum()), int(inside[rows // 2].sum())


def blue_corner(picture: np.ndarray) -> str:
    """Which corner of a picture [3, H, W] is blue."""
    r, _, b = picture.astype(int)
    rows, columns = np.nonzero((b > 150) & (r < 90))
    below, right = rows.mean() > picture.shape[1] / 2, columns.mean() > picture.shape[2] / 2
    return f"{'lower' if below else 'upper'} {'right' if right else 'left'}"


@shared
@pytest.mark.parametrize(
    ("name", "size", "frames", "rate_hz"),
    [
        ("cover_first.mkv", (320, 180), 100, 20.0),
        ("preview_track_first.mp4", (640, 360), 60, 20.0),
        ("starts_at_3s.mkv", (320, 180), 100, 20.0),
        ("pixels_4_to_3.mp4", (320, 180), 60, 20.0),
    ],
)
def test_shared_cases_of_streams(name: str, size: tuple[int, int], frames: int, rate_hz: float):
    clip, facts = folder(CASES / f"video_{name}", rate_hz=20.0).read(0)
    assert (facts.source_width, facts.source_height) == size and facts.source_hz == pytest.approx(rate_hz)
    assert len(clip) == facts.frames_read == frames and set(clip.shots) == {0} and not facts.damage_note
    assert facts.duration_s == pytest.approx((frames - 1) / rate_hz, abs=0.01)


@shared
def test_shared_case_of_a_raw_stream_without_a_rate():
    path = CASES / "video_10hz_no_timing.hevc"
    with pytest.raises(UnreadableClip, match=r"data\.options\.video_hz=10"):
        folder(path)[0]
    clip, facts = folder(path, video_hz=10.0).read(0)
    assert len(clip) == 100 and facts.duration_s == pytest.approx(9.9) and facts.source_hz == pytest.approx(10.0)


@shared
def test_circles_of_the_shared_case_stay_circles():
    clip, facts = folder(CASES / "video_pixels_4_to_3.mp4", rate_hz=20.0, height=180, width=320).read(0)
    assert facts.view == (0.0, 0.0, 1.0, 1.0) and clip.frames.shape[2:] == (180, 320)


# ---- the stream ----


def test_the_larger_track_is_the_video_wherever_it_stands(tmp_path: Path):
    small, large = street(40, (48, 80)), street(40, (96, 160))
    for name, streams in {"a.mp4": (small, large), "b.mkv": (large, small), "c.mkv": (small, large)}.items():
        _, facts = folder(encode(tmp_path / name, *streams)).read(0)
        assert (facts.source_height, facts.frames_read) == (96, 40), name


def test_a_cover_picture_is_no_video_however_large_it_is(tmp_path: Path):
    path = encode(tmp_path / "a.mkv", street(1, (384, 640)), street(40, (96, 160)))
    clip, facts = folder(path).read(0)
    assert (facts.source_height, facts.frames_read) == (96, 40) and len(clip) == 20


def test_a_file_of_a_cover_alone_says_so(tmp_path: Path):
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 160, 96, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(street(1)[0]), format="rgb24")
        for packet in [*cover.encode(picture), *cover.encode()]:
            container.mux(packet)
    with pytest.raises(UnreadableClip, match="only a cover picture and no video"):
        folder(path)[0]


# ---- pixels ----


@pytest.mark.parametrize("pixels", [Fraction(4, 3), Fraction(8, 9), Fraction(2)])
def test_pixel_shape_decides_crop_size_and_intrinsics_together(tmp_path: Path, pixels: Fraction):
    path = encode(tmp_path / "a.mp4", marked(), pixels=pixels)
    (tmp_path / "a.camera.json").write_text(json.dumps({"intrinsics": [[80, 0, 79.5], [0, 80, 47.5], [0, 0, 1]]}))
    wide = round(160 * pixels)
    clip, facts = folder(path, height=48, width=60).read(0)
    assert (facts.source_height, facts.source_width) == (96, wide)
    height, width = red(clip.frames[5])
    assert height == pytest.approx(28, abs=2) and width == pytest.approx(28 * float(pixels), abs=2)
    left, top, right, bottom = facts.view
    assert (top, bottom) == (0.0, 1.0) and right - left == pytest.approx(120 / wide, abs=0.01)
    # A stored pixel is `pixels` training pixels wide for one that it is high; the middle stays the middle.
    np.testing.assert_allclose(clip.intrinsics[[0, 1], [0, 1]], [40 * float(pixels), 40], rtol=0.02)
    np.testing.assert_allclose(clip.intrinsics[:2, 2], [29.5, 23.5], atol=0.6)


def test_square_pixels_are_read_as_before(tmp_path: Path):
    path = encode(tmp_path / "a.mp4", marked())
    plain, _ = folder(path).read(0)
    with av.open(str(path)) as container:
        frames = [frame.reformat(width=80, height=48, format="rgb24", interpolation="AREA") for frame in
                  container.decode(video=0)]  # fmt: skip
    np.testing.assert_array_equal(plain.frames[1], frames[2].to_ndarray().transpose(2, 0, 1))


def test_pixels_of_no_camera_are_refused(tmp_path: Path):
    path = encode(tmp_path / "a.mp4", marked(4), pixels=Fraction(1, 100))
    with pytest.raises(UnreadableClip, match="pixels have the shape 1:100"):
        folder(path)[0]


@pytest.mark.parametrize(
    ("turned", "mirrored", "corner"),
    [
        (0, False, "upper left"),
        (90, False, "lower left"),
        (-90, False, "upper right"),
        (180, False, "lower right"),
        (0, True, "upper right"),
    ],
)
def test_orientation_turns_the_picture_its_pixels_and_its_shape(
    tmp_path: Path, turned: int, mirrored: bool, corner: str
):
    path = encode(tmp_path / "a.mp4", marked(), pixels=Fraction(4, 3), turned_deg=turned, mirrored=mirrored)
    sideways = turned in (90, -90)
    size = (160, 72) if sideways else (72, 160)
    clip, facts = folder(path, height=size[0], width=size[1]).read(0)
    assert facts.view == (0.0, 0.0, 1.0, 1.0)  # the whole picture, whose shape is 16 : 7.2
    assert blue_corner(clip.frames[5]) == corner
    shown = (56, 42) if sideways else (42, 56)  # 56 pixels of 4:3, at three quarters of their size
    assert red(clip.frames[5]) == (pytest.approx(shown[0], abs=2), pytest.approx(shown[1], abs=2))


def test_visual_odometry_sees_the_shape_that_is_shown(tmp_path: Path):
    path = encode(tmp_path / "a.mp4", marked(), pixels=Fraction(2))
    clip, facts = folder(path, poses="visual_odometry", odometry=VisualOdometry()).read(0)
    assert clip.ego_poses is not None and "(guessed)" in facts.pose_note


# ---- the clock ----


@pytest.mark.parametrize(("name", "codec"), [("a.hevc", "libx265"), ("a.mp4", "libx264"), ("a.avi", "mpeg4")])
def test_a_told_rate_goes_before_what_the_file_says(tmp_path: Path, name: str, codec: str):
    path = write_video(tmp_path / name, street(60), np.arange(60) / 30, codec=codec)
    clip, facts = folder(path, video_hz=10.0).read(0)
    np.testing.assert_allclose(clip.times_s, np.arange(60) / 10, atol=1e-9)
    assert facts.source_hz == pytest.approx(10.0)


def test_the_length_by_the_header_is_that_at_the_told_rate(tmp_path: Path):
    path = encode(tmp_path / "a.mp4", street(40))
    assert folder(path).header_duration_s(0) == pytest.approx(2.0)
    assert folder(path, video_hz=10.0).header_duration_s(0) == pytest.approx(4.0)


def test_raw_h264_that_states_the_fineness_of_its_clock_is_refused(tmp_path: Path):
    path = write_video(tmp_path / "a.h264", street(60), np.arange(60) / 30)  # it states 1000 frames a second
    with pytest.raises(UnreadableClip, match="does not say how many frames a second"):
        folder(path)[0]
    assert len(folder(path, video_hz=30.0)[0]) == 20


@pytest.mark.parametrize("rate", [0.0, -1.0, float("inf"), float("nan")])
def test_a_told_rate_is_positive(tmp_path: Path, rate: float):
    with pytest.raises(ConfigError, match=r"data\.options\.video_hz must be above 0"):
        folder(tmp_path, video_hz=rate)


def test_a_told_rate_is_part_of_an_identity_and_its_absence_changes_none(tmp_path: Path):
    path = encode(tmp_path / "a.mp4", street(4))
    assert folder(path).identity(0) == {
        k: v for k, v in folder(path, video_hz=9.0).identity(0).items() if k != "video_hz"
    }
    assert folder(path, video_hz=9.0).identity(0)["video_hz"] == 9.0
    assert digest({"options": {"fit": "crop", "video_hz": None}}) == digest({"options": {"fit": "crop"}})
    assert digest({"options": {"fit": "crop", "video_hz": 9.0}}) != digest({"options": {"fit": "crop"}})


def test_the_rate_can_be_told_on_the_command_line(tmp_path: Path):
    encode(tmp_path / "a.mp4", street(100))
    words = ["data=video", f"data.path={tmp_path}", f"paths.data={tmp_path / 'd'}", "data.options.poses=none"]
    clips = build(compose("train_codebook", [*words, "data.options.video_hz=10"]).data).open("train")
    assert clips.read(0)[1].duration_s == pytest.approx(9.9)


# ---- the end ----


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "a.ts"])
@pytest.mark.parametrize("start_s", [0, 3, 30])
def test_an_intact_file_may_start_late(tmp_path: Path, name: str, start_s: int):
    path = encode(tmp_path / name, street(60), start=20 * start_s)
    clip, facts = folder(path).read(0)
    assert len(clip) == 30 and facts.duration_s == pytest.approx(2.9)
    with opened(path) as video:
        assert video.duration_s == pytest.approx(3.0, abs=0.06)


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4"])
def test_a_file_that_starts_late_and_was_cut_short_is_named(tmp_path: Path, name: str):
    path = encode(tmp_path / name, street(200), start=60)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(UnreadableClip, match="truncated"):
        folder(path)[0]

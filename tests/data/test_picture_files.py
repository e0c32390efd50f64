"""Pictures are opened in formats that cameras write, and within a bound, whatever their names and headers say."""

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from latentdrive.data.clips.clip_files import numbered_images, read_images
from latentdrive.data.navsim.sensor_files import read_image
from latentdrive.errors import UnreadableClip, UnreadableScene
from latentdrive.evaluation.pictures import PICTURES
from latentdrive.report.evaluation_charts import score_pictures

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n"


def png_of(width: int, height: int) -> bytes:
    """A PNG that announces this size and holds nothing."""
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(b"")))
    parts = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("content", [EPS, png_of(60_000, 60_000)], ids=["EPS", "3.6 gigapixels"])
def test_no_other_program_is_started_and_no_memory_taken_for_a_header(tmp_path: Path, content: bytes):
    path = tmp_path / "0.jpg"
    path.write_bytes(content)
    with pytest.raises(UnreadableScene, match=r"0\.jpg: the image is damaged"):
        read_image(path, None)
    with pytest.raises(UnreadableClip, match=r"0\.jpg: not a readable image"):
        list(read_images([path], np.zeros(1), (8, 8), "crop"))


def test_a_number_of_an_image_has_18_digits_at_most(tmp_path: Path):
    (tmp_path / f"{10**18}.png").touch()
    with pytest.raises(UnreadableClip, match="has a number of more than 18 digits"):
        numbered_images(tmp_path)


def test_a_digit_that_is_no_number_makes_no_numbered_image(tmp_path: Path):
    (tmp_path / "a².png").touch()
    with pytest.raises(UnreadableClip, match="holds no numbered images"):
        numbered_images(tmp_path)


def test_a_damaged_picture_of_a_scene_is_left_out_of_the_report(tmp_path: Path):
    (tmp_path / PICTURES).mkdir()
    cv2.imwrite(str(tmp_path / PICTURES / "a.png"), np.zeros((8, 8, 3), np.uint8))
    (tmp_path / PICTURES / "b.png").write_bytes(b"cut")
    assert len(score_pictures(tmp_path)) == 1

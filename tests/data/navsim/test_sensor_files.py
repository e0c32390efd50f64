"""Sensor files: JPEG images whole, smaller and damaged; PCD files in OpenScene's layout, in others, and damaged."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latentdrive.data.navsim.sensor_files import image_size, read_image, read_pcd, write_pcd
from latentdrive.errors import UnreadableScene, WrongShape
from tests.support.data import panorama

POINTS = np.array([[1.5, -2], [3, 4], [0.25, 0], [17, 200], [0, 63], [0, 4]], np.float32)


@pytest.fixture
def jpeg(tmp_path: Path) -> Path:
    """160 x 320 pixels."""
    path = tmp_path / "a.jpg"
    Image.fromarray(panorama(0, width=320, height=160)).save(path, quality=90)
    return path


def test_a_picture_comes_as_pillow_decodes_it(jpeg: Path):
    pixels, stored = read_image(jpeg, None)
    np.testing.assert_array_equal(pixels, np.array(Image.open(jpeg)))
    assert stored == image_size(jpeg) == (160, 320)


@pytest.mark.parametrize(("at_least", "size"), [((20, 40), (20, 40)), ((41, 40), (80, 160)), ((100, 200), (160, 320))])
def test_a_smaller_one_is_never_smaller_than_asked_for(jpeg: Path, at_least, size):
    pixels, stored = read_image(jpeg, at_least)
    assert pixels.shape == (*size, 3) and stored == (160, 320)
    whole = np.asarray(Image.open(jpeg).resize(size[::-1], Image.Resampling.BOX), np.float64)
    assert np.abs(pixels - whole).mean() < 6


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("at_least", [None, (20, 40)])
def test_a_picture_that_is_cut_short_never_passes_for_a_whole_one(jpeg: Path, share: float, at_least):
    content = jpeg.read_bytes()
    jpeg.write_bytes(content[: int(share * len(content))])
    with pytest.raises(UnreadableScene, match=r"a\.jpg: the image is damaged \(.+\): copy it again"):
        read_image(jpeg, at_least)


def test_an_absent_picture_is_named(tmp_path: Path):
    with pytest.raises(UnreadableScene, match=r"b\.jpg: the image is not there: download this sensor"):
        read_image(tmp_path / "b.jpg", None)


def written(path: Path, *, replace: tuple[str, str] = ("", ""), cut: int | None = None) -> Path:
    """POINTS in a file whose header or length is altered."""
    write_pcd(path, POINTS)
    content = path.read_bytes().replace(*(text.encode() for text in replace))
    path.write_bytes(content[:cut])
    return path


def test_what_is_written_comes_back(tmp_path: Path):
    read = read_pcd(written(tmp_path / "a.pcd"))
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, POINTS)


def test_the_layout_is_openscenes_18_bytes_a_point(tmp_path: Path):
    header, _, body = written(tmp_path / "a.pcd").read_bytes().partition(b"DATA binary\n")
    assert b"FIELDS x y z intensity ring lidar_info\nSIZE 4 4 4 4 1 1\nTYPE F F F F U U\nCOUNT 1 1 1 1 1 1\n" in header
    assert len(body) == 2 * 18 and body[:4] == np.float32(1.5).tobytes() and body[16:18] == bytes([0, 0])


def test_fields_may_come_in_any_order_and_type_with_others_between(tmp_path: Path):
    fields = {"lidar_info": "<u4", "t": "<f8", "z": "<f8", "ring": "<i2", "y": "<f4", "x": "<f8", "intensity": "u1"}
    record = np.dtype(list(fields.items()))
    table = np.array([(4, 9.9, 0.25, 63, 3, 1.5, 17)], record)
    header = (
        "VERSION .7\nFIELDS lidar_info t z ring y x intensity\nSIZE 4 8 8 2 4 8 1\nTYPE U F F I F F U\n"
        "COUNT 1 1 1 1 1 1 1\nWIDTH 1\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS 1\nDATA binary\n"
    )
    path = tmp_path / "b.pcd"
    path.write_bytes(header.encode() + table.tobytes())
    np.testing.assert_array_equal(read_pcd(path)[:, 0], np.float32([1.5, 3, 0.25, 17, 63, 4]))


@pytest.mark.parametrize(
    ("replace", "words"),
    [
        (("DATA binary", "DATA ascii"), "DATA ascii can't be read, only DATA binary"),
        (("DATA binary", "DATA binary_compressed"), "DATA binary_compressed can't be read"),
        (("VIEWPOINT 0 0 0 1 0 0 0\n", ""), "no line VIEWPOINT"),
        (("WIDTH 2\nHEIGHT 1\n", ""), "no line WIDTH, HEIGHT"),
        (("intensity", "reflectance"), "field intensity must be there once; it has x y z reflectance"),
        (("COUNT 1", "COUNT 3"), "COUNT 1"),
        (("TYPE F", "TYPE Q"), "how a point is stored"),
        (("POINTS 2", "POINTS 3"), "POINTS 3 are not WIDTH 2 x HEIGHT 1"),
        (
            ("WIDTH 2\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS 2", "WIDTH 0\nHEIGHT 1\nVIEWPOINT 0\nPOINTS 0"),
            "is empty",
        ),
        (("DATA binary\n", ""), "no line DATA"),
    ],
)
def test_a_header_that_does_not_fit_is_named(tmp_path: Path, replace, words):
    with pytest.raises(UnreadableScene, match=rf"c\.pcd: .*{words}"):
        read_pcd(written(tmp_path / "c.pcd", replace=replace))


def test_a_file_that_is_cut_short_says_how_many_points_it_holds(tmp_path: Path):
    with pytest.raises(UnreadableScene, match=r"d\.pcd: it is cut short: 1 of the 2 points"):
        read_pcd(written(tmp_path / "d.pcd", cut=-1))
    with pytest.raises(UnreadableScene, match="no line DATA"):
        read_pcd(written(tmp_path / "e.pcd", cut=40))
    with pytest.raises(UnreadableScene, match=r"f\.pcd: the point cloud can't be opened"):
        read_pcd(tmp_path / "f.pcd")


def test_labels_that_are_no_bytes_are_not_written(tmp_path: Path):
    with pytest.raises(WrongShape, match="0 to 255"):
        write_pcd(tmp_path / "a.pcd", POINTS + np.float32(0.5))
    assert not list(tmp_path.iterdir())

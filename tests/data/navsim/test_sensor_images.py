"""JPEG images by Pillow: whole, at a fraction of their size, and damaged."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latentdrive.data.navsim.sensor_images import image_size, read_image
from latentdrive.errors import UnreadableScene
from tests.support.data import panorama


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

"""What names a clip in caches and stores, and options that do not fit together."""

from collections.abc import Callable
from pathlib import Path

import pytest

from latentdrive.data.clips.clip_source import Part
from latentdrive.data.clips.comma2k19 import Comma2k19
from latentdrive.data.clips.kitti import KittiOdometry
from latentdrive.data.clips.video import VideoFolder
from latentdrive.data.navsim.clip_source import NavsimClips
from latentdrive.errors import ConfigError
from tests.support.data import folder, reading


def test_a_clip_is_found_in_caches_that_were_made_before(drive: Callable[..., Path]):
    path = drive()
    identity = folder(path).identity(0)
    assert identity["reader"] == "VideoFolder 2"
    assert [file and file[0] for file in identity["files"]] == [
        str(path),
        str(path.with_name("a.poses.csv")),
        None,
    ]
    assert identity["picture"] == [10.0, 48, 80, "crop", None] and identity["poses"] == ["recorded", 90.0]
    names = [source.identity_name for source in (VideoFolder, KittiOdometry, Comma2k19, NavsimClips)]
    assert names == ["VideoFolder", "KittiOdometry", "Comma2k19", "NavsimClips"]


def test_the_part_of_the_clips_is_named_as_in_stores_that_were_made_before():
    part = Part(path="clips", times="train", train_share=0.7, gap_s=0.5)
    assert part.identity == "Part(name='train', train_share=0.7, gap_s=0.5)"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"poses": "visual_odometry"}, r"data\.options\.odometry"),
        ({"poses": "guessed"}, r"data\.options\.poses must be recorded, visual_odometry or none; got guessed"),
        ({"fit": "squeeze"}, r"data\.options\.fit must be stretch or crop; got squeeze"),
        ({"height": 4}, r"data\.height and data\.width at least 8; got 10\.0, 4, 80"),
        ({"times": "rest"}, r"data\.part\.times must be all, train or test, got rest"),
        ({"train_share": 1.0}, r"data\.part\.train_share must lie between 0 and 1, got 1\.0"),
        ({"gap_s": -1.0}, r"data\.part\.gap_s must not be negative, got -1\.0"),
    ],
)
def test_an_option_that_does_not_fit_is_refused_by_its_key(changed: dict, words: str):
    with pytest.raises(ConfigError, match=words):
        reading("clips", **changed)

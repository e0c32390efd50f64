"""Damage that the decoder knows of: what lies before it and behind the next key frame is used, the rest is counted."""

from pathlib import Path

import numpy as np
import pytest

from latentdrive.commands.clip_survey import ClipSurvey
from latentdrive.data.batches.clip_batches import sum_up
from latentdrive.data.batches.transitions import WindowSpec
from latentdrive.data.clips.clip_source import ClipFacts
from latentdrive.data.clips.comma2k19 import Comma2k19
from latentdrive.data.clips.decoding import Damage, usable_frames
from latentdrive.data.clips.frame_cache import CachedClips
from latentdrive.data.clips.resampling import Resampler
from latentdrive.errors import UnreadableClip
from latentdrive.types import DrivingClip
from tests.support.comma import film, write_segment
from tests.support.data import folder, passing, reading
from tests.support.videos import CASES, encode, overwrite, street

shared = pytest.mark.skipif(not CASES.is_dir(), reason="skipped: there are no shared cases")
OPTIONS = {"rate_hz": 20.0, "height": 96, "width": 160}


def read(path: Path) -> tuple[DrivingClip, ClipFacts]:
    return folder(path, **OPTIONS).read(0)


def missing(clip: DrivingClip) -> list[int]:
    """Numbers of the frames at 20 Hz that a clip of 5 s lacks."""
    return sorted(set(range(100)) - set(np.round(clip.times_s * 20).astype(int).tolist()))


@shared
@pytest.mark.parametrize(
    ("name", "damaged", "first", "resumed"),
    [
        ("bits_flipped_1", 1, 33, 50),
        ("bits_flipped_2", 1, 36, 50),
        ("corrupt_flags", 10, 45, 60),
        ("packets_overwritten", 12, 44, 60),
    ],
)
def test_shared_cases_of_damage(name: str, damaged: int, first: int, resumed: int):
    clip, facts = read(CASES / f"video_{name}.mp4")
    assert missing(clip) == list(range(first, resumed))
    assert (facts.damaged, facts.dropped, facts.holes) == (damaged, resumed - first, 1)
    assert facts.frames_read == 100 - facts.dropped and f"{damaged} of 100 frames are damaged" in facts.damage_note
    assert np.flatnonzero(np.diff(clip.shots)).tolist() == [first - 1]


def test_packets_that_are_refused_cost_their_group_and_what_is_left_is_that_of_the_intact_file(tmp_path: Path):
    path = encode(tmp_path / "a.mp4", street())
    intact, _ = read(path)
    clip, facts = read(overwrite(path, [46, 47, 48]))
    lost = missing(clip)
    assert lost == list(range(lost[0], 60)) and 40 < lost[0] <= 46
    assert facts.damaged >= 3 and facts.dropped == len(lost) and clip.shots.tolist() == [0] * lost[0] + [1] * 40
    np.testing.assert_array_equal(clip.frames, intact.frames[[k for k in range(100) if k not in lost]])


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_damage_inside_a_packet_is_known_where_the_decoder_says_it(tmp_path: Path, suffix: str):
    path = overwrite(encode(tmp_path / f"a{suffix}", street(), codec="mpeg4"), [45], offset=60, most=400)
    clip, facts = read(path)
    assert missing(clip) == list(range(45, 60)) and (facts.damaged, facts.dropped) == (1, 15)
    assert "the first damage is at 2.25 s (" in facts.damage_note


def test_what_lies_before_damage_to_the_end_is_kept(tmp_path: Path):
    clip, facts = read(overwrite(encode(tmp_path / "a.mp4", street(), key_every=500), range(50, 100)))
    assert 45 <= len(clip) <= 50 and set(clip.shots) == {0}
    assert facts.damaged == 50 and f"50 of {len(clip) + facts.dropped} frames are damaged" in facts.damage_note


def test_what_lies_behind_damage_at_the_start_is_kept(tmp_path: Path):
    clip, facts = read(overwrite(encode(tmp_path / "a.mp4", street()), [0]))
    assert missing(clip) == list(range(20)) and set(clip.shots) == {0} and facts.holes == 0


def test_a_video_of_which_nothing_is_intact_says_so(tmp_path: Path):
    path = overwrite(encode(tmp_path / "a.mp4", street(), key_every=500), range(100))
    with pytest.raises(UnreadableClip, match=r"100 of 100 frames are damaged; .* What is left is no clip: no frame"):
        read(path)


def test_no_window_spans_a_damaged_frame_however_short_the_gap_is(tmp_path: Path):
    path = overwrite(encode(tmp_path / "a.avi", street(90), hz=30, codec="mjpeg", key_every=1), [46], offset=700)
    clip, facts = folder(path, rate_hz=10.0).read(0)
    assert (facts.damaged, facts.dropped) == (1, 1)
    # Frame 46 lies between the frames at 1.5 and 1.6 s, both of which are there.
    np.testing.assert_allclose(np.diff(clip.times_s), 0.1, atol=0.07)
    assert np.unique(clip.shots).tolist() == [0, 1] and facts.holes == 1
    starts = WindowSpec(transitions=1, transition_s=0.5, rate_hz=10.0).starts(clip)
    assert not any(clip.times_s[k] < 46 / 30 < clip.times_s[k + 5] for k in starts)


def test_frames_behind_a_gap_begin_a_shot_even_in_a_standstill():
    resampler = Resampler(rate_hz=10.0)
    for k in range(40):
        resampler.add(k / 10, passing(0, np.zeros(1))[0], after_gap=k == 20)
    resampled = resampler.finish(Path("a"))
    assert resampled.shots.tolist() == [0] * 20 + [1] * 20 and (resampled.holes, resampled.cuts) == (1, 0)


def test_an_intact_video_is_decoded_once_and_has_no_note(tmp_path: Path):
    damage, path = Damage(), encode(tmp_path / "a.mp4", street())
    assert [number for _, number, _ in usable_frames(path, told_hz=None, damage=damage)] == list(range(100))
    assert damage == Damage(frames=100) and damage.note == ""


def test_a_reader_that_stops_early_leaves_no_thread_hanging(tmp_path: Path):
    path = overwrite(encode(tmp_path / "a.mp4", street()), range(5, 15), offset=40)
    for stop in (1, 2, 5):
        frames = usable_frames(path, told_hz=None, damage=Damage())
        for _ in range(stop):
            next(frames)
        frames.close()
    assert len(read(path)[0]) >= 60


def test_frames_keep_their_recorded_times_around_damage(tmp_path: Path):
    segment = film(write_segment(tmp_path / "40"))
    clean = Comma2k19(**reading(segment, **OPTIONS), intrinsics=None)[0]
    # The stream has one key frame, so what lies before the damage is kept. Its frames have no time stamps.
    overwrite(segment / "video.hevc", [30], offset=6)
    clip, facts = Comma2k19(**reading(segment, **OPTIONS), intrinsics=None).read(0)
    assert 25 <= len(clip) <= 30 and facts.damaged == 30 and facts.frames_read + facts.dropped == 60
    np.testing.assert_array_equal(clip.times_s, clean.times_s[: len(clip)])
    np.testing.assert_array_equal(clip.frames, clean.frames[: len(clip)])


def test_damage_is_named_by_the_doctor_and_on_the_card_and_kept_in_the_cache(tmp_path: Path):
    (tmp_path / "v").mkdir()
    overwrite(encode(tmp_path / "v" / "a.mp4", street(), codec="mpeg4"), [45], offset=60, most=400)
    encode(tmp_path / "v" / "b.mp4", street(), codec="mpeg4")
    options = {"cache": "frames", "cache_gb": 1.0, "features": None, "features_id": None}
    clips = CachedClips(source=folder(tmp_path / "v"), folder=tmp_path / "cache", **options)
    read_twice = [[clips.read(k) for k in range(2)] for _ in range(2)]
    cards = [sum_up(read, clips=2) for read in read_twice]
    assert cards[0] == cards[1] and cards[0]["damaged"]["frames"] == 1 and cards[0]["damaged"]["dropped"] == 15
    assert [name.split(":")[0] for name in cards[0]["damaged"]["clips"]] == ["a.mp4"]
    assert "damaged" not in sum_up(read_twice[0][1:], clips=1)
    survey = ClipSurvey(WindowSpec(transitions=1, transition_s=0.5, rate_hz=10.0), size=2)
    texts = [finding.text for finding in survey.findings("train", survey.sample(clips, part="train"), clips)]
    assert sum("1 damaged, what is intact of them is used: a.mp4: 1 of 100 frames" in text for text in texts) == 1

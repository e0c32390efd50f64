"""Stores of the same windows, compared code by code."""

import numpy as np
import torch

from latentdrive.data.file_contents import FileContent
from latentdrive.data.latent_store import LatentStore, LatentWriter, StoreInfo, Windows
from latentdrive.report.agreement import agreement_sections, changed_clips, confusion, same_windows
from latentdrive.report.run_data import RunData
from latentdrive.report.runs import read_runs
from latentdrive.types import LatentActions, Origin
from tests.support.report import write_run


def write_store(folder, origin, codes, times, *, codebook="b1", contents=None):
    info = StoreInfo(
        origin=origin,
        codebook_id=codebook,
        maker="m",
        data="d",
        transition_s=0.5,
        transitions=1,
        codes_per_transition=2,
        codes=4,
        settings={},
        known=("motion",),
    )
    latents = LatentActions(
        codes=torch.tensor(codes), environment=None, logits=None, features=None, codebook_id=codebook, origin=origin
    )
    windows = Windows(
        keys=["clip"],
        drives=["drive"],
        clip=np.zeros(len(times), int),
        t0_s=np.array(times, float),
        latents=latents,
        known=np.ones((len(times), 1), bool),
        contents=contents or {},
    )
    writer = LatentWriter(folder / "val", info)
    writer.add(windows, next_clip=1, unreadable=[])
    writer.finish()


def label_run(tmp_path, name, origin, codes, times, **store):
    write_store(tmp_path / "stores" / name, origin, codes, times, **store)
    stores = str(tmp_path / "stores" / name)
    run = write_run(tmp_path / "runs" / name, "label", metrics={}, stores=stores, parts={"val": {"windows": 3}})
    (run / "config.yaml").write_text("verb: label\ndata: {path: /their/clips}\n")
    return run


def sections_of(runs, opens=True):
    """The sections. opens: whether the data of runs may be opened."""
    run_data = RunData(opens, caches=runs / "caches", ask=lambda _: False)
    return agreement_sections(read_runs([runs]), allow=run_data.allow, warn=print)


def test_confusion_rows_are_shares_of_the_first_ones_codes():
    shares = confusion(np.array([[0, 0, 1]]), np.array([[0, 1, 1]]), 3)
    assert shares.tolist() == [[0.5, 0.5, 0], [0, 1, 0], [0, 0, 0]]


def test_only_windows_that_both_stores_hold_are_compared(tmp_path):
    label_run(tmp_path, "codebook", Origin.INVERSE_DYNAMICS, [[0, 1], [2, 3], [1, 1]], [0.0, 0.5, 1.0])
    label_run(tmp_path, "teacher", Origin.TEACHER, [[2, 1], [1, 0], [3, 3]], [0.5, 1.0, 1.5])
    (section,) = sections_of(tmp_path / "runs")
    assert section.facts["windows compared"] == "2"
    both, frequent, repeated = section.charts["What was measured"][0].data
    assert both["y"] == [1.0, 0.0]  # [2, 3] and [1, 1] against [2, 1] and [1, 0]
    assert frequent["y"] == [0.5, 0.5]  # always 1 and 1
    assert repeated["y"] == [0.0, 0.0]  # [0, 1] and [2, 3], which ended at 0.5 and 1.0
    assert (
        section.facts["same code"].startswith("50.0% of all slots") and "decoding alone" in section.facts["same code"]
    )
    assert section.facts["guesses reach"] == ("always the most frequent code 50.0%, the last transition repeated 0.0%")
    assert section.misses == [
        "agreement decoding alone: 50.0%; the aim is at least 5% above most frequent code (50.0%), missed by 5.0%"
    ]


def test_where_no_past_is_known_the_section_says_that_both_guesses_are_the_same(tmp_path):
    label_run(tmp_path, "teacher", Origin.TEACHER, [[0, 1], [2, 3]], [0.0, 5.0])
    label_run(tmp_path, "student", Origin.STUDENT, [[0, 1], [2, 3]], [0.0, 5.0])
    (section,) = sections_of(tmp_path / "runs")
    assert (
        section.misses == []
        and "the same, because no window's last transition is known" in section.facts["guesses reach"]
    )
    _, frequent, repeated = section.charts["What was measured"][0].data
    assert frequent["y"] == repeated["y"]


def test_clips_that_changed_between_the_labellings_are_left_out_and_counted(tmp_path):
    times, files = [0.0, 0.5], {"clip": [FileContent(name="clip.mp4", stamp="s", digest="d")]}
    other = {"clip": [FileContent(name="clip.mp4", stamp="t", digest="e")]}
    moved = {"clip": [FileContent(name="clip.mp4", stamp="t", digest="d")]}
    label_run(tmp_path, "codebook", Origin.INVERSE_DYNAMICS, [[0, 1], [2, 3]], times, contents=files)
    label_run(tmp_path, "teacher", Origin.TEACHER, [[0, 1], [2, 3]], times, contents=moved)
    label_run(tmp_path, "student", Origin.STUDENT, [[0, 1], [2, 3]], times, contents=other)
    (section,) = sections_of(tmp_path / "runs")
    assert section.facts["windows compared"] == "2" and "clips left out" not in section.facts
    first, second = (LatentStore(tmp_path / "stores" / name / "val") for name in ("teacher", "student"))
    assert changed_clips(first, second) == {"clip"} and len(same_windows(first, second)[0]) == 0


def test_a_store_that_a_run_names_is_opened_only_where_that_is_allowed(tmp_path, capsys):
    for name, origin in (("teacher", Origin.TEACHER), ("student", Origin.STUDENT)):
        label_run(tmp_path, name, origin, [[0, 1]], [0.0])
    assert len(sections_of(tmp_path / "runs")) == 1
    assert sections_of(tmp_path / "runs", opens=None) == []
    assert "teacher: its store is not compared" in (said := capsys.readouterr().out) and "opens=true allows it" in said


def test_a_damaged_store_costs_the_report_that_store_alone(tmp_path, capsys):
    for name, origin in (("codebook", Origin.INVERSE_DYNAMICS), ("teacher", Origin.TEACHER), ("new", Origin.TEACHER)):
        label_run(tmp_path, name, origin, [[0, 1]], [0.0])
    (tmp_path / "stores/new/val/index.json").write_text("{")
    assert len(sections_of(tmp_path / "runs")) == 1
    assert "runs/new: its store is not compared with others" in capsys.readouterr().out


def test_stores_of_different_codebooks_are_not_compared(tmp_path):
    label_run(tmp_path, "teacher", Origin.TEACHER, [[0, 1]], [0.0])
    label_run(tmp_path, "student", Origin.STUDENT, [[0, 1]], [0.0], codebook="b2")
    assert sections_of(tmp_path / "runs") == []

"""Readers of text that people and other programs write: YAML, JSON, tables, lists."""

import fcntl
import json
from pathlib import Path
from typing import Any

import numpy as np

from latentdrive.data.clips.cache_ledger import LEDGER, CacheLedger
from latentdrive.data.clips.clip_files import ClipList
from latentdrive.data.clips.kitti import KittiOdometry
from latentdrive.data.clips.sidecars import read_camera, read_track
from latentdrive.data.maps.nuplan_maps import read_versions
from latentdrive.data.navsim.frames import log_frame
from latentdrive.data.navsim.index import LogRows, NavsimIndex
from latentdrive.data.navsim.log import log_of
from latentdrive.data.navsim.scene_filter import read_split
from latentdrive.data.unreadable import UnreadableLog, read_unreadable
from latentdrive.errors import InUse, UnreadableClip
from latentdrive.evaluation.summary import read_evaluation
from latentdrive.locks import LOCK, one_writer
from latentdrive.pipeline import read_config
from latentdrive.places import read_places
from latentdrive.plain_files import read_json, read_yaml
from latentdrive.report.runs import read_runs
from tests.fuzz.formats import csv_text, words
from tests.fuzz.harness import Reader
from tests.support.data import folder as video_folder
from tests.support.data import reading, write_poses
from tests.support.evaluation import make_results
from tests.support.map_file import VERSION, write_index
from tests.support.navsim_fixture import frames, token, write_split
from tests.support.report import write_curve, write_evaluation, write_run

PLAIN = {
    "verb": "train",
    "data": {"path": "clips", "rate_hz": 10.0, "parts": ["train", "val"]},
    "seed": 1,
    "name": None,
}


def _yaml(folder: Path, variant: int) -> None:
    (folder / "plain.yaml").write_text(f"a: {variant}\nb: [1, 2.5, text]\nc: {{d: null, e: 2020-01-02}}\nf: 'x: y'\n")


def _json(folder: Path, variant: int) -> None:
    (folder / "plain.json").write_text(json.dumps(PLAIN | {"seed": variant}, indent=1))


def _places(folder: Path, variant: int) -> None:
    text = "paths: {data: here, runs: there, stores: /tmp}\nnavsim:\n  path: openscene\n  splits: ~/splits\n"
    (folder / "latentdrive.yaml").write_text(f"{text}  maps: maps{variant}\n  split: {{train: mine, val: null}}\n")


def _split(folder: Path, variant: int) -> None:
    tokens = [token("north", k) for k in range(3, 9)]
    mapping = f"reactive_all_mapping:\n- ['{tokens[0]}', '{tokens[1]}', [['{'s' * 17}', '{'p' * 17}']]]\n"
    write_split(folder, "val", more=mapping, tokens=tokens[variant:], log_names=["north"], num_future_frames=4)


ROWS = LogRows.of(log_of([log_frame(frame) for frame in frames("north", 12)]))
INDEX = NavsimIndex.of({"north": ROWS}, {"north": (1, 2, 3)})


def _select(folder: Path) -> Any:
    split = read_split(folder, "val")
    return split, INDEX.select(split.filter)


def _poses(folder: Path, variant: int) -> None:
    times = np.arange(6) / 10
    write_poses(folder / "a.poses.csv", times, np.stack([times, times * variant, 0 * times], -1), 1 + 0 * times)


def _camera(folder: Path, variant: int) -> None:
    content = {"intrinsics": np.eye(3).tolist(), "camera_to_ego": (np.eye(4) + variant).tolist()}
    (folder / "a.camera.json").write_text(json.dumps(content))


def _kitti(folder: Path, variant: int) -> None:
    sequence = folder / "sequences" / "00"
    (sequence / "image_0").mkdir(parents=True)
    (folder / "poses").mkdir()
    for k in range(4):
        (sequence / "image_0" / f"{k:06d}.png").touch()
    (sequence / "times.txt").write_text("".join(f"{k / 10:.6e}\n" for k in range(4)))
    row = " ".join(f"{value:.6e}" for value in np.eye(4)[:3].reshape(-1) * (1 + variant))
    (sequence / "calib.txt").write_text("".join(f"P{k}: {row}\n" for k in range(4)))
    (folder / "poses" / "00.txt").write_text(f"{row}\n" * 4)


def _read_kitti(folder: Path) -> Any:
    source = KittiOdometry(**reading(folder), camera="image_0")
    return source.identity(0), source.camera(0), source.track(0, 0.0, 0.3), source.header_duration_s(0)


def _list(folder: Path, variant: int) -> None:
    (folder / "clips.txt").write_text(f"a{variant}.mp4\nfolder/b.mp4\n\n/somewhere/c.mp4\n")


def _read_list(folder: Path) -> Any:
    clips, source, seen = ClipList(folder / "clips.txt"), video_folder(folder / "clips.txt"), []
    for index in range(len(clips)):
        seen += [clips.key(index), source.drive(index)]
        try:
            source.identity(index)
            source.header_duration_s(index)
        except UnreadableClip as error:
            seen.append(error.reason)
    return seen


def _ledger(folder: Path, variant: int) -> None:
    ledger = CacheLedger(folder)
    for k in range(4):
        ledger.add(f"{k:032x}", 1000 + variant)
    ledger.add(f"{3:032x}/features-ab.npy", 5)


def _read_lock(folder: Path) -> str:
    with open(folder / LOCK, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            with one_writer(folder):
                return "the lock was given twice"
        except InUse as error:
            return str(error)


def _lock(folder: Path, variant: int) -> None:
    note = {"process": 10 + variant, "machine": "here", "command": "train codebook"}
    (folder / LOCK).write_text(json.dumps(note))


def _unreadable(folder: Path, variant: int) -> None:
    log = UnreadableLog(clips=9, max_unreadable=1.0, file=folder / "unreadable_train.csv")
    for k in range(3):
        log.add(k, UnreadableClip(f"=clips/{k}{variant}.mp4", "it is cut short, 'quoted'"))


def _evaluation(folder: Path, variant: int) -> None:
    results = make_results([0.5, 0.25 * variant, 1.0], ["a", "a", "b"], failures={"t1": "no map"})
    write_evaluation(folder / "run", results)


def _without_sums(folder: Path) -> None:
    """As in the folders of early versions."""
    (folder / "run/sha256.txt").unlink()


def _read_evaluation(folder: Path) -> Any:
    results, summary = read_evaluation(folder / "run")
    return results.averaged(), summary


def _run(folder: Path, variant: int) -> None:
    write_run(folder / "run", "train_codebook", metrics={"held_out/loss": 0.5 + variant}, steps=3)
    write_curve(folder / "run", "loss", [3.0, 2.0, 1.0 + variant])
    _unreadable(folder / "run", variant)


def _read_run(folder: Path) -> Any:
    (run,) = read_runs([folder / "run"], warn=lambda text: None)
    return run.verb, run.metrics, run.codes, run.curves, run.unreadable, run.finished


TEXT_READERS = (
    Reader(name="yaml", make=_yaml, read=lambda folder: read_yaml(folder / "plain.yaml"), allowed=(ValueError,)),
    Reader(name="json", make=_json, read=lambda folder: read_json(folder / "plain.json"), allowed=(ValueError,)),
    Reader(name="places", make=_places, read=lambda folder: read_places(folder / "latentdrive.yaml")),
    Reader(name="split", make=_split, read=_select),
    Reader(
        name="poses",
        make=_poses,
        read=lambda folder: read_track(folder / "a.poses.csv", first_s=0.0, last_s=0.5, slack_s=0.05),
    ),
    Reader(name="camera", make=_camera, read=lambda folder: read_camera(folder / "a.camera.json")),
    Reader(name="kitti", make=_kitti, read=_read_kitti, files=("**/*.txt",)),
    Reader(name="clip list", make=_list, read=_read_list),
    Reader(
        name="map versions",
        make=lambda folder, variant: write_index(folder, {"us-ma-boston": f"9.{variant}", "sg-one-north": "1"}),
        read=lambda folder: read_versions(folder / f"{VERSION}.json"),
    ),
    Reader(
        name="cache ledger",
        make=_ledger,
        read=lambda folder: (CacheLedger(folder).sizes(), CacheLedger(folder).used()),
        formats={".txt": words},
    ),
    Reader(name="lock note", make=_lock, read=_read_lock, files=(LOCK,), formats={LOCK: csv_text}),
    Reader(
        name="unreadable clips",
        make=_unreadable,
        read=lambda folder: read_unreadable(folder / "unreadable_train.csv"),
    ),
    Reader(
        name="evaluation",
        make=_evaluation,
        read=_read_evaluation,
        files=("run/scores.csv", "run/summary.json", "run/sha256.txt"),
        checked=True,
    ),
    Reader(
        name="evaluation without sums",
        make=_evaluation,
        read=_read_evaluation,
        files=("run/scores.csv", "run/summary.json"),
        seal=_without_sums,
    ),
    Reader(name="run", make=_run, read=_read_run),
    Reader(
        name="pipeline step",
        make=lambda folder, variant: write_run(folder / "run", "train_codebook", metrics={"a": float(variant)}),
        read=lambda folder: read_config(folder / "run/config.yaml"),
        files=("run/config.yaml",),
    ),
)
assert LEDGER.endswith(".txt")

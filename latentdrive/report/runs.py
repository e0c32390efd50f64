"""Runs on disk: reads the configuration, the numbers and the curves in a run's folder. First step
of the report."""

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from glob import glob, has_magic
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from jaxtyping import Float64
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from latentdrive.data.unreadable import read_unreadable
from latentdrive.errors import ConfigError
from latentdrive.kinds import Count, fits, misfit
from latentdrive.plain_files import read_json, read_yaml
from latentdrive.run_folder import CHECKPOINT, CONFIG, LOG, METRICS

NOT_SHOWN = ("report", "demo", "doctor")  # verbs whose runs have no numbers of their own

Curve = tuple[Float64[np.ndarray, "N"], Float64[np.ndarray, "N"]]  # steps, values


class Written(TypedDict, total=False):
    """What a report uses of a metrics.json."""

    seconds: float
    command: str
    commit: str
    fingerprint: str
    scorer: str
    store: str
    stores: str
    metrics: dict[str, Any]
    parts: dict[str, dict[str, Any]]
    frames: dict[str, Any]
    data: dict[str, Any]


@dataclass(frozen=True)
class Run:
    """One run folder. config: as it was composed. written: content of metrics.json; empty while the
    run is unfinished."""

    path: Path
    config: dict[str, Any]
    written: dict[str, Any]

    @property
    def verb(self) -> str:
        """The command as typed: `train codebook`."""
        return str(self.config["verb"]).replace("_", " ")

    @property
    def name(self) -> str:
        """The last two parts of the path, which usually tell runs apart."""
        return "/".join(self.path.parts[-2:])

    @property
    def finished(self) -> bool:
        """Whether the run wrote its numbers at the end."""
        return bool(self.written)

    @property
    def metrics(self) -> dict[str, float]:
        """Finite numbers by name. Those of `held_out/` were measured on clips that training never saw."""
        numbers = self.written.get("metrics", {})
        return {name: float(value) for name, value in numbers.items() if fits(value, float) and math.isfinite(value)}

    @property
    def codes(self) -> int | None:
        """Number of codes of the run's model; None where it has none."""
        model = self.config.get("model")
        codes = model.get("codes") if isinstance(model, Mapping) else None
        return codes if fits(codes, Count) else None

    @property
    def checkpoint(self) -> Path:
        """The folder of its checkpoint, which may not exist."""
        return self.path / CHECKPOINT

    @cached_property
    def curves(self) -> dict[str, Curve]:
        """Logged scalars over steps. If a resumed run wrote a step twice, the later value
        counts."""
        if not any(self.path.glob("events.out.tfevents.*")):
            return {}
        events = EventAccumulator(str(self.path), size_guidance={"scalars": 0}).Reload()
        curves = {}
        for tag in events.Tags()["scalars"]:
            last = {event.step: event.value for event in events.Scalars(tag)}
            steps = sorted(last)
            curves[tag] = _without_repeats(np.array(steps, float), np.array([last[step] for step in steps], float))
        return curves

    @cached_property
    def unreadable(self) -> list[tuple[str, str]]:
        """(path, reason) of clips that the run could not use."""
        return [row for file in sorted(self.path.glob("unreadable*.csv")) for row in read_unreadable(file)]


def _without_repeats(
    steps: Float64[np.ndarray, "N"], values: Float64[np.ndarray, "N"]
) -> tuple[Float64[np.ndarray, "kept"], Float64[np.ndarray, "kept"]]:
    """The curve without its constant end: a phase's quantity is logged again, unchanged, after the
    phase has ended."""
    changes = np.flatnonzero(values != values[-1])
    end = len(values) if len(changes) == 0 else changes[-1] + 2
    return steps[:end], values[:end]


def read_runs(paths: Iterable[str | Path], *, warn: Callable[[str], None] = print) -> list[Run]:
    """The runs in `paths`, each once. A path is a run folder, a folder that holds some, or a
    pattern such as runs/*.

    warn: is called with a message for each run that is left out because its configuration is
    damaged, and for each path that holds no run. Raises ConfigError where none of them holds one, and
    for a path without a pattern that does not exist.
    """
    paths = [str(path) for path in paths]
    found = {path: _run_folders(path, warn) for path in paths}
    folders = dict.fromkeys(folder for path in paths for folder in found[path])
    empty = [path for path in found if not found[path]]
    if paths and not folders:
        raise ConfigError(
            f"{_some(empty)} is not a run folder: it holds no {CONFIG} with a verb. Give folders that a command wrote, "
            "such as runs/demo/codebook"
        )
    if not folders:
        raise ConfigError("report needs at least one run, for example: latentdrive report runs/train_codebook/*")
    if empty:
        warn(f"left out, as no run lies there: {_some(empty)}")
    return [_read(folder) for folder in folders]


def _some(paths: Sequence[str], shown: int = 5) -> str:
    """The first paths, and how many more there are."""
    return ", ".join(paths[:shown]) + (f" and {len(paths) - shown:,} more" if len(paths) > shown else "")


def _run_folders(path: str, warn: Callable[[str], None]) -> list[Path]:
    if os.path.exists(path):
        return _below(Path(path), warn)
    if not has_magic(path):
        raise ConfigError(
            f"{path} is not a run folder: it does not exist. Give folders that a command wrote, such as "
            "runs/demo/codebook"
        )
    return [folder for place in sorted(glob(path)) for folder in _below(Path(place), warn)]


def _below(folder: Path, warn: Callable[[str], None]) -> list[Path]:
    """Every run in or below the folder, oldest first."""
    files = [file for file in folder.rglob(CONFIG) if file.is_file()]  # no link that leads nowhere or in a circle
    return [
        Path(os.path.realpath(file.parent))
        for file in sorted(files, key=lambda file: (file.stat().st_mtime, file))
        if file.parent.name != CHECKPOINT and (verb := _verb(file, warn)) and verb not in NOT_SHOWN
    ]


def _verb(file: Path, warn: Callable[[str], None]) -> str | None:
    """The verb in a config.yaml; None if the file is not one of ours."""
    try:
        content = read_yaml(file)
    except ValueError as error:
        if any((file.parent / name).is_file() for name in (METRICS, LOG)):
            warn(f"left out: {file} {error}. Repeat the run with out={file.parent}")
        return None
    verb = content.get("verb") if isinstance(content, Mapping) else None
    return verb if isinstance(verb, str) else None


def _read(path: Path) -> Run:
    written, metrics = {}, path / METRICS
    if metrics.is_file():
        try:
            written = read_json(metrics)
        except ValueError as error:
            raise ConfigError(f"{metrics} {error}. Repeat the run with out={path}") from None
        odd = misfit(written, Written) if isinstance(written, dict) else "it is no mapping"
        if odd is not None:
            raise ConfigError(f"{metrics} is not as a run wrote it ({odd}). Repeat the run with out={path}")
    return Run(path, read_yaml(path / CONFIG), written)

"""Runs as they lie on disk: first step of the report. A run folder becomes a `Run`: what was asked, said, measured and logged."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from glob import glob, has_magic
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from jaxtyping import Float64
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from latentdrive.config import from_yaml
from latentdrive.data.unreadable import read_unreadable
from latentdrive.errors import ConfigError
from latentdrive.run_folder import CHECKPOINT, CONFIG, LOG, METRICS

NOT_SHOWN = ("report", "demo", "doctor")  # runs that have nothing of their own to show

Curve = tuple[Float64[np.ndarray, "N"], Float64[np.ndarray, "N"]]  # steps, values


@dataclass(frozen=True)
class Run:
    """One run folder. config: as it was composed. written: content of metrics.json, empty while the run is unfinished."""

    path: Path
    config: dict[str, Any]
    written: dict[str, Any]

    @property
    def verb(self) -> str:
        """What was typed: `train codebook`."""
        return str(self.config["verb"]).replace("_", " ")

    @property
    def name(self) -> str:
        """The last two parts of the path, enough to tell runs apart."""
        return "/".join(self.path.parts[-2:])

    @property
    def finished(self) -> bool:
        """Whether the run came to its end."""
        return bool(self.written)

    @property
    def metrics(self) -> dict[str, float]:
        """Numbers by name; `held_out/…` were measured on clips that training never saw."""
        return {k: float(v) for k, v in self.written.get("metrics", {}).items() if isinstance(v, int | float)}

    @property
    def checkpoint(self) -> Path:
        """The folder of its checkpoint, whether it is there or not."""
        return self.path / CHECKPOINT

    @cached_property
    def curves(self) -> dict[str, Curve]:
        """Logged scalars over steps; where a resumed run wrote a step twice, the later value counts."""
        if not any(self.path.glob("events.out.tfevents.*")):
            return {}
        events = EventAccumulator(str(self.path), size_guidance={"scalars": 0}).Reload()
        found = {}
        for tag in events.Tags()["scalars"]:
            last = {event.step: event.value for event in events.Scalars(tag)}
            steps = sorted(last)
            found[tag] = _without_echo(np.array(steps, float), np.array([last[step] for step in steps], float))
        return found

    @cached_property
    def unreadable(self) -> list[tuple[str, str]]:
        """(path, reason) of clips that the run could not use."""
        return [row for file in sorted(self.path.glob("unreadable*.csv")) for row in read_unreadable(file)]


def _without_echo(
    steps: Float64[np.ndarray, "N"], values: Float64[np.ndarray, "N"]
) -> tuple[Float64[np.ndarray, "kept"], Float64[np.ndarray, "kept"]]:
    """A quantity of a phase is logged again, unchanged, after the phase has ended: that end is left out."""
    changes = np.flatnonzero(values != values[-1])
    end = len(values) if len(changes) == 0 else changes[-1] + 2
    return steps[:end], values[:end]


def read_runs(paths: Iterable[str | Path], *, warn: Callable[[str], None] = print) -> list[Run]:
    """The runs in `paths`, each once: run folders, folders that hold run folders, or patterns such as runs/*.

    warn: is told of run folders that are left out because their configuration is damaged. Raises ConfigError where a path is
    no folder or no run lies in it.
    """
    found = dict.fromkeys(run for path in paths for run in _run_folders(str(path), warn))
    runs = [_read(path) for path in found]
    if not runs:
        raise ConfigError("report needs at least one run: latentdrive report runs/train_codebook/*")
    return runs


def _run_folders(path: str, warn: Callable[[str], None]) -> Iterator[Path]:
    places = sorted(glob(path)) if has_magic(path) and not Path(path).exists() else [path]
    folders = [folder for place in places for folder in _below(Path(place), warn)]
    if not folders:
        there = "nothing has that name" if not Path(path).exists() else f"it holds no {CONFIG} with a verb"
        raise ConfigError(
            f"{path} is no run folder: {there}. Give folders that a verb wrote, such as runs/demo/codebook"
        )
    yield from folders


def _below(folder: Path, warn: Callable[[str], None]) -> list[Path]:
    """The folder itself if it is a run, and every run below it, oldest first."""
    files = sorted(folder.rglob(CONFIG), key=lambda file: (file.stat().st_mtime, file))
    return [
        file.parent.resolve() for file in files
        if file.parent.name != CHECKPOINT and (verb := _verb(file, warn)) and (verb not in NOT_SHOWN)
    ]  # fmt: skip


def _verb(file: Path, warn: Callable[[str], None]) -> str | None:
    """The verb in a config.yaml; None where it is somebody else's file."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        if any((file.parent / name).is_file() for name in (METRICS, LOG)):
            warn(f"left out: {file} is not YAML ({str(error).splitlines()[0]}); repeat the run with out={file.parent}")
        return None
    verb = content.get("verb") if isinstance(content, Mapping) else None
    return verb if isinstance(verb, str) else None


def _read(path: Path) -> Run:
    written, metrics = {}, path / METRICS
    if metrics.is_file():
        try:
            written = json.loads(metrics.read_text(encoding="utf-8"))
        except json.JSONDecodeError as error:
            raise ConfigError(f"{metrics} is not JSON ({error}): repeat the run with out={path}") from None
    return Run(path, from_yaml((path / CONFIG).read_text(encoding="utf-8")), written)

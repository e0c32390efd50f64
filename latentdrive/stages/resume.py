"""Resuming a run: the settings that decide its weights, and the state that an interrupted run left.

A run is resumed only with the settings that it began with. state.py writes the state.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L

from latentdrive.config import Config
from latentdrive.errors import CheckpointError, ConfigError
from latentdrive.files import DAMAGE
from latentdrive.identity import identity_of
from latentdrive.plain_files import read_yaml
from latentdrive.run_folder import CHECKPOINT
from latentdrive.stages.batches import StageBatches
from latentdrive.stages.saved import load_saved, unreadable
from latentdrive.stages.start import Start
from latentdrive.stages.state import SECONDS

SETTINGS = "settings.yaml"  # file beside the state
LEARNED_FROM = "learned_from"  # key in SETTINGS: StageBatches.learned_from, known once the batches are prepared
# The trainer's settings that weights depend on; a run is resumed with the same ones.
TRAINER = ("precision", "gradient_clip_val", "gradient_clip_algorithm", "accumulate_grad_batches")


class Progress(NamedTuple):
    """How far a run has come: steps that are done, and the seconds that they took."""

    steps: int
    seconds: float


def decisive_settings(cfg: Config, start: Start, batches: StageBatches, *, devices: int) -> dict[str, Any]:
    """All settings that the weights may depend on, the free ones of the batches included."""
    settings = {key: cfg[key].plain() for key in ("model", "training", "batches")} | {"seed": cfg.seed}
    settings |= {"init": start.fingerprint, "init_without": list(start.without), "ema_decay": cfg.ema_decay}
    settings["parents"] = batches.parents  # a store may have been labelled again under the same name
    settings["trainer"] = {key: value for key, value in cfg.trainer.plain().items() if key in TRAINER}
    if devices > 1:  # each device has a batch of its own
        settings["trainer"]["devices"] = devices
    return settings


def resume(module: L.LightningModule, state: Path, settings: Mapping[str, Any], *, free: Iterable[str]) -> Progress:
    """Load the weights of an interrupted or finished run into `module`; the trainer reads the rest of `state`.

    free: names of settings that may differ. A run without a state has done no step. Raises ConfigError
    where the run had other settings, CheckpointError where its state or its settings can't be read.
    """
    if not state.is_file():
        return Progress(0, 0.0)
    run = state.parents[1]
    differing = _differences(identity_of(_settings_of(state)), identity_of(settings))
    free = (*(f"batches.{name}" for name in free), LEARNED_FROM)
    changed = [name for name in differing if not any(name == key or name.startswith(f"{key}.") for key in free)]
    if changed:
        kind = "a finished" if (run / CHECKPOINT).exists() else "an unfinished"
        raise ConfigError(
            f"{run} holds {kind} run with another {', '.join(changed)}: repeat its command, name another out=FOLDER, "
            f"or remove {state.parent}"
        )
    saved = load_saved(state)
    try:
        module.load_state_dict(saved["state_dict"])
        return Progress(saved["global_step"], saved.get(SECONDS, 0.0))
    except DAMAGE as error:
        raise unreadable(state, error) from None


def require_same_scenes(state: Path, learned_from: str | None) -> None:
    """Raise ConfigError where other scenes are usable than before the interruption: all batches would be others."""
    before = _settings_of(state).get(LEARNED_FROM, learned_from)  # runs of early versions did not note it
    if before != learned_from:
        raise ConfigError(
            f"{state.parents[1]} learned from other scenes before it was interrupted: some scenes could be opened then "
            "and can't be now, or the other way round (unreadable_train.csv). Bring them back, or remove "
            f"{state.parent} to start again"
        )


def _settings_of(state: Path) -> dict[str, Any]:
    file = state.with_name(SETTINGS)
    try:
        return read_yaml(file)
    except (FileNotFoundError, ValueError) as error:
        raise CheckpointError(
            f"{file} can't be read, so it is unknown which run {state.name} belongs to: remove {state.parent} to "
            f"start again ({error})"
        ) from None


def _differences(old: Any, new: Any, name: str = "") -> list[str]:
    """Dotted names of the values that differ."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = [(key, f"{name}.{key}".lstrip(".")) for key in old | new]
        return [differing for key, below in keys for differing in _differences(old.get(key), new.get(key), below)]
    return [] if old == new else [name]

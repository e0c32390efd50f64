"""`train codebook`, `train teacher`, `distill`, `train planner`: one loop for all stages; no stage is known here by name.

    latentdrive train codebook data=world

A stage gives three nodes: `model`; `batches` with train_batches(start_step), validation_batches(), estimate(model), parents and
facts, perhaps summary() of what was left out, learned_from (a digest of what can be used) and watch to show progress; and `training`, a
LightningModule with schedule.steps, prepare(batches, new=...) and perhaps evaluate(batches). A model that can start from weights which
are not ours has load_official(file). The same command in the same `out` folder resumes after the last saved step and ends with the
weights of a run that was never interrupted; once it is finished, nothing is done again.
"""

import os
import pickle
import shlex
from collections.abc import Iterable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import lightning as L
import torch
import yaml
from lightning.pytorch.utilities import rank_zero_only

from latentdrive import checkpoint
from latentdrive.build import TARGET, build
from latentdrive.checkpoint import Card
from latentdrive.config import Config, from_yaml, to_yaml
from latentdrive.errors import CheckpointError, ConfigError, MixedCodebooks
from latentdrive.identity import FormerIds, identity_of, same_id
from latentdrive.run_folder import CHECKPOINT, METRICS, RESUME, RunFolder, progress
from latentdrive.trainer import (
    SECONDS,
    STATE,
    Feed,
    make_trainer,
    processes_of_further_devices,
    quiet,
    trained_model,
)

SETTINGS = "settings.yaml"  # in RESUME
# Of the settings, what is known once batches are prepared: a digest of the scenes that can be used.
LEARNED_FROM = "learned_from"
# Of the trainer's settings, those that weights depend on: a resumed run must keep them.
TRAINER = ("precision", "gradient_clip_val", "gradient_clip_algorithm", "accumulate_grad_batches")
# What a run may change when it is resumed, because no weight depends on it.
FREE = (
    "batches.out", "batches.workers", "batches.ahead", "batches.kept_scenes", "batches.processes", "batches.memory_gb", "batches.stores",
    "batches.data.cache_gb", "batches.data.cache_folder",
)  # fmt: skip


def run(cfg: Config) -> dict[str, float]:
    """Train, evaluate, save a checkpoint; returns the metrics (held-out ones are named `held_out/…`).

    A finished run is left as it is. On several devices each has a process that comes here: all train, the first one writes,
    speaks and evaluates, the others return no metrics.
    """
    if rank_zero_only.rank == 0:
        return _run(cfg, RunFolder(cfg, verb=cfg.verb))
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
        return _run(cfg, RunFolder(cfg, verb=cfg.verb, writes=False))


def _run(cfg: Config, folder: RunFolder) -> dict[str, float]:
    torch.set_num_threads(cfg.threads) if cfg.threads else None
    quiet()
    L.seed_everything(cfg.seed, verbose=False)
    config = cfg.model.plain()
    if TARGET not in config:
        raise ConfigError("this option learns nothing, it is only evaluated: --help lists those that can be trained")
    batches = build(cfg.batches)
    model = build(config)
    module = build(cfg.training, model=model)
    steps = module.schedule.steps
    trainer = make_trainer(cfg, folder, steps=steps)
    start, dry_run = Start(**cfg.init.plain()), cfg.dry_run
    then = cfg.next.format(checkpoint=shlex.quote(str(folder.path / CHECKPOINT)), data=cfg.data_words)
    settings = decisive(cfg, start, batches, trainer)
    cfg.require_all_read()
    folder.say(f"{type(model).__name__}: {count(model):,} parameters, {count(model, trained=True):,} of them trained")
    folder.say(batches.estimate(model))
    if dry_run:
        folder.say(f"dry run: would train {steps:,} steps into {folder.path}")
        return {}
    state = folder.path / RESUME / STATE
    done, seconds = resume(module, state, settings) if state.is_file() else (0, 0.0)
    if done == steps and (folder.path / CHECKPOINT).is_dir() and (numbers := folder.numbers()):
        folder.say(f"this run is finished: all {steps:,} steps are done and evaluated; out=FOLDER names another one")
        folder.finish(folder.path / CHECKPOINT, then)
        return numbers["metrics"]
    if done:
        folder.go_on(seconds)
        folder.say(f"resuming after step {done:,} of {steps:,} from {state}")
    elif start:
        fresh = start.load(model, codebook=batches.parents.get("codebook"), former_ids=batches.former_ids)
        folder.say(f"starting from the weights in {start}" + (f"; new are {', '.join(fresh)}" if fresh else ""))
    if hasattr(batches, "watch"):
        batches.watch = progress
    module.prepare(batches, new=not done and not start)
    settings[LEARNED_FROM] = getattr(batches, LEARNED_FROM, None)
    if done:
        require_same_scenes(state, settings[LEARNED_FROM])
    else:
        folder.begin_anew()
        folder.write(f"{RESUME}/{SETTINGS}", to_yaml(settings))
    feed = Feed(batches, done * trainer.accumulate_grad_batches)
    with processes_of_further_devices(folder):
        if done < steps:  # a finished state holds the weights that the checkpoint gets, averaged where they are
            trainer.fit(module, datamodule=feed, **({"ckpt_path": str(state), "weights_only": True} if done else {}))
        model = trained_model(trainer, module, config)
        if model is module.model:  # shards can't be validated again: their numbers are those of the last validation
            trainer.validate(module, datamodule=feed, verbose=False)
    if not trainer.is_global_zero:
        return {}
    metrics = {key: value.item() for key, value in trainer.callback_metrics.items()}
    if hasattr(module, "evaluate"):
        metrics |= module.evaluate(batches)
    parents = batches.parents | ({"init": start.fingerprint} if start else {})
    _finish(folder, model, config, batches, parents, metrics, steps, then)
    return metrics


def decisive(cfg: Config, start: "Start", batches: Any, trainer: L.Trainer) -> dict[str, Any]:
    """Everything that the weights depend on: a run is resumed with the same alone, but for FREE."""
    settings = {key: cfg[key].plain() for key in ("model", "training", "batches")} | {"seed": cfg.seed}
    settings |= {"init": start.fingerprint, "init_without": list(start.without), "ema_decay": cfg.ema_decay}
    settings["parents"] = batches.parents  # a store may have been labelled anew under the same name
    settings["trainer"] = {key: value for key, value in cfg.trainer.plain().items() if key in TRAINER}
    if trainer.world_size > 1:  # each device has a batch of its own
        settings["trainer"]["devices"] = trainer.world_size
    return settings


@dataclass(frozen=True, kw_only=True)
class Start:
    """What a new run begins with, the node `init`. checkpoint: a folder of ours; without: its parts that begin anew all the same.

    navsim_checkpoint: weights that NAVSIM published for this planner. Raises ConfigError where both are named, or `without` alone.
    """

    checkpoint: str | None
    without: Sequence[str]
    navsim_checkpoint: str | None = None

    def __post_init__(self) -> None:
        if self.checkpoint and self.navsim_checkpoint:
            raise ConfigError(
                f"init.checkpoint={self.checkpoint} and init.navsim_checkpoint={self.navsim_checkpoint}: a run starts from one of them"
            )
        if self.without and not self.checkpoint:
            raise ConfigError(
                f"init.without={list(self.without)} names parts of init.checkpoint that begin anew, and there is none: name it, or leave it out"
            )

    def __bool__(self) -> bool:
        return bool(self.checkpoint or self.navsim_checkpoint)

    def __str__(self) -> str:
        return str(self.checkpoint or self.navsim_checkpoint)

    @cached_property
    def fingerprint(self) -> str | None:
        """Of the weights; None for a run that begins with none."""
        if self.checkpoint:
            return checkpoint.read_card(self.checkpoint).fingerprint
        return checkpoint.file_fingerprint(self.navsim_checkpoint) if self.navsim_checkpoint else None

    def load(self, model: torch.nn.Module, *, codebook: str | None, former_ids: FormerIds) -> list[str]:
        """Take the weights over; returns the parts that stay new. See `start_from`."""
        if self.checkpoint:
            return start_from(
                model, Path(self.checkpoint), without=self.without, codebook=codebook, former_ids=former_ids
            )
        if not hasattr(model, "load_official"):
            raise ConfigError(
                f"init.navsim_checkpoint: NAVSIM publishes no weights of a {type(model).__name__}; leave it out"
            )
        model.load_official(self.navsim_checkpoint)
        return []


def count(model: torch.nn.Module, *, trained: bool = False) -> int:
    """Number of parameters, or of those that training changes."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad or not trained)


def start_from(
    model: torch.nn.Module, folder: Path, *, without: Iterable[str] = (), codebook: str | None,
    former_ids: FormerIds | None = None,
) -> list[str]:  # fmt: skip
    """Take over the weights of a checkpoint, but those of the parts named by `without`.

    codebook: id of the codes that are learned, None where the model makes its own; former_ids: earlier ids of it. Returns the parts of the model that stay
    new: also those that the checkpoint lacks altogether (a head that is switched on later). Raises CheckpointError naming the
    weights that don't fit, MixedCodebooks where the checkpoint speaks other codes, ConfigError for a part that isn't there.
    """
    found, card = checkpoint.load(folder, expect=type(model))
    if card.data.get("oracle_future"):
        raise CheckpointError(f"init.checkpoint={folder} was trained on codes of the future: nothing may start from it")
    theirs = card.parents.get("codebook")
    if None not in (codebook, theirs) and not same_id(theirs, codebook, card.former_ids, former_ids or {}):
        raise MixedCodebooks(
            f"init.checkpoint={folder} speaks the codes of codebook {theirs}, the labels those of {codebook}: codes of two codebooks mean "
            "different things. Start from a checkpoint of the same codebook, or leave it out"
        )
    own = model.state_dict()
    parts = {key.split(".")[0] for key in own}
    if unknown := sorted(set(without) - parts):
        raise ConfigError(
            f"init.without={unknown}: the model has no such part; its parts are {', '.join(sorted(parts))}"
        )
    other = {key: value for key, value in found.state_dict().items() if key.split(".")[0] not in without}
    known = {key.split(".")[0] for key in other}
    fresh = sorted(parts - known)
    expected = {key for key in own if key.split(".")[0] in known}
    differing = [
        key
        for key in sorted(expected | other.keys())
        if key not in expected or key not in other or own[key].shape != other[key].shape
    ]
    if differing:
        raise CheckpointError(
            f"init.checkpoint={folder}: {len(differing)} weights do not fit this model, for example {', '.join(differing[:3])}: "
            f"give the model the sizes of {folder / checkpoint.CONFIG}"
        )
    model.load_state_dict(own | other)
    return fresh


def resume(module: L.LightningModule, state: Path, settings: Mapping[str, Any]) -> tuple[int, float]:
    """Take over the weights of an interrupted or finished run; returns the number of steps it has done, and in how many seconds.
    The trainer reads the rest.

    Raises ConfigError where that run had other settings, CheckpointError where its state or its settings can't be read.
    """
    kind = "a finished" if (state.parents[1] / CHECKPOINT).exists() else "an unfinished"
    old = _settings_of(state)
    if changed := [
        name
        for name in _differences(identity_of(old), identity_of(settings))
        if not name.startswith((*FREE, LEARNED_FROM))
    ]:
        raise ConfigError(
            f"{state.parents[1]} holds {kind} run with another {', '.join(changed)}: repeat its command, "
            f"name another out=FOLDER, or remove {state.parent}"
        )
    try:
        saved = torch.load(state, map_location="cpu", weights_only=True, mmap=True)
        module.load_state_dict(saved["state_dict"])
    except (RuntimeError, EOFError, KeyError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"{state} can't be read: remove it to begin anew ({error})") from None
    return saved["global_step"], saved.get(SECONDS, 0.0)


def require_same_scenes(state: Path, learned_from: str | None) -> None:
    """Raise ConfigError where other scenes can be used than before the interruption: every batch would be another."""
    if _settings_of(state).get(LEARNED_FROM, learned_from) != learned_from:  # a run from before this was noted goes on
        raise ConfigError(
            f"{state.parents[1]} learned from other scenes before it was interrupted: scenes that could be opened then can't be now, or the other "
            f"way round (unreadable_train.csv). Bring them back, or remove {state.parent} to begin anew"
        )


def _settings_of(state: Path) -> dict[str, Any]:
    try:
        return from_yaml(state.with_name(SETTINGS).read_text(encoding="utf-8"))
    except (FileNotFoundError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise CheckpointError(
            f"{state.with_name(SETTINGS)} can't be read, so nobody knows which run {state.name} belongs to: remove "
            f"{state.parent} to begin anew ({error})"
        ) from None


def _differences(old: Any, new: Any, name: str = "") -> list[str]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return [
            where
            for key in old | new
            for where in _differences(old.get(key), new.get(key), f"{name}.{key}".lstrip("."))
        ]
    return [] if old == new else [name]


def _finish(
    folder: RunFolder, model: torch.nn.Module, config: Mapping[str, Any], batches: Any, parents: dict[str, str],
    metrics: dict[str, float], steps: int, then: str,
) -> None:  # fmt: skip
    card = Card(
        kind=type(model).__name__, parents=parents, former_ids=batches.former_ids, data=batches.facts, metrics=metrics, command=folder.command,
        commit=folder.commit,
    )  # fmt: skip
    card = checkpoint.save(folder.path / CHECKPOINT, model, config=config, card=card)
    facts = {
        "steps": steps,
        "fingerprint": card.fingerprint,
        "parents": parents,
        "data": dict(batches.facts),
    }
    folder.metrics({"metrics": metrics, **facts})
    for key, value in sorted(metrics.items()):
        if isinstance(value, float) and "_slot_" not in key and not key.endswith(("_low", "_high")):
            folder.say(f"  {key:<48} {value:.4f}")
    folder.say(f"  slots and intervals: {folder.path / METRICS}")
    if hasattr(batches, "summary"):
        folder.say(batches.summary())
    folder.finish(folder.path / CHECKPOINT, then)

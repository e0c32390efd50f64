"""`train codebook`, `train teacher`, `distill`, `train planner`: one loop for all stages, which knows none by name.

    latentdrive train codebook data=world

A stage gives three nodes: `model`, `batches` (a StageBatches) and `training` (a StageTraining). The
same command in the same `out` folder resumes after the last saved step, and ends with the weights of a
run that was never interrupted. Repeated once more, it does nothing.
"""

import os
import shlex
from contextlib import ExitStack, redirect_stdout
from dataclasses import dataclass
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_only

from latentdrive import checkpoint
from latentdrive.build import TARGET, build
from latentdrive.checkpoint import Card
from latentdrive.config import Config, to_yaml
from latentdrive.counting import counted
from latentdrive.errors import ConfigError
from latentdrive.run_folder import CHECKPOINT, METRICS, RESUME, RunFolder, progress
from latentdrive.stages.batches import StageBatches
from latentdrive.stages.best import forget_best, take_best
from latentdrive.stages.resume import LEARNED_FROM, SETTINGS, decisive_settings, require_same_scenes, resume
from latentdrive.stages.start import Start
from latentdrive.stages.state import STATE
from latentdrive.stages.training import StageTraining, headline_lines
from latentdrive.trainer import Feed, make_trainer, processes_of_further_devices, silence_lightning, trained_model
from latentdrive.worker_pool import deaths_of_loaders


def run(cfg: Config) -> dict[str, float]:
    """Train, evaluate and save a checkpoint. Returns the metrics; held-out ones are named `held_out/…`.

    On several devices each has a process that comes here. All of them train; the first one writes,
    speaks and evaluates, the others return no metrics.
    """
    writes = rank_zero_only.rank == 0
    with ExitStack() as stack:
        if writes:
            stack.enter_context(deaths_of_loaders())
        else:
            stack.enter_context(redirect_stdout(stack.enter_context(open(os.devnull, "w"))))
        return _train(cfg, stack.enter_context(RunFolder(cfg, verb=cfg.verb, writes=writes)))


@dataclass(frozen=True, kw_only=True)
class _Stage:
    """A stage as the configuration describes it. config: of the model. then: the command to type next."""

    config: dict[str, Any]
    batches: StageBatches
    module: StageTraining
    trainer: L.Trainer
    start: Start
    then: str

    @property
    def steps(self) -> int:
        return self.module.schedule.steps


def _train(cfg: Config, folder: RunFolder) -> dict[str, float]:
    stage = _build_stage(cfg, folder)
    settings = decisive_settings(cfg, stage.start, stage.batches, devices=stage.trainer.world_size)
    dry_run = cfg.dry_run
    cfg.require_all_read()
    _introduce(folder, stage)
    if dry_run:
        folder.say(f"dry run: would train {counted(stage.steps, 'step')} into {folder.path}")
        return {}
    state = folder.path / RESUME / STATE
    done = resume(stage.module, state, settings, free=stage.batches.free_settings)
    if done.steps == stage.steps and (folder.path / CHECKPOINT).is_dir() and _metrics(folder) is not None:
        folder.say(f"this run is finished: all {stage.steps:,} steps are done and evaluated; out=FOLDER starts another")
        folder.finish(folder.path / CHECKPOINT, stage.then)
        return _metrics(folder)
    if done.steps:
        folder.go_on(done.seconds)
        stage.module.resumed_at = done.steps
        folder.say(f"resuming after step {done.steps:,} of {stage.steps:,} from {state}")
    elif stage.start:
        _take_over(folder, stage)
    stage.batches.watch = progress
    # A lambda, because averaging weights copies the training, and with a bound method its object, the folder.
    stage.module.say = lambda text: folder.say(text)
    stage.module.prepare(stage.batches, new=not done.steps and not stage.start)
    settings[LEARNED_FROM] = stage.batches.learned_from
    if done.steps:
        require_same_scenes(state, stage.batches.learned_from)
    else:
        folder.begin_anew()
        if folder.writes:
            forget_best(folder.path)
        folder.write(f"{RESUME}/{SETTINGS}", to_yaml(settings))
    model = _fit(folder, stage, done=done.steps)
    if not stage.trainer.is_global_zero:
        return {}
    metrics = {key: value.item() for key, value in stage.trainer.callback_metrics.items()}
    if kept := take_best(folder.path, model, metrics, stage.module.held_out_loss):
        folder.say(kept)
    metrics |= stage.module.evaluate(stage.batches)
    _save(folder, stage, model, metrics)
    return metrics


def _metrics(folder: RunFolder) -> dict[str, float] | None:
    """The metrics of a training that ended here; None where metrics.json does not hold them."""
    metrics = (folder.numbers() or {}).get("metrics")
    return metrics if isinstance(metrics, dict) else None


def _build_stage(cfg: Config, folder: RunFolder) -> _Stage:
    torch.set_num_threads(cfg.threads) if cfg.threads else None
    silence_lightning()
    L.seed_everything(cfg.seed, verbose=False)
    config = cfg.model.plain()
    if TARGET not in config:
        raise ConfigError("this option learns nothing, it is only evaluated: --help lists those that can be trained")
    batches = build(cfg.batches)
    module = build(cfg.training, model=build(cfg.model))
    trainer = make_trainer(cfg, folder, steps=module.schedule.steps, held_out_loss=module.held_out_loss)
    start = _start(cfg.init)
    then = cfg.next.format(checkpoint=shlex.quote(str(folder.path / CHECKPOINT)), data=cfg.data_words)
    return _Stage(config=config, batches=batches, module=module, trainer=trainer, start=start, then=then)


def _start(init: Config) -> Start:
    named = ("checkpoint", *(["navsim_checkpoint"] if "navsim_checkpoint" in init else []))
    return Start(without=init.value("without", list[str]), **{key: init.value(key, str | None) for key in named})


def _introduce(folder: RunFolder, stage: _Stage) -> None:
    model = stage.module.model
    parameters = sum(p.numel() for p in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    what = f"{type(model).__name__}: {parameters:,} parameters, {trained:,} of them trained"
    folder.say(f"{what}, in steps of {stage.trainer.precision} precision")
    folder.say(stage.batches.estimate(model))


def _take_over(folder: RunFolder, stage: _Stage) -> None:
    batches = stage.batches
    codebook = batches.parents.get("codebook")
    fresh = stage.start.load(stage.module.model, codebook=codebook, former_ids=batches.former_ids)
    folder.say(f"starting from the weights in {stage.start}" + (f"; new are {', '.join(fresh)}" if fresh else ""))


def _fit(folder: RunFolder, stage: _Stage, *, done: int) -> torch.nn.Module:
    """Run the steps that are left and a last validation. Returns the trained model."""
    trainer, module = stage.trainer, stage.module
    feed = Feed(stage.batches, done * trainer.accumulate_grad_batches)
    state = {"ckpt_path": str(folder.path / RESUME / STATE), "weights_only": True} if done else {}
    with processes_of_further_devices(folder):
        if done < stage.steps:  # the state after the last step holds the checkpoint's weights, averaged where they are
            trainer.fit(module, datamodule=feed, **state)
        model = trained_model(trainer, module, stage.config)
        if model is module.model:  # shards can't be validated again: their numbers are those of the last validation
            trainer.validate(module, datamodule=feed, verbose=False)
    return model


def _save(folder: RunFolder, stage: _Stage, model: torch.nn.Module, metrics: dict[str, float]) -> None:
    batches, start = stage.batches, stage.start
    parents = batches.parents | ({"init": start.fingerprint} if start else {})
    card = Card(
        kind=type(model).__name__,
        parents=parents,
        former_ids=batches.former_ids,
        data=batches.facts,
        metrics=metrics,
        command=folder.command,
        commit=folder.commit,
    )
    card = checkpoint.save(folder.path / CHECKPOINT, model, config=stage.config, card=card)
    facts = {"fingerprint": card.fingerprint, "parents": parents, "data": dict(batches.facts)}
    folder.metrics({"metrics": metrics, "steps": stage.steps, **facts})
    for line in headline_lines(stage.module.headlines, metrics):
        folder.say(line)
    folder.say(f"  all {len(metrics):,} numbers: {folder.path / METRICS}")
    if summary := batches.summary():
        folder.say(summary)
    folder.finish(folder.path / CHECKPOINT, stage.then)

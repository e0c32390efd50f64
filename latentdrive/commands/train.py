"""`train codebook`, `train teacher`, `distill`: one loop for all stages; no stage is known here by name.

    latentdrive train codebook data=world

A stage gives three nodes: `model`, `batches` (train_batches(start_step), validation_batches(), parents, facts) and `training`
(a LightningModule with `prepare` and `evaluate`). The same command in the same `out` folder resumes exactly where it stopped.
"""

from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint, RichProgressBar
from lightning.pytorch.loggers import TensorBoardLogger

from latentdrive import checkpoint
from latentdrive.checkpoint import Card
from latentdrive.config import Config, build
from latentdrive.run_folder import CHECKPOINT, RESUME, RunFolder


def run(cfg: Config) -> dict[str, float]:
    """Train, evaluate, save a checkpoint; returns the metrics (held-out ones are named `held_out/…`)."""
    folder = RunFolder(cfg, verb=cfg.verb)
    torch.set_num_threads(cfg.threads) if cfg.threads else None
    L.seed_everything(cfg.seed, verbose=False)
    config = cfg.model.plain()
    batches = build(cfg.batches)
    model = build(config)
    module = build(cfg.training, model=model)
    trainer = _trainer(cfg, folder, steps=module.schedule.steps)
    start, then, dry_run = cfg.init, cfg.next, cfg.dry_run
    cfg.require_all_read()
    folder.say(f"{type(model).__name__}: {count(model):,} parameters, {count(model, trained=True):,} of them trained")
    if dry_run:
        folder.say(f"dry run: would train {module.schedule.steps:,} steps into {folder.path}")
        return {}
    state = folder.path / RESUME / "last.ckpt"
    done = torch.load(state, weights_only=True, mmap=True)["global_step"] if state.is_file() else 0
    if done:
        folder.say(f"resuming after step {done:,} from {state}")
    elif start:
        _start_from(model, Path(start))
        folder.say(f"starting from the weights in {start}")
    if not done:
        module.prepare(batches)
    trainer.fit(
        module, batches.train_batches(done), batches.validation_batches(), ckpt_path=str(state) if done else None,
        weights_only=True,
    )  # fmt: skip
    trainer.validate(module, batches.validation_batches(), verbose=False)
    metrics = {key: value.item() for key, value in trainer.callback_metrics.items()} | module.evaluate(batches)
    card = Card(
        kind=config["_target_"], parents=batches.parents, data=batches.facts, metrics=metrics, command=folder.command
    )
    card = checkpoint.save(folder.path / CHECKPOINT, model, config=config, card=card)
    folder.metrics({"metrics": metrics, "fingerprint": card.fingerprint, "data": dict(batches.facts)})
    for key, value in sorted(metrics.items()):
        folder.say(f"  {key:<48} {value:.4f}") if isinstance(value, float) else None
    folder.finish(folder.path / CHECKPOINT, then.format(checkpoint=folder.path / CHECKPOINT))
    return metrics


def count(model: torch.nn.Module, *, trained: bool = False) -> int:
    """Number of parameters, or of those that training changes."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad or not trained)


def _start_from(model: torch.nn.Module, folder: Path) -> None:
    """Take over all weights of a checkpoint of the same shape; anything else is an error that names the keys."""
    other, _ = checkpoint.load(folder, expect=type(model))
    missing = model.load_state_dict(other.state_dict(), strict=True)
    assert not missing.missing_keys


def _trainer(cfg: Config, folder: RunFolder, *, steps: int) -> L.Trainer:
    return build(
        cfg.trainer,
        max_steps=steps,
        default_root_dir=str(folder.path),
        logger=TensorBoardLogger(str(folder.path), name="", version=""),
        callbacks=[
            RichProgressBar(),
            ModelCheckpoint(
                dirpath=folder.path / RESUME, filename="last", every_n_train_steps=cfg.save_every_steps,
                save_last=False, enable_version_counter=False, save_on_train_epoch_end=False,
            ),
        ],
        enable_model_summary=False,
        use_distributed_sampler=False,
    )  # fmt: skip

"""A plain Lightning run over a list of batches, for the trainings of teacher and student."""

from pathlib import Path

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader


def fit(
    module: L.LightningModule,
    batches: list,
    folder: Path,
    *,
    steps: int,
    resume: Path | None = None,
    save_every: int = 3,
) -> None:
    """Train `module` for `steps` steps on the CPU; its state lands in `folder`/last.ckpt every `save_every` steps."""
    saving = ModelCheckpoint(
        dirpath=folder, filename="last", every_n_train_steps=save_every, enable_version_counter=False
    )
    trainer = L.Trainer(
        max_steps=steps,
        logger=False,
        accelerator="cpu",
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[saving],
    )
    loader = DataLoader(batches, batch_size=None, collate_fn=lambda batch: batch)
    trainer.fit(module, loader, ckpt_path=resume, weights_only=True)

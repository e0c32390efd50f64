"""Training the codebook: steps, what is logged, and the numbers at the end.

Everything that draws random numbers is seeded by (seed, step), and the phase follows from the step (phases.py), so a run that
is killed and resumed ends with the same weights.
"""

from collections.abc import Callable, Iterable
from typing import Protocol, runtime_checkable

import lightning as L
import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from latentdrive.backbones import CachedMaps
from latentdrive.codebook.judging.evaluation import code, reader_agreement
from latentdrive.codebook.judging.health import CodeUsage
from latentdrive.codebook.judging.leakage import check_truth, measure
from latentdrive.codebook.judging.transplant import train_reader, transplant
from latentdrive.codebook.model import Codebook
from latentdrive.codebook.phase_losses import CodebookLossWeights, phase_loss
from latentdrive.codebook.phases import PhaseSchedule, start_ego_from_environment, start_reader_from_encoder
from latentdrive.data.batches.clip_batches import HeldOut
from latentdrive.data.batches.transitions import TransitionBatch
from latentdrive.errors import ConfigError
from latentdrive.run_folder import progress, progress_bar


@runtime_checkable
class Batches(Protocol):
    """What a training run is fed with. takes_features: from the cache, computed by what `use_features` is given."""

    takes_features: bool

    def use_features(self, extractor: CachedMaps, fingerprint: str) -> None: ...

    def fill(self, progress: Callable[[int, int], None]) -> None: ...

    def validation_batches(self) -> Iterable[TransitionBatch]: ...

    def train_batches(self, start_step: int) -> Iterable[TransitionBatch]: ...

    def windows_of(self, part: str, *, transitions: int, most: int | None = None) -> HeldOut: ...


class CodebookTraining(L.LightningModule):
    """Codebook + losses + optimiser. reader_steps: of the motion reader that judges transplants, trained after the codebook.
    probe_windows: how many windows of the probe part the probes are fitted to and tested on.
    """

    def __init__(
        self,
        *,
        model: Codebook,
        optimizer: Callable[..., Optimizer],
        schedule: PhaseSchedule,
        weights: CodebookLossWeights,
        calibration_frames: int,
        reader_steps: int,
        probe_windows: int,
        seed: int,
    ) -> None:
        super().__init__()
        if not model.environment_slots and schedule.steps > schedule.ego:
            raise ConfigError(
                "model.environment_slots=0 is one-stage training, which has the phase ego only: set training.schedule.motion, "
                "environment and reader to 0"
            )
        if model.features.trained and weights.features:
            raise ConfigError(
                "training.weights.features must be 0 with trained features (features=pixels): a target that is trained "
                "shrinks until it is easy"
            )
        self.model, self.optimizer, self.schedule, self.weights = model, optimizer, schedule, weights
        self.calibration_frames, self.reader_steps, self.probe_windows = calibration_frames, reader_steps, probe_windows
        self.seed = seed
        self.usage = CodeUsage(codes=model.codes)

    def prepare(self, batches: Batches, *, new: bool) -> None:
        """Before the first step. new: with published weights, and the features' statistics from training frames; a run
        that is resumed, or starts from a checkpoint, has both already. Then the cache gets the features it lacks.
        """
        if new:
            self.model.features.load_pretrained()
        if batches.takes_features:
            self._fill_cache(batches)
        if batches.data.has("probe"):
            check_truth(batches.windows_of("probe", transitions=1).clips, self.model.transition_s)
        if not new:
            return
        frames, seen, known = [], 0, False
        for batch in batches.train_batches(0):
            frames.append(batch.frames.flatten(0, 1))
            seen += len(frames[-1])
            known |= bool(batch.motion_known.any())
            if seen >= self.calibration_frames:
                break
        if self.model.environment_slots and not known:
            raise ConfigError(
                f"none of the first {seen} frames has poses, and environment codes can't be learned without: set "
                "data.options.poses=visual_odometry, or train one stage (model.environment_slots=0)"
            )
        self.model.features.calibrate(frames)

    def _fill_cache(self, batches: Batches) -> None:
        maps = CachedMaps(self.model.features)
        batches.use_features(maps, maps.fingerprint)
        maps.to("cuda" if torch.cuda.is_available() else "cpu")
        with progress_bar("features") as bar:
            task = bar.add_task("features")
            batches.fill(lambda done, clips: bar.update(task, completed=done, total=clips))
        maps.to("cpu")

    def training_step(self, batch: TransitionBatch, _: int) -> Tensor:
        """One step of the phase that the global step belongs to."""
        phase, within = self.schedule.at(self.global_step)
        torch.manual_seed(self.seed * 1_000_003 + self.global_step)
        if within == 0 and not self.model.ego_book.made:  # a codebook to start from brings its reader and its ego stage
            if phase == "reader":
                start_reader_from_encoder(self.model)
            if phase == "ego" and self.model.environment_slots:
                start_ego_from_environment(self.model)
        quantised = self._quantised(self.global_step)
        loss, logged = phase_loss(self.model, batch, phase, self.weights, quantised=quantised)
        self.log_dict({f"train/{key}": value for key, value in logged.items()}, batch_size=len(batch.frames))
        return loss

    def validation_step(self, batch: TransitionBatch, _: int) -> None:
        """Held-out error as a share of copying, with true and with shuffled codes; usage of both books."""
        phase, _ = self.schedule.at(self.global_step - 1)
        quantised = self._quantised(self.global_step - 1)
        usage = self.usage if quantised else None
        _, logged = phase_loss(self.model, batch, phase, self.weights, quantised=quantised, usage=usage)
        self.log_dict({f"held_out/{key}": value for key, value in logged.items()}, batch_size=len(batch.frames))

    def _quantised(self, step: int) -> bool:
        """Whether codes come from a book at this step: the open start is over, or the book was there at the start."""
        book = {"environment": "environment_book", "ego": "ego_book"}.get(self.schedule.at(step)[0])
        return self.schedule.quantised(step) or (book is not None and getattr(self.model, book).made)

    def on_validation_epoch_end(self) -> None:
        """Perplexity and usage per slot; the alarm says which slot collapsed and what to change."""
        for name, value in self.usage.summary().items():
            self.log(f"held_out/{name}", value)
        for alarm in self.usage.alarms():
            self.print(f"ALARM: {alarm}")
        self.usage.reset()

    def evaluate(self, batches: Batches) -> dict[str, float]:
        """After training: what codes cost when shuffled, and the leakage matrix where the data has a probe part."""
        self.model.eval()
        share = {"features": self.weights.features, "pixels": self.weights.pixels}
        block = batches.data.block_s
        frames = None if block is None else round(block * batches.data.rate_hz)
        windows = progress(batches.validation_batches(), what="held-out windows")
        held_out = code(self.model, windows, block_frames=frames, **share)
        found = {f"held_out/{name}": value for name, value in held_out.summary().items()}
        if self.model.environment_slots:
            windows = progress(batches.validation_batches(), what="reader against encoder")
            found["held_out/reader_agreement"] = reader_agreement(self.model, windows)
        if not batches.data.has("probe"):
            return found
        probes = batches.windows_of("probe", transitions=1, most=self.probe_windows)
        leakage = measure(self.model, probes.clips, probes, seed=self.seed)
        examples = progress(batches.train_batches(0), what="motion reader", total=self.reader_steps)
        reader = train_reader(self.model, examples, steps=self.reader_steps, seed=self.seed)
        some = batches.windows_of("probe", transitions=1)
        said = code(self.model, progress(some, what="probe windows"), block_frames=None, **share).summary()
        said |= leakage.matrix() | transplant(self.model, reader, progress(some, what="transplants")).summary()
        return found | {f"probe/{name}": value for name, value in said.items()}

    def configure_optimizers(self) -> dict:
        """One optimiser over all weights: parts outside the phase have no gradient and stay as they are."""
        optimizer = self.optimizer([p for p in self.model.parameters() if p.requires_grad])
        schedule = LambdaLR(optimizer, lambda step: self.schedule.learning_rate(step))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

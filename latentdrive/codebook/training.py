"""Training the codebook: what a step does, what is logged, and who judges the result.

Everything that draws random numbers is seeded by (seed, step), and the phase follows from the step
(phases.py), so a run that is killed and resumed ends with the same weights.
"""

from collections.abc import Callable, Mapping
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.optim import Optimizer

from latentdrive.backbones import CachedMaps
from latentdrive.codebook.batches import CodebookBatches
from latentdrive.codebook.judging.health import CodeUsage
from latentdrive.codebook.losses import CodebookLoss
from latentdrive.codebook.model import Codebook
from latentdrive.codebook.phase_outputs import run_phase
from latentdrive.codebook.phases import PhaseSchedule, start_ego_from_environment, start_reader_from_encoder
from latentdrive.data.batches.transitions import TransitionBatch
from latentdrive.errors import ConfigError
from latentdrive.stages.training import Headline, StageTraining


@runtime_checkable
class Judge(Protocol):
    """Computes numbers for the card after training."""

    def prepare(self, model: Codebook, batches: CodebookBatches) -> None:
        """Called before training. Raises ConfigError where the data can't be judged with this model."""
        ...

    def __call__(self, model: Codebook, batches: CodebookBatches, loss: CodebookLoss) -> dict[str, float]:
        """Numbers by name. model: in evaluation mode. loss: gives the shares of features and pixels."""
        ...


class CodebookTraining(StageTraining):
    """A codebook that learns in phases.

    judges: name → judge; None leaves one out. calibration_frames: training frames from which the
    features' statistics are computed.
    """

    headlines = (
        Headline(name="error as a share of copying the present frame", metric="held_out/share_of_copy"),
        Headline(name="  larger with ego codes of another clip by", metric="held_out/cost_ego_shuffled", form=".1%"),
        Headline(
            name="  larger with environment codes of another clip by",
            metric="held_out/cost_environment_shuffled",
            form=".1%",
        ),
        Headline(name="  larger without codes by", metric="held_out/cost_zeroed", form=".1%"),
        Headline(name="ego codes in use (perplexity)", metric="held_out/ego_perplexity", form=".1f"),
        Headline(name="environment codes in use (perplexity)", metric="held_out/environment_perplexity", form=".1f"),
        Headline(
            name="R² of forward displacement from ego codes", metric="probe/ego codes/forward displacement/linear"
        ),
        Headline(name="R² of yaw change from ego codes", metric="probe/ego codes/yaw change/linear"),
        Headline(
            name="R² of the others' motion from environment codes", metric="probe/environment codes/others/linear"
        ),
        Headline(name="  from the present frame alone", metric="probe/present frame/others/linear"),
    )

    def __init__(
        self,
        *,
        model: Codebook,
        loss: CodebookLoss,
        judges: Mapping[str, Judge | None],
        optimizer: Callable[..., Optimizer],
        schedule: PhaseSchedule,
        calibration_frames: int,
        seed: int,
    ) -> None:
        super().__init__(model=model, optimizer=optimizer, schedule=schedule)
        if not model.environment_slots and schedule.steps > schedule.ego:
            raise ConfigError(
                "model.environment_slots=0 is one-stage training, which has the phase ego only: set "
                "training.schedule.motion, environment and reader to 0"
            )
        if model.features.trained and loss.features:
            raise ConfigError(
                "training.loss.features must be 0 with trained features (features=pixels): a target that is trained "
                "shrinks until it is easy to predict"
            )
        self.loss, self.judges = loss, [judge for judge in judges.values() if judge is not None]
        self.calibration_frames, self.seed = calibration_frames, seed
        self.usage = CodeUsage(codes=model.codes)

    # ---- before training ----

    def prepare(self, batches: CodebookBatches, *, new: bool) -> None:
        """Load and calibrate the features of a new run, and fill the cache with features that it lacks.

        Raises ConfigError where the first training frames have no poses and the model needs them, and
        where a judge can't judge.
        """
        if new:
            self.model.features.load_pretrained()
        if batches.takes_features:
            self._fill_cache(batches)
        for judge in self.judges:
            judge.prepare(self.model, batches)
        if new:
            self._calibrate(batches)

    def _fill_cache(self, batches: CodebookBatches) -> None:
        maps = CachedMaps(self.model.features)
        batches.use_features(maps, maps.fingerprint)
        maps.to("cuda" if torch.cuda.is_available() else "cpu")
        batches.fill()
        maps.to("cpu")  # processes that make batches have no GPU

    def _calibrate(self, batches: CodebookBatches) -> None:
        frames, count, known = [], 0, False
        for batch in batches.train_batches(0):
            frames.append(batch.frames.flatten(0, 1))
            count += len(frames[-1])
            known |= bool(batch.motion_known.any())
            if count >= self.calibration_frames:
                break
        if self.model.environment_slots and not known:
            raise ConfigError(
                f"none of the first {count} training frames has poses, and environment codes can't be learned "
                "without: set data.options.poses=visual_odometry, or train one stage (model.environment_slots=0)"
            )
        self.model.features.calibrate(frames)

    # ---- steps ----

    def training_step(self, batch: TransitionBatch, _: int) -> Tensor:
        """One step of the phase that the global step belongs to."""
        phase, within = self.schedule.at(self.global_step)
        torch.manual_seed(self.seed * 1_000_003 + self.global_step)
        if within == 0 and not self.model.ego_book.made:  # a codebook to start from brings its reader and ego stage
            if phase == "reader":
                start_reader_from_encoder(self.model)
            if phase == "ego" and self.model.environment_slots:
                start_ego_from_environment(self.model)
        output = run_phase(self.model, batch, phase, quantised=self._quantised(self.global_step))
        loss = self.loss(output)
        self.log_dict({f"train/{name}": value for name, value in loss.parts.items()}, batch_size=len(batch.frames))
        return loss.total

    def validation_step(self, batch: TransitionBatch, _: int) -> None:
        """Held-out error as a share of copying, with true and with shuffled codes; counts the codes that are used."""
        step = self.steps_done - 1
        phase, quantised = self.schedule.at(step)[0], self._quantised(step)
        output = run_phase(self.model, batch, phase, quantised=quantised, shuffled=quantised)
        if quantised and output.code is not None:
            self.usage.add(phase, output.code.codes)
        parts = self.loss(output).parts
        self.log_dict({f"held_out/{name}": value for name, value in parts.items()}, batch_size=len(batch.frames))

    def _quantised(self, step: int) -> bool:
        """Whether codes come from a book at this step: the open start is over, or the book was there at the start."""
        book = self.model.books.get(self.schedule.at(step)[0])
        return self.schedule.quantised(step) or (book is not None and book.made)

    def on_validation_epoch_end(self) -> None:
        """Log perplexity and usage of every slot; name the slots that have collapsed and what to change."""
        for name, value in self.usage.summary().items():
            self.log(f"held_out/{name}", value)
        for alarm in self.usage.alarms():
            self.say(f"ALARM: {alarm}")
        self.usage.reset()

    # ---- after training ----

    def evaluate(self, batches: CodebookBatches) -> dict[str, float]:
        """The numbers of all judges."""
        self.model.eval()
        numbers: dict[str, float] = {}
        for judge in self.judges:
            numbers |= judge(self.model, batches, self.loss)
        return numbers

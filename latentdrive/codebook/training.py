"""Training the codebook: which part learns at which step, and what is logged.

One run, four phases: `motion` (forward dynamics from motion alone), `environment` (codes for what motion does not explain),
`reader` (the same codes from frames alone), `ego`. Everything that draws random numbers is seeded by (seed, step), and the
phase follows from the step, so a run that is killed and resumed ends with the same weights.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import lightning as L
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from latentdrive.codebook import losses
from latentdrive.codebook.evaluation import code, with_motion
from latentdrive.codebook.features import CachedMaps
from latentdrive.codebook.forward_dynamics import Prediction
from latentdrive.codebook.health import CodeUsage
from latentdrive.codebook.leakage import check_truth, measure
from latentdrive.codebook.model import Codebook, Observation
from latentdrive.codebook.transplant import train_reader, transplant
from latentdrive.data.batches import TransitionBatch
from latentdrive.data.clip_batches import HeldOut
from latentdrive.errors import ConfigError
from latentdrive.run_folder import progress, progress_bar

PHASES = ("motion", "environment", "reader", "ego")
GOLDEN_SECTION = (math.sqrt(5) - 1) / 2
# What learns in each phase; all else is in evaluation mode, so that books and statistics of a finished stage stand still.
LEARNING = {
    "motion": ("features", "motion", "environment_forward"),
    "environment": ("features", "motion", "environment_inverse", "environment_book", "environment_forward"),
    "reader": ("reader",),
    "ego": ("ego_inverse", "ego_book", "ego_forward", "motion_head"),
}


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Steps of each phase; 0 leaves it out (one-stage training has `ego` only). warmup: steps at each phase's start.

    open_share: of the steps of `environment` and `ego` before the book is made. Until then forward dynamics gets the vectors
    as they are: a book that is made from an encoder that sees nothing yet locks in what it happens to say.
    """

    motion: int
    environment: int
    reader: int
    ego: int
    warmup: int
    open_share: float

    @property
    def steps(self) -> int:
        """Steps in all."""
        return sum(getattr(self, phase) for phase in PHASES)

    def at(self, step: int) -> tuple[str, int]:
        """The phase of `step`, and the step within it; past the end, the last step of `ego`."""
        for phase in PHASES:
            length = getattr(self, phase)
            if step < length:
                return phase, step
            step -= length
        return "ego", self.ego - 1

    def quantised(self, step: int) -> bool:
        """Whether the codes of the step's phase come from a book already."""
        phase, within = self.at(step)
        return phase in ("motion", "reader") or within >= self.open_share * getattr(self, phase)

    def learning_rate(self, step: int) -> float:
        """Factor on the learning rate: in each phase a linear rise, then half a cosine down to 0.05."""
        phase, within = self.at(step)
        rise = min(1.0, (within + 1) / max(1, self.warmup))
        return rise * (0.525 + 0.475 * math.cos(math.pi * within / max(1, getattr(self, phase))))


@dataclass(frozen=True, kw_only=True)
class LossWeights:
    """features, pixels: shares of the two targets. moving: extra weight of patches that agents cover, while the
    environment codes are learned.

    regression: weight of the ego-motion head, on this share of the clips (`regression_share`).
    """

    features: float
    pixels: float
    moving: float
    regression: float
    regression_share: float


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
        schedule: Schedule,
        weights: LossWeights,
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
                "data.source.poses=visual_odometry, or train one stage (model.environment_slots=0)"
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
        if phase == "ego" and within == 0 and self.model.environment_slots:
            start_ego_from_environment(self.model)
        if phase == "reader" and within == 0:
            start_reader_from_encoder(self.model)
        quantised = self.schedule.quantised(self.global_step)
        loss, logged = phase_loss(self.model, batch, phase, self.weights, quantised=quantised)
        self.log_dict({f"train/{key}": value for key, value in logged.items()}, batch_size=len(batch.frames))
        return loss

    def validation_step(self, batch: TransitionBatch, _: int) -> None:
        """Held-out error as a share of copying, with true and with shuffled codes; usage of both books."""
        phase, _ = self.schedule.at(self.global_step - 1)
        quantised = self.schedule.quantised(self.global_step - 1)
        usage = self.usage if quantised else None
        _, logged = phase_loss(self.model, batch, phase, self.weights, quantised=quantised, usage=usage)
        self.log_dict({f"held_out/{key}": value for key, value in logged.items()}, batch_size=len(batch.frames))

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


def enter(model: Codebook, phase: str) -> None:
    """Put what learns in this phase in training mode and the rest in evaluation mode."""
    learning = set(LEARNING[phase])
    if phase == "ego" and model.environment_source == "relearned":
        learning.add("reader")
    if phase == "ego" and not model.environment_slots:
        learning.add("features")  # the only phase there is
    if model.environment_slots:  # relearned, UniVLA's way: book and queries stand still, the encoder learns again
        model.reader.queries.requires_grad_(phase != "ego")
    for name, part in model.named_children():
        part.train(name in learning)
    if model.features.trained:
        model.features.requires_grad_("features" in learning)


def start_ego_from_environment(model: Codebook) -> None:
    """Stage 2 begins with what stage 1 knows of frames and of seeing motion; only the meaning of its codes is new."""
    for known, own in ((model.environment_forward, model.ego_forward), (model.reader, model.ego_inverse)):
        old, new = known.state_dict(), own.state_dict()
        own.load_state_dict({k: old[k] if k in old and old[k].shape == v.shape else v for k, v in new.items()})


def start_reader_from_encoder(model: Codebook) -> None:
    """The reader begins with the encoder's weights; its stem keeps the two pictures that both see, without the prediction."""
    known, own = model.environment_inverse.state_dict(), model.reader.state_dict()
    model.reader.load_state_dict({k: known[k][:, : v.shape[1]] if v.dim() > 1 else known[k] for k, v in own.items()})


def phase_loss(
    model: Codebook,
    batch: TransitionBatch,
    phase: str,
    weights: LossWeights,
    *,
    quantised: bool,
    usage: CodeUsage | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss of one phase and what to log of it (`usage` collects the codes seen). quantised: see Schedule.open_share."""
    if model.training:
        enter(model, phase)
    if phase != "ego" or model.environment_source == "encoder":
        batch = with_motion(batch)
        if len(batch) < (2 if model.training else 1):  # one row has no statistics
            return torch.zeros((), device=batch.clip.device, requires_grad=True), {}
    seen = model.observe(batch.frames, batch.features)
    if phase == "reader":
        with torch.no_grad():
            target = model.encode_environment(seen, batch.motion).codes
        read = model.read_environment(seen)
        loss = losses.reading(read.logits, target)
        return loss, {"reader/cross_entropy": loss.detach(), "reader/agreement": (read.codes == target).float().mean()}
    # Ego codes are for the whole picture; only what describes the environment looks closer at what moves in it.
    patch_weights = moving_weights(batch, weights.moving if phase == "environment" else 0.0, model.grid)
    share = Share(seen, patch_weights, weights)
    if phase == "motion":
        loss, _ = share(model.predict_from_motion(seen, batch.motion, None))
        return loss, {"motion/share_of_copy": loss.detach()}
    if phase == "environment":
        code = model.encode_environment(seen, batch.motion, quantised=quantised)
        loss, _ = share(model.predict_from_motion(seen, batch.motion, code.vectors))
        total = loss + model.environment_book.commitment * code.commitment
        logged = {"environment/share_of_copy": loss.detach(), "environment/commitment": code.commitment.detach()}
        if usage is not None:
            usage.add("environment", code.codes)
            shuffled = code.vectors.roll(1, 0)
            logged["environment/share_shuffled"], _ = share(model.predict_from_motion(seen, batch.motion, shuffled))
        return total, logged
    return _ego_loss(model, batch, seen, share, weights, quantised, usage)


def _ego_loss(
    model: Codebook,
    batch: TransitionBatch,
    seen: Observation,
    share: "Share",
    weights: LossWeights,
    quantised: bool,
    usage: CodeUsage | None,
) -> tuple[Tensor, dict[str, Tensor]]:
    environment, relearned = None, seen.features.new_zeros(())
    if model.environment_slots:
        if model.environment_source == "relearned":
            read = model.read_environment(seen)
            environment, relearned = read.vectors, model.environment_book.commitment * read.commitment
        else:
            environment = model.environment_book.look_up(model.environment_codes(seen, batch.motion))
    code = model.encode_ego(seen, environment, quantised=quantised)
    loss, _ = share(model.predict_from_codes(seen, environment, code.vectors))
    total = loss + model.ego_book.commitment * code.commitment + relearned
    logged = {"ego/share_of_copy": loss.detach(), "ego/commitment": code.commitment.detach()}
    if model.motion_head is not None:
        known = batch.motion_known & in_share(batch.clip, weights.regression_share)
        scaled = (batch.motion / model.motion_scale)[..., :3]
        regression = losses.motion_regression(model.motion_head(code.vectors.flatten(2)), scaled, known.float())
        total = total + weights.regression * regression
        logged["ego/regression"] = regression.detach()
    if usage is not None:
        usage.add("ego", code.codes)
        logged["ego/share_shuffled"], _ = share(model.predict_from_codes(seen, environment, code.vectors.roll(1, 0)))
    return total, logged


def in_share(clip: Int64[Tensor, "B"], share: float) -> Bool[Tensor, "B"]:
    """A fixed choice of this share of the clips. Multiples of the golden section are spread evenly over any stretch of a list,
    so every type of road in a sorted list is chosen as often."""
    return clip.double() * GOLDEN_SECTION % 1 < share


class Share:
    """Error of a prediction of every transition in a window, as a share of the error of copying."""

    def __init__(self, seen: Observation, patch_weights: Float[Tensor, "N h w"] | None, weights: LossWeights) -> None:
        # Targets carry no gradient: trained features would make themselves easy to predict.
        features, pixels = seen.features.detach(), seen.pixels
        self.first = (features[:, :-1].flatten(0, 1), pixels[:, :-1].flatten(0, 1))
        self.second = (features[:, 1:].flatten(0, 1), pixels[:, 1:].flatten(0, 1))
        self.patch_weights, self.weights = patch_weights, weights

    def __call__(self, prediction: Prediction) -> tuple[Float[Tensor, ""], Float[Tensor, "N 2"]]:
        """The loss, and error and copy error of each transition."""
        loss, each, copied = losses.copy_share(
            prediction, self.first, self.second, weights=self.patch_weights,
            features_weight=self.weights.features, pixels_weight=self.weights.pixels,
        )  # fmt: skip
        return loss, torch.stack([each, copied], -1)


def moving_weights(batch: TransitionBatch, moving: float, grid: tuple[int, int]) -> Float[Tensor, "N h w"] | None:
    """1 + moving x (share of the patch that agents cover), over all transitions; None without truth or weight."""
    if batch.moving is None or not moving:
        return None
    return 1 + moving * F.interpolate(batch.moving.flatten(0, 1)[:, None], grid, mode="area")[:, 0]

"""Training any planner: glue between network, loss, optimiser, true scores and log.

Last file of the planners; the loss (losses.py, transfuser/losses.py, ipad/losses.py) is a node of the configuration. Where it wants them,
true PDM scores of the network's own proposals are computed in the step, by the batched scorer, in this process. Held-out scenes are
driven and scored as `evaluate` does, early numbers for TensorBoard, with pictures of the plans.
"""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import lightning as L
import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from latentdrive.drawing.plans import side_by_side
from latentdrive.errors import ConfigError, LatentDriveError
from latentdrive.pdms.scorer import Scorer
from latentdrive.planners.inputs.batch import PlannerInputs, PlannerOutput, PlannerTargets
from latentdrive.planners.learned import LearnedPlanner
from latentdrive.planners.sampling import DT_S
from latentdrive.schedule import CosineSchedule

PICTURES = 4  # of held-out scenes, at every validation


@runtime_checkable
class PlannerLoss(Protocol):
    """Weighted losses by name; their sum is what is minimised. scores: whether a Scorer over the batch's scenes is wanted."""

    scores: bool

    def __call__(self, output: PlannerOutput, targets: PlannerTargets, scorer: Scorer | None) -> dict[str, Tensor]: ...


class PlannerTraining(L.LightningModule):
    """Planner + loss + optimiser. seed: of the random numbers of each step (dropout, masks), which depend on nothing but it and the step."""

    def __init__(
        self,
        *,
        model: LearnedPlanner,
        loss: PlannerLoss,
        optimizer: Callable[..., Optimizer],
        schedule: CosineSchedule,
        seed: int,
    ) -> None:
        super().__init__()
        self.model, self.loss, self.optimizer, self.schedule, self.seed = model, loss, optimizer, schedule, seed

    def prepare(self, batches: Any, *, new: bool) -> None:
        """Before the first step: scenes are opened once, and published weights of backbones loaded for a new run.

        Raises ConfigError for a planner with fusion and no embeddings to learn from, or the other way round.
        """
        if self.model.fusion is not None and batches.latents is None:
            raise ConfigError("fusion=latent needs embeddings: latents=FOLDER, stores that a teacher or student wrote")
        if self.model.fusion is None and batches.latents is not None:
            raise ConfigError(
                f"latents={batches.latents.folder}: this planner fuses nothing, add fusion=latent or leave latents out"
            )
        if batches.latents is not None:
            batches.latents.require_widths(self.model.fusion)
        batches.prepare(self.model.sensors, scores=self.loss.scores, writes=rank_zero_only.rank == 0)
        self.batches = batches
        if new:
            self.model.load_pretrained()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """A resumed run draws the numbers of the run that was never interrupted."""
        key = (self.seed, self.global_step, batch_idx % self.trainer.accumulate_grad_batches, self.global_rank)
        torch.manual_seed(int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1))

    def training_step(self, batch: tuple[PlannerInputs, PlannerTargets], _: int) -> Tensor:
        """Sum of the weighted losses."""
        inputs, targets = batch
        parts = self.loss(self.model(inputs), targets, self.scorer(inputs) if self.loss.scores else None)
        loss = torch.stack(list(parts.values())).sum()
        self.log_dict({f"train/{key}": value.detach() for key, value in parts.items()}, batch_size=len(inputs))
        return loss

    def validation_step(self, batch: tuple[PlannerInputs, PlannerTargets], number: int) -> None:
        """Held-out score and distance from the human; pictures of the first scenes."""
        inputs, targets = batch
        output = self.model(inputs)
        plans = output.trajectory.float()
        scores = self.scorer(inputs).score_poses(plans[:, None], dt_s=DT_S)
        apart = (plans[..., :2] - targets.trajectory[..., :2]).norm(dim=-1)
        numbers = {"pdms": scores.score.mean(), "distance_m": apart.mean(), "last_pose_m": apart[:, -1].mean()}
        for name in self.batches.version.rules.columns:
            values = getattr(scores, name)
            numbers |= {} if values is None or values.isnan().all() else {name: values.nanmean()}
        # Every rank sees all held-out scenes, so nothing is to be reduced; the scores lie on the CPU, where NCCL reduces nothing.
        self.log_dict({f"held_out/{k}": v.float() for k, v in numbers.items()}, batch_size=len(inputs))
        if number == 0 and self.trainer.is_global_zero:
            self._draw(inputs, plans, targets)

    def scorer(self, inputs: PlannerInputs) -> Scorer:
        """The score of plans in these scenes, on the device of the network where that is a GPU."""
        device = inputs.velocity.device
        return Scorer(
            self.batches.scoring(inputs.tokens), version=self.batches.version,
            device=device if device.type == "cuda" else "cpu",
        )  # fmt: skip

    def configure_optimizers(self) -> dict:
        """Trained weights only; the learning rate follows the schedule step by step."""
        optimizer = self.optimizer([p for p in self.model.parameters() if p.requires_grad])
        # A plain function: torch would pickle the attributes of anything else into the resume state.
        schedule = LambdaLR(optimizer, lambda step: self.schedule.learning_rate(step))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _draw(self, inputs: PlannerInputs, plans: Tensor, targets: PlannerTargets) -> None:
        """Plans over camera and bird's-eye view, for TensorBoard. A scene without a front camera is left out."""
        if self.logger is None:
            return
        for number, token in enumerate(inputs.tokens[:PICTURES]):
            try:
                image = self.batches.front_camera(token)
            except LatentDriveError:
                continue
            drawn = {"plan": plans[number].cpu().numpy(), "human": targets.trajectory[number].cpu().numpy()}
            picture = side_by_side(image, self.batches.scoring([token])[0], drawn)
            self.logger.experiment.add_image(f"held_out/{number}_{token}", picture, self.global_step, dataformats="HWC")

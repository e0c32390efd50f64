"""Training of any planner: joins the network, its loss, true scores of its plans, and the log.

The loss is a node of the configuration (losses.py, transfuser/losses.py, ipad/losses.py). A loss that
asks for true PDM scores of the network's own proposals gets them in the step, from the batched scorer in
this process. At every validation, held-out scenes are planned and scored, and some plans are drawn.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, UInt8
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor
from torch.optim import Optimizer

from latentdrive.errors import ConfigError
from latentdrive.planners.anytime import AnytimePlanner
from latentdrive.planners.inputs.batch import PlannerInputs, PlannerTargets
from latentdrive.planners.inputs.sensors import Sensors
from latentdrive.planners.latents.fusion import LatentSource
from latentdrive.planners.learned import LearnedPlanner
from latentdrive.planners.losses import AnytimeLoss, PlannerLoss, PlanScorer
from latentdrive.planners.sampling import DT_S
from latentdrive.stages.training import Headline, Schedule, StageTraining

PICTURES = 4  # held-out scenes that are drawn at every validation


@runtime_checkable
class PlannerStageBatches(Protocol):
    """What the training of a planner asks of its batches (PlannerBatches in inputs/scene_batches.py).

    latents: the source of the embeddings in the batches; None without. columns: names of the sub-scores.
    """

    latents: LatentSource | None
    columns: tuple[str, ...]

    def prepare(self, sensors: Sensors, *, scores: bool, writes: bool) -> None:
        """Open all scenes once. scores: training needs scorers. writes: this process may write files."""

    def scorer(self, tokens: Sequence[str], device: torch.device) -> PlanScorer:
        """The score of plans in these scenes."""

    def picture(self, token: str, plans: Mapping[str, Float[np.ndarray, "P 3"]]) -> UInt8[np.ndarray, "H W 3"] | None:
        """Plans, by name, in a held-out scene; None for a scene that can't be drawn."""


class PlannerTraining(StageTraining):
    """A planner with its loss, optimiser and schedule.

    seed: of the random numbers of each step (dropout, masks), which depend on the seed and the step alone. refined:
    weight of the refined plan's distance from the human's, for a planner that refines its plan; `loss` is then that of
    the plan before any step. Raises ConfigError where only one of both is there.
    """

    headlines = (
        Headline(name="score of held-out plans", metric="held_out/pdms"),
        Headline(name="  no collision at fault", metric="held_out/no_at_fault_collisions"),
        Headline(name="  inside the drivable area", metric="held_out/drivable_area_compliance"),
        Headline(name="  in the right direction", metric="held_out/driving_direction_compliance"),
        Headline(name="  time to collision kept", metric="held_out/time_to_collision_within_bound"),
        Headline(name="  ego progress", metric="held_out/ego_progress"),
        Headline(name="  comfort", metric="held_out/comfort"),
        Headline(name="distance from the human's plan, metres", metric="held_out/distance_m", form=".2f"),
        Headline(name="  at its end", metric="held_out/last_pose_m", form=".2f"),
    )

    def __init__(
        self,
        *,
        model: LearnedPlanner,
        loss: PlannerLoss,
        optimizer: Callable[..., Optimizer],
        schedule: Schedule,
        seed: int,
        refined: float | None = None,
    ) -> None:
        super().__init__(model=model, optimizer=optimizer, schedule=schedule)
        if isinstance(model, AnytimePlanner) != (refined is not None):
            raise ConfigError(
                "training.refined weighs the plan of a planner that refines it: give it for planner=ltf_anytime and "
                "the like, and for no other"
            )
        self.loss, self.seed = loss if refined is None else AnytimeLoss(own=loss, refined=refined), seed

    def prepare(self, batches: PlannerStageBatches, *, new: bool) -> None:
        """Open all scenes once; a new run loads the published weights of its backbones.

        Raises ConfigError for a planner that reads embeddings and batches without, or the reverse.
        """
        if self.model.reads is not None and batches.latents is None:
            raise ConfigError(
                "fusion=latent needs embeddings: add latents=FOLDER, stores that a teacher or student wrote"
                if self.model.fusion is not None
                else "this planner reads embeddings alone: add latents=FOLDER, stores that a teacher or student wrote"
            )
        if self.model.reads is None and batches.latents is not None:
            raise ConfigError(
                "latents=FOLDER gives embeddings, but this planner fuses nothing: add fusion=latent or leave "
                "latents out"
            )
        if batches.latents is not None:
            batches.latents.require_fit(self.model.reads)
        batches.prepare(self.model.sensors, scores=self.loss.scores, writes=rank_zero_only.rank == 0)
        self.batches = batches
        if new:
            self.model.load_pretrained()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Seed the step, so that a resumed run draws the random numbers of an uninterrupted one."""
        key = (self.seed, self.global_step, batch_idx % self.trainer.accumulate_grad_batches, self.global_rank)
        torch.manual_seed(int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1))

    def training_step(self, batch: tuple[PlannerInputs, PlannerTargets], _: int) -> Tensor:
        """The sum of the weighted parts of the loss."""
        inputs, targets = batch
        parts = self.loss(self.model(inputs), targets, self.scorer(inputs) if self.loss.scores else None)
        loss = torch.stack(list(parts.values())).sum()
        self.log_dict({f"train/{key}": value.detach() for key, value in parts.items()}, batch_size=len(inputs))
        return loss

    def validation_step(self, batch: tuple[PlannerInputs, PlannerTargets], number: int) -> None:
        """Score the held-out plans and their distance from the human's; draw those of the first batch."""
        inputs, targets = batch
        plans = self.model(inputs).trajectory.float()
        scores = self.scorer(inputs).score_poses(plans[:, None], dt_s=DT_S)
        distance = (plans[..., :2] - targets.trajectory[..., :2]).norm(dim=-1)
        numbers = {"pdms": scores.score.mean(), "distance_m": distance.mean(), "last_pose_m": distance[:, -1].mean()}
        for name in self.batches.columns:
            values = getattr(scores, name)
            numbers |= {} if values is None or values.isnan().all() else {name: values.nanmean()}
        # Every rank scores all held-out scenes, so nothing is reduced. NCCL could not: the scores are on the CPU.
        self.log_dict({f"held_out/{key}": value.float() for key, value in numbers.items()}, batch_size=len(inputs))
        if number == 0 and self.trainer.is_global_zero:
            self._draw(inputs.tokens[:PICTURES], plans, targets.trajectory)

    def scorer(self, inputs: PlannerInputs) -> PlanScorer:
        """The score of plans in these scenes, on the network's device."""
        return self.batches.scorer(inputs.tokens, inputs.velocity.device)

    def _draw(self, tokens: Sequence[str], plans: Float[Tensor, "B P 3"], human: Float[Tensor, "B P 3"]) -> None:
        """Pictures of plans for TensorBoard."""
        if self.logger is None:
            return
        for number, token in enumerate(tokens):
            picture = self.batches.picture(
                token, {"plan": plans[number].cpu().numpy(), "human": human[number].cpu().numpy()}
            )
            if picture is not None:
                self.logger.experiment.add_image(
                    f"held_out/{number}_{token}", picture, self.steps_done, dataformats="HWC"
                )

"""What the student minimises: the divergence from the teacher's distributions, and perhaps its codes and features.

Every slot is compared on the prefix that the store records: teacher and student saw the same earlier codes.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from latentdrive.errors import StoreError, WrongShape
from latentdrive.types import FROZEN, LatentActions, LatentFeatures


def slot_divergence(
    student: Float[Tensor, "B A K"], teacher: Float[Tensor, "B A K"], *, temperature: float
) -> Float[Tensor, "B A"]:
    """KL(teacher ‖ student) of every slot's softened distributions, in nats; 0 for equal logits."""
    log_p = F.log_softmax(teacher.float() / temperature, dim=-1)
    log_q = F.log_softmax(student.float() / temperature, dim=-1)
    return F.kl_div(log_q, log_p, log_target=True, reduction="none").sum(-1)


def distillation(
    student: Float[Tensor, "B A K"], teacher: Float[Tensor, "B A K"], *, temperature: float
) -> Float[Tensor, ""]:
    """Mean divergence over slots times temperature², which keeps the size of the gradients.

    After Hinton et al., arXiv:1503.02531, section 2.
    """
    return slot_divergence(student, teacher, temperature=temperature).mean() * temperature**2


def hard_labels(student: Float[Tensor, "B A K"], codes: Int64[Tensor, "B A"]) -> Float[Tensor, ""]:
    """Cross-entropy against the teacher's codes, in nats a slot."""
    return F.cross_entropy(student.flatten(0, 1).float(), codes.flatten())


def feature_error(student: LatentFeatures, teacher: LatentFeatures) -> Float[Tensor, ""]:
    """Squared error of the features as a share of the teacher's mean square, mean of visual and action features.

    Those of a middle layer count alike, where the student makes them. Predicting zero gives 1, whatever the scale
    of the teacher's states. The student learns that scale too, so that a planner can take either's features. Raises
    WrongShape where the student was built for another teacher, StoreError where the store lacks a middle layer.
    """
    shares = _shares(student, teacher)
    if student.middle is not None:
        if teacher.middle is None:
            raise StoreError(
                "the student predicts a middle layer, and the store holds none: label again with a teacher that has "
                "model.middle_depth, or set model.middle_depth=null for the student"
            )
        shares += _shares(student.middle, teacher.middle)
    return torch.stack(shares).mean()


def _shares(student: LatentFeatures, teacher: LatentFeatures) -> list[Float[Tensor, ""]]:
    """The squared error of visual and of action features, each as a share of the teacher's mean square."""
    pairs = {"visual": (student.visual, teacher.visual), "action": (student.action, teacher.action)}
    shares = []
    for name, (predicted, stored) in pairs.items():
        if predicted.shape != stored.shape:
            raise WrongShape(
                f"{name} features: the student makes {list(predicted.shape[1:])}, the store holds "
                f"{list(stored.shape[1:])} (tokens, width); set model.visual_grid, model.visual_width and "
                "model.action_width to the store's"
            )
        predicted, stored = predicted.float(), stored.float()
        shares.append((predicted - stored).square().mean() / stored.square().mean().clamp_min(1e-12))
    return shares


@dataclass(**FROZEN)
class StudentLoss:
    """Weights of the parts; 0 switches `hard` and `features` off.

    distillation: of the divergence, both sides softened by `temperature`. hard: of the teacher's codes
    as labels. features: of the error of the features.
    """

    distillation: float
    temperature: float
    hard: float
    features: float

    def __call__(
        self, logits: Float[Tensor, "B A K"], features: LatentFeatures, teacher: LatentActions
    ) -> dict[str, Float[Tensor, ""]]:
        """The weighted parts by name; their sum is minimised. logits, features: the student's.

        Raises StoreError where the store lacks what a weight asks for.
        """
        if teacher.logits is None or (self.features and teacher.features is None):
            raise StoreError("the store holds no logits or no features: label again with a teacher")
        divergence = distillation(logits, teacher.logits, temperature=self.temperature)
        parts = {"distillation": self.distillation * divergence}
        if self.hard:
            parts["hard"] = self.hard * hard_labels(logits, teacher.codes)
        if self.features:
            parts["features"] = self.features * feature_error(features, teacher.features)
        return parts


def judge(student: Float[Tensor, "B A K"], teacher: Float[Tensor, "B A K"]) -> dict[str, Float[Tensor, "B A"]]:
    """Numbers of every slot. kl: divergence from the teacher, nats. top1: whether the likeliest codes agree."""
    return {
        "kl": slot_divergence(student, teacher, temperature=1.0),
        "top1": (student.argmax(-1) == teacher.argmax(-1)).to(torch.float32),
    }

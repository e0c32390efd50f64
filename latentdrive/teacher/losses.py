"""What the teacher minimises and is judged by: negative log-likelihood over the K codes, in nats a slot.

The softmax runs over the K codes alone; the logits of all other tokens play no part. Nats are therefore
comparable with the entropy of the codes and with a model that sees only codes.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from latentdrive.types import FROZEN


def slot_nats(logits: Float[Tensor, "B A K"], codes: Int64[Tensor, "B A"]) -> Float[Tensor, "B A"]:
    """-log p(code) of every slot in nats; log K for equal logits."""
    return F.cross_entropy(logits.flatten(0, 1), codes.flatten(), reduction="none").unflatten(0, codes.shape)


@dataclass(**FROZEN)
class TeacherLoss:
    """Likelihood of the codes by both ways of predicting them.

    autoregressive: weight of ordinary decoding, given the true earlier codes. one_pass: weight of the
    one pass.
    """

    autoregressive: float
    one_pass: float

    def __call__(
        self, autoregressive: Float[Tensor, "B A K"], one_pass: Float[Tensor, "B A K"], codes: Int64[Tensor, "B A"]
    ) -> dict[str, Float[Tensor, ""]]:
        """The weighted mean nats of each way; their sum is minimised."""
        return {
            "autoregressive": self.autoregressive * slot_nats(autoregressive, codes).mean(),
            "one_pass": self.one_pass * slot_nats(one_pass, codes).mean(),
        }


def judge(
    autoregressive: Float[Tensor, "B A K"],
    one_pass: Float[Tensor, "B A K"],
    codes: Int64[Tensor, "B A"],
    *,
    codes_per_transition: int,
) -> dict[str, Float[Tensor, "B"]]:
    """Numbers of every scene, for means and for a paired bootstrap over drives.

    nats: of ordinary decoding, mean over all slots; nats_first: over the slots of the first transition.
    one_pass_nats, one_pass_nats_first: the same for the one pass. top1: share of slots whose likeliest
    code, given the true earlier ones, is the true one.
    """
    ordinary, parallel = slot_nats(autoregressive, codes), slot_nats(one_pass, codes)
    first = slice(0, codes_per_transition)
    return {
        "nats": ordinary.mean(1),
        "nats_first": ordinary[:, first].mean(1),
        "one_pass_nats": parallel.mean(1),
        "one_pass_nats_first": parallel[:, first].mean(1),
        "top1": (autoregressive.argmax(-1) == codes).float().mean(1),
    }


def agreement(first: Int64[Tensor, "B A"], second: Int64[Tensor, "B A"]) -> Float[Tensor, "B"]:
    """Share of the slots in which two predictions of a scene name the same code."""
    return (first == second).to(torch.float32).mean(1)

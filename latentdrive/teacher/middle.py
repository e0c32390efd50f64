"""The states of a middle layer of the language model, written down while it runs.

A recurrent-depth head (RD-VLA, arXiv:2602.07845) reads a middle layer of the network beside its last one.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from latentdrive.heads.middle import middle_layer


class MiddleRecorder:
    """Records what enters the layer at a share `depth` of all layers, as a context. depth: None records nothing.

    Raises ConfigError for a depth that leaves no layer before or after it.
    """

    def __init__(self, network: nn.Module, depth: float | None) -> None:
        self._layers = network.model.language_model.layers
        self._place = None if depth is None else middle_layer(depth, len(self._layers))
        self._seen: list[Tensor] = []

    @property
    def states(self) -> Float[Tensor, "B M D"] | None:
        """Of all columns that ran within the last context, in order."""
        return torch.cat(self._seen, 1) if self._seen else None

    def __enter__(self) -> "MiddleRecorder":
        self._seen, self._hook = [], None
        if self._place is not None:
            layer = self._layers[self._place]
            self._hook = layer.register_forward_pre_hook(lambda _, inputs: self._seen.append(inputs[0]))
        return self

    def __exit__(self, *_: object) -> None:
        if self._hook is not None:
            self._hook.remove()

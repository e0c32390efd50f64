"""A bound for a model that a file describes: while it is built, it gets hardly more weights than its own file holds.

Its configuration may ask for a million layers, which would fill the memory before the weights are compared.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn.modules import module

from latentdrive.errors import CheckpointError, reason_of

# A model may be built with parts that it drops again, such as the upper stages of a backbone. latentdrive default.
TIMES, MORE_TENSORS, MORE_NUMBERS = 4, 2_000, 100_000_000


@contextmanager
def weights_within(file: Path) -> Iterator[None]:
    """Raise CheckpointError as soon as models that are built in the block have far more weights than the file.

    They are counted before they are filled. Also raised where the file is no safetensors file.
    """
    tensors, numbers = _count(file)
    most_tensors, most_numbers = TIMES * tensors + MORE_TENSORS, TIMES * numbers + MORE_NUMBERS
    built = [0, 0]

    def count(owner: nn.Module, name: str, weight: Tensor | None) -> None:
        if weight is None:
            return
        built[0] += 1
        built[1] += weight.numel()
        if built[0] > most_tensors or built[1] > most_numbers:
            raise CheckpointError(
                f"{file.parent}: its configuration describes a model of more than {built[0]:,} tensors with "
                f"{built[1]:,} numbers, and {file.name} holds {tensors:,} with {numbers:,}; copy the folder again"
            )

    hooks = (
        module.register_module_parameter_registration_hook(count),
        module.register_module_buffer_registration_hook(count),
    )
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _count(file: Path) -> tuple[int, int]:
    """How many tensors a file holds, and how many numbers these have."""
    try:
        with safe_open(file, "pt") as opened:
            names = opened.keys()  # no mapping, so that it can't be walked by itself
            shapes = [opened.get_slice(name).get_shape() for name in names]
    except SafetensorError as error:
        raise CheckpointError(f"{file} can't be read ({reason_of(error)}): copy the folder again") from None
    return len(shapes), sum(map(math.prod, shapes))

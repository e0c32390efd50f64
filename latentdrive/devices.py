"""The device that computes, as a person names it."""

import torch

from latentdrive.errors import ConfigError, reason_of

AUTO = "auto"


def choose_device(name: str) -> str:
    """The device behind `device=NAME`: a name of PyTorch's (cpu, cuda, cuda:1), or auto for a GPU where there is one.

    Raises ConfigError for a device that this machine has not.
    """
    if name == AUTO:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # AssertionError: PyTorch was built without it
        raise ConfigError(
            f"device={name} can't be used here ({reason_of(error)}): set device=cpu, or device=auto for a GPU where "
            "there is one"
        ) from None
    return name

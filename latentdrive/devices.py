"""The device that computes, as a person names it."""

import torch

from latentdrive.errors import ConfigError, reason_of

AUTO = "auto"
# PyTorch's names of the instructions that compute with bfloat16: of x86 processors, and of ARM's.
BFLOAT16 = ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")


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


def has_bfloat16(device: str) -> bool:
    """Whether a device computes with bfloat16 itself. device: cpu or cuda.

    Any processor takes bfloat16; one without the instructions converts it at each step, which is 2 to 4 times as
    slow as float32. A PyTorch that can't tell (before `torch.cpu.get_capabilities`) counts as without.
    """
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    told = getattr(torch.cpu, "get_capabilities", dict)()
    return any(told.get(name, False) for name in BFLOAT16)

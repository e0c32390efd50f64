"""Hides the warnings of the packages below ours: they speak to programmers, and not to who runs a command."""

import sys
import warnings

FOREIGN = ("lightning", "torch", "torchvision", "transformers", "timm", "huggingface_hub", "tensorboard")


def silence() -> None:
    """Ignore warnings that these packages raise. `python -W` or PYTHONWARNINGS shows them again."""
    if sys.warnoptions:
        return
    for package in FOREIGN:
        warnings.filterwarnings("ignore", module=rf"{package}(\.|$)")

"""Qwen2.5-VL on disk: reads and writes network and processor in the Hugging Face layout.

`load_qwen` reads published weights from a folder or a hub id; `tiny.load_tiny_qwen` writes such a folder and
calls it. `load_without_weights` reads the files of one of our checkpoints, whose weights are in
`model.safetensors`. Only `load_qwen` with a hub id may use the internet.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from transformers import AutoConfig, AutoProcessor, Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLProcessor
from transformers.utils import logging

from latentdrive.errors import CheckpointError
from latentdrive.plain_files import read_json
from latentdrive.teacher.model_folder import AGAIN, MODEL_TYPE, require_complete

# What transformers finds while it loads, and what it means.
UNFIT = {
    "missing_keys": "do not fit: they are missing",
    "mismatched_keys": "do not fit: they have another size than config.json says",
    "unexpected_keys": "do not fit: the model of config.json has no such weights",
}
PROCESSOR_FILES = ("processor_config.json", "preprocessor_config.json", "audio_tokenizer_config.json")
NO_CODE = {"trust_remote_code": False}  # a folder may name Python files of its own: they never run


class VisionLanguage(NamedTuple):
    """A network and the processor (tokenizer and image processor) that fits it."""

    network: Qwen2_5_VLForConditionalGeneration
    processor: Qwen2_5_VLProcessor


def load_qwen(*, path: str, dtype: Literal["float32", "bfloat16"], min_pixels: int, max_pixels: int) -> VisionLanguage:
    """Published weights from a local folder or a hub id, all of which must fit.

    dtype: of the weights in memory. min_pixels, max_pixels: bounds of an image after resizing; fewer
    pixels give fewer tokens. Raises CheckpointError that says what to download where nothing is found.
    """
    _quiet()
    if Path(path).is_dir():
        require_complete(Path(path))
        _require_own_parts(Path(path))
    try:
        network, loading = Qwen2_5_VLForConditionalGeneration.from_pretrained(
            path,
            dtype=getattr(torch, dtype),
            attn_implementation="sdpa",
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are named below
            use_safetensors=True,
            **NO_CODE,
        )
        processor = AutoProcessor.from_pretrained(path, **NO_CODE)
    except (OSError, ValueError, RuntimeError) as error:  # ValueError: the folder's own Python code would be needed
        raise CheckpointError(
            f"{path}: no Qwen2.5-VL could be loaded from here ({_first_line(error)}): {AGAIN}"
        ) from None
    _require_fit(path, loading)
    processor.image_processor.size = {"shortest_edge": min_pixels, "longest_edge": max_pixels}
    return VisionLanguage(network, processor)


def _require_fit(path: str, loading: Mapping[str, Iterable[Any]]) -> None:
    """Raise CheckpointError where weights are missing, of another size, or unknown to the model."""
    for kind, problem in UNFIT.items():
        if wrong := sorted(map(str, loading[kind])):
            raise CheckpointError(f"{path}: {len(wrong)} weights {problem}, the first is {wrong[0]}: {AGAIN}")


def load_without_weights(folder: Path) -> VisionLanguage:
    """A network with new weights, and its processor, from the files that `write` wrote. Never uses the internet."""
    _quiet()
    _require_own_parts(folder)
    if not (folder / "config.json").is_file():
        raise CheckpointError(f"{folder} lacks config.json: the teacher's checkpoint is incomplete, copy it again")
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, **NO_CODE)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder}/config.json describes no {MODEL_TYPE} ({_first_line(error)})") from None
    if config.model_type != MODEL_TYPE:
        raise CheckpointError(f"{folder}/config.json describes a {config.model_type}, expected {MODEL_TYPE}")
    network = Qwen2_5_VLForConditionalGeneration._from_config(config, dtype=config.dtype, attn_implementation="sdpa")
    try:
        processor = AutoProcessor.from_pretrained(folder, local_files_only=True, **NO_CODE)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder} holds no processor of a {MODEL_TYPE} ({_first_line(error)})") from None
    return VisionLanguage(network, processor)


def _require_own_parts(folder: Path) -> None:
    """Raise CheckpointError for a folder whose processor names another model: transformers would fetch it."""
    for name in PROCESSOR_FILES:
        if not (folder / name).is_file():
            continue
        try:
            content = read_json(folder / name)
        except ValueError as error:
            raise CheckpointError(f"{folder / name} {error}: copy the folder again") from None
        if not isinstance(content, dict) or any(str(key).startswith("audio_tokenizer") for key in content):
            raise CheckpointError(f"{folder / name} names an audio tokenizer, and a {MODEL_TYPE} has none: remove it")


def _quiet() -> None:
    logging.disable_progress_bar()  # it would break our own bars
    logging.set_verbosity_error()  # what it warns of is an error here


def write(folder: Path, parts: VisionLanguage) -> None:
    """Write the files of configuration, tokenizer and processor, but no weights."""
    folder.mkdir(parents=True, exist_ok=True)
    parts.network.config.save_pretrained(folder)
    parts.processor.save_pretrained(folder)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]

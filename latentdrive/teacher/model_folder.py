"""Checks a folder with a published Qwen2.5-VL, file by file, before transformers loads it.

What a half-finished download leaves is named in one sentence. transformers would name some of it by
internal errors, and would fill weights that it does not find with random numbers.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from latentdrive.errors import CheckpointError
from latentdrive.plain_files import read_json
from latentdrive.weight_files import require_file, weight_shapes

MODEL_TYPE = "qwen2_5_vl"
AGAIN = (
    "download the model where there is internet (hf download Qwen/Qwen2.5-VL-3B-Instruct --local-dir FOLDER, which "
    "goes on where it stopped) and set model.parts.path=FOLDER, or use teacher=tiny"
)
CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
# Each of these is there in one of several forms; a form is files that belong together.
TOKENIZER = (("tokenizer.json",), ("vocab.json", "merges.txt"))
PROCESSOR = (("preprocessor_config.json",), ("processor_config.json",))
LARGEST = 100_000_000  # bytes of a JSON file; the published tokenizer has 7 million


def require_complete(folder: Path) -> None:
    """Raise CheckpointError, in one sentence, for the first file that is missing, cut short or of another model."""
    config = _read(folder / CONFIG)
    if config.get("model_type") != MODEL_TYPE:
        raise CheckpointError(
            f"{folder / CONFIG} describes a model of type {config.get('model_type')}, expected {MODEL_TYPE}: {AGAIN}"
        )
    _require_weights(folder)
    _require_one_of(folder, TOKENIZER, "tokenizer")
    _require_one_of(folder, PROCESSOR, "image processor")


def _require_weights(folder: Path) -> None:
    if not (folder / INDEX).is_file():
        weight_shapes(folder / WEIGHTS, again=AGAIN)
        return
    places = _read(folder / INDEX).get("weight_map")
    if not isinstance(places, Mapping) or not all(isinstance(name, str) for name in places.values()):
        raise CheckpointError(f"{folder / INDEX} lists no weights: {AGAIN}")
    for shard in sorted(set(places.values())):
        if Path(shard).name != shard:
            raise CheckpointError(f"{folder / INDEX} names {shard}, which is no file of its own folder: {AGAIN}")
        held = weight_shapes(folder / shard, again=AGAIN)
        if missing := [name for name, place in places.items() if place == shard and name not in held]:
            raise CheckpointError(
                f"{folder / shard} lacks {missing[0]} ({len(missing)} weights in all), which {INDEX} says it holds: "
                f"{AGAIN}"
            )


def _require_one_of(folder: Path, forms: tuple[tuple[str, ...], ...], what: str) -> None:
    """Raise CheckpointError if no form of a part is there, or if a file of the form that is there is damaged."""
    form = next((form for form in forms if any((folder / name).is_file() for name in form)), None)
    if form is None:
        raise CheckpointError(f"{folder} lacks its {what} ({' or '.join(' + '.join(form) for form in forms)}): {AGAIN}")
    for name in form:
        _read(folder / name) if name.endswith(".json") else require_file(folder / name, again=AGAIN)


def _read(file: Path) -> dict[str, Any]:
    """The object in a JSON file."""
    require_file(file, again=AGAIN)
    try:
        content = read_json(file, largest_bytes=LARGEST)
    except ValueError as error:
        raise CheckpointError(f"{file} is cut short or damaged ({error}): {AGAIN}") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{file} holds no JSON object: {AGAIN}")
    return content

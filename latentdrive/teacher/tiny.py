"""A Qwen2.5-VL of toy width, written offline in the Hugging Face layout and then loaded like the published one.

The classes are transformers' own. The tokenizer has one token for each word of the prompt, each integer and
each tenth. Nothing is downloaded. All weights are random, so that the vision tower must be trained, too.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
)
from transformers.utils import logging

from latentdrive.errors import ConfigError
from latentdrive.files import atomic_folder
from latentdrive.teacher import hugging_face
from latentdrive.teacher.prompt import COMMANDS, STATE, TURN, UNKNOWN
from latentdrive.types import FROZEN

SPECIAL = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
]
LARGEST = 99  # the largest integer with its own token; a speed in m/s stays below it
PIECES = r"<\|\w+\|>|\.\d|\d+|[^\W\d]+|[^\w\s]"


@dataclass(**FROZEN)
class TinyShape:
    """Sizes of the toy.

    rows: of the embedding, more than the tokenizer needs, as in the published models. patch: side in
    pixels; merge x merge patches become one visual token. spread: standard deviation of the initial
    weights.
    """

    rows: int
    width: int
    layers: int
    heads: int
    key_value_heads: int
    feed_forward: int
    vision_width: int
    vision_layers: int
    vision_heads: int
    vision_feed_forward: int
    patch: int
    merge: int
    spread: float

    def __post_init__(self) -> None:
        if self.width % self.heads or (self.width // self.heads) % 2:
            raise ConfigError(f"teacher: width {self.width} must be an even multiple of heads {self.heads}")
        if self.heads % self.key_value_heads:
            raise ConfigError(f"teacher: {self.heads} heads cannot share {self.key_value_heads} key-value heads")
        if self.vision_width % (4 * self.vision_heads):
            raise ConfigError(f"teacher: vision_width must be a multiple of 4 x vision_heads, got {self.vision_width}")


def load_tiny_qwen(
    *, folder: str, shape: dict[str, int | float], min_pixels: int, max_pixels: int, seed: int
) -> hugging_face.VisionLanguage:
    """The toy in `folder`/<hash of its settings>, which is first written where it does not exist."""
    sizes = TinyShape(**shape)
    settings = json.dumps({"shape": asdict(sizes), "seed": seed}, sort_keys=True)
    path = Path(folder) / hashlib.sha256(settings.encode()).hexdigest()[:16]
    if not path.is_dir():
        with atomic_folder(path) as new:
            write(new, sizes, seed=seed)
    return hugging_face.load_qwen(path=str(path), dtype="float32", min_pixels=min_pixels, max_pixels=max_pixels)


def write(folder: Path, shape: TinyShape, *, seed: int) -> None:
    """Write a complete model folder: configuration, weights, tokenizer and image processor."""
    logging.disable_progress_bar()
    tokenizer = make_tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Qwen2_5_VLForConditionalGeneration(make_config(shape, tokenizer))
    network.save_pretrained(folder)
    patches = {"patch_size": shape.patch, "merge_size": shape.merge}
    Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(**patches),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(**patches),
    ).save_pretrained(folder)


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer of words, signs, integers up to 99 and tenths: `+12.3` has the three tokens `+`, `12` and `.3`."""
    pieces = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\s+"), "removed"),
            pre_tokenizers.Split(Regex(PIECES), "isolated"),
        ]
    )
    prompt = " ".join([TURN, STATE, UNKNOWN, *COMMANDS.values()]).format(
        images="", state="", velocity="+", acceleration="-", command=""
    )
    words = [*SPECIAL, "<|unknown|>"]
    words += [word for word, _ in pieces.pre_tokenize_str(prompt)]
    words += [str(i) for i in range(LARGEST + 1)] + [f".{i}" for i in range(10)]
    vocabulary = {word: i for i, word in enumerate(dict.fromkeys(words))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<|unknown|>"))
    tokenizer.pre_tokenizer = pieces
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<|unknown|>",
        pad_token="<|endoftext|>",
        eos_token="<|im_end|>",
        additional_special_tokens=SPECIAL,
    )


def make_config(shape: TinyShape, tokenizer: PreTrainedTokenizerFast) -> Qwen2_5_VLConfig:
    """The toy's configuration. Every vision layer sees the whole image: windows save nothing at this size."""
    ids = {word: tokenizer.convert_tokens_to_ids(word) for word in SPECIAL}
    half = shape.width // shape.heads // 2
    # Time, height and width get 1/4, 3/8 and 3/8 of a head's rotation frequencies, as in the published
    # models.
    sections = [half - 2 * (3 * half // 8), 3 * half // 8, 3 * half // 8]
    text = {
        "vocab_size": shape.rows,
        "hidden_size": shape.width,
        "intermediate_size": shape.feed_forward,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.key_value_heads,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-6,
        "initializer_range": shape.spread,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": sections},
        "tie_word_embeddings": True,
        "bos_token_id": ids["<|endoftext|>"],
        "eos_token_id": ids["<|im_end|>"],
    }
    vision = {
        "depth": shape.vision_layers,
        "hidden_size": shape.vision_width,
        "intermediate_size": shape.vision_feed_forward,
        "num_heads": shape.vision_heads,
        "patch_size": shape.patch,
        "spatial_merge_size": shape.merge,
        "out_hidden_size": shape.width,
        "fullatt_block_indexes": list(range(shape.vision_layers)),
        "initializer_range": shape.spread,
    }
    return Qwen2_5_VLConfig(
        text_config=text,
        vision_config=vision,
        tie_word_embeddings=True,
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
    )

"""The action tokens take rows that nobody uses; checked against the published 3B's numbers without its weights."""

import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from latentdrive.teacher import tiny
from latentdrive.teacher.vocabulary import add_action_tokens, initialise_rows, make_room
from tests.support.teacher import SHAPE

# config.json of Qwen/Qwen2.5-VL-3B-Instruct
TEXT_3B = {
    "vocab_size": 151_936,
    "hidden_size": 2048,
    "intermediate_size": 11_008,
    "num_hidden_layers": 36,
    "num_attention_heads": 16,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": True,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
}
VISION_3B = {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "out_hidden_size": 2048}
USED_3B, PARAMETERS_3B = 151_665, 3_754_622_976


@pytest.fixture(scope="module")
def network_3b():
    config = Qwen2_5_VLConfig(text_config=TEXT_3B, vision_config=VISION_3B, tie_word_embeddings=True)
    with torch.device("meta"):
        return Qwen2_5_VLForConditionalGeneration(config)


def words(count: int) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel({f"w{i}": i for i in range(count)}, unk_token="w0")),
        unk_token="w0",
    )


def test_the_3b_keeps_its_rows_and_its_parameter_count(network_3b):
    vocabulary = add_action_tokens(words(USED_3B), codes=16, slots=12)
    assert vocabulary.codes == tuple(range(151_665, 151_681))
    assert vocabulary.slots == tuple(range(151_681, 151_693))
    assert make_room(network_3b, vocabulary) == 0
    assert sum(p.numel() for p in network_3b.parameters()) == PARAMETERS_3B


def test_adding_the_tokens_again_changes_nothing():
    tokenizer = words(50)
    first = add_action_tokens(tokenizer, codes=16, slots=12)
    assert add_action_tokens(tokenizer, codes=16, slots=12) == first
    assert len(tokenizer) == 78 and first.used == 50


def test_a_code_is_one_token_whatever_stands_beside_it():
    tokenizer = tiny.make_tokenizer()
    vocabulary = add_action_tokens(tokenizer, codes=16, slots=12)
    ids = tokenizer("assistant<|latent_3|><|latent_15|><|slot_0|>")["input_ids"]
    assert ids[-3:] == [vocabulary.codes[3], vocabulary.codes[15], vocabulary.slots[0]]


def small_network(rows: int) -> Qwen2_5_VLForConditionalGeneration:
    tokenizer = tiny.make_tokenizer()
    return Qwen2_5_VLForConditionalGeneration(tiny.make_config(tiny.TinyShape(**SHAPE | {"rows": rows}), tokenizer))


def test_an_embedding_without_unused_rows_grows_by_what_is_missing():
    tokenizer = tiny.make_tokenizer()
    used = len(tokenizer)
    network = small_network(rows=used + 20)
    vocabulary = add_action_tokens(tokenizer, codes=16, slots=12)
    assert make_room(network, vocabulary) == 8
    assert network.get_input_embeddings().num_embeddings == used + 28
    assert network.lm_head.out_features == used + 28


def test_only_the_new_rows_are_initialised_and_they_look_like_the_used_ones():
    tokenizer, network = tiny.make_tokenizer(), small_network(rows=192)
    before = network.get_input_embeddings().weight.detach().clone()
    vocabulary = add_action_tokens(tokenizer, codes=16, slots=12)
    initialise_rows(network, vocabulary, seed=0)
    after = network.get_input_embeddings().weight.detach()
    changed = (before != after).any(1).nonzero()[:, 0].tolist()
    assert changed == list(vocabulary.codes + vocabulary.slots)
    assert after[changed].std().item() == pytest.approx(before[: vocabulary.used].std().item(), rel=0.2)
    assert network.lm_head.weight.data_ptr() == network.get_input_embeddings().weight.data_ptr()

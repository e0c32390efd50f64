"""The teacher's additional tokens: one for each code, and one placeholder for each slot.

The embedding of Qwen2.5-VL has more rows than its tokenizer has tokens (the 3B: 151,936 rows, 151,665
used). The new tokens take unused rows, so that the number of parameters stays the same. All slots share
a code's token; its position says which slot it stands for.
"""

from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from latentdrive.types import FROZEN

CODE, SLOT = "<|latent_{}|>", "<|slot_{}|>"


@dataclass(**FROZEN)
class ActionVocabulary:
    """Token ids. codes: of the K codes. slots: of the placeholders of the one pass, one for each of A slots.

    used: number of tokens before these were added.
    """

    codes: tuple[int, ...]
    slots: tuple[int, ...]
    used: int

    @property
    def rows(self) -> int:
        """The number of rows that an embedding needs."""
        return max(*self.codes, *self.slots) + 1


def add_action_tokens(tokenizer: PreTrainedTokenizerBase, *, codes: int, slots: int) -> ActionVocabulary:
    """Add a token for each code and slot behind the tokenizer's own. Tokens that it already has keep their ids."""
    words = [CODE.format(i) for i in range(codes)] + [SLOT.format(i) for i in range(slots)]
    known = tokenizer.get_vocab()
    used = min((known[word] for word in words if word in known), default=len(tokenizer))
    tokenizer.add_tokens([word for word in words if word not in known], special_tokens=True)
    ids = tuple(tokenizer.convert_tokens_to_ids(words))
    return ActionVocabulary(codes=ids[:codes], slots=ids[codes:], used=used)


def make_room(network: nn.Module, vocabulary: ActionVocabulary) -> int:
    """Grow the embedding where its unused rows do not suffice. Returns the number of new rows, usually 0."""
    rows = network.get_input_embeddings().num_embeddings
    if vocabulary.rows > rows:
        network.resize_token_embeddings(vocabulary.rows)
    return max(0, vocabulary.rows - rows)


@torch.no_grad()
def initialise_rows(network: nn.Module, vocabulary: ActionVocabulary, *, seed: int) -> None:
    """Draw the rows of the new tokens from the mean and the deviation of the used rows.

    As inputs they then differ from each other, and none stands out. Unused rows of a published model
    were never trained and may lie anywhere. Input and output rows get the same values; a tied
    embedding, as in the 3B, is set once.
    """
    generator = torch.Generator().manual_seed(seed)
    ids = torch.tensor(vocabulary.codes + vocabulary.slots)
    noise = torch.randn(len(ids), network.get_input_embeddings().embedding_dim, generator=generator)
    tables = {id(t.weight): t.weight for t in (network.get_input_embeddings(), network.get_output_embeddings())}
    for table in tables.values():
        known = table[: vocabulary.used].float()
        rows = known.mean(0) + known.std(0) * noise.to(known.device)
        table[ids.to(table.device)] = rows.to(table.dtype)

"""The teacher's extra words: one token a code, and one placeholder a slot.

First file of the teacher, before prompt.py. The embedding of Qwen2.5-VL has more rows than its tokenizer has tokens (the 3B:
151,936 rows, 151,665 used), so the new tokens take rows that nobody uses and the parameter count stays what it was. A code's
token is shared by all slots: what slot it stands for is said by its position.
"""

from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from latentdrive.types import FROZEN

CODE, SLOT = "<|latent_{}|>", "<|slot_{}|>"


@dataclass(**FROZEN)
class ActionVocabulary:
    """Token ids. codes: one per code [K]; slots: the placeholders of the one-pass prediction, one per slot [A].

    used: tokens of the tokenizer before these were added.
    """

    codes: tuple[int, ...]
    slots: tuple[int, ...]
    used: int

    @property
    def rows(self) -> int:
        """Rows that an embedding must have at least."""
        return max(*self.codes, *self.slots) + 1


def add_action_tokens(tokenizer: PreTrainedTokenizerBase, *, codes: int, slots: int) -> ActionVocabulary:
    """Give the tokenizer a token per code and per slot, behind all of its own; tokens that it has keep their ids."""
    words = [CODE.format(i) for i in range(codes)] + [SLOT.format(i) for i in range(slots)]
    known = tokenizer.get_vocab()
    used = min((known[word] for word in words if word in known), default=len(tokenizer))
    tokenizer.add_tokens([word for word in words if word not in known], special_tokens=True)
    ids = tuple(tokenizer.convert_tokens_to_ids(words))
    return ActionVocabulary(codes=ids[:codes], slots=ids[codes:], used=used)


def make_room(network: nn.Module, vocabulary: ActionVocabulary) -> int:
    """Grow the embedding of a transformers model where its unused rows do not suffice; returns the rows added (usually 0)."""
    rows = network.get_input_embeddings().num_embeddings
    if vocabulary.rows > rows:
        network.resize_token_embeddings(vocabulary.rows)
    return max(0, vocabulary.rows - rows)


@torch.no_grad()
def initialise_rows(network: nn.Module, vocabulary: ActionVocabulary, *, seed: int) -> None:
    """Draw the rows of the new tokens from the mean and spread of the used ones: as inputs they differ, none stands out.

    Unused rows of a published model were never trained as inputs and may lie anywhere. Input and output rows are set alike;
    where they are one tensor (tied, as in the 3B) they are set once.
    """
    generator = torch.Generator().manual_seed(seed)
    ids = torch.tensor(vocabulary.codes + vocabulary.slots)
    noise = torch.randn(len(ids), network.get_input_embeddings().embedding_dim, generator=generator)
    tables = {id(t.weight): t.weight for t in (network.get_input_embeddings(), network.get_output_embeddings())}
    for table in tables.values():
        known = table[: vocabulary.used].float()
        rows = known.mean(0) + known.std(0) * noise.to(known.device)
        table[ids.to(table.device)] = rows.to(table.dtype)

"""A codebook's reader of ego codes as a graph gives the codes that labelling gives."""

import torch

from latentdrive import checkpoint
from latentdrive.codebook.model import Codebook
from latentdrive.export.networks import EgoCodes, codebook_graph
from tests.support.paths import ROOT


def test_the_graph_reads_the_codes_of_the_codebook():
    book, _ = checkpoint.load(ROOT / "checkpoints/world_codebook", expect=Codebook)
    graph = codebook_graph(book)
    drawn = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, graph.inputs["frames"].shape, dtype=torch.uint8, generator=drawn)
    expected = book.encode(frames[None], None)
    with torch.no_grad():
        codes, logits = EgoCodes(book)(frames)
        program = torch.export.export(graph.module, (frames,)).module()
        again = program(frames)
    assert torch.equal(codes, expected.codes[0]) and torch.allclose(logits, expected.logits[0], atol=1e-4)
    assert torch.equal(again[0], codes)

"""The quantiser: float32, k-means start, dead codes, a book that stands still when it should, and one
book for all ranks.
"""

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from latentdrive.codebook.quantizer import Quantizer
from latentdrive.errors import CheckpointError

torch.set_num_threads(1)


def quantizer(**changed) -> Quantizer:
    return Quantizer(**{"codes": 4, "width": 2, "commitment": 0.25, "decay": 0.9, "dead_below": 0.0} | changed)


def clusters(count: int = 64, *, spread: float = 0.05, seed: int = 0) -> torch.Tensor:
    """[count, 2 slots, 2]: every vector near one of the four corners of a square of side 4."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.tensor([[-2.0, -2.0], [-2.0, 2.0], [2.0, -2.0], [2.0, 2.0]])
    picked = torch.randint(0, 4, (count, 2), generator=generator)
    return corners[picked] + spread * torch.randn(count, 2, 2, generator=generator)


def test_the_first_batch_starts_the_book_by_k_means():
    torch.manual_seed(1)
    book = quantizer()
    latents = clusters()
    codes = book(latents).codes
    means = torch.stack([latents[codes == code].mean(0) for code in range(4)])
    torch.testing.assert_close(book.vectors, means, atol=1e-3, rtol=0)  # a fixed point of k-means


def test_a_vector_gets_the_number_of_the_nearest_entry_and_logits_are_minus_squared_distances():
    torch.manual_seed(1)
    book = quantizer()
    book(clusters())
    latents = clusters(8, seed=3)
    book.eval()
    quantised_latents = book(latents)
    distances = (latents[:, :, None] - book.vectors).square().sum(-1)
    assert torch.equal(quantised_latents.codes, distances.argmin(-1))
    torch.testing.assert_close(quantised_latents.logits, -distances, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(quantised_latents.vectors, book.vectors[quantised_latents.codes])
    torch.testing.assert_close(quantised_latents.vectors, book.look_up(quantised_latents.codes))
    torch.testing.assert_close(quantised_latents.commitment, (quantised_latents.vectors - latents).square().mean())


def test_before_there_is_a_book_vectors_pass_as_they_are():
    book, latents = quantizer(), clusters().requires_grad_()
    quantised_latents = book(latents, quantised=False)
    torch.testing.assert_close(quantised_latents.vectors, latents)
    quantised_latents.vectors.sum().backward()
    assert (latents.grad == 1).all() and not quantised_latents.commitment and not quantised_latents.codes.any()
    assert not book.book._codebook.initted, "the book is made from the first vectors that are quantised"


def test_an_untrained_book_is_refused_in_evaluation():
    with pytest.raises(CheckpointError, match="never trained"):
        quantizer().eval()(clusters())


def test_one_book_is_shared_by_the_slots():
    torch.manual_seed(1)
    book = quantizer()
    latents = clusters()
    book(latents)
    book.eval()
    swapped = book(latents.flip(1))
    assert torch.equal(book(latents).codes, swapped.codes.flip(1))
    assert book.vectors.shape == (4, 2)


def test_the_book_follows_the_latents_in_training_and_stands_still_in_evaluation():
    book, corners = quantizer(), torch.tensor([[-2.0, -2.0], [-2.0, 2.0], [2.0, -2.0], [2.0, 2.0]])
    inner = book.book._codebook
    inner.initted.fill_(True)
    for buffer, value in ((inner.embed, corners), (inner.embed_avg, 8 * corners), (inner.cluster_size, 8.0)):
        buffer.copy_(torch.as_tensor(value))
    latents = corners.repeat(8, 1).unflatten(0, (16, 2)) + 0.2
    before = {key: value.clone() for key, value in book.state_dict().items()}
    book.eval()
    for _ in range(3):
        book(latents)
    assert all(torch.equal(before[key], value) for key, value in book.state_dict().items())
    book.train()
    book(latents)
    moved = book.vectors - before["book._codebook.embed"][0]
    torch.testing.assert_close(moved, torch.full_like(moved, 0.02), atol=1e-3, rtol=0)  # 1 - decay = 0.1 of the way


@pytest.mark.parametrize("training", [True, False])
def test_gradients_pass_straight_through(training: bool):
    torch.manual_seed(1)
    book = quantizer()
    book(clusters())
    book.train(training)
    latents = clusters(8).requires_grad_()
    weights = torch.randn(8, 2, 2)
    (book(latents).vectors * weights).sum().backward()
    torch.testing.assert_close(latents.grad, weights)


def test_the_book_stays_float32_under_bfloat16_autocast():
    torch.manual_seed(1)
    plain, mixed = quantizer(), quantizer()
    latents = clusters(spread=0.5)
    torch.manual_seed(2)
    expected = plain(latents)
    torch.manual_seed(2)
    with torch.autocast("cpu", torch.bfloat16):
        quantised_latents = mixed(latents)
    assert quantised_latents.vectors.dtype == quantised_latents.logits.dtype == torch.float32
    assert torch.equal(quantised_latents.codes, expected.codes)
    assert torch.equal(mixed.vectors, plain.vectors)
    assert torch.equal(mixed.book._codebook.embed_avg, plain.book._codebook.embed_avg)


def test_a_dead_code_is_seeded_anew_and_its_statistics_with_it():
    torch.manual_seed(1)
    book = quantizer(dead_below=1.0)
    book(clusters())
    inner = book.book._codebook
    inner.embed[0, 0], inner.embed_avg[0, 0], inner.cluster_size[0, 0] = (
        50.0,
        50.0 * 1.05,
        1.05,
    )  # far away, nearly dead
    latents = clusters(seed=5)
    book(latents)
    nearest = (latents.flatten(0, 1) - book.vectors[0]).norm(dim=-1).min()
    assert nearest < 1e-6  # one of the latents themselves
    assert inner.cluster_size[0, 0] == 1.0  # that of a code just above the threshold, no memory of the old place
    torch.testing.assert_close(inner.embed_avg[0, 0], inner.embed[0, 0] * inner.cluster_size[0, 0])


def test_the_whole_state_of_the_book_travels_in_its_state_dict():
    torch.manual_seed(1)
    first, second = quantizer(dead_below=1.0), quantizer(dead_below=1.0)
    first(clusters())
    second.load_state_dict(first.state_dict())
    for book in (first, second):
        torch.manual_seed(7)
        book(clusters(seed=9))
    assert all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values()))


def _rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    book = quantizer(dead_below=1.0)  # built before the ranks know of each other, as Lightning does
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    torch.manual_seed(rank)
    side = -2.0 if rank == 0 else 2.0  # each rank sees one half of the square only
    for seed in range(3):
        latents = clusters(seed=10 * rank + seed)
        latents = latents[: len(latents) - 3 * rank]  # and fewer rows, as where clips lack poses
        latents[..., 0] = side + 0.05 * torch.randn(latents.shape[:-1])
        book(latents)
    inner = book.book._codebook
    inner.cluster_size[0, 1] = 0.5  # dies on both ranks in the next step
    book(latents)
    torch.save(book.state_dict(), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_ranks_with_different_data_hold_the_same_book(tmp_path):
    mp.spawn(_rank, (str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    assert all(torch.equal(first[key], second[key]) for key in first)
    across = first["book._codebook.embed"][0, :, 0]
    assert across.min() < -1 and across.max() > 1, "the book holds what either rank saw"

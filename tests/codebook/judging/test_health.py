"""Health of a book: perplexity by hand, per slot and overall, and alarms that look at slots."""

import math

import pytest
import torch

from latentdrive.codebook.judging.health import ALARM_PERPLEXITY, CodeUsage, perplexity


def test_perplexity_of_even_use_is_the_number_of_codes_and_of_a_dead_slot_1():
    per_slot = perplexity(torch.tensor([[5.0, 5.0, 5.0, 5.0], [20.0, 0.0, 0.0, 0.0]]))
    torch.testing.assert_close(per_slot, torch.tensor([4.0, 1.0]))


def test_perplexity_of_three_quarters_and_one_quarter():
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))  # 0.5623 nats
    assert perplexity(torch.tensor([3.0, 1.0])).item() == pytest.approx(math.exp(entropy))  # 1.755


def test_a_book_that_looks_well_used_overall_is_reported_slot_by_slot():
    usage = CodeUsage(codes=4)
    # Slot i says always code i: perplexity 4 overall, 1 in every slot.
    for _ in range(2):
        usage.add("ego", torch.arange(4).expand(6, 3, 4))
    summary = usage.summary()
    assert summary["ego/perplexity"] == pytest.approx(4.0)
    assert [summary[f"ego/perplexity_slot_{i}"] for i in range(4)] == pytest.approx([1.0] * 4)
    assert summary["ego/used_share"] == 1.0
    assert len(usage.alarms()) == 4


def test_the_alarm_names_book_slot_and_what_to_change():
    usage = CodeUsage(codes=4)
    alive, dead = torch.arange(8) % 4, torch.zeros(8, dtype=torch.long)
    usage.add("environment", torch.stack([alive, dead], -1))
    (alarm,) = usage.alarms()
    assert alarm.startswith("environment slot 1 has perplexity 1.0")
    assert f"below {ALARM_PERPLEXITY:g}" in alarm and "model.dead_below" in alarm


def test_books_are_counted_apart_and_forgotten_on_reset():
    usage = CodeUsage(codes=2)
    usage.add("ego", torch.tensor([[0], [1]]))
    usage.add("environment", torch.tensor([[0], [0]]))
    assert usage.summary()["ego/perplexity"] == pytest.approx(2.0)
    assert usage.summary()["environment/used_share"] == 0.5
    usage.reset()
    assert usage.summary() == {} and usage.alarms() == []

"""The numbers that the terminal shows at the end of a training."""

from latentdrive.stages.training import Headline, headline_lines


def test_headlines_have_plain_names_intervals_and_one_column():
    headlines = (
        Headline(name="error", metric="held_out/share"),
        Headline(name="  larger with other codes by", metric="held_out/cost", form=".1%"),
        Headline(name="never measured", metric="held_out/other"),
    )
    metrics = {
        "held_out/share": 0.60149,
        "held_out/share_low": 0.58,
        "held_out/share_high": 0.62,
        "held_out/cost": 0.4146,
        "held_out/raw": 1.0,
    }
    assert headline_lines(headlines, metrics) == [
        "  error                         0.601  [0.580, 0.620]",
        "    larger with other codes by  41.5%",
    ]


def test_a_training_without_headlines_shows_none():
    assert headline_lines((), {"a": 1.0}) == []

"""A section about two evaluations, scene by scene: which differences are more than chance.

After evaluation/comparison.py, which computes them; page.py shows it before the runs.
"""

from dataclasses import replace

from latentdrive.evaluation.comparison import Comparison, is_shown
from latentdrive.report.charts import GREEN, GREY, ORANGE, bars, grouped_bars
from latentdrive.report.evaluation_charts import spoken, spoken_in_lines
from latentdrive.report.gallery import Gallery
from latentdrive.report.sections import Section
from latentdrive.statistics import Interval


def comparison_section(found: Comparison, gallery: Gallery | None = None) -> Section:
    """B against A: differences with intervals, both means on the scenes that they share, and those in which they differ most."""
    a, b = found.names
    facts = {"score by": str(found.version), "A": a, "B": b, "scenes that both have": f"{found.scenes:,}"}
    facts |= {
        f"scenes of {name} alone, left out": f"{count:,}" for name, count in zip(found.names, found.only) if count
    }
    names = [spoken_in_lines(name) for name in found.differences]
    differences = bars(
        f"{b} minus {a}",
        "Mean difference on the same scenes; to the right B is better. Whiskers: 95 % intervals when whole drives are resampled. "
        "Coloured bars are shown: their interval excludes 0. Grey ones may be chance.",
        {spoken(name): one.mean for name, one in found.differences.items()},
        within={spoken(name): (one.low, one.high) for name, one in found.differences.items()}, level=0.0, across=True,
    )  # fmt: skip
    paint = [(GREEN if one.mean > 0 else ORANGE) if is_shown(one) else GREY for one in found.differences.values()]
    differences.data[0]["marker"] = {"color": paint}
    for axis in ("xaxis", "yaxis"):
        if differences.layout[axis].get("tickformat") == ".2f":
            differences.layout[axis]["tickformat"] = ".3f"
    differences.data[0] |= {
        "texttemplate": "%{x:+.4f}",
        "textposition": "none",
    }  # whiskers would cross it: see the facts
    means = grouped_bars(
        "Both means", "Means over the scenes that both have.",
        {name: [found.means[column][side] for column in found.differences] for side, name in enumerate((a, b))}, names, wide=True,
    )  # fmt: skip
    about = found.sentence() + "."
    return Section(
        title=f"{b} against {a}",
        kind="comparison",
        about=about,
        facts=facts | {spoken(name): _told(one) for name, one in found.differences.items()},
        charts={"What differs": [replace(differences, wide=True), means]},
        gallery=gallery,
    )


def _told(one: Interval) -> str:
    verdict = "shown" if is_shown(one) else "not shown"
    return (
        f"{one.mean:+.4f} [{one.low:+.4f}, {one.high:+.4f}], {one.values:,} scenes of {one.drives:,} drives, {verdict}"
    )

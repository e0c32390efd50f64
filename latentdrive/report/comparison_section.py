"""The section about two evaluations, scene by scene: which differences are more than chance.

evaluation/comparison.py computes them; the page shows this section before those of the runs.
"""

from dataclasses import replace

from latentdrive.counting import counted
from latentdrive.evaluation.comparison import Comparison, is_shown
from latentdrive.report.charts import GREEN, GREY, ORANGE, Chart, bars, grouped_bars
from latentdrive.report.evaluation_charts import in_words, in_wrapped_words
from latentdrive.report.gallery import Gallery
from latentdrive.report.sections import Section
from latentdrive.statistics import Interval


def comparison_section(comparison: Comparison, gallery: Gallery | None = None) -> Section:
    """B against A: differences with intervals, and both means on the scenes that they share."""
    a, b = comparison.names
    facts = {"score by": str(comparison.version), "A": a, "B": b, "shared scenes": f"{comparison.scenes:,}"}
    facts |= {
        f"scenes of {name} alone, left out": f"{count:,}"
        for name, count in zip(comparison.names, comparison.only)
        if count
    }
    facts |= {in_words(name): _in_words(difference) for name, difference in comparison.differences.items()}
    return Section(
        title=f"{b} against {a}",
        kind="comparison",
        about=comparison.sentence() + ".",
        facts=facts,
        charts={"What differs": [_differences(comparison), _means(comparison)]},
        gallery=gallery,
    )


def _differences(comparison: Comparison) -> Chart:
    changes = comparison.differences
    chart = bars(
        f"{comparison.names[1]} minus {comparison.names[0]}",
        "Mean difference on the same scenes; to the right B is better. Whiskers: 95 % intervals when whole drives are "
        "resampled. Coloured bars are shown: their interval excludes 0. Grey ones may be chance.",
        {in_words(name): change.mean for name, change in changes.items()},
        within={in_words(name): (change.low, change.high) for name, change in changes.items()},
        level=0.0,
        across=True,
    )
    paint = [(GREEN if change.mean > 0 else ORANGE) if is_shown(change) else GREY for change in changes.values()]
    # Numbers in the bars would be crossed by the whiskers; they stand among the facts.
    data = chart.data[0] | {"marker": {"color": paint}, "texttemplate": "%{x:+.4f}", "textposition": "none"}
    layout = chart.layout | {"xaxis": chart.layout["xaxis"] | {"tickformat": ".3f"}}
    return replace(chart, data=[data], layout=layout, wide=True)


def _means(comparison: Comparison) -> Chart:
    columns = list(comparison.differences)
    return grouped_bars(
        "Both means",
        "Means over the scenes that both evaluations have.",
        {name: [comparison.means[column][side] for column in columns] for side, name in enumerate(comparison.names)},
        [in_wrapped_words(name) for name in columns],
        wide=True,
    )


def _in_words(change: Interval) -> str:
    where = f"{counted(change.values, 'scene')} of {counted(change.drives, 'drive')}"
    return f"{change.within('+.4f')}, {where}, {'shown' if is_shown(change) else 'not shown'}"

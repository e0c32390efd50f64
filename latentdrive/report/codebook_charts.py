"""Charts of a codebook's numbers: whether the codes matter, which are used, what leaks where, and
what transfers."""

from collections.abc import Mapping

import numpy as np

from latentdrive.codebook.judging.health import ALARM_PERPLEXITY
from latentdrive.codebook.judging.leakage import OTHERS
from latentdrive.codebook.judging.probe import EGO_TARGETS
from latentdrive.report.charts import Chart, bars, grouped_bars, matrix

# Variants of the prediction whose cost was measured, and how the chart calls them.
CASES = {
    "ego_shuffled": "ego codes of another clip",
    "environment_shuffled": "environment codes of another clip",
    "both_shuffled": "both of another clip",
    "zeroed": "no codes",
    "copy": "copy the present frame",
}
PROBED = ("ego codes", "environment codes", "present frame", "present frame and environment codes")
PROBES = {"linear": "a linear fit", "mlp": "a small network"}


def codebook_charts(metrics: Mapping[str, float]) -> list[Chart]:
    """The charts of what was measured; fewer where less was."""
    return [*_cost_of_other_codes(metrics), *_slots_in_use(metrics), *_leakage(metrics), *_transplants(metrics)]


def _cost_of_other_codes(metrics: Mapping[str, float]) -> list[Chart]:
    true = metrics.get("held_out/share_of_copy")
    if true is None:
        return []
    shares, within = {"true codes": true}, {}
    for case, name in CASES.items():
        if (cost := metrics.get(f"held_out/cost_{case}")) is not None:
            shares[name] = true * (1 + cost)
            if f"held_out/cost_{case}_low" in metrics:
                low, high = (metrics[f"held_out/cost_{case}_{end}"] for end in ("low", "high"))
                within[name] = true * (1 + low), true * (1 + high)
    return [
        bars(
            "Do the codes matter?",
            "Error of the predicted next frame on held-out clips, as a share of the error of copying the present frame "
            "(dashed). If codes of another clip do as well as the true ones, the codes carry no "
            "information: the first bar "
            "should be clearly the shortest. Whiskers: 95 % intervals of the difference from the first bar.",
            shares,
            level=1.0,
            within=within,
            across=True,
        )
    ]


def _slots_in_use(metrics: Mapping[str, float]) -> list[Chart]:
    charts = []
    for book, content in (("ego", "the driver's actions"), ("environment", "everybody else's actions")):
        start = f"held_out/{book}_perplexity_slot_"
        slots = sorted(name for name in metrics if name.startswith(start))
        if slots:
            values = {f"slot {name.removeprefix(start)}": metrics[name] for name in slots}
            values["all slots"] = metrics.get(f"held_out/{book}_perplexity", np.nan)
            charts.append(
                bars(
                    f"{book.capitalize()} codes in use",
                    f"Perplexity of the codes for {content}, slot by slot: how many of them a slot "
                    "effectively uses. Below "
                    f"the dashed line ({ALARM_PERPLEXITY:g}) a slot carries less than one bit.",
                    values,
                    level=ALARM_PERPLEXITY,
                    good="above",
                )
            )
    return charts


def _leakage(metrics: Mapping[str, float]) -> list[Chart]:
    inputs = [name for name in PROBED if any(metric.startswith(f"probe/{name}/") for metric in metrics)]
    if not inputs:
        return []
    targets = [*EGO_TARGETS, "others", *OTHERS]
    columns = ["others, mean" if target == "others" else target for target in targets]
    charts = []
    for kind, probe in PROBES.items():
        values = [[metrics.get(f"probe/{name}/{target}/{kind}", np.nan) for target in targets] for name in inputs]
        charts.append(
            matrix(
                f"What leaks where ({probe})",
                f"R² with which {probe} reads the true motion from the codes, on drives it never "
                "saw: 1 is all of it, 0 is "
                "nothing. Ego codes should explain the first two columns and nothing of the "
                "others; environment codes the "
                "reverse. The present frame alone is the baseline.",
                np.array(values),
                rows=inputs,
                columns=columns,
                across="true motion of",
                down="read from",
                form=".2f",
                high=1.0,
                numbers=True,
                wide=True,
            )
        )
    return charts


def _transplants(metrics: Mapping[str, float]) -> list[Chart]:
    def of_targets(key: str) -> list[float]:
        return [metrics.get(f"probe/transplant/{target}/{key}", np.nan) for target in EGO_TARGETS]

    groups = {
        "of the clip that gave the code": of_targets("correlation_with_code"),
        "of the clip that gave the frame": of_targets("correlation_with_frame"),
    }
    if np.isnan(list(groups.values())).all():
        return []
    ceiling = ", ".join(f"{r2:.2f} for {name}" for name, r2 in zip(EGO_TARGETS, of_targets("reader_r2")))
    return [
        grouped_bars(
            "Does a code mean the same elsewhere?",
            "The ego code of one clip is applied to a frame of another, and a motion reader that "
            "never saw a prediction "
            "estimates how the frame then moves. Bars: correlation of that estimate with the true "
            "motion of either clip; the "
            "first should be near 1, the second near 0. "
            f"On true pairs of frames the reader itself reaches R² {ceiling}.",
            groups,
            list(EGO_TARGETS),
        )
    ]

"""Charts of the models that predict ego codes from the present: the teacher and its student."""

import math
from collections.abc import Mapping

import numpy as np

from latentdrive.counting import counted
from latentdrive.report.charts import Chart, bars, grouped_bars

# The teacher and what it must beat, by the beginning of the metrics' names.
TEACHER_CASES = {
    "teacher, code by code": "",
    "teacher, in one pass": "one_pass_",
    "frequency of the codes": "baseline_marginal_",
    "repeat the last transition": "baseline_repeat_",
}
# How student and teacher are compared, by the beginning of the metrics' names.
STUDENT_CASES = {"decoding alone": "decoded", "given the teacher's earlier codes": "top1"}


def guess(codes: int | None) -> str:
    """What guessing among the codes costs in nats, in words. codes: None where their number is
    unknown."""
    if codes is None:
        return "a guess has the logarithm of their number"
    return f"{math.log(codes):.2f} is a guess among {counted(codes, 'code')}"


def teacher_charts(metrics: Mapping[str, float], codes: int | None) -> list[Chart]:
    """The teacher's surprise beside that of its baselines; empty where it was not measured."""
    surprise = {
        case: [metrics.get(f"held_out/{start}{name}", np.nan) for name in ("nats", "nats_first")]
        for case, start in TEACHER_CASES.items()
    }
    if np.isnan(surprise["teacher, code by code"]).all():
        return []
    return [
        grouped_bars(
            "Does the teacher know what comes next?",
            "Surprise by the true codes on held-out clips, in nats per slot; lower is better. A "
            "useful teacher lies below what "
            "the codes alone predict (their frequency, or the last transition repeated). "
            f"{'Dashed: ' if codes else ''}{guess(codes)}.",
            surprise,
            ["all slots", "first transition"],
            level=math.log(codes) if codes else None,
            wide=True,
        )
    ]


def student_charts(metrics: Mapping[str, float]) -> list[Chart]:
    """The student's agreement with its teacher, slot by slot, and its size; fewer charts where less
    was measured."""
    charts = []
    if agree := {name: slots for name, stem in STUDENT_CASES.items() if (slots := _slots(metrics, stem))}:
        shown = list(max(agree.values(), key=len))
        level = metrics.get("held_out/baseline_marginal_top1")
        charts.append(
            grouped_bars(
                "Student and teacher name the same code, slot by slot",
                "Share of held-out scenes. In use, the student decodes alone, each code given its own earlier ones. "
                "Given the teacher's earlier codes, it is told most of the answer. Later slots lie further in the "
                f"future.{'' if level is None else ' Dashed: always the most frequent code, over all slots.'}",
                {name: [slots.get(slot, np.nan) for slot in shown] for name, slots in agree.items()},
                shown,
                level=level,
                percent=True,
            )
        )
    if divergence := _slots(metrics, "kl"):
        charts.append(
            bars(
                "How far the student is from the teacher",
                "KL divergence of the student's distribution from the teacher's on held-out scenes, in "
                "nats, slot by slot. 0 is a "
                "perfect copy.",
                divergence,
            )
        )
    start = "parameters/"
    parts = {name.removeprefix(start): value / 1e6 for name, value in metrics.items() if name.startswith(start)}
    if parts:
        caption = "Millions of parameters by part; all of them are needed in the car."
        charts.append(bars("Where the student's parameters are", caption, parts))
    return charts


def _slots(metrics: Mapping[str, float], stem: str) -> dict[str, float]:
    """A held-out number of each slot, in their order."""
    start = f"held_out/{stem}_slot_"
    names = sorted(name for name in metrics if name.startswith(start))
    return {f"slot {int(name.removeprefix(start))}": metrics[name] for name in names}

"""The dictionary of the ego codes, ready to be shown: a card for each code, and which code follows which."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from latentdrive.codebook.dictionary import FIRST, NEXT, PREDICTED, Dictionary
from latentdrive.report.charts import Chart, matrix
from latentdrive.report.drawings import KEPT_FOR, code_graph, colour, fan, path_ahead, picture, picture_motion

CLEAR = 0.3  # how far from usual, in standard deviations, a mean must lie to be named


@dataclass(frozen=True, kw_only=True)
class CodeCard:
    """One code. paint: its colour; name: two words on what it does; says: sentences; share: of all codes; slots: share of
    each slot; fan, flow: drawings (empty where nothing is known); strips: data addresses of first, next, predicted; then:
    (code, colour, share) of what follows."""

    code: int
    paint: str
    name: str
    says: str
    share: float
    slots: list[float]
    fan: str
    flow: str
    strips: list[tuple[str, str, str]]
    then: list[tuple[int, str, float]]


@dataclass(frozen=True, kw_only=True)
class DictionarySection:
    """cards in the order of the codes. intro: how to read them; graph: SVG; charts: of all codes together."""

    intro: str
    cards: list[CodeCard]
    unused: list[int]
    graph: str
    graph_says: str
    charts: list[Chart]


def dictionary_section(found: Dictionary) -> DictionarySection:
    """Cards, graph and matrices of a dictionary."""
    motion = found.motion[found.known][:, :3]
    usual, spread = (motion.mean(0), motion.std(0)) if len(motion) else (np.zeros(3), np.ones(3))
    reach = _reach(motion) if len(motion) else 0.0
    count = np.array([(found.ego == code).sum() for code in range(found.codes)])
    cards = [_card(found, code, usual, spread, reach) for code in np.flatnonzero(count)]
    windows, slots = len(np.unique(found.window)), found.ego.shape[1]
    return DictionarySection(
        intro=f"From {len(found.ego):,} transitions of {found.transition_s:g} s in {windows:,} held-out windows. Between two "
        f"frames the codebook writes {slots} ego codes (slots), each one of {found.codes}. "
        + (
            _motion_legend(found)
            if len(motion)
            else "These clips have no poses: codes are explained by pictures alone."
        ),
        cards=cards,
        unused=[int(code) for code in np.flatnonzero(count == 0)],
        graph=_graph(found, count),
        graph_says="A circle is a code, as large as it is frequent; a thick rim means that it tends to repeat itself. An arrow "
        "leads to what follows more often than by chance, the thicker the more often. "
        + ("Codes further up go with faster driving, codes further left with turning left." if len(motion) else ""),
        charts=_charts(found),
    )


def _card(
    found: Dictionary, code: int, usual: Float64[np.ndarray, "3"], spread: Float64[np.ndarray, "3"], reach: float
) -> CodeCard:
    rows, paint = found.holding(code), colour(code, found.codes)
    share = float((found.ego == code).mean())
    motions = found.motion[rows & found.known][:, :3]
    strips = [
        (picture(shown[FIRST]), picture(shown[NEXT]), picture(shown[PREDICTED]))
        for row, shown in zip(found.examples[code], found.pictures[code])
        if row >= 0
    ]
    name, says = _meaning(motions, usual, spread, found.transition_s) if len(motions) else ("", "")
    return CodeCard(
        code=int(code), paint=paint, name=name, says=says, share=share, slots=found.usage()[:, code].tolist(),
        fan=fan(motions[np.argsort(motions[:, 2])], usual, reach_m=reach, paint=paint) if len(motions) else "",
        flow=_flow(found, rows, strips[0][0], paint), strips=strips, then=_then(found, code),
    )  # fmt: skip


def _meaning(
    motions: Float64[np.ndarray, "N 3"],
    usual: Float64[np.ndarray, "3"],
    spread: Float64[np.ndarray, "3"],
    length_s: float,
) -> tuple[str, str]:
    """Two words and a sentence: what the car does when the code appears, and what it usually does."""
    mean = motions.mean(0)
    away = (mean - usual) / np.maximum(spread, 1e-9)
    words = []
    if abs(away[0]) > CLEAR:
        words.append("fast" if away[0] > 0 else "slow")
    if abs(away[2]) > CLEAR:
        words.append("turning left" if away[2] > 0 else "turning right")
    degrees, side = math.degrees(abs(mean[2])), "left" if mean[2] > 0 else "right"
    often = math.degrees(abs(usual[2])), "left" if usual[2] > 0 else "right"
    says = (
        f"The car moves {mean[0]:.1f} m in {length_s:g} s (usually {usual[0]:.1f} m) and turns {degrees:.1f}° to the {side} "
        f"(usually {often[0]:.1f}° to the {often[1]})."
    )
    return ", ".join(words) or "as usual", says


def _flow(found: Dictionary, rows: Bool[np.ndarray, "N"], shown: str, paint: str) -> str:
    if np.isnan(found.flow[rows]).all():
        return ""
    return picture_motion(found.flow[rows].mean(0), found.flow.mean(0), shown=shown, paint=paint)


def _then(found: Dictionary, code: int) -> list[tuple[int, str, float]]:
    after = found.follows[code] / max(1, found.follows[code].sum())
    return [(int(k), colour(k, found.codes), float(after[k])) for k in np.argsort(-after)[:3] if after[k] > 0]


def _reach(motion: Float64[np.ndarray, "N 3"]) -> float:
    """How far ahead the fans must show: nearly the longest path."""
    lengths = np.sort(motion[:, 0])
    return max(2.0, float(path_ahead(np.array([lengths[int(0.98 * (len(lengths) - 1))], 0.0, 0.0]))[-1, 0]))


def _motion_legend(found: Dictionary) -> str:
    return (
        f"In the drawing seen from above, each thin line is where the car would go if it kept up its motion for "
        f"{KEPT_FOR * found.transition_s:g} s; the arrow is the mean, the dashed line what is usual over all codes."
    )


def _graph(found: Dictionary, count: Float64[np.ndarray, "K"]) -> str:
    if not found.known.any():
        return code_graph(found.follows, None, None)
    means = np.zeros((found.codes, 3))
    for code in np.flatnonzero(count):
        rows = found.holding(code) & found.known
        means[code] = found.motion[rows, :3].mean(0) if rows.any() else 0.0
    return code_graph(found.follows, -means[:, 2], means[:, 0])


def _charts(found: Dictionary) -> list[Chart]:
    names = [str(code) for code in range(found.codes)]
    after = found.follows / np.maximum(1, found.follows.sum(1, keepdims=True))
    slots = [f"slot {slot}" for slot in range(found.ego.shape[1])]
    return [
        matrix("Which slot says which code", "How often each slot uses each code. A slot whose row is one dark cell says always "
               "the same.", found.usage(), rows=slots, columns=names, across="code", down="slot"),
        matrix("Which code follows which", "Each row: what comes in the next transition, in the same slot. A dark diagonal means "
               "that actions last.", after, rows=names, columns=names, across="next code", down="code"),
    ]  # fmt: skip

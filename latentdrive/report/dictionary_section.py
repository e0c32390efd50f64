"""The dictionary of the ego codes, ready to be shown: a card for each code, and which code follows which."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from latentdrive.codebook.judging.dictionary import FIRST, NEXT, PREDICTED, Dictionary
from latentdrive.report.charts import Chart, matrix
from latentdrive.report.drawings import KEPT_FOR, View, code_graph, colour, fan, picture, picture_motion

CLEAR, STRONG = 0.3, 1.0  # how far from usual, in standard deviations, a mean must lie to be named
STRAIGHT_DEG = 0.05


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
    """cards in the order of the codes. intro: how to read them; most: the largest share of a slot; graph: SVG; transplants: data
    addresses of A, A's next, B, B with A's codes; charts: of all codes together."""

    intro: str
    cards: list[CodeCard]
    most: float
    unused: list[int]
    graph: str
    graph_says: str
    transplants: list[list[str]]
    charts: list[Chart]


def dictionary_section(found: Dictionary, *, scale_known: bool) -> DictionarySection:
    """Cards, graph and matrices of a dictionary. scale_known: poses are in true metres."""
    motion = found.motion[found.known][:, :3]
    usual, spread = (motion.mean(0), motion.std(0)) if len(motion) else (np.zeros(3), np.ones(3))
    view = View.of(motion) if len(motion) else View(reach_m=1.0, stretch=1.0)
    count = np.array([(found.ego == code).sum() for code in range(found.codes)])
    cards = [_card(found, code, usual, spread, view) for code in np.flatnonzero(count).tolist()]
    windows, slots = len(np.unique(found.window)), found.ego.shape[1]
    return DictionarySection(
        intro=f"From {len(found.ego):,} transitions of {found.transition_s:g} s in {windows:,} held-out windows. Between two "
        f"frames the codebook writes {slots} ego codes (slots), each one of {found.codes}. "
        + (
            _motion_legend(found, view, scale_known)
            if len(motion)
            else "These clips have no poses: codes are explained by pictures alone."
        ),
        cards=cards,
        most=float(found.usage().max()),
        unused=np.flatnonzero(count == 0).tolist(),
        graph=_graph(found, count),
        graph_says="A circle is a code, as large as it is frequent; a thick rim means that it tends to repeat itself. An arrow "
        "leads to what follows more often than by chance, the thicker the more often. "
        + ("Codes further up go with faster driving, codes further left with turning left." if len(motion) else ""),
        transplants=[[picture(shown) for shown in pictures] for pictures in found.transplants],
        charts=_charts(found),
    )


def _card(
    found: Dictionary, code: int, usual: Float64[np.ndarray, "3"], spread: Float64[np.ndarray, "3"], view: View
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
        code=code, paint=paint, name=name, says=says, share=share, slots=found.usage()[:, code].tolist(),
        fan=fan(motions[np.argsort(motions[:, 2])], usual, view=view, paint=paint) if len(motions) else "",
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
    words = [
        ("much " if abs(away[0]) > STRONG else "") + ("faster" if away[0] > 0 else "slower")
        if abs(away[0]) > CLEAR
        else "",
        ("sharply " if abs(away[2]) > STRONG else "") + ("left" if away[2] > 0 else "right")
        if abs(away[2]) > CLEAR
        else "",
    ]
    says = (
        f"The car moves {mean[0]:.1f} m in {length_s:g} s (usually {usual[0]:.1f} m) and {_turn(mean[2])} "
        f"(usually {_turn(usual[2])})."
    )
    return ", ".join(word for word in words if word) or "as usual", says


def _turn(yaw: float) -> str:
    """An angle in radians in words."""
    degrees = math.degrees(yaw)
    return (
        "goes straight"
        if abs(degrees) < STRAIGHT_DEG
        else f"turns {abs(degrees):.1f}° {'left' if degrees > 0 else 'right'}"
    )


def _flow(found: Dictionary, rows: Bool[np.ndarray, "N"], shown: str, paint: str) -> str:
    if np.isnan(found.flow[rows]).all():
        return ""
    return picture_motion(found.flow[rows].mean(0), found.flow.mean(0), shown=shown, paint=paint)


def _then(found: Dictionary, code: int) -> list[tuple[int, str, float]]:
    after = found.follows[code] / max(1, found.follows[code].sum())
    return [(k, colour(k, found.codes), float(after[k])) for k in np.argsort(-after)[:3].tolist() if after[k] > 0]


def _motion_legend(found: Dictionary, view: View, scale_known: bool) -> str:
    stretched = f" Sideways is drawn {view.stretch:g} times wider than it is." if view.stretch > 1 else ""
    guessed = (
        "" if scale_known else " Poses were estimated from the pictures, so metres are a guess; proportions are not."
    )
    return (
        f"In the drawing seen from above, each thin line is where the car would go if it kept up its motion for "
        f"{KEPT_FOR * found.transition_s:g} s; the arrow is the mean, the dashed line what is usual over all codes.{stretched}{guessed}"
    )


def _graph(found: Dictionary, count: Int64[np.ndarray, "K"]) -> str:
    if not found.known.any():
        return code_graph(found.follows, None, None)
    means = np.zeros((found.codes, 3))
    for code in np.flatnonzero(count).tolist():
        rows = found.holding(code) & found.known
        means[code] = found.motion[rows, :3].mean(0) if rows.any() else 0.0
    return code_graph(found.follows, -means[:, 2], means[:, 0])


def _charts(found: Dictionary) -> list[Chart]:
    names = [str(code) for code in range(found.codes)]
    after = found.follows / np.maximum(1, found.follows.sum(1, keepdims=True))
    slots = [f"slot {slot}" for slot in range(found.ego.shape[1])]
    return [
        matrix("Which slot says which code", "How often each slot uses each code. A slot whose row is one strong cell says always "
               "the same.", found.usage(), rows=slots, columns=names, across="code", down="slot"),
        matrix("Which code follows which", "Each row: what comes in the next transition, in the same slot. A strong diagonal means "
               "that actions last.", after, rows=names, columns=names, across="next code", down="code"),
    ]  # fmt: skip

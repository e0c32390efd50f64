"""The dictionary of the ego codes, ready for the page: a card for each code, and which code follows
which."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from latentdrive.codebook.judging.dictionary import FIRST, NEXT, PREDICTED, Dictionary
from latentdrive.counting import counted
from latentdrive.report.charts import Chart, matrix
from latentdrive.report.drawings import KEPT_FOR, View, code_graph, colour, fan, picture, picture_motion

CLEAR, STRONG = 0.3, 1.0  # distances of a mean from the usual one, in standard deviations, that words describe
STRAIGHT_DEG = 0.05  # a smaller turn is none
NEXT_CODES = 3  # followers that a card lists

GRAPH_CAPTION = (
    "A circle is a code; the larger, the more frequent. A thick rim means that the code tends to "
    "repeat itself. An arrow leads "
    "to a code that follows more often than by chance; the thicker, the more often. "
)
BY_MOTION = "Codes further up go with faster driving, codes further left with turning left."


@dataclass(frozen=True, kw_only=True)
class CodeCard:
    """The part of the page about one code.

    paint: its colour. name: two words on what the car does. meaning: the same in a sentence. share:
    of all codes. slots: share in each slot. fan, flow: drawings, empty where nothing is known.
    strips: pictures of examples as data addresses (first, next, predicted). followers: (code,
    colour, share) of the codes that follow most often.
    """

    code: int
    paint: str
    name: str
    meaning: str
    share: float
    slots: list[float]
    fan: str
    flow: str
    strips: list[tuple[str, str, str]]
    followers: list[tuple[int, str, float]]


@dataclass(frozen=True, kw_only=True)
class DictionarySection:
    """intro: how to read the cards. cards: in the order of the codes. most: the largest share in a
    slot. unused: codes.

    graph: SVG, with its caption. transplants: data addresses of A, A's next frame, B, and B with
    A's codes. charts: of all codes together.
    """

    intro: str
    cards: list[CodeCard]
    most: float
    unused: list[int]
    graph: str
    graph_caption: str
    transplants: list[list[str]]
    charts: list[Chart]


@dataclass(frozen=True, kw_only=True)
class _Usual:
    """The motion (dx, dy, dyaw) over all codes: its mean and standard deviation, and the view that
    all fans share."""

    mean: Float64[np.ndarray, "3"]
    spread: Float64[np.ndarray, "3"]
    view: View


def dictionary_section(dictionary: Dictionary, *, scale_known: bool) -> DictionarySection:
    """Cards, graph and matrices of a dictionary. scale_known: poses are in true metres."""
    motion = dictionary.motion[dictionary.known][:, :3]
    has_motion = len(motion) > 0
    if has_motion:
        usual = _Usual(mean=motion.mean(0), spread=motion.std(0), view=View.of(motion))
    else:
        usual = _Usual(mean=np.zeros(3), spread=np.ones(3), view=View(reach_m=1.0, stretch=1.0))
    count = np.array([(dictionary.ego == code).sum() for code in range(dictionary.codes)])
    return DictionarySection(
        intro=_intro(dictionary, usual.view, has_motion=has_motion, scale_known=scale_known),
        cards=[_card(dictionary, code, usual) for code in np.flatnonzero(count).tolist()],
        most=float(dictionary.usage().max()),
        unused=np.flatnonzero(count == 0).tolist(),
        graph=_graph(dictionary, count),
        graph_caption=GRAPH_CAPTION + (BY_MOTION if has_motion else ""),
        transplants=[[picture(pixels) for pixels in pictures] for pictures in dictionary.transplants],
        charts=_charts(dictionary),
    )


def _card(dictionary: Dictionary, code: int, usual: _Usual) -> CodeCard:
    rows, paint = dictionary.holding(code), colour(code, dictionary.codes)
    motions = dictionary.motion[rows & dictionary.known][:, :3]
    strips = [
        (picture(pictures[FIRST]), picture(pictures[NEXT]), picture(pictures[PREDICTED]))
        for row, pictures in zip(dictionary.examples[code], dictionary.pictures[code])
        if row >= 0
    ]
    name, meaning = _meaning(motions, usual, dictionary.transition_s) if len(motions) else ("", "")
    by_turn = motions[np.argsort(motions[:, 2])]
    return CodeCard(
        code=code,
        paint=paint,
        name=name,
        meaning=meaning,
        share=float((dictionary.ego == code).mean()),
        slots=dictionary.usage()[:, code].tolist(),
        fan=fan(by_turn, usual.mean, view=usual.view, paint=paint) if len(motions) else "",
        flow=_flow(dictionary, rows, strips[0][0], paint),
        strips=strips,
        followers=_followers(dictionary, code),
    )


def _meaning(motions: Float64[np.ndarray, "N 3"], usual: _Usual, length_s: float) -> tuple[str, str]:
    """A name and a sentence: what the car does when the code appears, and what it usually does."""
    mean = motions.mean(0)
    away = (mean - usual.mean) / np.maximum(usual.spread, 1e-9)
    words = []
    if abs(away[0]) > CLEAR:
        words.append(("much " if abs(away[0]) > STRONG else "") + ("faster" if away[0] > 0 else "slower"))
    if abs(away[2]) > CLEAR:
        words.append(("sharply " if abs(away[2]) > STRONG else "") + ("left" if away[2] > 0 else "right"))
    sentence = (
        f"The car moves {mean[0]:.1f} m in {length_s:g} s (usually {usual.mean[0]:.1f} m) and {_turn(mean[2])} "
        f"(usually {_turn(usual.mean[2])})."
    )
    return ", ".join(words) or "as usual", sentence


def _turn(yaw: float) -> str:
    """An angle in radians in words."""
    degrees = math.degrees(yaw)
    if abs(degrees) < STRAIGHT_DEG:
        return "goes straight"
    return f"turns {abs(degrees):.1f}° {'left' if degrees > 0 else 'right'}"


def _flow(dictionary: Dictionary, rows: Bool[np.ndarray, "N"], background: str, paint: str) -> str:
    if np.isnan(dictionary.flow[rows]).all():
        return ""
    mean, usual = dictionary.flow[rows].mean(0), dictionary.flow.mean(0)
    return picture_motion(mean, usual, background=background, paint=paint)


def _followers(dictionary: Dictionary, code: int) -> list[tuple[int, str, float]]:
    after = dictionary.follows[code] / max(1, dictionary.follows[code].sum())
    codes = [follower for follower in np.argsort(-after)[:NEXT_CODES].tolist() if after[follower] > 0]
    return [(follower, colour(follower, dictionary.codes), float(after[follower])) for follower in codes]


def _intro(dictionary: Dictionary, view: View, *, has_motion: bool, scale_known: bool) -> str:
    windows, slots = len(np.unique(dictionary.window)), dictionary.ego.shape[1]
    text = (
        f"From {counted(len(dictionary.ego), 'transition')} of {dictionary.transition_s:g} s in {windows:,} "
        "held-out windows. Between "
        f"two frames the codebook writes {slots} ego codes (slots), each one of {dictionary.codes}. "
    )
    if not has_motion:
        return text + "These clips have no poses, so the codes are explained by pictures alone."
    text += (
        "In the drawing from above, each thin line is where the car would go if it kept up its motion for "
        f"{KEPT_FOR * dictionary.transition_s:g} s; the arrow is the mean, and the dashed line the mean over all codes."
    )
    if view.stretch > 1:
        text += f" Sideways motion is drawn {view.stretch:g} times wider than it is."
    if not scale_known:
        text += " Poses were estimated from the pictures, so metres are a guess; proportions are not."
    return text


def _graph(dictionary: Dictionary, count: Int64[np.ndarray, "K"]) -> str:
    if not dictionary.known.any():
        return code_graph(dictionary.follows, None, None)
    means = np.zeros((dictionary.codes, 3))
    for code in np.flatnonzero(count).tolist():
        rows = dictionary.holding(code) & dictionary.known
        means[code] = dictionary.motion[rows, :3].mean(0) if rows.any() else 0.0
    return code_graph(dictionary.follows, -means[:, 2], means[:, 0])


def _charts(dictionary: Dictionary) -> list[Chart]:
    codes = [str(code) for code in range(dictionary.codes)]
    after = dictionary.follows / np.maximum(1, dictionary.follows.sum(1, keepdims=True))
    return [
        matrix(
            "Which slot uses which code",
            "How often each slot uses each code. A slot whose row has one strong cell always says the same.",
            dictionary.usage(),
            rows=[f"slot {slot}" for slot in range(dictionary.ego.shape[1])],
            columns=codes,
            across="code",
            down="slot",
        ),
        matrix(
            "Which code follows which",
            "Each row: the codes of the next transition in the same slot. A strong diagonal means that actions last.",
            after,
            rows=codes,
            columns=codes,
            across="next code",
            down="code",
        ),
    ]

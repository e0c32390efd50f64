"""The two-stage score (navhard): a plan is scored together with the situations it may lead to.

These situations are synthetic scenes that start near its end. An entry of the mapping is a pair of
original scenes, now and shortly before, with pairs of synthetic scenes that follow them. Each
original scene counts as its own score times the mean score of its followers, weighted by how near
they start to the end of its plan. Specified in docs/pdms.md, section 8.4.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from latentdrive.counting import counted
from latentdrive.data.navsim.scene_filter import SecondStage
from latentdrive.errors import ConfigError, WrongShape
from latentdrive.pdms.score import EC, epdms_total
from latentdrive.pdms.sub_scores.extended_comfort import FARTHEST_S, extended_comfort
from latentdrive.pdms.versions import V2
from latentdrive.types import FROZEN

TERMS = tuple(name for name in V2.columns if name != EC)  # known before extended comfort
SPREAD_M2 = 0.1  # variance of the Gaussian weight over the distance between a plan's end and a follower's start
NEGLIGIBLE_WEIGHT = 1e-8  # a sum of weights up to this counts as 0
TOKENS_SHOWN = 5  # most tokens that a message lists


@dataclass(**FROZEN)
class StageRows:
    """N scenes of both stages with all sub-scores except extended comfort.

    terms: sub-scores after any filter, columns TERMS. scored: sub-scores from which the score is
    computed; they differ from terms if the version filters only what is printed. start_s: time of
    now, seconds. end_points: last pose of the plan, not of the simulation. start_points: rear axle
    now. Both are global x, y in metres. states: simulated states; NaN where a plan could not be
    simulated, which then is not comfortable. synthetic: whether a scene is of the second stage.
    """

    tokens: tuple[str, ...]
    terms: Float64[Tensor, "N 8"]
    scored: Float64[Tensor, "N 8"]
    start_s: Float64[Tensor, "N"]
    end_points: Float64[Tensor, "N 2"]
    start_points: Float64[Tensor, "N 2"]
    states: Float64[Tensor, "N 41 11"]
    synthetic: Bool[Tensor, "N"]

    def __len__(self) -> int:
        return len(self.tokens)


@dataclass(**FROZEN)
class TwoStage:
    """The two-stage score, by row and for the whole mapping.

    extended_comfort, weight (1 in the first stage), score: by row. combined, stage_one, stage_two:
    means over the mapping of each column of V2.columns and of "score", which is the EPDMS.
    """

    extended_comfort: Float64[Tensor, "N"]
    weight: Float64[Tensor, "N"]
    score: Float64[Tensor, "N"]
    combined: dict[str, float]
    stage_one: dict[str, float]
    stage_two: dict[str, float]


def aggregate(mapping: Sequence[SecondStage], rows: StageRows) -> TwoStage:
    """The two-stage score of scored scenes.

    Raises ConfigError if mapping and rows do not belong together, and WrongShape if a sub-score is
    not finite.
    """
    _check_rows(rows)
    row = {token: index for index, token in enumerate(rows.tokens)}
    _check_mapping(mapping, rows, row)
    comfort = _comfort(mapping, rows, row)
    score = epdms_total({**dict(zip(TERMS, rows.scored.unbind(-1))), EC: comfort})
    columns = [comfort if name == EC else rows.terms[:, TERMS.index(name)] for name in V2.columns]
    values = torch.stack([*columns, score], -1)

    weight = torch.ones_like(score)
    first, second = [], []  # one row for each of the two scenes of each entry
    for entry in mapping:
        for original, followers in zip((entry.now, entry.previous), zip(*entry.followers)):
            after = torch.tensor([row[token] for token in followers], device=score.device)
            weight[after] = nearness(rows.end_points[row[original]], rows.start_points[after])
            first.append(values[row[original]])
            second.append(weight[after] @ values[after])
    stage_one, stage_two = torch.stack(first), torch.stack(second)
    names = (*V2.columns, "score")
    return TwoStage(
        extended_comfort=comfort,
        weight=weight,
        score=score,
        combined=_means(names, stage_one * stage_two),
        stage_one=_means(names, stage_one),
        stage_two=_means(names, stage_two),
    )


def nearness(end: Float64[Tensor, "2"], starts: Float64[Tensor, "F 2"]) -> Float64[Tensor, "F"]:
    """Weights of F followers, which sum to 1: a Gaussian of the distance between the plan's end and their starts.

    All weights are equal if no follower is anywhere near, or if the end is NaN.
    """
    bell = torch.exp(-(starts - end).square().sum(-1) / (2.0 * SPREAD_M2))
    total = bell.sum()
    if total.isnan() or total.abs() <= NEGLIGIBLE_WEIGHT:
        return torch.full_like(bell, 1.0 / len(bell))
    return bell / total


def _comfort(mapping: Sequence[SecondStage], rows: StageRows, row: dict[str, int]) -> Float64[Tensor, "N"]:
    """Extended comfort of each pair, written to both of its scenes."""
    pairs = [pair for entry in mapping for pair in entry.pairs]
    now, previous = (torch.tensor([row[pair[side]] for pair in pairs], device=rows.states.device) for side in (0, 1))
    apart = rows.start_s[now] - rows.start_s[previous]
    wrong = [pair for pair, good in zip(pairs, ((apart > 0.0) & (apart < FARTHEST_S)).tolist()) if not good]
    if wrong:
        raise ConfigError(
            f"two-stage mapping: in {len(wrong)} of {len(pairs)} pairs (now, previous), previous does not start less "
            f"than {FARTHEST_S} s before now: {_listed(wrong)}"
        )
    value = extended_comfort(rows.states[now], rows.states[previous], apart).to(rows.states.dtype)
    comfort = torch.full_like(rows.start_s, torch.nan)
    comfort[now], comfort[previous] = value, value
    return comfort


def _means(names: Sequence[str], values: Float64[Tensor, "G C"]) -> dict[str, float]:
    """Means of all rows. Every entry has two rows, so these are also the means of the entries' means."""
    return dict(zip(names, values.mean(0).tolist()))


def _check_rows(rows: StageRows) -> None:
    repeated = [token for token, times in Counter(rows.tokens).items() if times > 1]
    if repeated:
        raise ConfigError(
            f"two-stage score: several rows for {counted(len(repeated), 'token')}, expected one each: "
            f"{_listed(repeated)}"
        )
    good = torch.isfinite(rows.terms).all(-1) & torch.isfinite(rows.scored).all(-1) & torch.isfinite(rows.start_s)
    if not good.all():
        bad = [token for token, fine in zip(rows.tokens, good.tolist()) if not fine]
        raise WrongShape(
            f"two-stage score: {len(bad)} of {counted(len(rows), 'row')} with sub-scores or times that are not "
            f"finite numbers; give a scene that could not be scored zeros: {_listed(bad)}"
        )


def _check_mapping(mapping: Sequence[SecondStage], rows: StageRows, row: dict[str, int]) -> None:
    if not mapping:
        raise ConfigError(
            "two-stage mapping: it has no entries; expected pairs of original scenes with their followers"
        )
    alone = [entry.now for entry in mapping if not entry.followers]
    if alone:
        raise ConfigError(
            f"two-stage mapping: {counted(len(alone), 'entry', 'entries')} without second-stage scenes: "
            f"{_listed(alone)}"
        )
    times = Counter(token for entry in mapping for pair in entry.pairs for token in pair)
    for problem, tokens in (
        ("name a token several times", [token for token, number in times.items() if number > 1]),
        ("name scenes that have no row", [token for token in times if token not in row]),
        ("leave rows out", [token for token in rows.tokens if token not in times]),
    ):
        if tokens:
            raise ConfigError(f"two-stage mapping: its entries {problem} ({len(tokens)} in all): {_listed(tokens)}")
    for stage, synthetic in (("first", False), ("second", True)):
        named = [pair for entry in mapping for pair in (entry.pairs[1:] if synthetic else entry.pairs[:1])]
        other = [token for pair in named for token in pair if bool(rows.synthetic[row[token]]) is not synthetic]
        if other:
            kind = "original" if synthetic else "synthetic"
            raise ConfigError(
                f"two-stage mapping: {counted(len(other), 'scene')} of the {stage} stage that should not be "
                f"{kind}: {_listed(other)}"
            )


def _listed(items: Sequence[Any]) -> str:
    names = ", ".join(str(item) for item in items[:TOKENS_SHOWN])
    return names if len(items) <= TOKENS_SHOWN else f"{names}, …"

"""The two-stage score (navhard): what a plan leads to is scored too, in synthetic scenes that start near its end.

Section 8.4 of the specification. An entry of the mapping is a pair of original scenes, now and shortly before, with pairs of
synthetic scenes that follow them. Each of the two gets: its own score times the mean score of its followers, weighted by how near
they start to where its plan ends.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from latentdrive.data.navsim.scene_filter import SecondStage
from latentdrive.errors import ConfigError, WrongShape
from latentdrive.pdms.score import EC, epdms_total
from latentdrive.pdms.sub_scores.extended_comfort import FARTHEST_S, extended_comfort
from latentdrive.pdms.versions import V2
from latentdrive.types import FROZEN

TERMS = tuple(
    name for name in V2.columns if name != EC
)  # columns of what is aggregated, before extended comfort is known
SPREAD_M2 = 0.1  # variance of the bell over the distance between a plan's end and a follower's start
NEARLY_NOTHING = 1e-8  # a sum of weights that is as good as 0
NAMED = 5  # tokens that a message names


@dataclass(**FROZEN)
class StageRows:
    """N scenes of both stages, scored but for extended comfort.

    terms: sub-scores after any filter, columns TERMS. scored: those that the score is computed from; the same unless the version
    filters only what is printed. start_s: time of now, seconds. end_points: last pose of the plan (not of the simulation),
    start_points: rear axle now; global x, y, metres. states: simulated; not-a-number where a plan could not be simulated, which
    is then not comfortable. synthetic: of the second stage.
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
    """extended_comfort, weight (1 in the first stage), score: by row. combined, stage_one, stage_two: means over the mapping of each
    column of V2.columns and of "score", which is the EPDMS."""

    extended_comfort: Float64[Tensor, "N"]
    weight: Float64[Tensor, "N"]
    score: Float64[Tensor, "N"]
    combined: dict[str, float]
    stage_one: dict[str, float]
    stage_two: dict[str, float]


def aggregate(mapping: Sequence[SecondStage], rows: StageRows) -> TwoStage:
    """The two-stage score of scored scenes.

    Raises ConfigError where mapping and rows do not belong together, WrongShape where a sub-score is not a number.
    """
    _check_rows(rows)
    row = {token: index for index, token in enumerate(rows.tokens)}
    _check_mapping(mapping, rows, row)
    comfort = _comfort(mapping, rows, row)
    score = epdms_total({**dict(zip(TERMS, rows.scored.unbind(-1))), EC: comfort})
    columns = [comfort if name == EC else rows.terms[:, TERMS.index(name)] for name in V2.columns]
    values = torch.stack([*columns, score], -1)

    weight = torch.ones_like(score)
    first, second = [], []  # a row for each of the two scenes of each entry
    for entry in mapping:
        for original, followers in zip((entry.now, entry.previous), zip(*entry.followers)):
            after = torch.tensor([row[token] for token in followers], device=score.device)
            weight[after] = nearness(rows.end_points[row[original]], rows.start_points[after])
            first.append(values[row[original]])
            second.append(weight[after] @ values[after])
    one, two = torch.stack(first), torch.stack(second)
    names = (*V2.columns, "score")
    return TwoStage(
        extended_comfort=comfort, weight=weight, score=score, combined=_means(names, one * two), stage_one=_means(names, one),
        stage_two=_means(names, two),
    )  # fmt: skip


def nearness(end: Float64[Tensor, "2"], starts: Float64[Tensor, "F 2"]) -> Float64[Tensor, "F"]:
    """Weights of F followers, which sum to 1: a bell over the distance between the plan's end and their starts.

    All the same where none is anywhere near, or where the end is not a number.
    """
    bell = torch.exp(-(starts - end).square().sum(-1) / (2.0 * SPREAD_M2))
    total = bell.sum()
    if total.isnan() or total.abs() <= NEARLY_NOTHING:
        return torch.full_like(bell, 1.0 / len(bell))
    return bell / total


def _comfort(mapping: Sequence[SecondStage], rows: StageRows, row: dict[str, int]) -> Float64[Tensor, "N"]:
    """Extended comfort of each pair, written to both of its scenes."""
    both = [pair for entry in mapping for pair in entry.pairs]
    now, previous = (torch.tensor([row[pair[side]] for pair in both], device=rows.states.device) for side in (0, 1))
    apart = rows.start_s[now] - rows.start_s[previous]
    wrong = [pair for pair, good in zip(both, ((apart > 0.0) & (apart < FARTHEST_S)).tolist()) if not good]
    if wrong:
        raise ConfigError(
            f"two-stage mapping: {len(wrong)} of {len(both)} pairs (now, previous) do not start within {FARTHEST_S} s of each other, "
            f"previous first: {_some(wrong)}"
        )
    value = extended_comfort(rows.states[now], rows.states[previous], apart).to(rows.states.dtype)
    comfort = torch.full_like(rows.start_s, torch.nan)
    comfort[now], comfort[previous] = value, value
    return comfort


def _means(names: Sequence[str], values: Float64[Tensor, "G C"]) -> dict[str, float]:
    """Every entry has two rows, so the mean of all rows is the mean of the entries' means."""
    return dict(zip(names, values.mean(0).tolist()))


def _check_rows(rows: StageRows) -> None:
    repeated = [token for token, times in Counter(rows.tokens).items() if times > 1]
    if repeated:
        raise ConfigError(
            f"two-stage score: {len(repeated)} tokens have several rows, expected one each: {_some(repeated)}"
        )
    good = torch.isfinite(rows.terms).all(-1) & torch.isfinite(rows.scored).all(-1) & torch.isfinite(rows.start_s)
    if not good.all():
        bad = [token for token, fine in zip(rows.tokens, good.tolist()) if not fine]
        raise WrongShape(
            f"two-stage score: {len(bad)} of {len(rows)} rows hold sub-scores or times that are not finite numbers; "
            f"give a scene that could not be scored zeros: {_some(bad)}"
        )


def _check_mapping(mapping: Sequence[SecondStage], rows: StageRows, row: dict[str, int]) -> None:
    if not mapping:
        raise ConfigError("two-stage mapping: no entries; expected pairs of original scenes with their followers")
    alone = [entry.now for entry in mapping if not entry.followers]
    if alone:
        raise ConfigError(f"two-stage mapping: {len(alone)} entries have no second-stage scenes: {_some(alone)}")
    times = Counter(token for entry in mapping for pair in entry.pairs for token in pair)
    for problem, tokens in (
        ("name the same token several times", [token for token, number in times.items() if number > 1]),
        ("name scenes that have no row", [token for token in times if token not in row]),
        ("leave rows out", [token for token in rows.tokens if token not in times]),
    ):
        if tokens:
            raise ConfigError(f"two-stage mapping: its entries {problem} ({len(tokens)} of them): {_some(tokens)}")
    for stage, synthetic in (("first", False), ("second", True)):
        named = [pair for entry in mapping for pair in (entry.pairs[1:] if synthetic else entry.pairs[:1])]
        other = [token for pair in named for token in pair if bool(rows.synthetic[row[token]]) is not synthetic]
        if other:
            kind = "original" if synthetic else "synthetic"
            raise ConfigError(
                f"two-stage mapping: {len(other)} scenes of the {stage} stage are {kind} ones: {_some(other)}"
            )


def _some(of: Sequence[Any]) -> str:
    names = ", ".join(str(one) for one in of[:NAMED])
    return names if len(of) <= NAMED else f"{names}, …"

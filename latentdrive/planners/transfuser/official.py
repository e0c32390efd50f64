"""NAVSIM's own Transfuser and LTF weights: Lightning checkpoints, read without its code and without running anything from them.

Beside model.py, which loads what comes from here. What a checkpoint holds besides weights (settings of the training, as objects of
classes that are not here) becomes inert stand-ins; a class that is not listed is refused by name.
"""

import pickle
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from latentdrive.errors import CheckpointError

PREFIX = "agent._transfuser_model."  # of every weight's name in NAVSIM's checkpoints

# Names of weights there and here, up to the last part; # stands for a number.
PLACES = (
    ("_backbone.image_encoder", "backbone.image.network"),
    ("_backbone.lidar_encoder", "backbone.lidar.network"),
    ("_backbone.lidar_latent", "backbone.grid"),
    ("_backbone.lidar_channel_to_img.#", "backbone.exchanges.#.lidar_in"),
    ("_backbone.img_channel_to_lidar.#", "backbone.exchanges.#.lidar_out"),
    ("_backbone.transformers.#.pos_emb", "backbone.exchanges.#.positions"),
    ("_backbone.transformers.#.ln_f", "backbone.exchanges.#.norm"),
    ("_backbone.transformers.#.blocks.#.ln1", "backbone.exchanges.#.blocks.#.norm_attention"),
    ("_backbone.transformers.#.blocks.#.ln2", "backbone.exchanges.#.blocks.#.norm_feedforward"),
    ("_backbone.transformers.#.blocks.#.attn.query", "backbone.exchanges.#.blocks.#.attention.query"),
    ("_backbone.transformers.#.blocks.#.attn.key", "backbone.exchanges.#.blocks.#.attention.key"),
    ("_backbone.transformers.#.blocks.#.attn.value", "backbone.exchanges.#.blocks.#.attention.value"),
    ("_backbone.transformers.#.blocks.#.attn.proj", "backbone.exchanges.#.blocks.#.attention.out"),
    ("_backbone.transformers.#.blocks.#.mlp", "backbone.exchanges.#.blocks.#.feedforward"),
    ("_backbone.c5_conv", "semantics.enter"),
    ("_backbone.up_conv5", "semantics.twice"),
    ("_backbone.up_conv4", "semantics.whole"),
    ("_bev_semantic_head.0", "semantics.refine"),
    ("_bev_semantic_head.2", "semantics.sort"),
    ("_bev_downscale", "bev_in"),
    ("_status_encoding", "status_in"),
    ("_keyval_embedding", "memory_positions"),
    ("_query_embedding", "queries"),
    ("_tf_decoder", "decoder"),
    ("_trajectory_head._mlp", "trajectory"),
    ("_agent_head._mlp_states", "agent_boxes"),
    ("_agent_head._mlp_label.0", "agent_logits"),
)
GRID = "_backbone.lidar_latent"  # what LTF has and Transfuser has not


class StandIn:
    """An object of a class that is not here: it does nothing, and what the file says of it is not kept."""

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, _: Any) -> None:
        pass


class _PlainDict:
    """In the place of mappings: torch fills nothing but plain dictionaries."""

    def __new__(cls, *_: Any) -> dict:
        return {}


# NAVSIM's training saves none of these (its module keeps no hyperparameters); checkpoints of changed copies of it may.
OBJECTS = (
    "navsim.agents.transfuser.transfuser_config.TransfuserConfig",
    "nuplan.planning.simulation.trajectory.trajectory_sampling.TrajectorySampling",
    "nuplan.common.maps.maps_datatypes.SemanticMapLayer",
    "nuplan.common.actor_state.tracked_objects_types.TrackedObjectType",
    "omegaconf.dictconfig.DictConfig", "omegaconf.listconfig.ListConfig", "omegaconf.base.ContainerMetadata", "omegaconf.base.Metadata",
    "omegaconf.nodes.AnyNode", "omegaconf.nodes.StringNode", "omegaconf.nodes.IntegerNode", "omegaconf.nodes.FloatNode",
    "omegaconf.nodes.BooleanNode", "typing.Any", "builtins.dict", "builtins.list", "builtins.int", "builtins.float", "builtins.str",
    "builtins.bool", "pathlib.PosixPath", "numpy.dtype", "numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar",
)  # fmt: skip
MAPPINGS = (
    "collections.defaultdict", "pytorch_lightning.utilities.parsing.AttributeDict", "lightning.pytorch.utilities.parsing.AttributeDict",
    "lightning_fabric.utilities.data.AttributeDict", "lightning.fabric.utilities.data.AttributeDict",
)  # fmt: skip
ALLOWED = [(StandIn, name) for name in OBJECTS] + [(_PlainDict, name) for name in MAPPINGS]


def read_official(file: str | Path) -> dict[str, Tensor]:
    """The weights in a checkpoint of NAVSIM's Transfuser, by its own names without the common prefix.

    Raises CheckpointError for a file that is missing, damaged, asks for a class that is not listed, or holds something else.
    """
    content = _opened(Path(file))
    state = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(state, dict) or not state or not all(isinstance(one, Tensor) for one in state.values()):
        holds = ", ".join(map(str, content)) if isinstance(content, dict) else type(content).__name__
        raise CheckpointError(f"{file} is no Lightning checkpoint with weights under state_dict; it holds: {holds}")
    strangers = [key for key in state if not key.startswith(PREFIX)]
    if strangers:
        raise CheckpointError(
            f"{file} is no checkpoint of NAVSIM's Transfuser: {_few(strangers)} of its {len(state)} weights do not begin with {PREFIX}"
        )
    return {key.removeprefix(PREFIX): value for key, value in state.items()}


def to_ours(state: Mapping[str, Tensor], own: Mapping[str, Tensor], *, file: str | Path) -> dict[str, Tensor]:
    """The same weights under our names. own: the weights of the model that they are meant for, whose names and shapes must be the same.

    Raises CheckpointError with both sides where they are not. file: for messages.
    """
    held, own_kind = GRID in state, "an LTF" if renamed(GRID, 0) in own else "a Transfuser"
    kind, has, planner = ("an LTF", "has", "ltf") if held else ("a Transfuser", "lacks", "transfuser")
    if kind != own_kind:
        raise CheckpointError(
            f"{file} is {kind} checkpoint (it {has} {GRID}), the model is {own_kind}: planner={planner}"
        )
    ours = {renamed(key, 0): value for key, value in state.items()}
    missing, extra = [key for key in own if key not in ours], [key for key in ours if key not in own]
    other = [
        f"{key} {list(ours[key].shape)} instead of {list(own[key].shape)}"
        for key in own
        if key in ours and ours[key].shape != own[key].shape
    ]
    wrong = []
    if missing:
        wrong.append(f"it lacks {_few(missing)}")
    if extra:
        wrong.append(f"it has {_few(extra)} that the model lacks")
    if other:
        wrong.append(f"shapes differ: {_few(other)}")
    if wrong:
        raise CheckpointError(
            f"{file} does not fit the model ({len(ours)} weights, the model has {len(own)}): {'; '.join(wrong)}. NAVSIM's weights fit "
            "planner=transfuser and planner=ltf as configured, with no size changed"
        )
    return ours


def export_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our weights under the names of NAVSIM's checkpoints, for its `state_dict`. Those of a fusion, which it has not, are left out."""
    return {PREFIX + renamed(key, 1): value for key, value in state.items() if not key.startswith("fusion.")}


def renamed(key: str, side: int) -> str:
    """A weight's name on the other side of PLACES; the same name where there is none. side: 0 for NAVSIM's names, 1 for ours."""
    for pattern, to in _RULES[side]:
        if found := pattern.match(key):
            return to.format(*found.groups()) + key[found.end() :]
    return key


def _opened(file: Path) -> Any:
    if not file.is_file():
        raise CheckpointError(f"{file}: there is no such file; name NAVSIM's checkpoint (.ckpt)")
    try:
        with torch.serialization.safe_globals(ALLOWED):
            return torch.load(file, map_location="cpu", weights_only=True)
    except (
        RuntimeError,
        EOFError,
        pickle.UnpicklingError,
        ValueError,
        TypeError,
        KeyError,
        IndexError,
        AttributeError,
        OSError,
    ) as error:
        asked = re.search(r"GLOBAL (\S+)", str(error))
        if asked is None:
            first = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise CheckpointError(f"{file} can't be read as a checkpoint, download it again: {first}") from None
        raise CheckpointError(
            f"{file} asks for {asked[1]}, which weights have no need of; it was refused and nothing of it has run. If you trust its maker, "
            'save its weights alone where it was made: torch.save({"state_dict": checkpoint["state_dict"]}, FILE)'
        ) from None


def _rules(side: int) -> list[tuple[re.Pattern[str], str]]:
    pairs = [(pair[side], pair[1 - side]) for pair in PLACES]
    return [(re.compile(re.escape(a).replace(r"\#", r"(\d+)") + r"(?=\.|$)"), b.replace("#", "{}")) for a, b in pairs]


def _few(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


_RULES = (_rules(0), _rules(1))

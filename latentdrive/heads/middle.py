"""Which layer of a predictor is the middle one, whose states a recurrent-depth head reads beside the last (RD-VLA)."""

from latentdrive.errors import ConfigError


def middle_layer(depth: float, layers: int) -> int:
    """How many of `layers` layers run before the middle states. depth: a share of all layers.

    Raises ConfigError for a depth that leaves no layer before or after these states.
    """
    before = round(depth * layers)
    if not 1 <= before < layers:
        raise ConfigError(
            f"model.middle_depth={depth} is {before} of {layers} layers: give a share that leaves at least one layer "
            "before and one after, for example 0.5"
        )
    return before

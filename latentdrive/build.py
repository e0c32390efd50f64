"""From a node of the configuration to the object that its `_target_` names, behind an allow-list.

After config.py. A downloaded configuration must not run `os.system`: targets outside the allow-list are refused, and every key
is checked against the signature.
"""

import difflib
import functools
import importlib
import inspect
from collections.abc import Mapping
from typing import Any, get_args, get_origin

from latentdrive.config import Config
from latentdrive.errors import ConfigError

ALLOWED = ("latentdrive.", "torch.optim.", "lightning.")
TARGET, PARTIAL = "_target_", "_partial_"


def build(node: Config | Mapping[str, Any], allowed: tuple[str, ...] = ALLOWED, /, **given: Any) -> Any:
    """The object that `node` describes. `given` adds or replaces arguments (built objects, results of earlier steps).

    Nested nodes with a `_target_` are built first; `_partial_: true` gives a callable that waits for the rest.
    Raises ConfigError for a forbidden (see `locate`) or unknown target and for keys that its signature does not have.
    """
    plain = node.plain() if isinstance(node, Config) else dict(node)
    if TARGET not in plain:
        raise ConfigError(f"this node builds nothing, it has no {TARGET}: {plain}")
    name = plain[TARGET]
    target = locate(name, allowed)
    replaced = {TARGET, PARTIAL, *given}  # a node that is replaced is not built first
    arguments = {key: _build_value(value, allowed) for key, value in plain.items() if key not in replaced} | given
    partial = bool(plain.get(PARTIAL, False))
    _check_arguments(name, target, arguments, partial=partial)
    arguments = {key: _fitted(value, target, key) for key, value in arguments.items()}
    if not partial:
        return target(**arguments)
    waiting = functools.partial(target, **arguments)
    waiting.node = plain  # what it was built from, for names that a configuration decides
    return waiting


def locate(name: str, allowed: tuple[str, ...] = ALLOWED, /) -> Any:
    """The class or function behind a dotted `_target_`: `package.module.name`, or `package.module.Class.method`.

    allowed: how its name must begin, and that of the module that defines it: what a module of ours merely imports (`os`)
    is as forbidden as under its own name. Raises ConfigError for a forbidden name and for one that does not exist.
    """
    if name.startswith(allowed):
        target = _look_up(name)
        if f"{getattr(target, '__module__', '')}.".startswith(allowed):
            return target
    raise ConfigError(
        f"{TARGET}: {name} is refused; only what is defined in {', '.join(allowed)} may be built from a configuration"
    )


def _look_up(name: str) -> Any:
    owner_name, _, attribute = name.rpartition(".")
    try:
        owner = importlib.import_module(owner_name)
    except ModuleNotFoundError as error:
        if not owner_name.startswith(error.name or ""):
            raise
        module_name, _, class_name = owner_name.rpartition(".")
        try:
            owner = getattr(importlib.import_module(module_name), class_name)
        except (ModuleNotFoundError, AttributeError):
            owner = None
        if not isinstance(owner, type):
            raise ConfigError(f"{TARGET}: {name}: there is no module {error.name}") from None
    if not hasattr(owner, attribute):
        near = difflib.get_close_matches(attribute, dir(owner), 1)
        raise ConfigError(f"{TARGET}: {owner_name} has no {attribute}" + (f"; did you mean {near[0]}?" if near else ""))
    return getattr(owner, attribute)


def _check_arguments(name: str, target: Any, arguments: Mapping[str, Any], *, partial: bool) -> None:
    parameters = inspect.signature(target).parameters
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        for key in arguments:
            if key not in parameters:
                near = difflib.get_close_matches(key, parameters, 1)
                raise ConfigError(f"{name} has no argument {key}" + (f"; did you mean {near[0]}?" if near else ""))
    for key, value in arguments.items():
        if isinstance(value, str) and value == "???":
            raise ConfigError(f"{name}: {key} has no value: give it on the command line, as ...{key}=...")
    if partial:
        return
    named = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    missing = [p.name for p in parameters.values() if p.default is p.empty and p.kind in named]
    missing = [key for key in missing if key not in arguments]
    if missing:
        raise ConfigError(f"{name} needs {', '.join(missing)}: the configuration is not complete")


def _fitted(value: Any, target: Any, key: str) -> Any:
    """YAML knows no tuples, and writes 4 for 4.0: the signature says which is meant."""
    parameter = inspect.signature(target).parameters.get(key)
    meant = () if parameter is None else (parameter.annotation, *get_args(parameter.annotation))
    if isinstance(value, list) and any(get_origin(one) is tuple or one is tuple for one in meant):
        return tuple(value)
    if type(value) is int and float in meant and int not in meant:
        return float(value)
    return value


def _build_value(value: Any, allowed: tuple[str, ...]) -> Any:
    if isinstance(value, Mapping) and TARGET in value:
        return build(value, allowed)
    if isinstance(value, Mapping):
        return {key: _build_value(entry, allowed) for key, entry in value.items()}
    if isinstance(value, list):
        return [_build_value(entry, allowed) for entry in value]
    return value

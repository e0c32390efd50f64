"""Build the object that a node of the configuration describes by its `_target_`, behind an allow-list.

What a person typed may build anything of this package, and the optimisers and strategies listed here.
What came with a checkpoint may build only classes that carry the mark of `checkpoint_parts`, and what
came with somebody's run only the data sources that report/run_data.py lists.
The whole node is checked, with all nodes inside it, before the first object is built.
"""

import difflib
import functools
import importlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from latentdrive.checkpoint_parts import is_checkpoint_part
from latentdrive.config import Config
from latentdrive.errors import ConfigError, reason_of
from latentdrive.kinds import mismatch

TARGET, PARTIAL = "_target_", "_partial_"
# What constructors raise for values that they can't use. A memory error is a size that no machine has.
UNUSABLE = (ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError)
UNUSABLE += (RuntimeError, TypeError, ValueError)


@dataclass(frozen=True, kw_only=True)
class AllowList:
    """Which targets may be built.

    prefixes: how a target's name, and that of the module that defines it, must begin. parts_only: of
    these, allow only classes that are marked with `checkpoint_part`. names: targets that are admitted
    beside these, by their exact names. typed: whether a person chose the targets, and not a file.
    """

    prefixes: tuple[str, ...] = ()
    names: frozenset[str] = frozenset()
    parts_only: bool = False
    typed: bool = False

    def may_look_up(self, name: str) -> bool:
        """Whether something of this name may be looked up at all, which imports its module."""
        return name in self.names or name.startswith(self.prefixes)

    def admits(self, name: str, target: Any) -> bool:
        """Whether what was found under a name may be built.

        What a module of ours merely imports (`os`) is as forbidden as under its own name.
        """
        if name in self.names:
            return True
        defined_here = f"{getattr(target, '__module__', '')}.".startswith(self.prefixes)
        return defined_here and (not self.parts_only or is_checkpoint_part(target))

    def __str__(self) -> str:
        what = "a class marked with @checkpoint_part" if self.parts_only else "what is defined"
        admitted = [f"{what} in {', '.join(self.prefixes)}"] if self.prefixes else []
        return " or ".join([*admitted, *([", ".join(sorted(self.names))] if self.names else [])])


FOREIGN = frozenset(
    {
        *(f"torch.optim.{name}" for name in ("Adadelta", "Adagrad", "Adam", "Adamax", "AdamW", "NAdam", "RAdam")),
        *(f"torch.optim.{name}" for name in ("RMSprop", "SGD")),
        *(f"lightning.pytorch.strategies.{name}" for name in ("DDPStrategy", "FSDPStrategy", "SingleDeviceStrategy")),
        "lightning.Trainer",
    }
)
TYPED = AllowList(prefixes=("latentdrive.",), names=FOREIGN, typed=True)
CHECKPOINT_PARTS = AllowList(prefixes=("latentdrive.",), parts_only=True)


def build(node: Config | Mapping[str, Any], allowed: AllowList = TYPED, /, **given: Any) -> Any:
    """Build the object that `node` describes. `given` adds arguments or replaces those of the node.

    Nested nodes with a `_target_` are built first. `_partial_: true` gives a callable that waits for
    the other arguments; the top of a node that came with a file can't have it. Raises ConfigError,
    before anything is built, for a forbidden (see `locate`) or unknown target, for keys that its
    signature does not have, and for values of another kind than it asks for; and for values that the
    target itself can't use.
    """
    plain = node.plain() if isinstance(node, Config) else dict(node)
    name = node.dotted_name if isinstance(node, Config) else ""
    if not allowed.typed and plain.get(PARTIAL):
        raise ConfigError(f"{PARTIAL} at the top of a configuration from a file describes nothing whole: remove it")
    _check(plain, allowed, given, name)
    return _build(plain, allowed, given, name)


def _check(plain: Mapping[str, Any], allowed: AllowList, given: Mapping[str, Any], place: str) -> None:
    """Raise ConfigError if the node, or a node inside it that is not replaced, can't be built.

    place: dotted name of the node in the whole configuration; empty where it is not known.
    """
    if TARGET not in plain:
        raise ConfigError(f"this node builds nothing, it has no {TARGET}: {plain}")
    name = plain[TARGET]
    if not isinstance(name, str):
        raise ConfigError(f"{TARGET}: {name} is no name of a class or function: write package.module.name")
    target = locate(name, allowed)
    own = {key: value for key, value in plain.items() if key not in (TARGET, PARTIAL)}
    _check_arguments(name, target, own | given, partial=bool(plain.get(PARTIAL, False)))
    parameters = inspect.signature(target).parameters
    for key, value in own.items():
        if key in given:
            continue
        where = f"{place}.{key}" if place else f"{name}: {key}"
        _check_value(value, allowed, where)
        kind = parameters[key].annotation if key in parameters and not _holds_node(value) else Any
        if wrong := mismatch(where, value, kind):
            raise ConfigError(wrong)


def _holds_node(value: Any) -> bool:
    """Whether something is built from the value, so that it will be of another kind."""
    if isinstance(value, Mapping):
        return TARGET in value or any(map(_holds_node, value.values()))
    return isinstance(value, list) and any(map(_holds_node, value))


def _check_value(value: Any, allowed: AllowList, place: str) -> None:
    if isinstance(value, Mapping) and TARGET in value:
        _check(value, allowed, {}, place)
    elif isinstance(value, Mapping):
        for key, entry in value.items():
            _check_value(entry, allowed, f"{place}.{key}")
    elif isinstance(value, list):
        for entry in value:
            _check_value(entry, allowed, place)


def _build(plain: Mapping[str, Any], allowed: AllowList, given: Mapping[str, Any], place: str) -> Any:
    target = locate(plain[TARGET], allowed)
    replaced = {TARGET, PARTIAL, *given}  # a node that is replaced is not built first
    arguments = {
        key: _build_value(value, allowed, f"{place}.{key}" if place else "")
        for key, value in plain.items()
        if key not in replaced
    }
    arguments |= given
    arguments = {key: _fitted(value, target, key) for key, value in arguments.items()}
    name = f"{place}: no {plain[TARGET].rpartition('.')[2]}" if place else f"no {plain[TARGET]}"
    if plain.get(PARTIAL, False):
        return functools.partial(_construct, target, name, **arguments)
    return _construct(target, name, **arguments)


def _construct(target: Any, name: str, /, *values: Any, **arguments: Any) -> Any:
    """Call the target. What it can't use is a ConfigError that begins with `name`."""
    try:
        return target(*values, **arguments)
    except UNUSABLE as error:
        reason = f"{type(error).__name__}: {reason_of(error)}"
        raise ConfigError(f"{name} can be built from these values ({reason}): change one of them") from error


def locate(name: str, allowed: AllowList = TYPED, /) -> Any:
    """The class or function behind a dotted `_target_`: `package.module.name`, or
    `package.module.Class.method`.

    Raises ConfigError for a name that is not allowed and for one that does not exist.
    """
    if allowed.may_look_up(name):
        target = _look_up(name)
        if allowed.admits(name, target):
            return target
    raise ConfigError(f"{TARGET}: {name} is refused; only {allowed} may be built from a configuration")


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
    if odd := [key for key in arguments if not isinstance(key, str)]:
        raise ConfigError(f"{name} has no argument {odd[0]}: names of arguments are words")
    parameters = _parameters(target)
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


def _parameters(target: Any) -> dict[str, inspect.Parameter]:
    """The parameters of a function or class; where a class hands others on to its base, those of the base, too."""
    parameters = dict(inspect.signature(target).parameters)
    handed_on = next((name for name, p in parameters.items() if p.kind is p.VAR_KEYWORD), None)
    own = isinstance(target, type) and next((cls for cls in target.__mro__ if "__init__" in vars(cls)), object)
    base = own and next((cls for cls in own.__mro__[1:] if "__init__" in vars(cls)), object)
    if handed_on is None or not base or base is object:
        return parameters
    del parameters[handed_on]
    return _parameters(base) | parameters


def _fitted(value: Any, target: Any, key: str) -> Any:
    """Convert a list or a whole number of YAML to the tuple or float that the signature asks for."""
    parameter = _parameters(target).get(key)
    meant = () if parameter is None else (parameter.annotation, *get_args(parameter.annotation))
    if isinstance(value, list) and any(get_origin(kind) is tuple or kind is tuple for kind in meant):
        return tuple(value)
    if type(value) is int and float in meant and int not in meant:
        return float(value)
    return value


def _build_value(value: Any, allowed: AllowList, place: str) -> Any:
    if isinstance(value, Mapping) and TARGET in value:
        return _build(value, allowed, {}, place)
    if isinstance(value, Mapping):
        return {key: _build_value(entry, allowed, place) for key, entry in value.items()}
    if isinstance(value, list):
        return [_build_value(entry, allowed, place) for entry in value]
    return value

"""What checks the annotations of latentdrive's functions while tests run. tests/conftest.py switches it on."""

import inspect
from collections.abc import Callable
from dataclasses import is_dataclass
from functools import partial
from typing import Any, get_args

import jaxtyping
from beartype import beartype

jaxtyped = jaxtyping.jaxtyped


def install() -> None:
    """Check shapes and types of every function of latentdrive that is imported from now on.

    jaxtyping compares the sizes of axes across the arguments and the result of a call, and binds the
    arguments in Python to do so. Functions without axes don't need that: beartype alone checks them,
    in a tenth of the time. jaxtyping's import hook decorates with `jaxtyping.jaxtyped`, by that name.
    """
    jaxtyping.jaxtyped = lambda typechecker: partial(check, typechecker=typechecker)
    jaxtyping.install_import_hook("latentdrive", f"{__name__}.check_once")


def check(function: Any, *, typechecker: Callable) -> Any:
    """The function with its checks: jaxtyping's where an annotation has axes, or may have them, else beartype's."""
    if inspect.isclass(function):
        if is_dataclass(function) and "__init__" in vars(function):
            function.__init__ = check(function.__init__, typechecker=typechecker)
        return function
    inner = getattr(function, "__func__", getattr(function, "fget", function))  # of a class method or a property
    if any(map(has_axes, getattr(inner, "__annotations__", {}).values())):
        return jaxtyped(function, typechecker=typechecker)
    return beartype(function)


def has_axes(annotation: Any) -> bool:
    """Whether an annotation may name axes. A name in quotes may."""
    if isinstance(annotation, str):
        return True
    if inspect.isclass(annotation) and issubclass(annotation, jaxtyping.AbstractArray):
        return True
    parts = annotation if isinstance(annotation, list) else get_args(annotation)
    return any(map(has_axes, parts))


def check_once(function: Callable) -> Callable:
    """beartype for the stand-ins of a function that jaxtyping hands over, without asking for arguments twice.

    One stand-in has the annotations of the parameters and is called before the function. The other has
    all annotations and is called with the result. The sizes of axes that the first one found are still
    known to the second, so it needs to check the result only.
    """
    annotations = function.__annotations__
    if annotations.get("return", Any) is not Any:
        function.__annotations__ = {"return": annotations["return"]}
    return beartype(function)

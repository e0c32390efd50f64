"""Planners that get better the longer they think: their plan can be asked for after every step."""

from typing import Any, Protocol, TypeVar, runtime_checkable

from latentdrive.planners.inputs.batch import PlannerInputs, PlannerOutput

State = TypeVar("State")


@runtime_checkable
class AnytimePlanner(Protocol):
    """A planner in three pieces, between which its caller may look at the clock. B scenes at once.

    begin: perceive, once. refine: one more step, as often as there is time. finish: the plan after the steps
    so far; it may be asked for before the first step.
    """

    def begin(self, inputs: PlannerInputs) -> Any: ...
    def refine(self, state: State) -> State: ...
    def finish(self, state: Any) -> PlannerOutput: ...

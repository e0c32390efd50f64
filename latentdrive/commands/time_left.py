"""How long a command of several steps will go on, from the steps that it has done.

A configuration says what each step takes on the machine where it was measured. The steps that are done
say how much slower or faster this machine is.
"""

from collections.abc import Iterable, Mapping

HERE_S = 10.0  # measured work from which on this machine's pace is believed; latentdrive default


class TimeLeft:
    """measured: seconds of each step, by name, on some other machine."""

    def __init__(self, measured: Mapping[str, float | int]) -> None:
        self.measured, self.there, self.here = measured, 0.0, 0.0

    def done(self, step: str, seconds: float | int) -> None:
        """A step has taken this many seconds on this machine."""
        if step in self.measured:
            self.there, self.here = self.there + self.measured[step], self.here + seconds

    def seconds(self, steps: Iterable[str]) -> float:
        """How many seconds these steps will take."""
        pace = self.here / self.there if self.there >= HERE_S else 1.0
        return pace * float(sum(self.measured.get(step, 0) for step in steps))

    def words(self, steps: Iterable[str]) -> str:
        """The same in words, such as `about 12 min left`."""
        seconds = self.seconds(steps)
        return (
            f"about {seconds / 60:.0f} min left"
            if seconds >= 90
            else f"about {10 * max(1, round(seconds / 10))} s left"
        )

"""`doctor devkit=PYTHON`: whether the Python environment of a NAVSIM devkit computes right scores on this machine.

Runs integrations/devkit_probe.py with that interpreter and puts its answer into findings.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentdrive.errors import BrokenLinearAlgebra, ConfigError
from latentdrive.findings import Finding, good, lacking, wrong
from latentdrive.integrations import devkit_probe

PROBE_S = 120  # a first import of numpy from a network disk takes tens of seconds
CORETYPE = {"OPENBLAS_CORETYPE": "Haswell"}  # a kernel without the faulty instructions, on every processor since 2013
FAULTY = "1.23."  # numpy's versions with OpenBLAS 0.3.20; 1.24 and newer are reported to be sound


@dataclass(frozen=True, kw_only=True)
class DevkitCheck:
    """found: what the probe says. mended: whether it is sound with CORETYPE; None where it is sound without."""

    found: dict[str, Any]
    mended: bool | None

    @property
    def sound(self) -> bool:
        """Whether scores from this environment can be trusted."""
        return self.found.get("sound") is True

    def findings(self) -> Iterator[Finding]:
        """The answer in sentences, with what to set."""
        yield good(self._environment())
        if self.sound:
            worst = max(self.found["residuals"].values())
            yield good(f"linear algebra is sound: inverses and products are exact to {worst:.1g}")
            if self.found["numpy"].startswith(FAULTY):
                yield lacking(
                    f"numpy {self.found['numpy']} is sound on this processor, but not on Intel's Cooper Lake and "
                    "Sapphire Rapids: repeat this on every machine that scores"
                )
            return
        yield wrong(f"linear algebra is BROKEN: {self._fault()}. Scores from this environment are wrong, often 0")
        yield wrong(self.remedy)

    @property
    def remedy(self) -> str:
        """What to do about a broken environment."""
        setting = " ".join(f"{name}={value}" for name, value in CORETYPE.items())
        newer = "pip install numpy==1.24.4 (NAVSIM's issue 201)"
        if self.mended:
            way = f"export {setting} before every run there, with which the same probe is sound, or {newer}"
        else:
            way = f"{setting} does not mend it: {newer}, or another build of BLAS"
        return f"{way}; then make metric caches again, because they hold the wrong numbers too"

    def require_sound(self) -> None:
        """Raise BrokenLinearAlgebra where the environment is broken."""
        if not self.sound:
            python = self.found.get("executable", "this environment")
            raise BrokenLinearAlgebra(f"{python} computes wrong numbers ({self._fault()}): {self.remedy}")

    def _environment(self) -> str:
        names = ("python", "numpy", "scipy")
        versions = ", ".join(f"{name} {self.found[name]}" for name in names if self.found.get(name))
        blas = ", ".join(self.found.get("blas") or []) or "unknown"
        coretype = self.found.get("coretype") or "not set"
        return f"{versions}; {self.found.get('processor')}; BLAS {blas}; OPENBLAS_CORETYPE {coretype}"

    def _fault(self) -> str:
        if error := self.found.get("error"):
            return str(error)
        name, value = max(self.found["residuals"].items(), key=lambda item: item[1])
        return f"{name} is off by {value:.3g}, expected less than {devkit_probe.TOLERANCE:g}"


def check_devkit(value: Any) -> DevkitCheck:
    """Probe the environment of an interpreter, or of a folder that holds bin/python.

    Raises ConfigError where it can't be run or does not answer.
    """
    python = _interpreter(value)
    found = _probe(python, {})
    broken = found.get("sound") is not True
    return DevkitCheck(found=found, mended=_probe(python, CORETYPE).get("sound") is True if broken else None)


def _interpreter(value: Any) -> Path:
    path = Path(os.path.expanduser(str(value)))
    path = path / "bin" / "python" if path.is_dir() else path
    if not path.is_file():
        raise ConfigError(
            f"devkit={value}: there is no such Python: give the interpreter of the devkit's environment, which `which "
            "python` names once it is activated"
        )
    return path


def _probe(python: Path, environment: dict[str, str]) -> dict[str, Any]:
    command = [str(python), str(Path(devkit_probe.__file__))]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PROBE_S,
            env={**os.environ, **environment},
        )
    except subprocess.TimeoutExpired:
        raise ConfigError(f"devkit={python} gave no answer within {PROBE_S} s") from None
    except OSError as error:
        raise ConfigError(f"devkit={python} can't be run: {error.strerror}") from None
    try:
        found = json.loads(done.stdout.strip().rpartition("\n")[2])
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not ("error" in found or found.get("residuals")):
        last = (done.stderr.strip() or done.stdout.strip()).rpartition("\n")[2][:300]
        raise ConfigError(
            f"devkit={python} is no Python 3.8 or newer that can run the probe: exit status {done.returncode}"
            f"{': ' + last if last else ''}"
        )
    return found

"""Random commands, two at a time, on a disk that fills, with kills: python -m tests.soak [--commands N] [--seed N].

They share folders and caches, and sometimes the same out=. Afterwards nothing that was finished is lost
or altered, everything on the disk opens or is refused by name, nothing printed a traceback, and every
command that ended with status 0 had made a whole result.
"""

import argparse
import random
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.soak.soaking import Soak
from tests.support.small_commands import VERBS, undisturbed, write_given

DISK_MB = 300


def main() -> int:
    """Soak; the exit status is 1 where anything is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__.splitlines()[0])
    parser.add_argument("--commands", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--given", type=Path, help="folder of tests.kills with results to begin with; made if missing")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary, _small_disk(Path(temporary) / "disk") as disk:
        given = (options.given or Path(temporary) / "given").resolve()
        if not (given / "clips").is_dir():
            write_given(given)
        expected = {verb.name: undisturbed(verb, given) for verb in VERBS}
        soak = Soak(given=given, disk=disk, expected=expected, rng=random.Random(options.seed))
        soak.run(options.commands)
        faults = [*soak.faults, *soak.last_look()]
        _tell(soak.outcomes, faults)
        return 1 if faults else 0


@contextmanager
def _small_disk(folder: Path) -> Iterator[Path]:
    """A file system of DISK_MB. Needs the right to mount one; raises SystemExit without."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if mounted.returncode:
        raise SystemExit(f"a small disk is needed, and none can be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _tell(outcomes: Counter[str], faults: list[str]) -> None:
    print(f"{sum(outcomes.values())} commands: " + ", ".join(f"{n} {what}" for what, n in sorted(outcomes.items())))
    print(f"{len(faults)} faults", flush=True)
    for fault in faults:
        print(f"  {fault}", flush=True)


if __name__ == "__main__":
    sys.exit(main())

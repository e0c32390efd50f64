"""The planner's process for an agent of the NAVSIM devkit: loads a checkpoint and answers on
standard output.

    python -m latentdrive.integrations.planner_process --checkpoint FOLDER [--predictor FOLDER] [--device cpu]

navsim_devkit.py starts it in the environment of latentdrive; it ends when its input closes.
planner_server.py answers the messages. It is imported after standard output was redirected, because
text that a library prints must not get between the messages.
"""

import argparse
import os
import signal
import sys
from io import BufferedIOBase


def main(words: list[str] | None = None) -> int:
    """Serve one checkpoint; returns the exit status. words: the command line, by default that of
    the process."""
    parser = argparse.ArgumentParser(prog="planner_process", description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", required=True, help="folder of a planner's checkpoint")
    parser.add_argument("--predictor", help="folder of a student's checkpoint, for a planner that fuses latent actions")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, or auto")
    options = parser.parse_args(words)
    requests, answers = take_streams()
    from latentdrive.integrations.planner_server import checkpoint_planner, run

    return run(lambda: checkpoint_planner(options.checkpoint, options.predictor, options.device), requests, answers)


def take_streams() -> tuple[BufferedIOBase, BufferedIOBase]:
    """Reserve standard input and output for messages; other code reads nothing and writes to
    standard error."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the devkit; this process ends when its input closes
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return requests, answers


if __name__ == "__main__":
    sys.exit(main())

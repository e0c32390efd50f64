"""A process that has imported what toy_child.py needs, and forks one toy child for each request.
Run as a program.

Importing torch takes seconds, so the tests start the interpreter once and fork it. A request comes
from toy_client.py, on the Unix socket named on the command line: its words and environment in JSON,
with its standard input, output and error attached.
"""

import contextlib
import json
import os
import runpy
import select
import signal
import socket
import sys
import traceback
from pathlib import Path

import latentdrive.integrations.planner_server
import latentdrive.planners.baselines.constant_velocity  # noqa: F401

CHILD = Path(__file__).with_name("toy_child.py")
LONGEST_REQUEST = 1 << 20


def serve(path: str) -> None:
    """Answer requests until this process is ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # handlers are reaped by the system
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        print("ready", flush=True)
        while True:
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                handle(connection)
                os._exit(0)
            connection.close()


def handle(connection: socket.socket) -> None:
    """Fork the toy child, end it when its client ends, and report its exit status."""
    text, streams, _, _ = socket.recv_fds(connection, LONGEST_REQUEST, 3)
    request = json.loads(text)
    child = os.fork()
    if child == 0:
        connection.close()
        run(request["words"], request["environment"], streams)
    for stream in streams:
        os.close(stream)
    ended = os.pidfd_open(child)
    if ended not in select.select([connection, ended], [], [])[0]:
        os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with contextlib.suppress(OSError):  # the client has been killed
        connection.send(str(status).encode())


def run(words: list[str], environment: dict[str, str], streams: list[int]) -> None:
    """Become the toy child: it exits as the interpreter would."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [str(CHILD), *words]
    status: object = 0
    try:
        runpy.run_path(str(CHILD), run_name="__main__")
    except SystemExit as ended:
        status = ended.code or 0
    except BaseException:
        traceback.print_exc()
        status = 1
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(int(status))


if __name__ == "__main__":
    serve(sys.argv[1])

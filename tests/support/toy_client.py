"""Stands in for the planner's interpreter: asks toy_server.py for a toy child with this process's
streams, and ends as that does.

Imports little, so that it starts in a moment. Command line: the server's socket, then the words for
toy_child.py.
"""

import json
import os
import socket
import sys

with socket.socket(socket.AF_UNIX) as server:
    server.connect(sys.argv[1])
    request = json.dumps({"words": sys.argv[2:], "environment": dict(os.environ)}).encode()
    socket.send_fds(server, [request], [0, 1, 2])
    for stream in (0, 1, 2):  # the child has its own copies
        os.close(stream)
    status = int(server.recv(16) or b"1")
if status < 0:
    os.kill(os.getpid(), -status)
os._exit(status)

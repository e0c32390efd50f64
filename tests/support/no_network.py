"""A machine without a network: every attempt to reach one fails, and is remembered."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch


@contextmanager
def no_network() -> Iterator[list[str]]:
    """Connections and look-ups of addresses fail meanwhile. Gives the attempts, also those that somebody hid."""
    attempts: list[str] = []

    def refuse(*given: object, **_: object) -> None:
        attempts.append(repr(given[:2]))
        raise OSError("there is no network here")

    with patch.object(socket.socket, "connect", refuse), patch.object(socket, "getaddrinfo", refuse):
        yield attempts

"""Connections between the processes of one run, by which each learns at once that another died.

Process 0 listens and all others connect. A connection that ends without a farewell means that a
process was lost: this one ends too, with one line, while JAX would wait for missing heartbeats and
print a stack trace.
"""

import contextlib
import os
import socket
import sys
import threading
from collections.abc import Iterator

import numpy as np

_FAREWELL = b"."


@contextlib.contextmanager
def tied(process: int, count: int, timeout: int) -> Iterator[None]:
    """Tie this process to the others while the block runs; one that fails ends them all."""
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(peer) for peer in _connect(process, count, timeout)]
        for peer in peers:
            threading.Thread(target=_watch, args=(peer, process), daemon=True).start()
        yield
        for peer in peers:
            peer.sendall(_FAREWELL)


def _connect(process: int, count: int, timeout: int) -> list[socket.socket]:
    """The connections of this process: to process 0, or from all others."""
    from jax.experimental import multihost_utils

    with socket.create_server(("", 0)) as server:
        server.settimeout(timeout)
        name, port = socket.gethostname().encode(), server.getsockname()[1]
        own = np.frombuffer(name.ljust(256, b"\0") + port.to_bytes(4, "big"), np.uint8)
        first = np.asarray(multihost_utils.broadcast_one_to_all(own)).astype(np.uint8).tobytes()
        if process == 0:
            peers = [server.accept()[0] for _ in range(count - 1)]
        else:
            address = first[:256].rstrip(b"\0").decode(), int.from_bytes(first[256:], "big")
            peers = [socket.create_connection(address, timeout)]
    for peer in peers:
        peer.settimeout(None)
        _keep_alive(peer)
    return peers


def _keep_alive(peer: socket.socket) -> None:
    """Have the system end the connection to a machine that has not answered for a minute."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):  # Linux
            peer.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _watch(peer: socket.socket, process: int) -> None:
    with contextlib.suppress(OSError):
        if peer.recv(1) == _FAREWELL:
            return
    line = f"process {process}: error: a process of this run was lost; the same command goes on\n"
    os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, line.encode())
    os._exit(1)

"""Runs an app with uvicorn until SIGTERM or Ctrl-C, and handles SIGHUP, which tells a daemon to read its files again."""

from __future__ import annotations

import signal
import socket
import sys
import threading
from collections.abc import Callable
from queue import SimpleQueue
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from reranker.errors import InputError

GRACE_SECONDS = 30


def bind(host: str, port: int) -> socket.socket:
    """Bind the port, before anything slow is loaded. Port 0 takes a free one.

    Raises:
        InputError: the port is in use or forbidden, or the host is not an address of this machine.
    """
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.socket(family, kind, proto)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(2048)
        except BaseException:
            listener.close()
            raise
    except (OSError, OverflowError) as error:
        raise InputError(f"Cannot listen on {host} port {port}: {error}", hint="Choose another port with --port, or stop the program that uses it.") from error
    return listener


def url_of(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{host}:{port}"


def run_until_stopped(app: ASGIApp, listener: socket.socket, *, on_start: Callable[[], None]) -> None:
    """Serve until SIGTERM (requests in flight finish, exit code 0) or Ctrl-C."""
    config = uvicorn.Config(
        app,
        http="h11",  # always installed; httptools refuses some URLs that h11 accepts
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
        h11_max_incomplete_event_size=256 * 1024,  # so that a far too long query gets our error message
    )
    server = uvicorn.Server(config)
    on_start()
    server.run(sockets=[listener])


def exit_cleanly_on_sigterm() -> None:
    """Make SIGTERM end the process with code 0; uvicorn raises the signal again after its own shutdown."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        sys.exit(0)

    signal.signal(signal.SIGTERM, stop)


def ignore_sighup() -> None:
    """Ignore SIGHUP while the process starts: its default ends the process."""
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


def on_sighup(action: Callable[[], None]) -> None:
    """Run ``action``, which must not raise, in a thread at each SIGHUP. Does nothing on systems without SIGHUP."""
    if not hasattr(signal, "SIGHUP"):
        return
    received: SimpleQueue[int] = SimpleQueue()  # unlike locks and other queues, a signal handler may use it

    def work() -> None:
        while True:
            received.get()
            action()

    threading.Thread(target=work, name="sighup", daemon=True).start()
    signal.signal(signal.SIGHUP, lambda number, _: received.put(number))

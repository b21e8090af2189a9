"""Runs an app with uvicorn, within the limits of connections, until SIGTERM or Ctrl-C; SIGHUP tells it to read its files again."""

from __future__ import annotations

import asyncio
import errno
import itertools
import logging
import signal
import socket
import sys
import threading
from collections.abc import Callable
from ipaddress import IPv6Address, IPv6Network, ip_address
from queue import SimpleQueue
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI

from reranker.errors import InputError
from reranker.memory import keep_memory_together
from reranker.service.connections import Connection, Connections
from reranker.service.http_protocol import HttpProtocol

log = logging.getLogger(__name__)

GRACE_SECONDS = 30
_ACCEPT_AT_ONCE = 64
_ACCEPT_AGAIN_S = 0.1
_NOTHING_LEFT = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


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


class LimitedServer(uvicorn.Server):
    """uvicorn's server. It accepts connections itself, so that their number never exceeds the limit.

    asyncio's own servers accept all that come, and fill the log once no file descriptor is left.
    """

    def __init__(self, config: uvicorn.Config, connections: Connections) -> None:
        super().__init__(config)
        self._connections = connections
        self._watching: list[asyncio.Task[None]] = []

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=[])
        self._watching = [asyncio.create_task(self._accept(listener)) for listener in sockets or ()]
        self._watching.append(asyncio.create_task(self._connections.sweep()))
        for task in self._watching:
            task.add_done_callback(self._ended)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        *accepting, sweeping = self._watching
        for task in accepting:
            task.cancel()
        await asyncio.gather(*accepting, return_exceptions=True)
        await super().shutdown(sockets=sockets)
        sweeping.cancel()

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("the service stops: its connections are no longer watched", exc_info=error)
            self.should_exit = True

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        listener.setblocking(False)
        opening: set[asyncio.Task[Any]] = set()
        for number in itertools.count(1):
            try:
                accepted, address = await loop.sock_accept(listener)
            except OSError as error:
                if error.errno not in _NOTHING_LEFT:
                    continue  # the client has gone
                log.warning("a connection cannot be accepted: %s", error.strerror)
                self._connections.close_one()
                await asyncio.sleep(_ACCEPT_AGAIN_S)
                continue
            client = _client_of(address[0])
            if self._connections.admit(client):
                http = HttpProtocol(self.config, self.server_state, self.lifespan.state)
                connection = Connection(http, self._connections, client)
                self._connections.add(connection)
                task = asyncio.create_task(loop.connect_accepted_socket(lambda made=connection: made, accepted))  # type: ignore[misc]
                opening.add(task)
                task.add_done_callback(opening.discard)
            else:
                accepted.close()
            if number % _ACCEPT_AT_ONCE == 0:
                await asyncio.sleep(0)  # let the others run


def _client_of(address: str) -> str:
    """Return what counts as one client: an IPv4 address, or the /64 network of an IPv6 address, which one machine may have whole."""
    found = ip_address(address.partition("%")[0])
    if isinstance(found, IPv6Address) and found.ipv4_mapped is None:
        return str(IPv6Network((found, 64), strict=False))
    return str(found)


def run_until_stopped(app: FastAPI, listener: socket.socket, *, on_start: Callable[[], None]) -> None:
    """Serve an app made by ``create_app`` until SIGTERM (requests in flight finish, exit code 0) or Ctrl-C."""
    config = uvicorn.Config(
        app,
        http=HttpProtocol,
        loop="asyncio",  # ``Connection`` sets how much its transports read at once
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,  # X-Forwarded-For says whatever its sender wants
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    keep_memory_together()
    server = LimitedServer(config, app.state.connections)
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

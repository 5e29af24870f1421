"""Starts, listens, becomes ready, drains. Signals end it without losing a request that was accepted."""

import asyncio
import ipaddress
import logging
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import uvicorn

from modelspec.runtime import log
from modelspec.runtime.app import App
from modelspec.runtime.artifact import read
from modelspec.runtime.auth import Keys, tls
from modelspec.runtime.connection import SWEEP_S, Connection
from modelspec.runtime.errors import BUG, ENVIRONMENT, ServeError
from modelspec.runtime.log import Audit
from modelspec.runtime.model import Model, parallel
from modelspec.runtime.schedule import Batching, Schedule
from modelspec.runtime.settings import Settings

_AT_ONCE_S = 0.0005
"""A run no longer than this is not worth a thread: handing it over and back takes about as long."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Server(uvicorn.Server):
    """uvicorn's server with a drain of its own."""

    def __init__(self, config: uvicorn.Config, app: App, settings: Settings) -> None:
        super().__init__(config)
        self.app, self.settings = app, settings
        self.failure: ServeError | None = None

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The first signal drains, the second ends at once."""
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._stop)
        try:
            yield
        finally:
            for number in _SIGNALS:
                loop.remove_signal_handler(number)

    def _stop(self) -> None:
        self.force_exit = self.should_exit
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then load; the server is live before it is ready."""
        loop, config, tls = asyncio.get_running_loop(), self.config, self.config.ssl
        assert sockets is not None

        def connected() -> asyncio.Protocol:
            made = config.http_protocol_class(config=config, server_state=self.server_state, app_state={}, _loop=loop)  # type: ignore[call-arg]
            assert isinstance(made, Connection)
            return made

        # uvicorn's own start leaves a minute to each TLS handshake.
        limit = self.settings.header_timeout if tls else None
        self.servers = [
            await loop.create_server(connected, sock=each, ssl=tls, ssl_handshake_timeout=limit, backlog=1024)
            for each in sockets
        ]
        self._grpc: Any = None
        if self.settings.grpc_port >= 0:
            await self._start_grpc()
        self.started = True
        self._jobs = {asyncio.create_task(self._sweep()), asyncio.create_task(self._load())}
        for job in self._jobs:
            job.add_done_callback(self._ended)

    async def _start_grpc(self) -> None:
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its own lines are no JSON
        try:
            from modelspec.runtime.grpc_service import start

            self._grpc, port = await start(self.app)
            log.write("listening", protocol="grpc", port=port)
        except ServeError as failure:
            self.failure, self.should_exit = failure, True
        except ImportError as error:
            self.failure, self.should_exit = (
                ServeError(f"--grpc-port needs grpcio and protobuf: {error}", ENVIRONMENT),
                True,
            )

    def _ended(self, job: "asyncio.Task[None]") -> None:
        # What no one foresaw must not leave a server that never gets ready, or never sweeps.
        if not job.cancelled() and (error := job.exception()):
            self.failure, self.should_exit = ServeError(f"a bug in the server: {error!r}", BUG), True

    async def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SWEEP_S)
            for connection in list(self.server_state.connections):
                assert isinstance(connection, Connection)
                connection.sweep(loop.time())

    async def _load(self) -> None:
        try:
            self.app.schedule = await asyncio.to_thread(_loaded, self.app, self.settings)
        except ServeError as failure:
            self.failure, self.should_exit = failure, True
            return
        log.write("ready", model=self.app.artifact.name, version=self.app.artifact.version)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Not ready; new requests are still taken for a while; then no new connections; then those begun are finished."""
        self.app.draining = True
        log.write("draining", connections=len(self.server_state.connections))
        if not self.failure:
            await self._until(self.settings.drain_delay, lambda: False)
        for each in (*self.servers, *(sockets or ())):
            each.close()
        finishing: asyncio.Task[None] | None = None
        if self._grpc:
            finishing = asyncio.create_task(self._grpc.stop(self.settings.grace))  # refuses new calls at once
        await asyncio.sleep(0.05)  # what was accepted in the same moment is seen
        connections = self.server_state.connections
        for connection in list(connections):
            connection.shutdown()
        await self._until(self.settings.grace, lambda: not connections and not self.server_state.tasks)
        for connection in list(connections):
            connection.transport.abort()
        if finishing:
            await finishing
        for job in self._jobs:
            job.cancel()
        if self.app.schedule:
            self.app.schedule.close()

    async def _until(self, seconds: float, done: Any) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while loop.time() < end and not self.force_exit and not done():
            await asyncio.sleep(0.02)


def _loaded(app: App, settings: Settings) -> Schedule:
    model = Model(app.artifact, settings.threads)
    model.check_golden()
    batching, at_once = None, model.elements_within(_AT_ONCE_S)
    if settings.batch_size > 1:
        model.check_joined()
        at_once = 0
        batching = Batching(settings.batch_size, settings.batch_delay)
    count = parallel(model.threads, settings.parallel)
    return Schedule(
        model, parallel=count, queue=settings.queue, batching=batching, at_once=at_once, ran=app.metrics.ran
    )


def listen(settings: Settings) -> socket.socket:
    """The socket. Raises ServeError when the address cannot be had."""
    try:
        family = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((settings.host, settings.port), family=family, backlog=1024)
    except OSError as error:
        raise ServeError(
            f"cannot listen on {settings.host} port {settings.port}: {error.strerror}", ENVIRONMENT
        ) from error


def serve(settings: Settings) -> None:
    """Run until a signal. Raises ServeError when the model cannot be served."""
    artifact = read(settings.folder, settings.name, settings.version)
    keys = Keys.read(settings.api_keys) if settings.api_keys else None
    context, audit = tls(settings), Audit(settings.audit)
    app = App(artifact, settings, keys, audit)
    logging.basicConfig(handlers=[log.Handler(logging.ERROR)], force=True)
    config = uvicorn.Config(
        app,
        http=type("Configured", (Connection,), {"settings": settings}),
        ws="none", lifespan="off", log_config=None, access_log=False, server_header=False, proxy_headers=False,
        timeout_keep_alive=settings.idle_timeout,
    )  # fmt: skip
    config.load()
    config.ssl = context
    server = Server(config, app, settings)
    with listen(settings) as listener:
        host, port = listener.getsockname()[:2]
        scheme = "https" if context else "http"
        log.write("listening", url=f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}")
        if not ipaddress.ip_address(host).is_loopback and not keys and not settings.tls_client_ca:
            log.write("open to the network", level="warning", help="--api-keys or --tls-client-ca says who may call")
        with suppress(KeyboardInterrupt):
            server.run([listener])
    audit.flush()
    log.write("stopped")
    if server.failure:
        raise server.failure

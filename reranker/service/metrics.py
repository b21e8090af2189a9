"""The service's Prometheus metrics, in their own registry so that several apps can run in one process."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("reranker_requests", "Requests answered.", ["endpoint", "status"], registry=self.registry)
        self.stage_seconds = Histogram("reranker_stage_seconds", "Seconds per stage.", ["stage"], buckets=SECONDS, registry=self.registry)
        self.documents_scored = Counter("reranker_documents_scored", "Documents and hits that the student scored.", registry=self.registry)
        self.not_reranked = Counter("reranker_searches_not_reranked", "Searches answered in BM25 order.", ["reason"], registry=self.registry)
        self.refused = Counter(
            "reranker_refused",
            "Requests refused: no key, busy (too many waiting), no time (time-out expected), late (time-out).",
            ["reason"],
            registry=self.registry,
        )
        self.waiting = Gauge("reranker_waiting", "Tasks waiting for a thread.", ["stage"], registry=self.registry)
        self.expected_wait = Gauge("reranker_expected_wait_seconds", "Expected wait of a new task for a thread, in seconds.", ["stage"], registry=self.registry)
        self.loop_lag = Gauge("reranker_event_loop_lag_seconds", "Lag of the event loop in seconds.", registry=self.registry)

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self.registry)


class CountRequests:
    """ASGI middleware: counts answers by route. Unknown paths share one label, so they add no time series."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status = 500

        async def note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, note_status)
        finally:
            endpoint = getattr(scope.get("route"), "path", "other")
            self.metrics.requests.labels(endpoint, str(status)).inc()

"""The service's Prometheus metrics, in their own registry so that several apps can run in one process."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reranker.reranker import Reranker
from reranker.rollout import Rollout

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """The metrics that requests update, and those of ``student``."""

    def __init__(self, student: Reranker | Rollout) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(StudentMetrics(student))
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


class StudentMetrics(Collector):
    """Metrics read at each scrape: the serving bundle's caches and, with a rollout, its bundles, changes and shadow.

    A bundle's name is a label, so that no counter falls after a rollout, and an unloaded bundle leaves no series behind.
    """

    def __init__(self, student: Reranker | Rollout) -> None:
        self._student = student

    def collect(self) -> Iterator[Metric]:
        lookups = CounterMetricFamily("reranker_cache_lookups", "Look-ups in the student's caches: hit or miss.", labels=["model", "cache", "result"])
        entries = GaugeMetricFamily("reranker_cache_entries", "Entries kept in memory.", labels=["model", "cache"])
        size = GaugeMetricFamily("reranker_cache_bytes", "Bytes of the arrays kept in memory.", labels=["model", "cache"])
        student = self._student.pin()
        for cache, state in student.caches().items():
            lookups.add_metric([student.model, cache, "hit"], state.hits)
            lookups.add_metric([student.model, cache, "miss"], state.misses)
            entries.add_metric([student.model, cache], state.entries)
            size.add_metric([student.model, cache], state.bytes)
        yield from (lookups, entries, size)
        if isinstance(self._student, Rollout):
            yield from _rollout_metrics(self._student)


def _rollout_metrics(rollout: Rollout) -> Iterator[Metric]:
    changes = CounterMetricFamily("reranker_bundle_changes", "Requested changes of bundles.", labels=["action", "outcome"])
    for labels, count in rollout.changes.copy().items():
        changes.add_metric(labels, count)
    bundles = GaugeMetricFamily("reranker_bundle", "1 for each bundle in memory.", labels=["role", "model"])
    status = rollout.status()
    for role in ("serving", "previous", "shadow"):
        if status[role] is not None:
            bundles.add_metric([role, status[role]["model"]], 1)
    yield from (changes, bundles)
    shadow = status["shadow"]
    if shadow is None:
        return
    seconds = SummaryMetricFamily("reranker_shadow_seconds", "Seconds per scoring of the shadow.", labels=["model"])
    seconds.add_metric([shadow["model"]], shadow["samples"], (shadow["mean_ms"] or 0.0) * shadow["samples"] / 1e3)
    failures = CounterMetricFamily("reranker_shadow_failures", "Requests that the shadow failed to score.", labels=["model"])
    failures.add_metric([shadow["model"]], shadow["failures"])
    dropped = CounterMetricFamily("reranker_shadow_dropped", "Requests that the shadow did not score because its queue was full.", labels=["model"])
    dropped.add_metric([shadow["model"]], shadow["dropped"])
    agreement = GaugeMetricFamily("reranker_shadow_agreement", "Mean agreement of the shadow with the serving bundle.", labels=["model", "measure"])
    for measure, value in shadow["agreement"].items():
        if value is not None:
            agreement.add_metric([shadow["model"], measure], value)
    yield from (seconds, failures, dropped, agreement)


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

"""Prometheus metrics of the service's memory and connections."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from reranker.first_stage import FirstStage
from reranker.service.connections import Connections
from reranker.service.late_first_stage import LateFirstStage
from reranker.service.limits import MemoryBudget
from reranker.service.memory import BodyMemory


class LimitMetrics(Collector):
    """What requests hold now, and the limits; read at each scrape."""

    def __init__(self, memory: MemoryBudget, bodies: BodyMemory, connections: Connections, first_stage: FirstStage | None) -> None:
        self._first_stage = first_stage
        self._memory = memory
        self._bodies = bodies
        self._connections = connections

    def collect(self) -> Iterator[Metric]:
        budget = GaugeMetricFamily("reranker_memory_budget_bytes", "Shares of --memory-budget.", labels=["share"])
        for share in ("bodies", "students", "products", "answers"):
            budget.add_metric([share], getattr(self._memory, share))
        used = GaugeMetricFamily("reranker_memory_used_bytes", "Bytes used of the shares; reranker_cache_bytes has the students'.", labels=["share"])
        used.add_metric(["bodies"], self._bodies.used)
        used.add_metric(["answers"], self._connections.unsent())
        cached = self._first_stage.cache_state() if isinstance(self._first_stage, LateFirstStage) else None
        used.add_metric(["products"], 0 if cached is None else cached.bytes)
        limit = GaugeMetricFamily("reranker_connections_limit", "Most open connections.", self._connections.most)
        opened = GaugeMetricFamily("reranker_connections", "Open connections.", len(self._connections))
        closed = CounterMetricFamily("reranker_connections_closed", "Connections that the service closed or refused.", labels=["reason"])
        for reason, count in self._connections.closed.copy().items():
            closed.add_metric([reason], count)
        yield from (budget, used, limit, opened, closed)

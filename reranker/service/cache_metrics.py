"""Prometheus metrics of the student's caches: size and hits."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from reranker.reranker import Reranker
from reranker.rollout import SwitchableReranker


class CacheMetrics(Collector):
    """Reads the serving bundle's caches at each scrape. The bundle's name is a label, so that no counter falls after a rollout."""

    def __init__(self, student: Reranker | SwitchableReranker) -> None:
        self._student = student

    def collect(self) -> Iterator[Metric]:
        labels = ["model", "cache"]
        lookups = CounterMetricFamily("reranker_cache_lookups", "Look-ups in the student's caches: hit or miss.", labels=[*labels, "result"])
        ratio = GaugeMetricFamily("reranker_cache_hit_ratio", "Hits per look-up since the bundle was loaded.", labels=labels)
        entries = GaugeMetricFamily("reranker_cache_entries", "Entries kept in memory.", labels=labels)
        size = GaugeMetricFamily("reranker_cache_bytes", "Bytes of the arrays kept in memory.", labels=labels)
        student = self._student.pin()
        model = student.model
        for cache, state in student.caches().items():
            lookups.add_metric([model, cache, "hit"], state.hits)
            lookups.add_metric([model, cache, "miss"], state.misses)
            ratio.add_metric([model, cache], state.hits / max(state.hits + state.misses, 1))
            entries.add_metric([model, cache], state.entries)
            size.add_metric([model, cache], state.bytes)
        yield from (lookups, ratio, entries, size)

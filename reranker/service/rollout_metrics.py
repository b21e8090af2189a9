"""Prometheus metrics of the rollout: bundles in memory, changes, and the shadow's results."""

from __future__ import annotations

from collections.abc import Iterator
from math import nan

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from reranker.rollout import Rollout
from reranker.rollout.observer import Observer
from reranker.service.metrics import SECONDS, Metrics


class RolloutMetrics(Observer):
    """Records the rollout's events in the service's registry."""

    def __init__(self, metrics: Metrics, rollout: Rollout) -> None:
        registry = metrics.registry
        self._changes = Counter("reranker_bundle_changes", "Requested changes of bundles.", ["action", "outcome"], registry=registry)
        self._seconds = Histogram("reranker_shadow_seconds", "Seconds per scoring of the shadow.", buckets=SECONDS, registry=registry)
        self._samples = Counter("reranker_shadow_samples", "Requests that the shadow scored.", registry=registry)
        self._failures = Counter("reranker_shadow_failures", "Requests that the shadow failed to score.", registry=registry)
        self._dropped = Counter("reranker_shadow_dropped", "Requests that the shadow did not score because its queue was full.", registry=registry)
        agreement = Gauge("reranker_shadow_agreement", "Mean agreement of the shadow with the serving bundle.", ["measure"], registry=registry)
        agreement.labels("kendall_tau").set_function(lambda: _number(rollout, "kendall_tau"))
        agreement.labels("top_10_overlap").set_function(lambda: _number(rollout, "top_10_overlap"))
        registry.register(_Bundles(rollout))

    def changed(self, action: str, outcome: str) -> None:
        self._changes.labels(action, outcome).inc()

    def shadow_scored(self, seconds: float) -> None:
        self._samples.inc()
        self._seconds.observe(seconds)

    def shadow_failed(self) -> None:
        self._failures.inc()

    def shadow_dropped(self) -> None:
        self._dropped.inc()


def _number(rollout: Rollout, measure: str) -> float:
    value = rollout.shadow_agreement().get(measure)
    return nan if value is None else value


class _Bundles(Collector):
    """One series per loaded bundle, read at each scrape. An unloaded bundle leaves no series behind."""

    def __init__(self, rollout: Rollout) -> None:
        self._rollout = rollout

    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = GaugeMetricFamily("reranker_bundle", "1 for each bundle in memory.", labels=["role", "model"])
        for role, model in self._rollout.models().items():
            family.add_metric([role, model], 1)
        yield family

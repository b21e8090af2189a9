"""The cost of reranking, from the CPU time of one query."""

from __future__ import annotations

from typing import Any

from benchmarks.speed.statistics import rounded

QUERIES_PER_SECOND = 1_000
UTILISATION = 0.6
_MILLION = 1_000_000


def cost(cpu_ms: float, core_hour_price: float) -> dict[str, Any]:
    """Return the cost at ``cpu_ms`` CPU milliseconds a query: of a million queries, and in cores for 1,000 queries/s at 60 % utilisation."""
    cpu_s = cpu_ms / 1e3
    return {
        "cpu_ms_per_query": rounded(cpu_ms),
        "cpu_seconds_per_million": rounded(cpu_s * _MILLION),
        "money_per_million": rounded(cpu_s * _MILLION / 3600 * core_hour_price),
        f"cores_for_{QUERIES_PER_SECOND}_per_second": rounded(cpu_s * QUERIES_PER_SECOND / UTILISATION),
    }


def assumptions(core_hour_price: float) -> dict[str, Any]:
    """Return the assumptions of ``cost``."""
    return {"core_hour_price": core_hour_price, "queries_per_second": QUERIES_PER_SECOND, "utilisation": UTILISATION}

"""``python -m benchmarks first-stage``: tantivy and bm25s on the demo catalogue, with the same analysis, fields and boosts.

Both return the top 50 products with all their fields, from an index on disk.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.output import DEFAULT_OUT, Out, output_folder, require, write_result
from reranker.analysis import tokens
from reranker.demo_data import demo_file
from reranker.embedded import EmbeddedFirstStage, build_index, field_text
from reranker.evaluation import evaluate_rankings
from reranker.evaluation.report import bm25_ranker
from reranker.first_stage import FIELD_BOOSTS
from reranker.judgments import load_judgments
from reranker.products import Product, read_catalog

K = 50


class Bm25s:
    """bm25s with one index for each field; scores are weighted and summed, because its own retrieval supports a single field."""

    def __init__(self, folder: Path) -> None:
        import bm25s

        self._fields = {field: bm25s.BM25.load(folder / field, mmap=True, load_corpus=field == "title", show_progress=False) for field in FIELD_BOOSTS}
        self._corpus = self._fields["title"].corpus
        self._place = {str(product["id"]): i for i, product in enumerate(self._corpus)}

    @staticmethod
    def build(folder: Path, products: Sequence[Product]) -> None:
        import bm25s

        for field in FIELD_BOOSTS:
            index = bm25s.BM25(method="lucene", k1=1.2, b=0.75)
            index.index([list(tokens(field_text(product, field))) for product in products], show_progress=False)
            index.save(folder / field, corpus=list(products) if field == "title" else None, show_progress=False)

    def search(self, query: str, k: int) -> list[tuple[str, float]]:
        scores = self._scores(query)
        best = np.argpartition(-scores, k)[:k]
        best = best[np.argsort(-scores[best], kind="stable")]
        return [(str(self._corpus[int(i)]["id"]), float(scores[i])) for i in best if scores[i] > 0]

    def rank(self, query: str, products: list[Product]) -> np.ndarray:
        return self._scores(query)[[self._place[str(product["id"])] for product in products]]

    def _scores(self, query: str) -> np.ndarray:
        total = np.zeros(len(self._corpus), dtype=np.float32)
        for field, index in self._fields.items():
            words = [word for word in tokens(query) if word in index.vocab_dict]
            if words:
                total += FIELD_BOOSTS[field] * index.get_scores(words)
        return total


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """Return the result of ``work`` and its seconds."""
    began = time.perf_counter()
    result = work()
    return result, time.perf_counter() - began


def percentiles(search: Callable[[str, int], Any], queries: Sequence[str]) -> dict[str, float]:
    """Return p50 and p95 of a top-50 search, in milliseconds, after a warm-up."""
    for query in queries[:50]:
        search(query, K)
    p50, p95 = np.percentile([timed(lambda q=query: search(q, K))[1] * 1e3 for query in queries], [50, 95])  # type: ignore[misc]
    return {"search_p50_ms": round(float(p50), 3), "search_p95_ms": round(float(p95), 3)}


def measure(scratch: Path) -> dict[str, Any]:
    """Build, open and search both; return the figures of each, and the mean overlap of their top 50."""
    products = list(read_catalog(demo_file("products.jsonl.gz")))
    by_id = {str(product["id"]): product for product in products}
    judgments = load_judgments(demo_file("judgments.csv"))
    log = demo_file("queries.tsv").read_text(encoding="utf-8").splitlines()[1:501]
    queries = [query for query in (line.split("\t")[0] for line in log) if list(tokens(query))]
    first = queries[0]

    _, build_tantivy = timed(lambda: build_index(scratch / "tantivy", products))
    _, build_bm25s = timed(lambda: Bm25s.build(scratch / "bm25s", products))
    tantivy, open_tantivy = timed(lambda: _opened(EmbeddedFirstStage(scratch / "tantivy"), first))
    other, open_bm25s = timed(lambda: _opened(Bm25s(scratch / "bm25s"), first))
    compared = evaluate_rankings(judgments, by_id, {"tantivy": bm25_ranker(tantivy), "bm25s": other.rank})
    overlap = [_overlap({hit.product_id for hit in tantivy.search(query, K)}, {i for i, _ in other.search(query, K)}) for query in queries]
    figures = {
        name: {
            "build_s": round(build, 2),
            "megabytes": round(sum(f.stat().st_size for f in (scratch / name).rglob("*") if f.is_file()) / 1e6, 1),
            "open_and_first_search_ms": round(opened * 1e3, 1),
            **percentiles(search, queries),
            "ndcg@10": round(compared.mean(name), 4),
        }
        for name, build, opened, search in (("tantivy", build_tantivy, open_tantivy, tantivy.search), ("bm25s", build_bm25s, open_bm25s, other.search))
    }
    return {
        "products": len(products),
        "queries": len(queries),
        "judged_queries": compared.queries,
        "engines": figures,
        "mean_overlap_at_50": round(float(np.mean(overlap)), 3),
    }


def _opened(engine: Any, query: str) -> Any:
    engine.search(query, K)
    return engine


def _overlap(a: set[str], b: set[str]) -> float:
    return len(a & b) / max(len(a | b), 1)


def first_stage(out: Out = DEFAULT_OUT) -> None:
    """Compare tantivy, the embedded first stage, with bm25s on the demo catalogue. Writes first-stage.json."""
    require("bm25s", "ir_measures")
    from rich.console import Console
    from rich.table import Table

    folder = output_folder(out)
    with tempfile.TemporaryDirectory() as scratch:
        result = measure(Path(scratch))
    write_result(folder / "first-stage.json", result)
    engines = result["engines"]
    table = Table("", *engines)
    for row in engines["tantivy"]:
        table.add_row(row, *(str(engine[row]) for engine in engines.values()))
    Console().print(table)
    print(f"{result['products']:,} products, {result['queries']} log queries, {result['judged_queries']} judged queries")
    print(f"Common to both top {K}: {result['mean_overlap_at_50']:.0%}")
    print(f"Written: {folder / 'first-stage.json'}")

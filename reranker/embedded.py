"""The embedded first stage: BM25 in this process with tantivy, on an index on disk. No server is needed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import tantivy

from reranker.analysis import analysed, tokens
from reranker.bundle import sha256
from reranker.demo_data import demo_file
from reranker.errors import FirstStageError
from reranker.first_stage import FIELD_BOOSTS, Hit
from reranker.folders import whole_folder
from reranker.lazy_product import IndexedProduct, LazyProduct
from reranker.products import CatalogProblem, Product, attribute_pairs, read_catalog

LAYOUT = 2  # increase it when analysis or fields change: indexes of another layout are rebuilt or refused
_META = "index.json"

CACHED_PRODUCTS = 10_000
"""Products cached in memory: about 15 MB for the demo catalogue, 100 MB at 10 kB of JSON each."""


def field_text(product: Product, field: str) -> str:
    """Return the searchable text of one of the fields in ``FIELD_BOOSTS``."""
    if field == "attributes":
        return "\n".join(value for _, value in attribute_pairs(product.get("attributes")))
    return str(product.get(field) or "")


def _schema() -> tantivy.Schema:
    builder = tantivy.SchemaBuilder()
    builder.add_text_field("id", stored=False, tokenizer_name="raw", index_option="basic")
    for field in FIELD_BOOSTS:
        builder.add_text_field(field, stored=False, tokenizer_name="whitespace", index_option="freq")
    builder.add_text_field("product", stored=True, tokenizer_name="raw", index_option="basic")
    return builder.build()


def build_index(folder: Path, products: Iterable[Product], *, source: dict[str, Any] | None = None, on_product: Callable[[], None] | None = None) -> int:
    """Index the products and return their number. An older index in ``folder`` is replaced once the new one is complete.

    Args:
        folder: the index's folder.
        products: as ``read_catalog`` yields them.
        source: which file the products come from; stored in the index.
        on_product: called after each product, for progress.
    """
    with whole_folder(folder) as staging:
        index = tantivy.Index(_schema(), path=str(staging))
        _register(index)
        writer = index.writer(heap_size=128_000_000, num_threads=1)  # one thread, so that catalogue order breaks ties
        count = 0
        try:
            for product in products:
                document = tantivy.Document()
                document.add_text("id", str(product["id"]))
                for field in FIELD_BOOSTS:
                    document.add_text(field, analysed(field_text(product, field)))
                document.add_text("product", json.dumps(product, ensure_ascii=False))
                writer.add_document(document)
                count += 1
                if on_product:
                    on_product()
            writer.commit()
        finally:
            writer.wait_merging_threads()  # after a failure too: its threads would still write while the folder is removed
        (staging / _META).write_text(json.dumps({"layout": LAYOUT, "products": count, "source": source}), encoding="utf-8")
    return count


def _register(index: tantivy.Index) -> None:
    index.register_tokenizer("whitespace", tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.whitespace()).build())


class EmbeddedFirstStage:
    """BM25 over an index made by ``build_index``; a ``FirstStage``. An index that replaces it in the folder is picked up by the next search."""

    name = "embedded"
    in_process = True

    def __init__(self, folder: Path) -> None:
        meta = read_meta(folder)
        if meta is None:
            raise FirstStageError(f"There is no embedded index at {folder}.", hint=f"Build it: reranker index --catalog FILE --index {folder.name}")
        if meta.get("layout") != LAYOUT:
            raise FirstStageError(
                f"The index at {folder} was made by another release.", hint=f"Build it again: reranker index --catalog FILE --index {folder.name}"
            )
        self._folder = folder
        self._identity = _identity_of_index(folder)
        try:
            self._index = _OpenIndex(folder)
        except ValueError as error:
            raise FirstStageError(
                f"The index at {folder} cannot be opened: {error}", hint=f"Build it again: reranker index --catalog FILE --index {folder.name}"
            ) from error

    def search(self, query: str, k: int) -> list[Hit]:
        parsed = self._query(query)
        if parsed is None:
            return []
        index = self._newest()
        found = index.searcher.search(parsed, limit=k, count=False).hits
        products = [index.product(address) for _, address in found]
        return [Hit(p.id, float(score), rank, LazyProduct(p)) for rank, ((score, _), p) in enumerate(zip(found, products, strict=True), start=1)]

    def score(self, query: str, product_ids: Sequence[str]) -> dict[str, float]:
        scores = dict.fromkeys(self.get(product_ids), 0.0)
        parsed = self._query(query)
        if parsed is None or not scores:
            return scores
        among = tantivy.Query.const_score_query(self._ids(list(scores)), 0.0)
        both = tantivy.Query.boolean_query([(tantivy.Occur.Must, parsed), (tantivy.Occur.Must, among)])
        index = self._newest()
        for score, address in index.searcher.search(both, limit=len(scores), count=False).hits:
            scores[index.product(address).id] = float(score)
        return scores

    def get(self, product_ids: Sequence[str]) -> dict[str, Product]:
        if not product_ids:
            return {}
        searcher = self._newest().searcher
        hits = searcher.search(self._ids(product_ids), limit=len(set(product_ids)), count=False).hits
        found = {str(p["id"]): p for p in (json.loads(_stored(searcher, address)) for _, address in hits)}
        return {i: found[i] for i in product_ids if i in found}

    def count(self) -> int:
        return int(self._newest().searcher.num_docs)

    def close(self) -> None:
        pass

    def _newest(self) -> _OpenIndex:
        """Return the folder's present index, or the previous one as long as that cannot be opened."""
        identity = _identity_of_index(self._folder)
        if identity is not None and identity != self._identity:
            meta = read_meta(self._folder)
            if meta is not None and meta.get("layout") == LAYOUT:
                with suppress(ValueError):  # replaced again meanwhile: the next search tries again
                    self._index = _OpenIndex(self._folder)
                    self._identity = identity
        return self._index

    def _query(self, query: str) -> tantivy.Query | None:
        """Return one BM25 clause per field and word. A word given twice counts twice, as in OpenSearch."""
        words = Counter(tokens(query))
        clauses = [
            (tantivy.Occur.Should, tantivy.Query.boost_query(tantivy.Query.term_query(self._index.fields, field, word, index_option="freq"), boost * n))
            for word, n in words.items()
            for field, boost in FIELD_BOOSTS.items()
        ]
        return tantivy.Query.boolean_query(clauses) if clauses else None

    def _ids(self, product_ids: Sequence[str]) -> tantivy.Query:
        return tantivy.Query.term_set_query(self._index.fields, "id", list(dict.fromkeys(product_ids)))


class _OpenIndex:
    """One version of the index in a folder.

    Raises:
        ValueError: it cannot be opened.
    """

    def __init__(self, folder: Path) -> None:
        index = tantivy.Index.open(str(folder))
        _register(index)
        searcher = self.searcher = index.searcher()
        self.fields = index.schema
        self._cached = lru_cache(CACHED_PRODUCTS)(lambda segment, document: IndexedProduct(_stored(searcher, tantivy.DocAddress(segment, document))))

    def product(self, address: tantivy.DocAddress) -> IndexedProduct:
        """Return a product; recently used ones are cached."""
        return self._cached(address.segment_ord, address.doc)


def _stored(searcher: tantivy.Searcher, address: tantivy.DocAddress) -> str:
    text: str = searcher.doc(address)["product"][0]
    return text


def _identity_of_index(folder: Path) -> tuple[int, int] | None:
    """Return what identifies the index in a folder among later ones; None if there is none."""
    try:
        about = (folder / _META).stat()
    except OSError:
        return None
    return about.st_ino, about.st_mtime_ns


def read_meta(folder: Path) -> dict[str, Any] | None:
    """Return an index's metadata (layout, products, source), or None if there is none."""
    try:
        meta = json.loads((folder / _META).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return meta if isinstance(meta, dict) else None


def source_of(catalog: Path, locale: str | None = None) -> dict[str, Any]:
    """Return what an index stores about the file that it is made from."""
    return {"name": catalog.name, "sha256": sha256(catalog), **({"locale": locale} if locale else {})}


def made_from(folder: Path, digest: str, locale: str | None = None) -> bool:
    """Return whether ``folder`` holds a current index of the file with this sha256, or of one locale of it."""
    meta = read_meta(folder) or {}
    source = meta.get("source") or {}
    return bool(meta.get("layout") == LAYOUT and source.get("sha256") == digest and source.get("locale") == locale)


def open_or_build_demo(folder: Path, *, quiet: bool = False) -> EmbeddedFirstStage:
    """Open the index in ``folder``. If there is none, or another release made it from the demo catalogue, index the demo catalogue first.

    Raises:
        FirstStageError: another release made the index from another catalogue.
    """
    meta, demo = read_meta(folder), demo_file("products.jsonl.gz")
    if meta is None or (meta.get("layout") != LAYOUT and (meta.get("source") or {}).get("name") == demo.name):
        build_with_progress(folder, demo, quiet=quiet)
    return EmbeddedFirstStage(folder)


def build_with_progress(
    folder: Path,
    catalog: Path,
    *,
    source: dict[str, Any] | None = None,
    quiet: bool = False,
    skip_invalid: bool = False,
    problems: list[CatalogProblem] | None = None,
    locale: str | None = None,
) -> int:
    """Index a catalogue file, or one locale of an ESCI table, and return the number of products. Shows progress on the terminal."""
    from reranker.progress import counting_products

    source = source or (source_of(catalog, locale) if catalog.is_file() else None)
    products = read_catalog(catalog, on_problem="skip" if skip_invalid else "refuse", problems=problems, locale=locale)
    with counting_products(catalog.name, quiet=quiet) as count_one:
        return build_index(folder, products, source=source, on_product=count_one)

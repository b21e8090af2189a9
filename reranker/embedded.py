"""The embedded first stage: BM25 in this process with tantivy, on an index on disk. No server is needed."""

from __future__ import annotations

import json
import logging
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import tantivy
from cachetools import LRUCache

from reranker.analysis import analysed, tokens
from reranker.bundle import sha256
from reranker.cache import CacheState
from reranker.demo_data import demo_file
from reranker.errors import FirstStageError, InputError
from reranker.first_stage import FIELD_BOOSTS, Hit
from reranker.folders import explain_unwritten, recover, whole_folder
from reranker.lazy_product import IndexedProduct, LazyProduct
from reranker.products import CatalogProblem, Product, attribute_pairs, read_catalog

log = logging.getLogger(__name__)

LAYOUT = 3  # increase it when analysis or fields change: indexes of another layout are rebuilt or refused
_META = "index.json"

CACHE_BYTES = 64 << 20
"""Memory of the cache of products."""

MAX_SEARCH_BYTES = 32 << 20
"""Products' JSON that one search may hold in memory."""

MAX_CHECKED_BYTES = 64 << 20
"""Of the files of an index so many bytes are compared with their checksums when it is opened, the smallest files first; of all files the size."""

_ENTRY_BYTES = 700  # of a cached product besides its JSON and its text: objects, key, places in the cache
_TEXT_BYTES = 3_000  # of a product's rendered text, which is no longer than its JSON

_versions = count(1)  # of the indexes that this process opens

_NO_ROOM = "Free some space there, or set RERANKER_HOME to a folder that is writable and has room. Nothing was changed."


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
    builder.add_text_field("product", stored=True, tokenizer_name="none", index_option="basic")
    return builder.build()


def build_index(folder: Path, products: Iterable[Product], *, source: dict[str, Any] | None = None, on_product: Callable[[], None] | None = None) -> int:
    """Index the products and return their number. An older index in ``folder`` is replaced once the new one is complete.

    Args:
        folder: the index's folder.
        products: as ``read_catalog`` yields them.
        source: which file the products come from; stored in the index.
        on_product: called after each product, for progress.
    """
    with explain_unwritten("The index", folder, _NO_ROOM), whole_folder(folder) as staging:
        written = _write(staging, products, on_product)
        files = {path.name: {"bytes": path.stat().st_size, "sha256": sha256(path)} for path in sorted(staging.iterdir()) if path.suffix != ".lock"}
        (staging / _META).write_text(json.dumps({"layout": LAYOUT, "products": written, "source": source, "files": files}), encoding="utf-8")
    return written


def _write(folder: Path, products: Iterable[Product], on_product: Callable[[], None] | None) -> int:
    """Write tantivy's files into an empty folder and return the number of products.

    Raises:
        OSError: tantivy cannot write; it raises ValueError itself.
    """
    with _tantivy_raises(OSError):
        index = tantivy.Index(_schema(), path=str(folder))
        _register(index)
        writer = index.writer(heap_size=128_000_000, num_threads=1)  # one thread, so that catalogue order breaks ties
    written = 0
    try:
        for product in products:
            document = tantivy.Document()
            document.add_text("id", str(product["id"]))
            for field in FIELD_BOOSTS:
                document.add_text(field, analysed(field_text(product, field)))
            document.add_text("product", json.dumps(product, ensure_ascii=False))
            with _tantivy_raises(OSError):
                writer.add_document(document)
            written += 1
            if on_product:
                on_product()
        with _tantivy_raises(OSError):
            writer.commit()
    except BaseException:
        with suppress(OSError), _tantivy_raises(OSError):
            writer.wait_merging_threads()  # they would still write while the folder is removed
        raise
    with _tantivy_raises(OSError):
        writer.wait_merging_threads()
    return written


@contextmanager
def _tantivy_raises(kind: type[Exception]) -> Iterator[None]:
    """Turn tantivy's errors into ``kind``: it raises ValueError whatever the reason, or panics, which Python sees as a BaseException."""
    try:
        yield
    except ValueError as error:
        text = str(error)
        raise kind("a write failed, most likely for want of room" if "worker thread" in text else text) from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise kind(f"tantivy gave up: {error}") from error


def _register(index: tantivy.Index) -> None:
    index.register_tokenizer("whitespace", tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.whitespace()).build())
    index.register_tokenizer("none", tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.raw()).filter(tantivy.Filter.remove_long(1)).build())


class EmbeddedFirstStage:
    """BM25 over an index made by ``build_index``; a ``FirstStage``. An index that replaces it in the folder is picked up by the next search.

    Args:
        folder: the index's folder. It is only read.
        cache_bytes: memory for products that were found recently.

    Raises:
        FirstStageError: there is no index, another release made it, or it is damaged.
    """

    name = "embedded"
    in_process = True

    def __init__(self, folder: Path, cache_bytes: int = CACHE_BYTES) -> None:
        recover(folder)
        self._folder = folder
        self._cache = _ProductCache(cache_bytes)
        self._index, self._seen = self._open()

    def search(self, query: str, k: int) -> list[Hit]:
        """Return hits as every first stage does.

        Raises:
            InputError: the products of the hits exceed ``MAX_SEARCH_BYTES``.
        """
        parsed = self._query(query)
        if parsed is None:
            return []
        index = self._newest()
        hits, size = [], 0
        for rank, (score, address) in enumerate(index.search(parsed, k), start=1):
            product = index.product(address)
            size += product.bytes
            if size > MAX_SEARCH_BYTES:
                raise InputError(
                    f"The first {rank:,} products found hold more than {MAX_SEARCH_BYTES >> 20} MiB.", hint="Ask for a smaller page, or a smaller k."
                )
            hits.append(Hit(product.id, float(score), rank, LazyProduct(product)))
        return hits

    def score(self, query: str, product_ids: Sequence[str]) -> dict[str, float]:
        scores = dict.fromkeys(self.get(product_ids), 0.0)
        parsed = self._query(query)
        if parsed is None or not scores:
            return scores
        among = tantivy.Query.const_score_query(self._ids(list(scores)), 0.0)
        both = tantivy.Query.boolean_query([(tantivy.Occur.Must, parsed), (tantivy.Occur.Must, among)])
        index = self._newest()
        for score, address in index.search(both, len(scores)):
            scores[index.product(address).id] = float(score)
        return scores

    def get(self, product_ids: Sequence[str]) -> dict[str, Product]:
        if not product_ids:
            return {}
        index = self._newest()
        found = {str(p["id"]): p for p in (json.loads(index.stored(address)) for _, address in index.search(self._ids(product_ids), len(set(product_ids))))}
        return {i: found[i] for i in product_ids if i in found}

    def count(self) -> int:
        return self._newest().count

    def cache_state(self) -> CacheState:
        """Return the size of the cache of products and its lookups."""
        return self._cache.state()

    def close(self) -> None:
        pass

    def _open(self) -> tuple[_OpenIndex, tuple[int, int] | None]:
        while True:
            identity = _identity_of_index(self._folder)
            try:
                return _OpenIndex(self._folder, self._cache), identity
            except FirstStageError:
                if identity == _identity_of_index(self._folder):  # it was not replaced meanwhile
                    raise

    def _newest(self) -> _OpenIndex:
        """Return the folder's present index, or the previous one as long as that cannot be opened."""
        identity = _identity_of_index(self._folder)
        if identity is not None and identity != self._seen:
            self._seen = identity  # if it cannot be opened, no later search tries again until it is replaced
            try:
                self._index = _OpenIndex(self._folder, self._cache)
            except FirstStageError as error:
                log.warning("the previous index still serves: %s", error)
            else:
                self._cache.clear()
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
        FirstStageError: it is missing or damaged, or another release made it. Searching and reading raise it too.
    """

    def __init__(self, folder: Path, cache: _ProductCache) -> None:
        self._folder = folder
        self._cache = cache
        self._version = next(_versions)
        again = f"Build it again: reranker index --catalog FILE --index {folder.name}"
        meta = read_meta(folder)
        if meta is None and not (folder / _META).exists():
            raise FirstStageError(f"There is no embedded index at {folder}.", hint=f"Build it: reranker index --catalog FILE --index {folder.name}")
        if meta is not None and meta.get("layout") != LAYOUT:
            raise FirstStageError(f"The index at {folder} was made by another release.", hint=again)
        damage = f"{_META} cannot be read" if meta is None else _damage(folder, meta.get("files"))
        if damage is not None:
            raise FirstStageError(f"The index at {folder} is damaged: {damage}.", hint=again)
        with self._reading():
            index = _open_tantivy(folder)
            _register(index)
            self._searcher = index.searcher()
            self.fields = index.schema
            self.count = int(self._searcher.num_docs)

    def search(self, query: tantivy.Query, limit: int) -> list[tuple[Any, tantivy.DocAddress]]:
        """Return at most ``limit`` scores with the addresses of their products, best first."""
        with self._reading():
            hits: list[tuple[Any, tantivy.DocAddress]] = self._searcher.search(query, limit=limit, count=False).hits
        return hits

    def stored(self, address: tantivy.DocAddress) -> str:
        """Return a product's JSON."""
        with self._reading():
            text: str = self._searcher.doc(address)["product"][0]
        return text

    def product(self, address: tantivy.DocAddress) -> IndexedProduct:
        """Return a product; recently used ones are cached."""
        key = (self._version, address.segment_ord, address.doc)
        found = self._cache.find(key)
        if found is None:
            found = IndexedProduct(self.stored(address))
            self._cache.add(key, found)
        return found

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            with _tantivy_raises(OSError):
                yield
        except OSError as error:
            raise FirstStageError(
                f"The index at {self._folder} cannot be read: {error}", hint=f"Build it again: reranker index --catalog FILE --index {self._folder.name}"
            ) from error


class _ProductCache:
    """Products by their place in the index, evicted by least recent use once they take more than ``max_bytes``. Thread-safe."""

    def __init__(self, max_bytes: int) -> None:
        self._entries: LRUCache[tuple[int, int, int], IndexedProduct] = LRUCache(max_bytes, getsizeof=_cached_bytes)
        self._lock = threading.Lock()
        self._hits = self._misses = 0

    def find(self, key: tuple[int, int, int]) -> IndexedProduct | None:
        with self._lock:
            found: IndexedProduct | None = self._entries.get(key)
            if found is None:
                self._misses += 1
            else:
                self._hits += 1
        return found

    def add(self, key: tuple[int, int, int], product: IndexedProduct) -> None:
        with self._lock, suppress(ValueError):  # larger than the whole cache
            self._entries[key] = product

    def clear(self) -> None:
        with self._lock:
            self._entries.clear()

    def state(self) -> CacheState:
        with self._lock:
            return CacheState(len(self._entries), int(self._entries.currsize), self._hits, self._misses)


def _cached_bytes(product: IndexedProduct) -> int:
    return product.bytes + min(product.bytes, _TEXT_BYTES) + _ENTRY_BYTES


def _open_tantivy(folder: Path) -> tantivy.Index:
    """Open tantivy's index. It locks a file of the folder; where that may not be written, links to its files in another folder do."""
    try:
        return tantivy.Index.open(str(folder))
    except ValueError as error:
        if "Lockfile" not in str(error):
            raise
    with tempfile.TemporaryDirectory() as links:  # not needed once the files are open
        for path in folder.resolve().iterdir():
            if path.suffix != ".lock":
                (Path(links) / path.name).symlink_to(path)
        return tantivy.Index.open(links)


def _damage(folder: Path, files: Any) -> str | None:
    """Return what is wrong with an index's files, or None: ``files`` has their sizes and checksums, as ``build_index`` writes them."""
    try:
        sizes = {str(name): int(about["bytes"]) for name, about in files.items()}
        for name, size in sizes.items():
            if (folder / name).stat().st_size != size:
                return f"{name} has another size"
        left = MAX_CHECKED_BYTES
        for name, size in sorted(sizes.items(), key=lambda item: item[1]):
            left -= size
            if left >= 0 and sha256(folder / name) != files[name]["sha256"]:
                return f"{name} has another checksum"
    except OSError as error:
        return f"{error.filename} cannot be read: {error.strerror}"
    except (AttributeError, KeyError, TypeError, ValueError):
        return f"{_META} does not list its files"
    return None if sizes else f"{_META} does not list its files"


def _identity_of_index(folder: Path) -> tuple[int, int] | None:
    """Return what identifies the index in a folder among later ones; None if there is none."""
    try:
        about = (folder / _META).stat()
    except OSError:
        return None
    return about.st_ino, about.st_mtime_ns


def read_meta(folder: Path) -> dict[str, Any] | None:
    """Return an index's metadata (layout, products, source, files), or None if there is none."""
    try:
        meta = json.loads((folder / _META).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return meta if isinstance(meta, dict) else None


def source_of(catalog: Path, locale: str | None = None) -> dict[str, Any]:
    """Return what an index stores about the file that it is made from."""
    return {"name": catalog.name, "sha256": sha256(catalog), **({"locale": locale} if locale else {})}


def made_from(folder: Path, digest: str, locale: str | None = None) -> bool:
    """Return whether ``folder`` holds a current index of the file with this sha256, or of one locale of it."""
    recover(folder)
    meta = read_meta(folder) or {}
    source = _source_in(meta)
    return bool(meta.get("layout") == LAYOUT and source.get("sha256") == digest and source.get("locale") == locale)


def _source_in(meta: dict[str, Any] | None) -> dict[str, Any]:
    source = (meta or {}).get("source")
    return source if isinstance(source, dict) else {}


def open_or_build_demo(folder: Path, *, quiet: bool = False, cache_bytes: int = CACHE_BYTES) -> EmbeddedFirstStage:
    """Open the index in ``folder``. If there is none, or a damaged one or another release's of the demo catalogue, index the demo catalogue first.

    Raises:
        FirstStageError: there is an index that cannot be used, and it is not the demo catalogue's.
        StorageError: the index cannot be written.
    """
    try:
        return EmbeddedFirstStage(folder, cache_bytes)
    except FirstStageError:
        demo = demo_file("products.jsonl.gz")
        if folder.is_dir() and any(folder.iterdir()) and _source_in(read_meta(folder)).get("sha256") != sha256(demo):
            raise
    build_with_progress(folder, demo, quiet=quiet)
    return EmbeddedFirstStage(folder, cache_bytes)


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

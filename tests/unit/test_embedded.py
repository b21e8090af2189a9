"""The embedded engine: what is found, in which order, and that nothing half-written stays."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reranker.cli.options import open_first_stage
from reranker.embedded import LAYOUT, EmbeddedFirstStage, _tantivy_raises, build_index, open_or_build_demo
from reranker.errors import CatalogError, FirstStageError, InputError
from reranker.first_stage import FirstStage
from reranker.search import TwoStageSearch
from reranker.text import ProductTemplate

PRODUCTS: list[dict[str, Any]] = [
    {"id": "in-attributes", "title": "Stand", "attributes": {"made for": "Laptops"}},
    {"id": "in-description", "title": "Stand", "description": "for a laptop"},
    {"id": "in-title", "title": "Laptop", "price": 9.5},
    {"id": "in-brand", "title": "Stand", "brand": "Laptop"},
    {"id": "twin-b", "title": "Red chair"},
    {"id": "twin-a", "title": "Red chair"},
    {"id": "unicode", "title": "Écran 电脑 🙂"},
]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> EmbeddedFirstStage:
    folder = tmp_path_factory.mktemp("home") / "products"
    assert build_index(folder, PRODUCTS) == len(PRODUCTS)
    return EmbeddedFirstStage(folder)


def found(engine: EmbeddedFirstStage, query: str, k: int = 10) -> list[str]:
    return [hit.product_id for hit in engine.search(query, k)]


def test_fields_weigh_as_boosted(engine: EmbeddedFirstStage) -> None:
    assert found(engine, "laptops") == ["in-title", "in-brand", "in-description", "in-attributes"]


def test_hits_carry_rank_score_and_the_whole_product(engine: EmbeddedFirstStage) -> None:
    first, *others = engine.search("laptop", 10)
    assert first.rank == 1
    assert first.product == PRODUCTS[2]
    assert [hit.rank for hit in others] == [2, 3, 4]
    scores = [first.score, *(hit.score for hit in others)]
    assert scores == sorted(scores, reverse=True)
    assert min(scores) > 0


def test_a_hits_product_reads_as_it_was_stored_and_is_its_own(engine: EmbeddedFirstStage) -> None:
    product = engine.search("laptop", 10)[3].product
    assert (dict(product), len(product), "title" in product, product.get("brand", "none")) == (PRODUCTS[0], 3, True, "none")
    assert (repr(product), PRODUCTS[0]) == (repr(PRODUCTS[0]), product)
    assert pickle.loads(pickle.dumps(product)) == PRODUCTS[0]
    product["attributes"]["made for"] = "Tablets"
    assert engine.search("laptop", 10)[3].product == PRODUCTS[0]


@pytest.mark.parametrize("query", ["laptop", "Écran 电脑", "nothing finds this"])
@pytest.mark.parametrize("read_before", [False, True])
def test_a_response_written_with_products_as_they_are_stored_reads_as_its_dict(engine: EmbeddedFirstStage, query: str, read_before: bool) -> None:
    response = TwoStageSearch(engine, None).search(query)
    if read_before:
        assert all(result.product["title"] for result in response.results)
    assert json.loads(response.as_json()) == response.as_dict()


def test_texts_of_kept_products_are_those_of_each_template(engine: EmbeddedFirstStage) -> None:
    whole, titles = ProductTemplate(fields=("title", "attributes")), ProductTemplate(fields=("title",))
    for _ in range(2):
        product = engine.search("laptop", 10)[3].product
        assert (whole.render(product), titles.render(product)) == ("Stand | made for: Laptops", "Stand")


def test_equal_scores_keep_the_catalogues_order_at_any_depth(engine: EmbeddedFirstStage) -> None:
    assert found(engine, "red chair") == ["twin-b", "twin-a"]
    assert found(engine, "red chair", k=1) == ["twin-b"]


def test_a_word_given_twice_counts_twice(engine: EmbeddedFirstStage) -> None:
    once, twice = engine.search("chair", 1)[0], engine.search("chair chair", 1)[0]
    assert twice.score == pytest.approx(2 * once.score)


@pytest.mark.parametrize("query", ["", "the of and", "!!! \x00", "🚀", "nothingholdsthis", '"+-&|!(){}[]^~*?:\\/', "x" * 10_000])
def test_queries_that_find_nothing_are_no_error(engine: EmbeddedFirstStage, query: str) -> None:
    assert engine.search(query, 10) == []
    assert engine.score(query, ["in-title"]) == {"in-title": 0.0}


def test_words_of_other_scripts_are_found(engine: EmbeddedFirstStage) -> None:
    assert found(engine, "écran") == ["unicode"]
    assert found(engine, "脑") == ["unicode"]
    assert found(engine, "🙂") == ["unicode"]


def test_score_is_that_of_search_zero_without_a_match_and_absent_where_unknown(engine: EmbeddedFirstStage) -> None:
    by_search = {hit.product_id: hit.score for hit in engine.search("laptop stand", 10)}
    scores = engine.score("laptop stand", [*by_search, "twin-a", "not-there"])
    assert scores == pytest.approx({**by_search, "twin-a": 0.0})


def test_get_keeps_the_order_asked_for_and_leaves_unknown_ids_out(engine: EmbeddedFirstStage) -> None:
    assert list(engine.get(["twin-a", "not-there", "in-title"])) == ["twin-a", "in-title"]
    assert engine.get(["in-title"]) == {"in-title": PRODUCTS[2]}
    assert engine.get([]) == {}


def test_it_is_a_first_stage_and_counts(engine: EmbeddedFirstStage) -> None:
    assert isinstance(engine, FirstStage)
    assert engine.count() == len(PRODUCTS)


def test_a_failed_build_leaves_the_old_index_serving(tmp_path: Path) -> None:
    folder = tmp_path / "products"
    build_index(folder, PRODUCTS)

    def broken() -> Iterator[dict[str, Any]]:
        yield {"id": "new", "title": "new"}
        raise CatalogError("line 2 is broken")

    with pytest.raises(CatalogError):
        build_index(folder, broken())
    assert EmbeddedFirstStage(folder).count() == len(PRODUCTS)
    assert [path.name for path in tmp_path.iterdir()] == ["products"]


def test_an_index_built_anew_is_searched_from_then_on_and_the_old_one_until_then(tmp_path: Path) -> None:
    folder = tmp_path / "products"
    build_index(folder, PRODUCTS)
    engine = EmbeddedFirstStage(folder)
    build_index(folder, [{"id": "new", "title": "chair"}])
    assert found(engine, "chair") == ["new"]
    assert list(engine.get(["new", "twin-a"])) == ["new"]
    build_index(folder, PRODUCTS)
    (folder / "index.json").unlink()  # as while it is exchanged
    assert found(engine, "chair") == ["new"]
    (folder / "index.json").write_text(f'{{"layout": {LAYOUT + 1}}}')  # another release's
    assert found(engine, "chair") == ["new"]


def test_missing_foreign_and_outdated_indexes_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FirstStageError, match="There is no embedded index"):
        EmbeddedFirstStage(tmp_path / "none")
    folder = tmp_path / "products"
    build_index(folder, PRODUCTS)
    (folder / "index.json").write_text(f'{{"layout": {LAYOUT + 1}}}')
    with pytest.raises(FirstStageError, match="another release"):
        EmbeddedFirstStage(folder)
    (folder / "index.json").write_text(f'{{"layout": {LAYOUT}}}')
    with pytest.raises(FirstStageError, match=r"damaged: index.json does not list its files"):
        EmbeddedFirstStage(folder)


def damaged(folder: Path, name: str, how: str) -> None:
    path = next(path for path in sorted(folder.iterdir()) if path.name.endswith(name))
    content = bytearray(path.read_bytes())
    if how == "missing":
        path.unlink()
        return
    content[len(content) // 2] ^= 1
    path.write_bytes(content if how == "changed" else content[:-1])


@pytest.mark.parametrize("name", ["index.json", "meta.json", ".managed.json", ".store", ".idx", ".term", ".fast", ".fieldnorm", ".pos"])
@pytest.mark.parametrize("how", ["changed", "cut", "missing"])
def test_a_damaged_file_is_noticed_when_the_index_is_opened(tmp_path: Path, name: str, how: str) -> None:
    folder = tmp_path / "shop"
    build_index(folder, PRODUCTS)
    damaged(folder, name, how)
    with pytest.raises(FirstStageError) as caught:
        EmbeddedFirstStage(folder)
    assert "There is no embedded index" in caught.value.message if (name, how) == ("index.json", "missing") else "is damaged" in caught.value.message
    assert "--index shop" in str(caught.value.hint)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "[]", '{"layout": 3}', '{"layout": 3, "files": {}}', '{"layout": 3, "files": {"meta.json": {"bytes": "x"}}}', "\udcff"]
)
def test_an_unusable_list_of_files_is_damage(tmp_path: Path, text: str) -> None:
    build_index(tmp_path / "shop", PRODUCTS)
    (tmp_path / "shop" / "index.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(FirstStageError, match="is damaged"):
        EmbeddedFirstStage(tmp_path / "shop")


def test_damage_that_is_not_checked_at_opening_is_an_error_of_the_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build_index(tmp_path / "shop", PRODUCTS)
    store = next((tmp_path / "shop").glob("*.store"))
    store.write_bytes(bytes(len(store.read_bytes()) // 2) + store.read_bytes()[len(store.read_bytes()) // 2 :])
    monkeypatch.setattr("reranker.embedded.MAX_CHECKED_BYTES", 0)
    engine = EmbeddedFirstStage(tmp_path / "shop")
    with pytest.raises(FirstStageError, match="cannot be read"):
        engine.search("laptop", 10)
    with pytest.raises(FirstStageError, match="cannot be read"):
        engine.get(["in-title"])


def test_a_panic_of_the_engine_is_an_error() -> None:
    panic = type("PanicException", (BaseException,), {})
    with pytest.raises(OSError, match="index out of bounds"), _tantivy_raises(OSError):
        raise panic("index out of bounds")
    with pytest.raises(KeyboardInterrupt), _tantivy_raises(OSError):
        raise KeyboardInterrupt


def test_a_damaged_index_that_replaces_a_good_one_is_not_served(tmp_path: Path) -> None:
    build_index(tmp_path / "shop", PRODUCTS)
    engine = EmbeddedFirstStage(tmp_path / "shop")
    build_index(tmp_path / "shop", [{"id": "new", "title": "chair"}])
    damaged(tmp_path / "shop", ".store", "changed")
    assert found(engine, "chair") == ["twin-b", "twin-a"]


def test_an_index_is_read_where_its_lock_cannot_be_written(tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    build_index(folder, PRODUCTS)
    (folder / ".tantivy-meta.lock").unlink()
    (folder / ".tantivy-meta.lock").mkdir()  # as on a read-only disk: it cannot be opened for writing, not even by root
    assert found(EmbeddedFirstStage(folder), "chair") == ["twin-b", "twin-a"]


def test_the_cache_of_products_is_limited_in_bytes(tmp_path: Path) -> None:
    build_index(tmp_path / "shop", [{"id": str(n), "title": "lamp", "more": str(n) * 1_000} for n in range(100)])
    engine = EmbeddedFirstStage(tmp_path / "shop", cache_bytes=50_000)
    for _ in range(2):
        assert len(engine.search("lamp", 100)) == 100
        state = engine.cache_state()
        assert 5 <= state.entries <= 50
        assert 25_000 <= state.bytes <= 50_000
    assert state.misses == 200
    engine.search("lamp", 5)
    engine.search("lamp", 5)
    assert engine.cache_state().hits >= 5
    assert EmbeddedFirstStage(tmp_path / "shop", cache_bytes=100).search("lamp", 1)[0].product_id == "0"


def test_a_search_holds_only_so_many_bytes_of_products(tmp_path: Path) -> None:
    build_index(tmp_path / "shop", [{"id": str(n), "title": "lamp", "more": "x" * 1_000_000} for n in range(40)])
    engine = EmbeddedFirstStage(tmp_path / "shop")
    assert len(engine.search("lamp", 33)) == 33
    with pytest.raises(InputError, match="more than 32 MiB") as caught:
        engine.search("lamp", 40)
    assert "smaller page" in str(caught.value.hint)


def test_a_damaged_index_of_the_demo_catalogue_is_built_again_and_one_of_another_catalogue_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    demo = tmp_path / "products.jsonl"
    demo.write_text('{"id": "1", "title": "tv"}\n')
    monkeypatch.setattr("reranker.embedded.demo_file", lambda _: demo)
    folder = tmp_path / "home" / "products"
    assert open_or_build_demo(folder, quiet=True).count() == 1
    damaged(folder, ".store", "changed")
    assert open_or_build_demo(folder, quiet=True).count() == 1
    build_index(folder, PRODUCTS, source={"name": demo.name, "sha256": "another"})
    damaged(folder, ".store", "changed")
    with pytest.raises(FirstStageError, match="is damaged"):
        open_or_build_demo(folder, quiet=True)
    damaged(folder, "index.json", "cut")
    with pytest.raises(FirstStageError, match="is damaged"):
        open_or_build_demo(folder, quiet=True)


def test_a_damaged_index_of_a_catalogue_file_is_built_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RERANKER_HOME", str(tmp_path / "home"))
    catalog = tmp_path / "c.jsonl"
    catalog.write_text('{"id": "1", "title": "tv"}\n')
    open_first_stage(None, "products", catalog, quiet=True)
    damaged(next((tmp_path / "home").iterdir()), ".store", "changed")
    assert open_first_stage(None, "products", catalog, quiet=True).count() == 1


def test_the_default_index_holds_the_demo_catalogue_until_another_one_is_indexed(tmp_path: Path) -> None:
    folder = tmp_path / "products"
    assert open_or_build_demo(folder, quiet=True).count() > 10_000
    built = (folder / "index.json").stat().st_mtime_ns
    assert open_or_build_demo(folder, quiet=True).count() > 10_000
    assert (folder / "index.json").stat().st_mtime_ns == built
    build_index(folder, PRODUCTS)
    assert open_or_build_demo(folder, quiet=True).count() == len(PRODUCTS)


def test_a_catalogues_index_is_built_again_only_when_the_file_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RERANKER_HOME", str(tmp_path / "home"))
    catalog = tmp_path / "c.jsonl"
    catalog.write_text('{"id": "1", "title": "tv"}\n')

    def built() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in tmp_path.glob("home/*/index.json")}

    assert open_first_stage(None, "products", catalog, quiet=True).count() == 1
    first = built()
    assert open_first_stage(None, "products", catalog, quiet=True).count() == 1
    assert built() == first
    catalog.write_text('{"id": "1", "title": "tv"}\n{"id": "2", "title": "radio"}\n')
    assert open_first_stage(None, "products", catalog, quiet=True).count() == 2

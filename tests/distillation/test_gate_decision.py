"""The gate refuses with reasons, and picks the best student within the budget."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

from reranker.errors import RecipeError
from reranker.evaluation.bootstrap import Interval
from reranker_distill.gate.decision import VariantMeasurement, agreement_refusals, choose, quality_refusals
from reranker_distill.gate.model_card import model_card
from reranker_distill.gate.variant_bundles import LoadedVariant, choose_precisions
from reranker_distill.recipe import Gate, Recipe, load_recipe
from reranker_distill.stages.gate import NOT_MEASURED

GOOD = {"bm25": 0.70, "minilm_cosine": 0.85, "student_fp32": 0.90, "student_int8": 0.899}


def measurement(variant: str, ndcg: float, ms: float, refused: tuple[str, ...] = ()) -> VariantMeasurement:
    return VariantMeasurement(variant, f"{variant}_int8", Interval(ndcg, ndcg - 0.1, ndcg + 0.05), ms, 2 * ms, 20, 23.0, list(refused))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({}, []),
        ({"student_int8": 0.894}, ["nDCG@10 0.894 is more than 0.005 below its fp32 form's 0.900"]),
        ({"bm25": 0.89}, ["nDCG@10 0.899 is not 0.02 above BM25's 0.890"]),
        ({"minilm_cosine": 0.91}, ["nDCG@10 0.899 is below the off-the-shelf embedder's 0.910"]),
    ],
)
def test_quality_is_refused_with_its_reason(changed: dict[str, float], message: list[str]) -> None:
    assert quality_refusals({**GOOD, **changed}, "student_int8", "student_fp32", Gate()) == message


def exported(name: str, precision: str, products: str | None = None) -> LoadedVariant:
    return LoadedVariant(name, precision, {}, {}, {}, {}, {}, products)


@pytest.mark.parametrize(
    ("measured", "served"),
    [
        ({}, {"student": "int8", "fast": "int8"}),
        ({"student_int8": 0.894}, {"student": "int8_weights", "fast": "int8_weights"}),  # one reader of products for both
        ({"fast_int8": 0.80}, {"student": "int8", "fast": "int8_weights"}),
        ({"student_int8": 0.894, "student_int8_weights": 0.80}, {"student": "fp32", "fast": "fp32"}),
        ({"student_int8": 0.95, "fast_int8": 0.95}, {"student": "int8", "fast": "int8"}),
    ],
)
def test_a_precision_that_loses_too_much_is_passed_over(measured: dict[str, float], served: dict[str, str]) -> None:
    ndcg = {f"{variant}_{precision}": 0.9 for variant in ("student", "fast") for precision in ("int8", "int8_weights", "fp32")} | measured
    variants = [exported("student", "int8"), exported("fast", "int8", products="student")]
    assert {variant.name: variant.precision for variant in choose_precisions(variants, ndcg, 0.005)} == served


def test_what_the_export_passed_over_stays_so() -> None:
    ndcg = {"student_int8": 0.9, "student_int8_weights": 0.9, "student_fp32": 0.9}
    assert [variant.precision for variant in choose_precisions([exported("student", "fp32")], ndcg, 0.005)] == ["fp32"]
    assert [variant.precision for variant in choose_precisions([exported("student", "fp32")], {"student_fp32": 0.9}, 0.005)] == ["fp32"]


def test_a_precision_that_was_not_measured_is_passed_over() -> None:
    assert [variant.precision for variant in choose_precisions([exported("student", "int8")], {"student_int8_weights": 0.9, "student_fp32": 0.9}, 0.005)] == [
        "int8_weights"
    ]
    assert [variant.precision for variant in choose_precisions([exported("student", "int8")], {"student_fp32": 0.9}, 0.005)] == ["fp32"]


def test_an_embedder_that_is_absent_or_not_minded_refuses_nothing() -> None:
    absent = {name: value for name, value in GOOD.items() if name != "minilm_cosine"}
    assert quality_refusals(absent, "student_int8", "student_fp32", Gate()) == []
    assert quality_refusals({**GOOD, "minilm_cosine": 0.99}, "student_int8", "student_fp32", Gate(beat_embedder=False)) == []


def test_without_a_budget_the_top_student_serves_or_none() -> None:
    assert choose([measurement("student", 0.88, 150), measurement("small", 0.9, 20)], None)[0].variant == "student"
    chosen, why = choose([measurement("student", 0.88, 150, ("too weak",)), measurement("small", 0.9, 20)], None)
    assert chosen is None
    assert why == ["too weak"]


def test_within_a_budget_the_best_serves_and_of_equals_the_faster() -> None:
    variants = [measurement("student", 0.92, 150), measurement("half", 0.90, 60), measurement("small", 0.90, 20), measurement("tiny", 0.85, 8)]
    assert choose(variants, 200)[0].variant == "student"
    assert choose(variants, 100)[0].variant == "small"
    assert choose(variants, 10)[0].variant == "tiny"
    assert choose([measurement("half", 0.95, 60, ("worse than BM25",)), *variants[2:]], 100)[0].variant == "small"


def test_a_budget_that_none_meets_is_refused_with_each_variants_time() -> None:
    chosen, why = choose([measurement("student", 0.92, 150), measurement("small", 0.90, 20.4)], 5)
    assert chosen is None
    assert why == ["no student reranks 50 hits within 5 ms (p50, on this machine): student 150.0 ms, small 20.4 ms"]


def test_within_the_budget_but_too_weak_is_refused_by_name() -> None:
    assert choose([measurement("student", 0.92, 150), measurement("small", 0.6, 20, ("not above BM25",))], 50) == (None, ["small, 20.0 ms: not above BM25"])


def test_a_variant_takes_from_student_what_it_does_not_give() -> None:
    recipe = Recipe(name="x", student={"layers": 3, "loss": "bce"}, variants=[{"name": "small", "layers": 1, "epochs": 5}])
    settings = recipe.student_of(recipe.variants[0])
    assert (settings.layers, settings.epochs, settings.loss) == (1, 5, "bce")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[[variants]]\nname = "a"\n[[variants]]\nname = "a"\n', "a name of its own"),
        ('[[variants]]\nname = "student"\n', "a name of its own"),
        ("[[variants]]\nlayers = 2\n", "variants.0.name"),
        ('[student]\nloss = "hinge"\n', "student.loss"),
        ("[gate]\nbudget_ms = 0\n", "gate.budget_ms"),
    ],
)
def test_wrong_variants_is_reported(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "r.toml").write_text(f'name = "x"\n{text}')
    with pytest.raises(RecipeError) as error:
        load_recipe(str(tmp_path / "r.toml"))
    assert message in str(error.value)


def test_without_judgments_the_largest_within_the_budget_serves() -> None:
    sizes = {"student": (150, 23.0), "half": (60, 12.0), "tiny": (8, 2.0)}
    variants = [measurement(variant, 0, ms)._replace(interval=None, megabytes=size) for variant, (ms, size) in sizes.items()]
    assert [choose(variants, budget)[0].variant for budget in (None, 200, 100, 10)] == ["student", "student", "half", "tiny"]
    assert variants[0].as_dict()["ndcg@10"] is None


def test_without_judgments_a_student_must_order_pairs_as_its_fp32_form_does() -> None:
    assert agreement_refusals(0.9991) == []
    assert agreement_refusals(0.93) == ["it orders pairs differently from its fp32 form: their rank correlation is 0.9300, below 0.99"]


METRICS = {
    "queries": 16,
    "ndcg@10": {"bm25": 0.74, "student_int8": 0.9},
    "interval": {"bm25": [0.5, 0.9], "student_int8": [0.8, 0.98]},
    "difference": {"student-bm25": {"mean": 0.16, "interval": [0.02, 0.34]}},
    "ranking": "student_int8",
    "precision": "int8",
    "latency_ms": {"hits": 50, "p50": 42.0, "p95": 80.0},
    "refused": ["nDCG@10 0.900 is below the off-the-shelf embedder's 0.910"],
}


def card_of(**changes: object) -> str:
    return model_card(
        {
            "name": "shop",
            "created": "2025-01-01",
            "template": {"fields": ["title"]},
            "max_length": 96,
            "student": {"start": "some-encoder", "architecture": "cross_encoder", "layers": 2, "width": 128, "parameters": 5_000_000},
            "teacher": {"model": "big-llm", "judged_pairs": 1316},
            "training": {"labelled_pairs": 19359, "epochs": 3.0, "loss": "list_margin_mse", "seed": 1},
            "metrics": METRICS,
            "licences": [{"of": "teacher", "name": "big-llm", "licence": "Its Terms"}, {"of": "training data", "name": "demo", "licence": "Open"}],
            **changes,
        }
    )


def test_the_card_of_a_run_without_judgments_says_that_nothing_was_measured() -> None:
    unmeasured = {"queries": 0, "ndcg@10": {}, "interval": {}, "difference": {}, "refused": [], "not_measured": NOT_MEASURED}
    metrics = {**METRICS, **unmeasured, "teacher_agreement": 0.91, "fp32_agreement": 0.9987}
    card = card_of(metrics=metrics, teacher={"kind": "embedder", "model": "MiniLM", "judged_pairs": 0, "embedder": "MiniLM", "embedder_share": 1.0})
    for message in ("nDCG@10 is not measured: no judgments", "0.910", "0.9987", "MiniLM, an embedder", "42 ms", "reranker evaluate"):
        assert message in card
    assert "fine-tuned" not in card
    assert "| ranking |" not in card


def test_the_card_says_how_a_zero_shot_teacher_was_used() -> None:
    assert "big-llm, asked zero-shot for a grade, labelled 19,359 pairs" in card_of(teacher={"kind": "zero_shot", "model": "big-llm", "judged_pairs": 0})


def test_the_card_says_what_the_teacher_s_word_counted() -> None:
    beside = {"model": "big-llm", "judged_pairs": 1316, "embedder": "MiniLM", "embedder_share": 0.8}
    assert "MiniLM made up 80% of each label. " in card_of(teacher=beside)
    assert "80% of each label, and more where teacher and embedder ordered" in card_of(teacher={**beside, "teacher_by_agreement": True})


def test_the_card_tells_quality_with_intervals_limits_and_licences() -> None:
    card = card_of()
    for message in (
        "big-llm",
        "Its Terms",
        "BM25 | 0.740 | 0.500 to 0.900",
        "student_int8 (this bundle) | 0.900",
        "+0.160 | +0.020 to +0.340",
        "42 ms",
        "below the off-the-shelf",
        "## Limits",
    ):
        assert message in card

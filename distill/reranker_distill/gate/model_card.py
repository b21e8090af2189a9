"""The model card: a bundle's manifest as a page for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CARD = "MODEL_CARD.md"
_KINDS = {
    "cross_encoder": ("A cross-encoder", "together"),
    "bi_encoder": ("A bi-encoder", "apart, so that a product's vector is computed once,"),
    "duet": ("A duet of a cross-encoder and a bi-encoder", "together and apart, and adds both scores"),
}
_RANKINGS = {"bm25": "BM25", "minilm_cosine": "all-MiniLM-L6-v2 cosine, untrained", "teacher": "teacher", "committee": "teacher and embedder together"}


def model_card(manifest: Mapping[str, Any]) -> str:
    """Return the card, Markdown, of a manifest as ``write_bundle`` takes it, with the gate's ``metrics``."""
    student, teacher, training, metrics = (manifest[key] for key in ("student", "teacher", "training", "metrics"))
    reads, latency = student.get("query_encoder"), metrics["latency_ms"]
    lines = [
        f"# {manifest['name']}: a distilled product reranker",
        "",
        f"{_KINDS[student['architecture']][0]} of {student['layers']} layers, {student['width']} wide, {student['parameters']:,} parameters, "
        f"started from {student['start']}. "
        f"It reads a query and a product {_KINDS[student['architecture']][1]} "
        f"({', '.join(manifest['template']['fields'])}; at most {manifest['max_length']} tokens) and gives a relevance, 0 to 1. "
        + (f"Queries are read by a smaller network of {reads['layers']} layers. " if reads else "")
        + f"Made {manifest['created']}.",
        "",
        "## Use",
        "",
        "```python",
        "from reranker import Reranker",
        "",
        'reranker = Reranker.load("path/of/this/folder")',
        'print(reranker.score("laptop", [{"id": "1", "title": "Laptop lock"}]))',
        "```",
        "",
        "## How it was made",
        "",
        f"{_labeller(teacher)} labelled {training['labelled_pairs']:,} pairs of queries and products. "
        f"The student learnt from them for {training['epochs']:g} epoch(s) (loss: {training['loss']}). "
        + (f"{teacher['embedder']} made up {teacher['embedder_share']:.0%} of each label{_yielding(teacher)}. " if teacher.get("embedder_share", 1) < 1 else "")
        + (f"Beside it, {teacher['likelihood']} as it was pretrained found queries likely or not (arXiv 2204.07496). " if teacher.get("likelihood") else "")
        + (f"A larger student's scores made up {training['larger_share']:.0%} of what it learnt. " if training["larger_share"] else "")
        + (f"Its query encoder learnt the vectors of {reads['queries']:,} queries for {reads['epochs']:g} epoch(s) (arXiv 2306.11550). " if reads else "")
        + "Method: arXiv 2505.07105.",
        "",
        "## Quality",
        "",
        _measured_on(metrics),
        "",
        "| ranking | nDCG@10 | interval |",
        "|---|---|---|",
    ]
    if not metrics["queries"]:
        lines[-4:] = [
            "nDCG@10 is not measured: no judgments. Judge some queries and run `reranker evaluate` before you serve it. "
            f"On labelled pairs, its rank correlation with what it learnt is {metrics['teacher_agreement']:.3f}, "
            f"with its fp32 form {metrics['fp32_agreement']:.4f}.",
        ]
    own = "this bundle's recipe" if "cross_validated" in metrics else "this bundle"
    leaning = metrics.get("with_neighbours")
    marks = {metrics["ranking"]: f" ({own})", leaning: f" ({own}, with its catalogue's vectors)"}
    lines += [
        f"| {_RANKINGS.get(name, name)}{marks.get(name, '')} | {value:.3f} | {_range(metrics['interval'][name])} |"
        for name, value in metrics["ndcg@10"].items()
    ]
    if metrics["queries"]:
        lines += ["", "Differences, with paired intervals:", "", "| difference | mean | interval |", "|---|---|---|"]
    lines += [f"| {name} | {told['mean']:+.3f} | {_range(told['interval'], '+')} |" for name, told in metrics["difference"].items()]
    if leaning:
        lines += ["", "With its catalogue's vectors: as `reranker vectors` computes them, each leaning on those of the products most like it."]
    lines += [
        "",
        f"Served as {metrics['precision']}. Reranking {latency['hits']} hits took {latency['p50']:.0f} ms (p50; p95 {latency['p95']:.0f}) "
        "on the machine that made it"
        + (f", where the products' vectors were known; {latency['p50_unknown']:.0f} ms where they were not." if "p50_unknown" in latency else "."),
    ]
    lines += ["", *(f"The gate refused this student: {why}." for why in metrics.get("refused", []))]
    lines += [
        "## Limits",
        "",
        f"- {metrics['queries']} queries are what the figures rest on: read the intervals." if metrics["queries"] else "- Its quality was not measured.",
        f"- It knows the kind of products and queries of its training data ({manifest['licences'][-1]['name']}); measure it on yours before you serve it.",
        f"- Text beyond {manifest['max_length']} tokens is not read. Scores order the products of one query; they are no probabilities of purchase.",
        "- What the teacher judges wrongly, the student learnt.",
        "",
        "## Licences",
        "",
        *(f"- {entry['of']}: {entry['name']}, {entry['licence']}" for entry in manifest["licences"]),
    ]
    return "\n".join(lines) + "\n"


def _measured_on(metrics: Mapping[str, Any]) -> str:
    if runs := metrics.get("cross_validated"):
        return (
            f"This bundle learnt from all judgments, so nothing is left to measure it on. Judged-only nDCG@10 of students of the same recipe on "
            f"{metrics['queries']} queries, each ranked by one that saw nothing of its intent ({', '.join(runs)}), with 95 % bootstrap intervals:"
        )
    intents = f"{metrics['intents']} intents" if "intents" in metrics else "intents"
    return f"Judged-only nDCG@10 on {metrics['queries']} queries of {intents} that no stage of the training saw, with 95 % bootstrap intervals:"


def _labeller(teacher: Mapping[str, Any]) -> str:
    if teacher.get("kind") == "embedder":
        return f"{teacher['model']}, an embedder that knows each product's neighbours in the catalogue,"
    if teacher.get("kind") == "zero_shot":
        return f"{teacher['model']}, asked for a grade as it is,"
    return f"{teacher['model']}, fine-tuned on {teacher['judged_pairs']:,} judged pairs,"


def _yielding(teacher: Mapping[str, Any]) -> str:
    return ", and more where the other ordered a query's products otherwise" if teacher.get("teacher_by_agreement") else ""


def _range(interval: list[float], sign: str = "") -> str:
    return f"{interval[0]:{sign}.3f} to {interval[1]:{sign}.3f}"

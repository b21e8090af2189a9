"""The model card: a bundle's manifest as a Markdown page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CARD = "MODEL_CARD.md"
_KINDS = {
    "cross_encoder": ("A cross-encoder", "together"),
    "bi_encoder": ("A bi-encoder", "separately, so that a product's vector is computed once,"),
}
_RANKINGS = {"bm25": "BM25", "minilm_cosine": "all-MiniLM-L6-v2 cosine, untrained", "teacher": "teacher", "label_fusion": "fused labels"}


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
        + (f"Queries are encoded by a smaller model of {reads['layers']} layers. " if reads else "")
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
        + _embedder_clause(teacher)
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
            f"On labelled pairs, its rank correlation with the labels is {metrics['teacher_agreement']:.3f}, "
            f"with its fp32 form {metrics['fp32_agreement']:.4f}.",
        ]
    marks = {metrics["ranking"]: " (this bundle)"}
    lines += [
        f"| {_RANKINGS.get(name, name)}{marks.get(name, '')} | {value:.3f} | {_range(metrics['interval'][name])} |"
        for name, value in metrics["ndcg@10"].items()
    ]
    if metrics["queries"]:
        lines += ["", "Differences, with paired intervals:", "", "| difference | mean | interval |", "|---|---|---|"]
    lines += [f"| {name} | {value['mean']:+.3f} | {_range(value['interval'], '+')} |" for name, value in metrics["difference"].items()]
    lines += [
        "",
        f"Served as {metrics['precision']}. Reranking {latency['hits']} hits took {latency['p50']:.0f} ms (p50; p95 {latency['p95']:.0f}) "
        "on the machine that made it"
        + (f" with stored product vectors; {latency['p50_new_products']:.0f} ms without." if "p50_new_products" in latency else "."),
    ]
    lines += ["", *(f"The gate refused this student: {reason}." for reason in metrics.get("refused", []))]
    lines += [
        "## Limits",
        "",
        f"- {metrics['queries']} queries were measured: read the intervals." if metrics["queries"] else "- Its quality was not measured.",
        f"- It was trained on the products and queries of its training data ({manifest['licences'][-1]['name']}); measure it on yours before you serve it.",
        f"- Text beyond {manifest['max_length']} tokens is not read. Scores order the products of one query; they are not probabilities of purchase.",
        "- The student learnt the teacher's errors too.",
        "",
        "## Licences",
        "",
        *(f"- {entry['of']}: {entry['name']}, {entry['licence']}" for entry in manifest["licences"]),
    ]
    return "\n".join(lines) + "\n"


def _measured_on(metrics: Mapping[str, Any]) -> str:
    intents = f"{metrics['intents']} intents" if "intents" in metrics else "intents"
    return f"Judged-only nDCG@10 on {metrics['queries']} queries of {intents} that no stage of the training saw, with 95 % bootstrap intervals:"


def _labeller(teacher: Mapping[str, Any]) -> str:
    if teacher.get("kind") == "embedder":
        return f"{teacher['model']}, an embedder,"
    if teacher.get("kind") == "zero_shot":
        return f"{teacher['model']}, asked zero-shot for a grade,"
    return f"{teacher['model']}, fine-tuned on {teacher['judged_pairs']:,} judged pairs,"


def _embedder_clause(teacher: Mapping[str, Any]) -> str:
    text = ""
    if teacher.get("embedder_share", 1) < 1:
        more = ", and more where teacher and embedder ordered a query's products differently" if teacher.get("teacher_by_agreement") else ""
        text = f"{teacher['embedder']} made up {teacher['embedder_share']:.0%} of each label{more}. "
    if teacher.get("likelihood"):
        text += f"The query likelihood of {teacher['likelihood']}, as pretrained, adjusted the embedder's scores (arXiv 2204.07496). "
    return text


def _range(interval: list[float], sign: str = "") -> str:
    return f"{interval[0]:{sign}.3f} to {interval[1]:{sign}.3f}"

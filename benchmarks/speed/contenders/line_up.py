"""Who takes part in a benchmark, and who does not and why."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from benchmarks.speed.contenders.bm25 import Bm25
from benchmarks.speed.contenders.checkpoint import Checkpoint, lay_out
from benchmarks.speed.contenders.contender import Contender, Unavailable
from benchmarks.speed.contenders.own_bundle import OwnBundle
from reranker.bundle import Bundle
from reranker.errors import InputError
from reranker.first_stage import FirstStage

KINDS = ("bm25", "bundle", "minilm_cosine", "cross_encoder_torch", "cross_encoder_onnx", "flashrank", "infinity_torch", "infinity_optimum")
"""What ``--only`` takes."""


class Wanted(NamedTuple):
    """What a user asked for.

    ``bundles``: by what to call them; the first one's template and length hold for all that are not bundles ·
    ``cross_encoder``: a trained one's folder · ``infinity_python``: the interpreter of infinity-emb · ``only``: kinds; all where empty.
    """

    bundles: dict[str, Bundle]
    cross_encoder: Path | None = None
    infinity_python: Path | None = None
    only: tuple[str, ...] = ()


class LineUp(NamedTuple):
    """Those that take part, and by name why others do not."""

    contenders: list[Contender]
    left_out: dict[str, str]


def check_only(kinds: Sequence[str]) -> tuple[str, ...]:
    """Return the kinds of contenders asked for.

    Raises:
        InputError: there is none of that name.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise InputError(f"There is no contender {kind}.", hint=f"There are {', '.join(KINDS)}.")
    return tuple(dict.fromkeys(kinds))


@contextmanager
def line_up(wanted: Wanted, first_stage: FirstStage, threads: int, say: Callable[[str], None] = lambda _: None) -> Iterator[LineUp]:
    """Load every contender that can be had; they are closed at the end.

    Args:
        threads: of one run, for all.
        say: told what is being loaded.

    Raises:
        InputError: the cross-encoder given cannot be used.
        BundleError: a bundle cannot be loaded.
    """
    kinds = wanted.only or KINDS
    contenders: list[Contender] = []
    left_out = {kind: "not asked for (--only)" for kind in KINDS if kind not in kinds}
    with TemporaryDirectory(prefix="reranker-benchmark-") as scratch:
        try:
            if "bm25" in kinds:
                contenders.append(Bm25(first_stage))
            if "bundle" in kinds:
                for called, bundle in wanted.bundles.items():
                    say(f"Loading bundle {called}")
                    known = OwnBundle(bundle, called, threads=threads)
                    contenders.append(known)
                    if known.keeps_vectors:
                        contenders.append(OwnBundle(bundle, called, threads=threads, new=True))
            for kind, make in _others(wanted, Path(scratch), threads).items():
                if kind in kinds:
                    say(f"Loading {kind}")
                    try:
                        contenders.append(make())
                    except Unavailable as why:
                        left_out[kind] = str(why)
            yield LineUp(contenders, left_out)
        finally:
            for contender in contenders:
                contender.close()


def _others(wanted: Wanted, scratch: Path, threads: int) -> dict[str, Callable[[], Contender]]:
    """Return how to make each contender that is none of ours; the cross-encoder is laid out once, when the first asks for it."""
    first = next(iter(wanted.bundles.values()))
    template, max_length = first.manifest.template, first.manifest.max_length
    laid_out: list[Checkpoint | Unavailable] = []

    def checkpoint() -> Checkpoint:
        if not laid_out:
            try:
                laid_out.append(lay_out(wanted.cross_encoder, scratch, max_length=max_length, threads=threads))
            except Unavailable as why:
                laid_out.append(why)
        if isinstance(laid_out[0], Unavailable):
            raise laid_out[0]
        return laid_out[0]

    def minilm_cosine() -> Contender:
        from benchmarks.speed.contenders.minilm_cosine import MiniLmCosine

        return MiniLmCosine(template, max_length)

    def cross_encoder_torch() -> Contender:
        from benchmarks.speed.contenders.cross_encoder import SentenceTransformersCrossEncoder

        return SentenceTransformersCrossEncoder(checkpoint(), template, backend="torch")

    def cross_encoder_onnx() -> Contender:
        from benchmarks.speed.contenders.cross_encoder import SentenceTransformersCrossEncoder

        return SentenceTransformersCrossEncoder(checkpoint(), template, backend="onnx")

    def flashrank() -> Contender:
        from benchmarks.speed.contenders.flash_rank import FlashRank

        return FlashRank(checkpoint(), template)

    def infinity_torch() -> Contender:
        from benchmarks.speed.contenders.infinity import Infinity

        return Infinity(checkpoint(), template, wanted.infinity_python, engine="torch")

    def infinity_optimum() -> Contender:
        from benchmarks.speed.contenders.infinity import Infinity

        return Infinity(checkpoint(), template, wanted.infinity_python, engine="optimum")

    makers = (minilm_cosine, cross_encoder_torch, cross_encoder_onnx, flashrank, infinity_torch, infinity_optimum)
    return {make.__name__: make for make in makers}

"""The systems that the speed benchmark can compare, and how each is loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from benchmarks.speed.systems.bm25 import Bm25
from benchmarks.speed.systems.bundle import BundleSystem
from benchmarks.speed.systems.shared_checkpoint import Checkpoint, prepare_checkpoint
from benchmarks.speed.systems.system import System, Unavailable
from reranker.bundle import Bundle
from reranker.errors import InputError
from reranker.first_stage import FirstStage

KINDS = ("bm25", "bundle", "minilm_cosine", "cross_encoder_torch", "cross_encoder_onnx", "flashrank", "infinity_torch", "infinity_optimum")
"""The values of ``--only``."""


class Selection(NamedTuple):
    """What the user selected.

    ``bundles``: by name; the first one's template and length apply to all systems that are not bundles ·
    ``cross_encoder``: a trained one's folder · ``infinity_python``: the interpreter of infinity-emb · ``only``: kinds; all where empty.
    """

    bundles: dict[str, Bundle]
    cross_encoder: Path | None = None
    infinity_python: Path | None = None
    only: tuple[str, ...] = ()


class Systems(NamedTuple):
    """The loaded systems, and the reason why each other one was left out, by name."""

    systems: list[System]
    left_out: dict[str, str]


def check_only(kinds: Sequence[str]) -> tuple[str, ...]:
    """Return the selected kinds without repetitions.

    Raises:
        InputError: there is no such kind.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise InputError(f"There is no system {kind}.", hint=f"Choose from {', '.join(KINDS)}.")
    return tuple(dict.fromkeys(kinds))


@contextmanager
def load_systems(selection: Selection, first_stage: FirstStage, threads: int, say: Callable[[str], None] = lambda _: None) -> Iterator[Systems]:
    """Load every selected system that is available; close them at the end.

    Args:
        threads: threads of one run, for all systems.
        say: progress callback.

    Raises:
        InputError: the cross-encoder given cannot be used.
        BundleError: a bundle cannot be loaded.
    """
    kinds = selection.only or KINDS
    systems: list[System] = []
    left_out = {kind: "not selected (--only)" for kind in KINDS if kind not in kinds}
    with TemporaryDirectory(prefix="reranker-benchmark-") as scratch:
        try:
            if "bm25" in kinds:
                systems.append(Bm25(first_stage))
            if "bundle" in kinds:
                for name, bundle in selection.bundles.items():
                    say(f"Loading bundle {name}")
                    known = BundleSystem(bundle, name, threads=threads)
                    systems.append(known)
                    if known.keeps_vectors:
                        systems.append(BundleSystem(bundle, name, threads=threads, new=True))
            for kind, make in _others(selection, Path(scratch), threads).items():
                if kind in kinds:
                    say(f"Loading {kind}")
                    try:
                        systems.append(make())
                    except Unavailable as why:
                        left_out[kind] = str(why)
            yield Systems(systems, left_out)
        finally:
            for system in systems:
                system.close()


def _others(selection: Selection, scratch: Path, threads: int) -> dict[str, Callable[[], System]]:
    """Return a factory for each system of another project. The shared cross-encoder is prepared once, when the first system needs it."""
    first = next(iter(selection.bundles.values()))
    template, max_length = first.manifest.template, first.manifest.max_length
    prepared: list[Checkpoint | Unavailable] = []

    def checkpoint() -> Checkpoint:
        if not prepared:
            try:
                prepared.append(prepare_checkpoint(selection.cross_encoder, scratch, max_length=max_length, threads=threads))
            except Unavailable as why:
                prepared.append(why)
        if isinstance(prepared[0], Unavailable):
            raise prepared[0]
        return prepared[0]

    def minilm_cosine() -> System:
        from benchmarks.speed.systems.minilm_cosine import MiniLmCosine

        return MiniLmCosine(template, max_length)

    def cross_encoder_torch() -> System:
        from benchmarks.speed.systems.cross_encoder import SentenceTransformersCrossEncoder

        return SentenceTransformersCrossEncoder(checkpoint(), template, backend="torch")

    def cross_encoder_onnx() -> System:
        from benchmarks.speed.systems.cross_encoder import SentenceTransformersCrossEncoder

        return SentenceTransformersCrossEncoder(checkpoint(), template, backend="onnx")

    def flashrank() -> System:
        from benchmarks.speed.systems.flash_rank import FlashRank

        return FlashRank(checkpoint(), template)

    def infinity_torch() -> System:
        from benchmarks.speed.systems.infinity import Infinity

        return Infinity(checkpoint(), template, selection.infinity_python, engine="torch")

    def infinity_optimum() -> System:
        from benchmarks.speed.systems.infinity import Infinity

        return Infinity(checkpoint(), template, selection.infinity_python, engine="optimum")

    makers = (minilm_cosine, cross_encoder_torch, cross_encoder_onnx, flashrank, infinity_torch, infinity_optimum)
    return {make.__name__: make for make in makers}

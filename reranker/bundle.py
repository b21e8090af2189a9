"""The bundle: a folder with a student that is ready to serve, and its manifest."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from importlib import resources
from io import BufferedReader
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from reranker.errors import BundleError
from reranker.folders import recover, whole_folder
from reranker.text import ProductTemplate, clean

FORMAT = 3
"""1: cross-encoder; 2: bi-encoder; 3: a file may be shared with another bundle. A bundle states the lowest format that can read it."""
CROSS_ENCODER, BI_ENCODER = "cross_encoder", "bi_encoder"
"""Architectures of a student."""
MODEL = "model.onnx"
QUERIES = "queries.onnx"
"""A smaller model that encodes a bi-encoder's queries; ``model.onnx`` then encodes only products."""

TOKENIZER = "tokenizer.json"
MANIFEST = "manifest.json"
_MANIFEST_BYTES, _MANIFEST_LEVELS = 16 * 1024 * 1024, 100
_NAME_CHARACTERS = 200


def _printable(value: str) -> str:
    if not value.isprintable():
        raise PydanticCustomError("printable", "it has control or invisible characters")
    return value


Line = Annotated[str, Field(min_length=1, max_length=_NAME_CHARACTERS), AfterValidator(_printable)]
"""A line of printable text: it can be shown in a terminal, in a header and in a metric's label."""


class FileEntry(BaseModel):
    """A file of the bundle: ``sha256`` in hex, size in bytes.

    ``path``: where the file is, relative to the bundle's folder, if it is shared with a bundle beside this one,
    such as ``../default/model.onnx``.
    """

    sha256: str
    bytes: int
    path: str | None = Field(default=None, exclude_if=lambda path: path is None)


class Calibration(BaseModel):
    """Relevance = sigmoid(scale · logit + bias). The student learns margins only, so its logits have no fixed level."""

    scale: float = Field(default=1.0, allow_inf_nan=False)
    bias: float = Field(default=0.0, allow_inf_nan=False)


class Seen(BaseModel):
    """Judged intents and queries that were used in training; evaluation leaves them out."""

    intents: list[str] = Field(default_factory=list)
    queries: list[str] = Field(default_factory=list)


class Manifest(BaseModel):
    """``manifest.json``: everything about a bundle except its weights."""

    model_config = ConfigDict(extra="allow")

    format: int
    name: Line
    created: Annotated[str, Field(max_length=_NAME_CHARACTERS), AfterValidator(_printable)]
    template: ProductTemplate
    max_length: int = Field(ge=8, le=8192)
    calibration: Calibration = Calibration()
    files: dict[str, FileEntry]
    student: dict[str, Any] = Field(default_factory=dict)
    teacher: dict[str, Any] = Field(default_factory=dict)
    training: dict[str, Any] = Field(default_factory=dict)
    metrics: dict[str, Any] = Field(default_factory=dict)
    seen: Seen = Seen()
    licences: list[dict[str, str]] = Field(default_factory=list)


class Bundle(NamedTuple):
    """A bundle whose files match its manifest: its folder, the manifest, and that file's sha256 in hex."""

    path: Path
    manifest: Manifest
    manifest_sha256: str

    @property
    def version(self) -> str:
        """Twelve characters that change with the weights."""
        weights = [self.manifest.files[name].sha256 for name in (MODEL, QUERIES) if name in self.manifest.files]
        return (weights[0] if len(weights) == 1 else hashlib.sha256(" ".join(weights).encode()).hexdigest())[:12]

    def file(self, name: str) -> Path:
        """Return the path of one of its files."""
        return _located(self.path, name, self.manifest.files[name])


def shipped_bundles() -> dict[str, Path]:
    """Return the folders of the bundles that come with the package by name; ``default`` is among them."""
    folder = Path(str(resources.files("reranker") / "bundles"))
    return {path.parent.name: path.parent for path in sorted(folder.glob(f"*/{MANIFEST}"))}


def sha256(path: Path) -> str:
    with _opened(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _opened(path: Path) -> BufferedReader:
    """Open a file for reading. If a pipe has taken its place, reading it gives nothing, and does not wait."""
    return open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))


def bundle_folder(path: str | Path | None) -> Path:
    """Return a bundle's folder: ``path`` itself, or the shipped bundle of that name if there is no such folder. None means ``default``."""
    shipped = shipped_bundles()
    folder = shipped["default"] if path is None else Path(path)
    return folder if folder.exists() else shipped.get(str(path), folder)


def load_bundle(path: str | Path | None = None) -> Bundle:
    """Read a bundle and check its files against its manifest.

    Args:
        path: as ``bundle_folder``.

    Raises:
        BundleError: a file is missing, cannot be read, does not match its checksum or is outside the bundle, or the format is of a later release.
    """
    try:
        return _load(bundle_folder(path))
    except OSError as error:
        raise BundleError(
            f"The bundle {error.filename or path} cannot be read: {error.strerror}.", hint="Check its path, and who may read its files."
        ) from error


def _load(folder: Path) -> Bundle:
    if not folder.exists():
        recover(folder)
    if not folder.is_dir():
        raise BundleError(
            f"{folder} is not a folder." if folder.exists() else f"There is no bundle at {folder}.",
            hint=f"Give a folder made by `reranker distill`, or a shipped bundle's name: {', '.join(shipped_bundles())}.",
        )
    manifest_path = folder / MANIFEST
    manifest, digest = _read_manifest(manifest_path)
    for needed in (MODEL, TOKENIZER):
        if needed not in manifest.files:
            raise BundleError(f"The manifest {manifest_path} does not list {needed}.", hint="Distil the bundle again.")
    for name, entry in manifest.files.items():
        for shown in (name, entry.path or ""):
            if not shown.isprintable() or len(shown) > _NAME_CHARACTERS:
                raise BundleError(f"The manifest {manifest_path} names a file that no bundle has: {shown[:40]!a}.", hint="Do not use this bundle.")
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise BundleError(f"The manifest {manifest_path} names a file outside the bundle: {name}.", hint="Do not use this bundle.")
        file = _located(folder, name, entry)
        if entry.path is not None and not file.is_relative_to(folder.resolve().parent):
            raise BundleError(f"The manifest {manifest_path} names a file outside the bundles' folder: {entry.path}.", hint="Do not use this bundle.")
        if not file.is_file():
            if file.exists():
                raise BundleError(f"{file} is not a regular file.", hint="Copy the bundle's files, not links to pipes or devices.")
            if entry.path is None:
                raise BundleError(f"The bundle {folder} lacks {name}.", hint="Copy the whole folder, or distil it again.")
            raise BundleError(
                f"The bundle {folder} lacks {name}, which it shares with the bundle {file.parent.name}.",
                hint=f"Copy the folder {file.parent.name} as well, to {file.parent}.",
            )
        if file.stat().st_size != entry.bytes or sha256(file) != entry.sha256:
            raise BundleError(f"{file} is not the file the manifest describes (size or sha256 differs).", hint="Copy it again; it was changed or cut short.")
    return Bundle(folder, manifest, digest)


def _read_manifest(path: Path) -> tuple[Manifest, str]:
    """Return a manifest and its file's sha256 in hex."""
    again = "Copy the whole folder again, or distil it again."
    if not path.is_file():
        if path.exists():
            raise BundleError(f"The manifest {path} is not a regular file.", hint=again)
        raise BundleError(f"The bundle {path.parent} has no {MANIFEST}.", hint=again)
    with _opened(path) as file:
        data = file.read(_MANIFEST_BYTES + 1)
    if len(data) > _MANIFEST_BYTES:
        raise BundleError(f"The manifest {path} is larger than {_MANIFEST_BYTES // 1024**2} MiB.", hint=again)
    try:
        raw = json.loads(data.decode())
        deep = _levels(raw) > _MANIFEST_LEVELS
    except RecursionError:
        deep = True
    except ValueError as error:
        raise BundleError(f"The manifest {path} cannot be read: {error}", hint=again) from error
    if deep:
        raise BundleError(f"The manifest {path} is nested deeper than {_MANIFEST_LEVELS} levels.", hint="Do not use this bundle.")
    try:
        json.dumps(raw, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:
        raise BundleError(f"The manifest {path} has half a surrogate pair in a text, which no answer could hold.", hint="Correct the text.") from None
    except ValueError:
        raise BundleError(f"The manifest {path} has a number that is NaN or infinite.", hint="Distil the bundle again.") from None
    if not isinstance(raw, dict) or not isinstance(raw.get("format"), int):
        raise BundleError(f"{path} is not a bundle's manifest: it has no format number.", hint="Distil the bundle again.")
    if raw["format"] > FORMAT:
        raise BundleError(
            f"The bundle {path.parent} has format {str(raw['format'])[:20]}; this release reads up to {FORMAT}.",
            hint="Upgrade: pip install -U distilled-reranker",
        )
    try:
        return Manifest.model_validate(raw), hashlib.sha256(data).hexdigest()
    except ValidationError as error:
        first = error.errors()[0]
        where = clean(".".join(str(part) for part in first["loc"]))[:_NAME_CHARACTERS]
        raise BundleError(f"The manifest {path} is wrong at '{where}': {first['msg']}.", hint="Distil the bundle again.") from error


def _levels(value: Any) -> int:
    """Return how deep a JSON value is nested."""
    levels, level = 0, [value]
    while level:
        levels += 1
        level = [inner for one in level if isinstance(one, dict | list) for inner in (one.values() if isinstance(one, dict) else one)]
    return levels


def _located(folder: Path, name: str, entry: FileEntry) -> Path:
    """Return where a bundle's file is. The folder may be a link; ``..`` is relative to what it points to."""
    return folder / name if entry.path is None else Path(os.path.normpath(folder.resolve() / entry.path))


def write_bundle(target: Path, files: Mapping[str, Path], manifest: Mapping[str, Any]) -> Bundle:
    """Write a bundle that holds all of its files. It is written to a folder beside ``target``, which then takes its place.

    Args:
        target: the bundle's folder; an older bundle there is replaced.
        files: name in the bundle → file to copy.
        manifest: the manifest without ``format`` and ``files``.
    """
    with whole_folder(target) as staging:
        entries = {}
        for name, source in files.items():
            shutil.copyfile(source, staging / name)
            entries[name] = {"sha256": sha256(staging / name), "bytes": (staging / name).stat().st_size}
        architecture = (manifest.get("student") or {}).get("architecture", CROSS_ENCODER)
        number = 1 if architecture == CROSS_ENCODER else 2
        whole = Manifest.model_validate({"format": number, **manifest, "files": entries})
        (staging / MANIFEST).write_text(json.dumps(whole.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        load_bundle(staging)
    return load_bundle(target)

"""Catalogue files: what is read, and what a wrong file is told."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from reranker.demo_data import demo_file
from reranker.errors import CatalogError
from reranker.products import CatalogProblem, attribute_pairs, read_catalog, zstd


def lines(n: int) -> list[str]:
    return [json.dumps({"id": str(i), "title": f"product {i}", "price": i}) for i in range(1, n + 1)]


def write(path: Path, rows: list[str]) -> Path:
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def refusal(path: Path) -> str:
    with pytest.raises(CatalogError) as caught:
        list(read_catalog(path))
    return str(caught.value)


def test_other_fields_ride_along_and_ids_become_strings(tmp_path: Path) -> None:
    file = write(tmp_path / "c.jsonl", ['{"id": 7, "title": "tv", "price": 9.5, "brand": null}', "", '{"id": "8", "title": "日本 🙂"}'])
    assert list(read_catalog(file)) == [{"id": "7", "title": "tv", "price": 9.5, "brand": None}, {"id": "8", "title": "日本 🙂"}]


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".jsonl.zst"])
def test_plain_and_packed_files_hold_the_same(tmp_path: Path, suffix: str) -> None:
    raw = b"\xef\xbb\xbf" + "\r\n".join(lines(300)).encode()
    pack = {".jsonl": bytes, ".jsonl.gz": gzip.compress, ".jsonl.zst": lambda b: zstd.compress(b[:1000]) + zstd.compress(b[1000:])}[suffix]
    file = tmp_path / f"c{suffix}"
    file.write_bytes(pack(raw))
    assert [p["price"] for p in read_catalog(file)] == list(range(1, 301))


def test_broken_json_on_line_1204_is_named(tmp_path: Path) -> None:
    rows = lines(2_000)
    rows[1203] = '{"id": "1204", "title": '
    message = refusal(write(tmp_path / "c.jsonl", rows))
    assert "line 1,204: not valid JSON" in message
    assert "1 unusable line" in message
    assert "--skip-invalid" in message


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ('{"id": "2"}', "line 2 (id 2): has no 'title'"),
        ('{"id": "2", "title": "  "}', "line 2 (id 2): has no 'title'"),
        ('{"id": "2", "title": ["tv"]}', "line 2 (id 2): has no 'title'"),
        ('{"title": "tv"}', "line 2: has no 'id'"),
        ('{"id": "", "title": "tv"}', "line 2: has no 'id'"),
        ('{"id": true, "title": "tv"}', "has no 'id'"),
        ('{"id": 1.5, "title": "tv"}', "has no 'id'"),
        (json.dumps({"id": "x" * 513, "title": "tv"}), "'id' is longer than 512 bytes"),
        ('{"id": "1", "title": "again"}', "line 2 (id 1): the same id is on line 1"),
        ('{"id": 1, "title": "again, as a number"}', "line 2 (id 1): the same id is on line 1"),
        ('{"id": "2", "title": "tv", "brand": 5}', "'brand' is not a string"),
        ('{"id": "2", "title": "tv", "attributes": ["a"]}', "'attributes' is not an object"),
        ("[1, 2]", "line 2: expected a JSON object, found list"),
        ('{"id": "2", "title": "tv", "price": NaN}', "line 2: not valid JSON"),
        ('{"id": "2", "title": "tv", "price": 1e999}', "line 2: not valid JSON (1e999 is too large a number)"),
        ('{"id": "2", "title": "half a pair: \\ud800"}', "line 2: not valid JSON"),
        ('{"id": "2", "title": "tv", "n": ' + "9" * 5_000 + "}", "line 2: not valid JSON"),
        ('{"id": "2", "title": "tv", "n": ' + "[" * 100_000 + "}", "line 2: not valid JSON"),
    ],
)
def test_a_wrong_line_is_refused_with_what_is_wrong(tmp_path: Path, row: str, told: str) -> None:
    assert told in refusal(write(tmp_path / "c.jsonl", [lines(1)[0], row]))


def test_whole_surrogate_pairs_are_fine(tmp_path: Path) -> None:
    assert next(read_catalog(write(tmp_path / "c.jsonl", ['{"id": "1", "title": "\\ud83d\\ude42"}'])))["title"] == "🙂"


def test_only_the_first_ten_problems_are_shown_and_all_are_counted(tmp_path: Path) -> None:
    message = refusal(write(tmp_path / "c.jsonl", ["{}"] * 25))
    assert "holds 25 unusable line(s)" in message
    assert message.count("has no 'id'") == 10
    assert "and 15 more" in message


def test_skipping_leaves_wrong_lines_out_and_names_each(tmp_path: Path) -> None:
    problems: list[CatalogProblem] = []
    rows = [*lines(3), "not json", '{"id": "2", "title": "again"}']
    products = list(read_catalog(write(tmp_path / "c.jsonl", rows), on_problem="skip", problems=problems))
    assert [p["id"] for p in products] == ["1", "2", "3"]
    assert [(p.line, p.product_id) for p in problems] == [(4, None), (5, "2")]


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_an_empty_file_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "c.jsonl"
    file.write_text(content)
    assert "holds no usable product" in refusal(file)


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    assert "There is no catalogue at" in refusal(tmp_path / "none.jsonl")
    assert "cannot be read" in refusal(tmp_path)
    packed = gzip.compress("\n".join(f"{line} {i * 7919}" for i, line in enumerate(lines(3_000))).encode())
    cut = tmp_path / "cut.jsonl.gz"
    cut.write_bytes(packed[: len(packed) // 2])
    with pytest.raises(CatalogError):
        list(read_catalog(cut))
    good = gzip.compress("\n".join(lines(3_000)).encode())
    cut.write_bytes(good[: len(good) // 2])
    assert "cannot be read" in refusal(cut)
    plain = write(tmp_path / "plain.jsonl.gz", lines(1))
    assert "cannot be read" in refusal(plain)
    plain = write(tmp_path / "plain.jsonl.zst", lines(1))
    assert "cannot be read" in refusal(plain)
    (tmp_path / "utf16.jsonl").write_bytes("\n".join(lines(2)).encode("utf-16"))
    assert "UTF-8" in refusal(tmp_path / "utf16.jsonl")


def test_demo_catalogue_is_whole() -> None:
    products = list(read_catalog(demo_file("products.jsonl.gz")))
    assert len(products) == 19_406
    assert len({p["id"] for p in products}) == 19_406


def test_attributes_become_readable_pairs() -> None:
    pairs = list(attribute_pairs({"screen_size": 15.6, "touch": True, "ports": ["usb", None, "hdmi"], "box": {"height": "3 cm"}, "none": None}))
    assert pairs == [("screen size", "15.6"), ("touch", "yes"), ("ports", "usb, hdmi"), ("box height", "3 cm")]

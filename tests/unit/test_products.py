"""Catalogue files: what is read, and what a wrong file is told."""

from __future__ import annotations

import gzip
import json
import random
import tracemalloc
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


FRAMES = {".gz": gzip.compress, ".zst": zstd.compress}


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize("parts", [1, 3])
def test_a_compressed_file_is_refused_wherever_it_is_cut(tmp_path: Path, suffix: str, parts: int) -> None:
    content = "".join(f'{{"id": "{n}", "title": "{random.randbytes(1_000).hex()}"}}\n' for n in range(300)).encode()
    step = len(content) // parts + 1  # in the middle of a line
    packed = [FRAMES[suffix](content[at : at + step]) for at in range(0, len(content), step)]
    ends = [sum(map(len, packed[:n])) for n in range(1, parts + 1)]
    file = tmp_path / f"c.jsonl{suffix}"
    whole = b"".join(packed)
    file.write_bytes(whole)
    assert sum(1 for _ in read_catalog(file)) == 300
    cuts = {end + near for end in [0, *ends] for near in range(-12, 13)} | set(range(0, len(whole), len(whole) // 50)) | zstd_blocks(whole, suffix)
    for cut in cuts:
        if 0 <= cut < len(whole):
            file.write_bytes(whole[:cut])
            with pytest.raises(CatalogError):
                list(read_catalog(file, on_problem="skip"))


def zstd_blocks(packed: bytes, suffix: str) -> set[int]:
    """Return the ends of the blocks of a file's first frame."""
    if suffix != ".zst":
        return set()
    descriptor, single = packed[4], packed[4] >> 5 & 1
    at = 5 + (1 - single) + (0, 1, 2, 4)[descriptor & 3] + (single, 2, 4, 8)[descriptor >> 6]
    ends = set()
    last = False
    while not last:
        header = int.from_bytes(packed[at : at + 3], "little")
        last = bool(header & 1)
        at += 3 + (1 if header >> 1 & 3 == 1 else header >> 3)
        ends.add(at)
    assert at <= len(packed)
    return ends


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_parts_of_whole_lines_are_refused_since_a_missing_one_would_not_be_noticed(tmp_path: Path, suffix: str) -> None:
    parts = [FRAMES[suffix]("".join(f"{line}\n" for line in lines(n)).encode()) for n in (5, 3)]
    file = tmp_path / f"c.jsonl{suffix}"
    file.write_bytes(b"".join(parts))
    assert "compress it as one" in refusal(file)
    file.write_bytes(parts[0] + FRAMES[suffix](b""))
    assert len(list(read_catalog(file))) == 5


def test_skippable_frames_and_padding_are_no_products_and_garbage_is_refused(tmp_path: Path) -> None:
    content = "\n".join(lines(3)).encode()
    skippable = b"\x50\x2a\x4d\x18\x04\0\0\0abcd"
    for name, packed, good in (
        ("a.zst", skippable + zstd.compress(content) + skippable, True),
        ("b.zst", zstd.compress(content) + b"\0" * 10, False),
        ("c.zst", zstd.compress(content) + b"garbage", False),
        ("d.gz", gzip.compress(content) + b"\0" * 300_000, True),
        ("e.gz", gzip.compress(content) + b"\0" * 300_000 + b"garbage", False),
    ):
        (tmp_path / name).write_bytes(packed)
        assert len(list(read_catalog(tmp_path / name))) == 3 if good else "cannot be read" in refusal(tmp_path / name), name


def test_a_file_that_ends_in_the_middle_of_a_line_is_refused_even_where_bad_lines_are_skipped(tmp_path: Path) -> None:
    file = tmp_path / "c.jsonl"
    file.write_text("\n".join(lines(5))[:-3])
    with pytest.raises(CatalogError, match="ends in the middle of line 5"):
        list(read_catalog(file, on_problem="skip"))


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_a_line_without_end_is_refused_and_never_held_in_memory(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"c.jsonl{suffix}"
    content = (lines(1)[0] + '\n{"id": "').encode() + b"a" * 200_000_000
    file.write_bytes(FRAMES[suffix](content, 1) if suffix else content)
    del content
    tracemalloc.start()
    with pytest.raises(CatalogError, match="line 2 has 16,777,216 characters or more"):
        list(read_catalog(file, on_problem="skip"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 80_000_000


def test_products_that_are_too_large_or_too_deep_are_problems_of_their_line(tmp_path: Path) -> None:
    def row(product_id: str, more: object) -> str:
        return json.dumps({"id": product_id, "title": "tv", "more": more}, ensure_ascii=False)

    def nested(levels: int) -> object:
        return [nested(levels - 1)] if levels else 1

    problems: list[CatalogProblem] = []
    rows = [
        row("large", "x" * 1_000_000),
        row("too large", "x" * 1_100_000),
        row("bytes", "é" * 600_000),
        row("deep", nested(99)),
        row("too deep", nested(100)),
    ]
    found = list(read_catalog(write(tmp_path / "c.jsonl", rows), on_problem="skip", problems=problems))
    assert [product["id"] for product in found] == ["large", "deep"]
    assert [problem.line for problem in problems] == [2, 3, 5]
    assert "1,048,576 bytes" in problems[0].message
    assert "deeper than 100 levels" in problems[2].message


def test_a_problem_shows_little_of_a_long_value_and_nothing_that_steers_a_terminal(tmp_path: Path) -> None:
    rows = [json.dumps({"id": "\x1b[31mred\u202e\n" + "x" * 100_000, "title": "tv"}), '{"id": "1", "title": "tv", "price": 1' + "0" * 100_000 + ".0}"]
    problems: list[CatalogProblem] = []
    with pytest.raises(CatalogError) as caught:
        list(read_catalog(write(tmp_path / "c.jsonl", rows), problems=problems))
    for text in (str(caught.value), *map(str, problems)):
        assert len(text) < 2_500
        assert "\x1b" not in text
        assert "\u202e" not in text
    assert r"\x1b[31mred\u202e" in str(problems[0])


def test_long_names_of_nested_attributes_are_cut(tmp_path: Path) -> None:
    attributes: dict = {f"n{number}": number for number in range(1_000)}
    for _ in range(90):
        attributes = {"x" * 10_000: attributes}
    pairs = list(attribute_pairs(attributes))  # joined in full the names would take 900 MB
    assert len(pairs) == 1_000
    assert max(len(name) for name, _ in pairs) == 200

"""Judgment files: what is read from each format, and what a wrong file is told."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from reranker.demo_data import demo_file
from reranker.errors import JudgmentError
from reranker.judgments import Judgment, load_judgments
from reranker.products import zstd


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def refusal(path: Path, **options: object) -> str:
    with pytest.raises(JudgmentError) as caught:
        load_judgments(path, **options)  # type: ignore[arg-type]
    return str(caught.value)


def test_csv_with_and_without_intent_and_votes(tmp_path: Path) -> None:
    file = write(tmp_path / "j.csv", 'query,product_id,rating,intent,votes\n  usb   hub ,1,3,hub,3 2 3\n"usb c, short",2,0,,\n')
    assert load_judgments(file) == [Judgment("usb hub", "1", 3, "hub", (3, 2, 3)), Judgment("usb c, short", "2", 0, "usb c, short", ())]
    letters = load_judgments(write(tmp_path / "letters.csv", "query,product_id,rating,votes\ntv,9,E,E s\ntv,8,C,\ntv,7,irrelevant,\n"))
    assert [(judgment.rating, judgment.votes) for judgment in letters] == [(3, (3, 2)), (1, ()), (0, ())]
    short = write(tmp_path / "short.csv", "rating,query,product_id\n1,tv,9\n")
    assert load_judgments(short) == [Judgment("tv", "9", 1, "tv", ())]


def test_byte_order_mark_windows_line_ends_and_gzip_do_not_matter(tmp_path: Path) -> None:
    file = tmp_path / "j.csv.gz"
    file.write_bytes(gzip.compress(b"\xef\xbb\xbfquery,product_id,rating\r\ntv,9,1\r\n"))
    assert load_judgments(file) == [Judgment("tv", "9", 1, "tv", ())]


def test_demo_judgments() -> None:
    judgments = load_judgments(demo_file("judgments.csv"))
    assert len(judgments) == 1887
    assert len({j.query for j in judgments}) == 66
    assert {len(j.votes) for j in judgments} == {0, 3}


def test_trec_qrels_take_their_queries_from_a_second_file(tmp_path: Path) -> None:
    qrels = write(tmp_path / "qrels.txt", "q1 0 p1 3\n\nq1 0 p2 0\nq2\t0\tp1\t1\n")
    queries = write(tmp_path / "queries.tsv", "q1\tusb hub\nq2\ttv\n")
    assert load_judgments(qrels, queries=queries) == [
        Judgment("usb hub", "p1", 3, "usb hub"),
        Judgment("usb hub", "p2", 0, "usb hub"),
        Judgment("tv", "p1", 1, "tv"),
    ]
    assert "--queries" in refusal(qrels)
    assert "line 1: " in refusal(qrels, queries=write(tmp_path / "other.tsv", "q2\ttv\n"))
    assert "line 2: no tab" in refusal(qrels, queries=write(tmp_path / "blanks.tsv", "q1\tusb hub\nq2 tv\n"))
    assert "missing.tsv" in refusal(qrels, queries=tmp_path / "missing.tsv")
    assert "line 2: 3 columns" in refusal(write(tmp_path / "cut.txt", "q1 0 p1 3\nq1 0 p2\n"), queries=queries)


def esci(path: Path, labels: list[str], column: str = "esci_label") -> Path:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    rows = [{"query": " usb  hub", "product_id": f"B{i}", column: label, "product_locale": "us" if i % 2 == 0 else "es"} for i, label in enumerate(labels)]
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


def test_esci_parquet_with_letters_or_words(tmp_path: Path) -> None:
    letters = load_judgments(esci(tmp_path / "letters.parquet", ["E", "S", "C", "I"]))
    words = load_judgments(esci(tmp_path / "words.parquet", ["Exact", "Substitute", "Complement", "Irrelevant"]))
    assert letters == words == [Judgment("usb hub", f"B{i}", 3 - i, "usb hub") for i in range(4)]
    assert [j.product_id for j in load_judgments(tmp_path / "letters.parquet", locale="us")] == ["B0", "B2"]


def test_esci_parquet_with_another_label_or_table_is_refused(tmp_path: Path) -> None:
    assert "row 2: the label is 'Q'" in refusal(esci(tmp_path / "label.parquet", ["E", "Q"]))
    assert "no column 'esci_label'" in refusal(esci(tmp_path / "column.parquet", ["E"], column="label"))
    assert "cannot be read" in refusal(write(tmp_path / "text.parquet", "query,product_id,rating\n"))


HEADER = "query,product_id,rating,intent,votes\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "has no judgments"),
        (HEADER, "has no judgments"),
        ("query,rating\ntv,1\n", "line 1: no column 'product_id'"),
        ("tv;9;1\n", "line 1: no column 'query'"),
        (f"{HEADER}tv,9,1,,\ntv,8,4,,\n", "line 3: the rating is '4'"),
        (f"{HEADER}tv,9,-1,,\n", "line 2: the rating is '-1'"),
        (f"{HEADER}tv,9,good,,\n", "line 2: the rating is 'good'"),
        (f"{HEADER}tv,9,2.5,,\n", "line 2: the rating is '2.5'"),
        (f"{HEADER}tv,9\n", "line 2: the rating is None"),
        (f"{HEADER}tv,9,1,,3 x\n", "line 2: the votes are '3 x'"),
        (f"{HEADER}tv,9,1,,3 7\n", "line 2: the votes are '3 7'"),
        (f"{HEADER} ,9,1,,\n", "line 2: The query is empty"),
        (f"{HEADER}{'a' * 10_000},9,1,,\n", "line 2: The query has 10,000 characters"),
        (f"{HEADER}tv, ,1,,\n", "line 2: the product id is empty"),
        (f"{HEADER}usb c, short,9,1,,\n", "line 2: more fields than columns"),
        (f"{HEADER}tv,9,1,,\nlaptop,9,1,,\n tv ,9,2,,\n", "line 4: product 9 is rated 2 for 'tv', but 1 on line 2"),
    ],
)
def test_a_wrong_csv_is_refused_with_its_line(tmp_path: Path, text: str, told: str) -> None:
    file = write(tmp_path / "judgments.csv", text)
    message = refusal(file)
    assert told in message
    assert str(file) in message


def test_the_same_judgment_twice_counts_once(tmp_path: Path) -> None:
    assert len(load_judgments(write(tmp_path / "j.csv", f"{HEADER}tv,9,1,,\ntv,9,1,,\n"))) == 1


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    assert f"There is no file at {tmp_path / 'none.csv'}" in refusal(tmp_path / "none.csv")
    assert "cannot be read" in refusal(tmp_path)
    latin = tmp_path / "latin.csv"
    latin.write_bytes("query,product_id,rating\ncafé,1,1\n".encode("latin-1"))
    assert "cannot be read" in refusal(latin)
    packed = gzip.compress((HEADER + "".join(f"tv {i},{i * 7919},1,,\n" for i in range(5_000))).encode())
    cut = tmp_path / "cut.csv.gz"
    cut.write_bytes(packed[: len(packed) // 2])
    assert "cannot be read" in refusal(cut)
    unpacked = write(tmp_path / "plain.csv.zst", f"{HEADER}tv,9,1,,\n")
    assert "cannot be read" in refusal(unpacked)


def test_a_queries_file_is_refused_where_it_has_no_use(tmp_path: Path) -> None:
    queries = write(tmp_path / "queries.tsv", "q1\ttv\n")
    assert "Leave the queries file out" in refusal(write(tmp_path / "j.csv", f"{HEADER}tv,9,1,,\n"), queries=queries)


def test_a_query_has_one_intent(tmp_path: Path) -> None:
    lines = "query,product_id,rating,intent\nhdd,1,3,hard drive\nhdd,2,0,Hard Drive\n"
    assert len(load_judgments(write(tmp_path / "j.csv", lines))) == 2
    for other in ("", "disk"):
        told = refusal(write(tmp_path / "j.csv", f"{lines}hdd,3,1,{other}\n"))
        assert "line 4: the intent of 'hdd' is" in told
        assert "'hard drive' on line 2" in told


@pytest.mark.parametrize(
    "row",
    [
        f"tv,9,{'5' * 100_000},,",
        f"tv,9,1,,{'7' * 100_000}",
        f"tv,{'9' * 100_000},1,,\ntv,{'9' * 100_000},2,,",
        f"tv,9,1,{'a' * 100_000},\ntv,8,1,b,",
        "\x1b[31m,9,9,,",
    ],
)
def test_messages_stay_short_and_printable_whatever_a_file_holds(tmp_path: Path, row: str) -> None:
    message = refusal(write(tmp_path / "j.csv", f"{HEADER}{row}\n"))
    assert len(message) < 2_500
    assert "\x1b" not in message


def test_a_compressed_file_that_was_cut_short_is_refused_at_every_place(tmp_path: Path) -> None:
    rows = (HEADER + "".join(f"tv {i},{i * 7919},1,,\n" for i in range(500))).encode()
    for suffix, packed in ((".gz", gzip.compress(rows)), (".zst", zstd.compress(rows)), (".zst", zstd.compress(rows[:3_001]) + zstd.compress(rows[3_001:]))):
        file = tmp_path / f"j.csv{suffix}"
        file.write_bytes(packed)
        assert len(load_judgments(file)) == 500
        for cut in range(0, len(packed), 37):
            file.write_bytes(packed[:cut])
            refusal(file)

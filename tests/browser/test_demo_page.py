"""The demo page in Debian's Chromium: `reranker demo` as a user starts it, driven through its page."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Dialog, Page, expect, sync_playwright

from tests.served import launched
from tests.tiny_bundle import make_tiny_bundle

pytestmark = pytest.mark.browser
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
HOSTILE = {"id": "1", "title": "<img src=x onerror=alert(1)> laptop", "brand": "<b>bold</b>", "description": "<script>alert(2)</script>"}
NOT_RERANKED = {
    "query": "laptop",
    "reranked": False,
    "fallback_reason": "the student took longer than its 30 ms",
    "scored": 0,
    "took_ms": {"first_stage": 1.0, "rerank": 30.0, "total": 31.0},
    "results": [{"rank": 1, "id": "1", "bm25_rank": 1, "bm25_score": 2.5, "student_score": None, "product": {"id": "1", "title": "Laptop"}}],
}


@pytest.fixture(scope="module")
def chromium() -> str:
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        if os.environ.get("CI"):
            pytest.fail("no Chromium on this machine: apt-get install chromium")
        pytest.skip("no Chromium on this machine")
    return path


@contextmanager
def demo(home: Path, *arguments: str) -> Iterator[str]:
    """Run `reranker demo` as a user would and return its address."""
    bundle = make_tiny_bundle(home / "bundle")
    with launched(home, "demo", "--no-open", "--port", "0", "--bundle", str(bundle), *arguments) as running:
        yield running.url


@contextmanager
def opened(chromium: str, url: str) -> Iterator[Page]:
    """A page that fails the test on a request to another host, a dialog, or an error in the console."""
    problems: list[str] = []

    def dismiss(dialog: Dialog) -> None:
        problems.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        page.on("request", lambda request: None if request.url.startswith((f"{url}/", "data:")) else problems.append(f"request to {request.url}"))
        # Chromium notes each 401 and 422 as an error; the page shows their messages
        page.on(
            "console",
            lambda message: (
                problems.append(message.text)
                if message.type == "error" and not any(status in message.text for status in ("status of 422", "status of 401"))
                else None
            ),
        )
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("dialog", dismiss)
        page.goto(url)
        yield page
        browser.close()
    assert problems == []


@pytest.fixture(scope="module")
def demo_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with demo(tmp_path_factory.mktemp("home")) as url:
        yield url


@pytest.fixture
def page(chromium: str, demo_url: str) -> Iterator[Page]:
    with opened(chromium, demo_url) as page:
        yield page


def search(page: Page, query: str) -> None:
    page.get_by_role("searchbox", name="Search the catalogue").fill(query)
    page.get_by_role("button", name="Search").click()


def test_typing_a_query_fills_both_columns_and_shows_how_far_products_moved(page: Page, tmp_path: Path) -> None:
    search(page, "laptop bag")
    bm25, reranked = page.get_by_role("region", name="BM25"), page.get_by_role("region", name="Reranked")
    expect(bm25.get_by_role("listitem")).to_have_count(10)
    expect(reranked.get_by_role("listitem")).to_have_count(10)
    expect(page.get_by_role("status")).to_contain_text(re.compile(r"BM25 took .* ms · the student reranked 50 hits in .* ms"))
    expect(reranked.get_by_text(re.compile(r"moved up \d+, from place \d+")).first).to_be_attached()
    answer = page.evaluate("fetch('/search?q=laptop+bag').then(answer => answer.json())")
    assert reranked.get_by_role("heading", level=3).all_text_contents() == [result["product"]["title"] for result in answer["results"]]
    plain = page.evaluate("fetch('/search?q=laptop+bag&rerank=false').then(answer => answer.json())")
    assert bm25.get_by_role("heading", level=3).all_text_contents() == [result["product"]["title"] for result in plain["results"]]
    page.screenshot(path=tmp_path / "demo.png", full_page=True)


def test_the_keyboard_alone_searches(page: Page) -> None:
    expect(page.get_by_role("searchbox")).to_be_focused()  # autofocus waits for the first frame, which can come after the load event
    page.keyboard.type("headphones")
    page.keyboard.press("Enter")
    expect(page.locator("#reranked li")).to_have_count(10)
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Search")).to_be_focused()
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()
    expect(page.get_by_role("searchbox")).to_have_value("headphones")


def test_the_query_is_in_the_address_and_the_back_button_works(page: Page, demo_url: str) -> None:
    search(page, "laptop bag")
    expect(page).to_have_url(f"{demo_url}/?q=laptop+bag")
    search(page, "headphones")
    expect(page).to_have_url(f"{demo_url}/?q=headphones")
    page.go_back()
    expect(page.get_by_role("searchbox")).to_have_value("laptop bag")
    page.reload()
    expect(page.locator("#bm25 li")).to_have_count(10)


@pytest.mark.parametrize(
    ("query", "message"),
    [("", "The query is empty. Give at least one word"), ("x" * 1_001, "The query has 1,001 characters."), ("zzzzqqqq", "No products found for “zzzzqqqq”.")],
    ids=["empty", "too long", "nothing found"],
)
def test_a_query_without_results_says_why(page: Page, query: str, message: str) -> None:
    search(page, query)
    expect(page.get_by_role("status")).to_contain_text(message)
    expect(page.locator("#columns")).to_be_hidden()


def test_an_example_button_searches(page: Page, demo_url: str) -> None:
    page.get_by_role("navigation", name="Example queries").get_by_role("button", name="gaming laptop").click()
    expect(page.locator("#reranked li")).to_have_count(10)
    expect(page.get_by_role("searchbox")).to_have_value("gaming laptop")
    expect(page).to_have_url(f"{demo_url}/?q=gaming+laptop")


def test_product_text_is_escaped_and_examples_need_the_demo_catalogue(chromium: str, tmp_path: Path) -> None:
    catalog = tmp_path / "catalog.jsonl"
    catalog.write_text(json.dumps(HOSTILE), encoding="utf-8")
    with demo(tmp_path, "--catalog", str(catalog)) as url, opened(chromium, url) as page:
        search(page, "laptop")
        expect(page.get_by_role("region", name="Reranked").get_by_role("heading", name=HOSTILE["title"])).to_be_visible()
        expect(page.get_by_text("<b>bold</b>").first).to_be_visible()
        assert page.locator("#columns img, #columns b, #columns script").count() == 0
        expect(page.get_by_role("navigation", name="Example queries")).to_be_hidden()


def test_the_page_says_that_the_student_is_late_and_shows_bm25_order(page: Page) -> None:
    page.route("**/search?*", lambda route: route.fulfill(json=NOT_RERANKED))
    search(page, "laptop")
    expect(page.locator("#reranked")).to_contain_text("Not reranked: the student took longer than its 30 ms. Shown in BM25 order.")
    expect(page.locator("#bm25 li")).to_have_count(1)


def test_on_a_phone_one_order_at_a_time_and_nothing_overflows(page: Page, tmp_path: Path) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    search(page, "laptop bag")
    expect(page.locator("#reranked")).to_be_visible()
    expect(page.locator("#bm25")).to_be_hidden()
    page.get_by_role("button", name="BM25").click()
    expect(page.locator("#bm25")).to_be_visible()
    expect(page.locator("#reranked")).to_be_hidden()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.screenshot(path=tmp_path / "phone.png", full_page=True)


def test_with_a_key_the_page_asks_for_it(chromium: str, tmp_path: Path) -> None:
    key = "a-key-of-twenty-four-char"
    catalog = tmp_path / "catalog.jsonl"
    catalog.write_text(json.dumps({"id": "1", "title": "Laptop"}) + "\n", encoding="utf-8")
    key_file = tmp_path / "key"
    key_file.write_text(key, encoding="utf-8")
    with demo(tmp_path, "--catalog", str(catalog), "--api-key-file", str(key_file)) as url, opened(chromium, url) as page:
        page.get_by_role("searchbox").fill("laptop")
        page.keyboard.press("Enter")
        expect(page.get_by_role("status")).to_contain_text("The API key is missing or unknown.")
        page.get_by_placeholder("API key").fill(key)
        page.keyboard.press("Enter")
        expect(page.locator("#reranked li.product")).to_have_count(1)
        expect(page.get_by_placeholder("API key")).to_be_hidden()

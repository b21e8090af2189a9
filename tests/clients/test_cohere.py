"""Cohere's own SDK, both versions of its API."""

from __future__ import annotations

import cohere
import pytest

from reranker import Reranker
from tests.clients.documents import PRODUCTS, QUERY, TEXTS, Place, expected


@pytest.mark.parametrize("top_n", [None, 2, 100])
@pytest.mark.parametrize("client", [cohere.Client, cohere.ClientV2])
def test_texts_come_back_in_the_librarys_order(service_url: str, student: Reranker, client: type, top_n: int | None) -> None:
    answer = client(api_key="any", base_url=service_url).rerank(model="rerank-v3.5", query=QUERY, documents=TEXTS, top_n=top_n)
    assert [Place(result.index, result.relevance_score) for result in answer.results] == expected(student, TEXTS, top_n)
    assert answer.id
    assert answer.meta.api_version.version in ("1", "2")


def test_objects_are_ranked_as_products_and_returned_on_request(service_url: str, student: Reranker) -> None:
    answer = cohere.Client(api_key="any", base_url=service_url).rerank(model="any", query=QUERY, documents=PRODUCTS, return_documents=True)
    assert [Place(result.index, result.relevance_score) for result in answer.results] == expected(student, PRODUCTS)
    assert [result.document.title for result in answer.results] == [PRODUCTS[place.index]["title"] for place in expected(student, PRODUCTS)]


def test_texts_come_back_as_the_sdks_documents(service_url: str) -> None:
    answer = cohere.Client(api_key="any", base_url=service_url).rerank(model="any", query=QUERY, documents=TEXTS, top_n=3, return_documents=True)
    assert [result.document.text for result in answer.results] == [TEXTS[result.index] for result in answer.results]


async def _rerank(url: str) -> list[int]:
    async with cohere.AsyncClientV2(api_key="any", base_url=url) as client:
        return [result.index for result in (await client.rerank(model="any", query=QUERY, documents=TEXTS)).results]


def test_the_asynchronous_client(service_url: str, student: Reranker) -> None:
    import asyncio

    assert asyncio.run(_rerank(service_url)) == [place.index for place in expected(student, TEXTS)]


@pytest.mark.parametrize("client", [cohere.Client, cohere.ClientV2])
def test_errors_are_the_sdks_exceptions_with_our_message(service_url: str, client: type) -> None:
    with pytest.raises(cohere.UnprocessableEntityError) as caught:
        client(api_key="any", base_url=service_url).rerank(model="any", query=" ", documents=TEXTS)
    assert "The query is empty." in str(caught.value)

"""LangChain's reranker, as a chain's document compressor."""

from __future__ import annotations

import pytest
from langchain_cohere import CohereRerank
from langchain_core.documents import Document

from reranker import Reranker
from tests.clients.documents import PRODUCTS, QUERY, TEXTS, Place, expected


@pytest.mark.parametrize("top_n", [None, 2])
def test_documents_come_back_in_the_librarys_order(service_url: str, student: Reranker, top_n: int | None) -> None:
    compressor = CohereRerank(cohere_api_key="any", base_url=service_url, model="any", top_n=top_n)
    documents = [Document(text, metadata={"place": place}) for place, text in enumerate(TEXTS)]
    found = compressor.compress_documents(documents, QUERY)
    assert [Place(document.metadata["place"], document.metadata["relevance_score"]) for document in found] == expected(student, TEXTS, top_n)
    assert [document.page_content for document in found] == [TEXTS[document.metadata["place"]] for document in found]


def test_objects_are_sent_as_texts_of_the_requested_fields(service_url: str, student: Reranker) -> None:
    compressor = CohereRerank(cohere_api_key="any", base_url=service_url, model="any")
    found = compressor.rerank(PRODUCTS, QUERY, rank_fields=["title"], top_n=None)
    sent = [f"title: {product['title']}\n" for product in PRODUCTS]
    assert [Place(result["index"], result["relevance_score"]) for result in found] == expected(student, sent)

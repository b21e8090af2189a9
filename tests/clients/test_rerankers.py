"""AnswerDotAI's `rerankers`, in those of its API modes that speak a shape of ours."""

from __future__ import annotations

import pytest
import rerankers

from reranker import Reranker
from tests.clients.documents import QUERY, TEXTS, Place, expected

PATHS = {"cohere": "/v1/rerank", "jina": "/v1/rerank", "text-embeddings-inference": "/rerank"}


@pytest.fixture(params=PATHS)
def ranker(request: pytest.FixtureRequest, service_url: str) -> rerankers.models.ranker.BaseRanker:
    return rerankers.Reranker(request.param, api_key="any", url=service_url + PATHS[request.param], verbose=0)


def test_documents_come_back_in_the_librarys_order(ranker: rerankers.models.ranker.BaseRanker, student: Reranker) -> None:
    answer = ranker.rank(QUERY, TEXTS, doc_ids=[f"id-{place}" for place in range(len(TEXTS))])
    assert [Place(int(result.doc_id.removeprefix("id-")), result.score) for result in answer.results] == expected(student, TEXTS)
    assert [result.rank for result in answer.results] == list(range(1, len(TEXTS) + 1))
    assert [result.text for result in answer.top_k(2)] == [TEXTS[place.index] for place in expected(student, TEXTS, 2)]

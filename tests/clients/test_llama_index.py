"""LlamaIndex's rerankers, as node postprocessors."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.postprocessor.cohere_rerank import CohereRerank
from llama_index.postprocessor.jinaai_rerank import JinaRerank
from llama_index.postprocessor.tei_rerank import TextEmbeddingInference

from reranker import Reranker
from tests.clients.documents import QUERY, TEXTS, Place, expected

CLIENTS: dict[str, Callable[[str, int], BaseNodePostprocessor]] = {
    "cohere": lambda url, top_n: CohereRerank(api_key="any", base_url=url, top_n=top_n),
    "jina": lambda url, top_n: JinaRerank(api_key="any", base_url=f"{url}/v1", top_n=top_n),
    "text-embeddings-inference": lambda url, top_n: TextEmbeddingInference(base_url=url, top_n=top_n),
}


@pytest.mark.parametrize("top_n", [2, 100])
@pytest.mark.parametrize("client", CLIENTS)
def test_nodes_come_back_in_the_librarys_order(service_url: str, student: Reranker, client: str, top_n: int) -> None:
    nodes = [NodeWithScore(node=TextNode(text=text, id_=str(place)), score=0.5) for place, text in enumerate(TEXTS)]
    found = CLIENTS[client](service_url, top_n).postprocess_nodes(nodes, query_str=QUERY)
    assert [Place(int(node.node.node_id), node.score) for node in found] == expected(student, TEXTS, top_n)
    assert [node.node.get_content() for node in found] == [TEXTS[int(node.node.node_id)] for node in found]


def test_jinas_errors_have_our_message(service_url: str) -> None:
    with pytest.raises(RuntimeError, match=r"The query is empty\."):
        CLIENTS["jina"](service_url, 1).postprocess_nodes([NodeWithScore(node=TextNode(text="x"))], query_str=" ")

"""Reranking inside OpenSearch: a search pipeline that clients use with ``?search_pipeline=NAME``.

The path of one search. All steps but the calls to the service are OpenSearch's own processors:

    search ──> [ml_inference] asks the service to rewrite the request: enough hits to rerank, with the fields that the student reads
           ──> BM25 top k
           ──> [ml_inference] asks the service to score the hits
           ──> [rerank] sorts by that score
           ──> [truncate_hits] truncates to the page

This package installs, checks and removes the pipeline. The service's part is ``reranker.service.search_pipeline``.

Every step has ``ignore_failure``: if it fails, the search goes on as if there were no pipeline.

The rerank processor could call the service itself, but only for clients that send the query a second time in ``ext``, because it
reads the request as the client sent it. It also joins a document's top-level fields without a blank, turns lists into Java's
notation, and does not see fields that a client's ``_source`` filter excludes.
"""

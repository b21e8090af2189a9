"""Reranking inside OpenSearch: a search pipeline that a client gets by adding ``?search_pipeline=NAME`` to its search.

One query's path, all steps but the first two by OpenSearch's own processors:

    search ──> [ml_inference] asks the service to rewrite the request:  endpoints → request_rewriting, query_words
                   so many hits that there is something to rerank, with the fields that the student reads
           ──> BM25 top k
           ──> [ml_inference] asks the service to score the hits:       endpoints → hit_scoring
           ──> [rerank] sorts by that score
           ──> [truncate_hits] cuts to the page

Every step carries ``ignore_failure``: whatever fails, the search goes on as if there were no pipeline.

The rerank processor could call the service itself, but only for clients that send the query a second time in ``ext``: it
looks at the request as the client sent it. It also glues a document's top-level fields together without a blank, turns
lists into Java's notation, and sees nothing that a client's ``_source`` filter left out.
"""

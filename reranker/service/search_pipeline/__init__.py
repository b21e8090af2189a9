"""The service's part of an OpenSearch search pipeline.

The pipeline calls the service twice per search (``endpoints``): once to rewrite the search request, so that enough hits come back
with the fields that the student reads (``request_rewriting``, ``query_words``), and once to score the hits (``hit_scoring``).
``reranker_opensearch.search_pipeline`` installs the pipeline in the cluster and shows all of its steps.
"""

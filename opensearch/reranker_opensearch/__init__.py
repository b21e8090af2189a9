"""OpenSearch as the first stage: connection, mapping, indexing behind an alias, BM25 search."""

"""Quality and latency of bundles beside other rerankers, the stages of one query, and how latency grows."""

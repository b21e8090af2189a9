"""What an OpenSearch search pipeline asks of the service."""

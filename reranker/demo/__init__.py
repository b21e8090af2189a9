"""The demo page: static files over the service's own ``/search`` and ``/ready``."""

from reranker.demo.page import EXAMPLES, add_page

__all__ = ["EXAMPLES", "add_page"]

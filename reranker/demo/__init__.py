"""The demo page: static files that use the service's ``/search`` and ``/ready``."""

from reranker.demo.page import EXAMPLES, add_page

__all__ = ["EXAMPLES", "add_page"]

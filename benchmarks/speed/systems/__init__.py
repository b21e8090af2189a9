"""The systems that the speed benchmark compares, each a small subclass of ``System`` in its own file."""

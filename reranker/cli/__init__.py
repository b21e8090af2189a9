"""The command line: its frame (``app``), shared options, and one file a subcommand in ``commands``."""

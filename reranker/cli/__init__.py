"""The command line: its frame (``app``), shared options, and one file per subcommand in ``commands``."""

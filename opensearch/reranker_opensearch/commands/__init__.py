"""Subcommands that this package adds to the command line, one file each."""

"""The command line, one module for each command."""

HELP = ("-h", "--help")

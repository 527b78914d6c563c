"""The embedded default: every real server on this machine. Imported by the command line alone, when asked."""

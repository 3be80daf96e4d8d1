"""The `spid` command: parses, calls, renders. One file per command, and no torch at import."""

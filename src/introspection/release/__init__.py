"""An archive of the study as a repository of research data wants it: all of it, with cards, metadata and checksums."""

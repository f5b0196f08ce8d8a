"""The anatomy of a text encoder on a prompt corpus: what `litetext audit` measures."""

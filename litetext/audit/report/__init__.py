"""The report of an audit: figures, tables, one page."""

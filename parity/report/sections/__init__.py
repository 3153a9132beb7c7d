"""The report's parts, one file per section of the record; each turns it into Markdown."""

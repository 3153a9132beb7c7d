"""The versioned record of a run, and the report that is rendered from it alone."""

from __future__ import annotations

from parity.report.record import SCHEMA, new_record, read, write
from parity.report.render import render, write_report

__all__ = ["SCHEMA", "new_record", "read", "render", "write", "write_report"]

"""Are a TensorFlow model and a PyTorch model the same, where and why do they differ, and which is faster here?

Importing this package imports no framework and not even NumPy: every worker starts with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parity.port import check
    from parity.porting.verdict import Verdict

__version__ = "0.1.0"

__all__ = ["Verdict", "check"]


def __getattr__(name: str) -> Any:
    """Give the public names without loading NumPy for those who only want a worker."""
    if name == "check":
        from parity.port import check

        return check
    if name == "Verdict":
        from parity.porting.verdict import Verdict

        return Verdict
    raise AttributeError(f"module 'parity' has no attribute {name!r}")

"""Are a TensorFlow model and a PyTorch model the same, where and why do they differ, and which is faster here?

Importing this package imports no framework and not even NumPy: every worker starts with it.
"""

from __future__ import annotations

__version__ = "0.1.0"

"""The ONNX Runtime adapter on a GPU that is made up: it lists CUDA's provider, which computes nothing here."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from parity.adapters.base import WorkerSettings
from parity.adapters.onnxruntime import CUDA, OnnxruntimeAdapter

CPU = "CPUExecutionProvider"


class _Pretending:
    """A session on the CPU that says whichever providers it is told to."""

    def __init__(self, session: Any, providers: list[str], given: list[Any]) -> None:
        self._session, self._providers, self.given = session, providers, given

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def get_providers(self) -> list[str]:
        return self._providers


class PretendedGpu(OnnxruntimeAdapter):
    """What a machine with a broken or a hesitant CUDA provider looks like."""

    def __init__(self, settings: WorkerSettings) -> None:
        super().__init__(WorkerSettings(settings.role, "cpu", settings.threads, settings.seed))
        real = self.ort
        self._says = [CUDA, CPU]

        def session(serialized: bytes, options: Any, providers: list[Any]) -> Any:
            return _Pretending(real.InferenceSession(serialized, options, providers=[CPU]), self._says, providers)

        self.ort = SimpleNamespace(
            SessionOptions=real.SessionOptions, InferenceSession=session, __version__=real.__version__
        )
        self.settings = settings

    def pretend(self, loads: bool) -> None:
        """Let sessions say that the provider has loaded, or that it has not."""
        self._says = [CUDA, CPU] if loads else [CPU]

    def providers_given(self) -> list[Any]:
        """Return what the lane's session was opened with."""
        return [list(entry) if isinstance(entry, tuple) else entry for entry in self._lane.given]

    def computed(self) -> float:
        """Return what the probe computes, on the CPU."""
        self.settings = WorkerSettings("plain", "cpu", 1, 0)
        return self._computed_ones()

    def executed(self) -> dict[str, dict[str, int]]:
        """Return who ran what in the graph of the lane."""
        with open(str(self._path), "rb") as file:  # noqa: PTH123
            return self._executed_by(file.read(), self._feed())

    def refused(self, executed: dict[str, dict[str, int]]) -> str | None:
        """Return why such a placement is refused."""
        try:
            self._refuse_cpu(executed)
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        return None


def images() -> Any:
    """Return a batch of two images and its labels."""
    drawn = np.random.default_rng(0)
    return drawn.integers(0, 256, (2, 8, 8, 1)).astype(np.uint8), np.array([0, 1], np.uint8)

"""The CUDA libraries that came with TensorFlow are loaded before it looks for them, and what fails is said."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from parity.adapters.tensorflow_cuda import preload


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """A folder of packages as pip lays it out, with files in the place of libraries."""
    for name in (
        "cusolver/lib/libcusolver.so.11", "cublas/lib/libcublas.so.12", "cublas/lib/libcublasLt.so.12",
        "nvjitlink/lib/libnvJitLink.so.12", "cublas/lib/libnvblas.so.12", "cudnn/lib/libcudnn.so.9",
    ):  # fmt: skip
        file = tmp_path / "nvidia" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"no library")
    return tmp_path


def test_each_is_loaded_after_what_it_needs(packages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []
    monkeypatch.setattr(ctypes, "CDLL", lambda path: loaded.append(Path(path).name))
    assert preload(packages) == {}
    assert loaded == [
        "libnvJitLink.so.12", "libcublasLt.so.12", "libcublas.so.12", "libcusolver.so.11", "libcudnn.so.9"
    ]  # fmt: skip


def test_what_does_not_load_is_named_and_stops_nothing(packages: Path) -> None:
    failed = preload(packages)
    assert len(failed) == 5
    assert "invalid ELF header" in failed["libcusolver.so.11"] or "too short" in failed["libcusolver.so.11"]


def test_none_there_is_nothing_to_load(tmp_path: Path) -> None:
    assert preload(tmp_path) == {}

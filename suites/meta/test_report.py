"""The record and the report: known answers, honest wording, the same bytes, and records that must be refused."""

from __future__ import annotations

import copy
import io
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parity.errors import RecordError
from parity.report import new_record, read, render, write, write_report
from parity.report import plots as report_plots
from parity.report.answer import answer, ratio_phrase
from parity.report.record import SECTIONS, encode, plain
from parity.report.terminal import paint, paint_verdict, supports_colour
from parity.report.terminal import table as plain_table
from parity.report.text import milliseconds, percent, prose, seconds, small, table

LAYERS = (
    ("conv1", "conv2d", [8, 148, 148, 16]),
    ("relu1", "relu", [8, 148, 148, 16]),
    ("pool1", "max_pool2d", [8, 74, 74, 16]),
    ("flatten", "flatten", [8, 87616]),
    ("dense1", "dense", [8, 64]),
    ("relu2", "relu", [8, 64]),
    ("dense2", "dense", [8, 1]),
    ("sigmoid", "sigmoid", [8, 1]),
)
PASSIVE = ("relu1", "pool1", "flatten", "relu2")


def _row(check: str, weights: str, probe: str, layer: int, rng: np.random.Generator) -> dict[str, Any]:
    tensor, kind, shape = LAYERS[layer]
    exact = check == "forced" and tensor in PASSIVE
    bound = 3e-7 * (1 + 3 * layer)
    share_a, share_b = (0.0, 0.0) if exact else tuple(float(x) for x in rng.uniform(0.01, 0.2, 2))
    return {
        "check": check, "stage": "forward", "model": "cnn", "weights": weights, "probe": probe,
        "tensor": tensor, "kind": kind, "shape": shape, "verdict": "identical" if exact else "rounding",
        "d64": 0.0 if exact else 2.1e-16, "d64_bound": 1e-12, "error_tensorflow": share_a * bound,
        "error_torch": share_b * bound, "bound": bound, "share": max(share_a, share_b),
        "closer": "tie" if exact else "torch" if share_b < share_a else "tensorflow", "side": None, "note": None,
        "mismatched": 0 if exact else 4000, "elements": 5000, "where": None if exact else [0, 3, 1, 2],
    }  # fmt: skip


def _parity(rng: np.random.Generator) -> list[dict[str, Any]]:
    rows = [
        _row(check, weights, probe, layer, rng)
        for weights in ("fresh", "trained")
        for probe in ("radiographs", "ramp")
        for check in ("forced", "propagated")
        for layer in range(len(LAYERS))
    ]
    mode = _row("training-mode", "trained", "radiographs", 7, rng)
    storage = {
        "check": "format", "stage": "round-trip", "model": "cnn", "weights": "trained", "tensor": "model.keras",
        "verdict": "identical", "d64": 0.0, "elements": 5607713, "mismatched": 0,
    }  # fmt: skip
    return [*rows, mode, storage]


def _training(rng: np.random.Generator, epochs: int) -> dict[str, Any]:
    runs = []
    for framework, correct in (("tensorflow", 110), ("torch", 111)):
        shift = 0.0 if framework == "tensorflow" else 0.002
        curve = [
            {
                "epoch": epoch, "loss": 0.69 * math.exp(-0.45 * epoch) + shift, "accuracy": 1 - 0.4 * 0.6**epoch,
                "val_loss": 0.1 + 0.62 * math.exp(-0.4 * epoch) + shift, "val_accuracy": 0.95 - 0.38 * 0.6**epoch,
                "seconds": 4.2 + shift,
            }
            for epoch in range(1, epochs + 1)
        ]  # fmt: skip
        test = {
            "n": 120, "loss": 0.31 + shift, "accuracy": correct / 120, "precision": 55 / 60, "recall": 55 / 60,
            "f1": 0.9167, "auc": 0.971, "confusion": [[correct - 55, 115 - correct], [5, 55]],
        }  # fmt: skip
        runs.append({
            "framework": framework, "epochs": curve, "step_loss": list(rng.uniform(0.1, 0.7, 8)), "test": test,
            "peak_bytes": 812 * 2**20, "models": [f"chest_xray_{'tf' if framework == 'tensorflow' else 'pt'}_model"],
        })  # fmt: skip
    return {
        "epochs": epochs, "batch": 32, "learning_rate": 0.001, "optimizer": "adam", "seed": 7, "steps_per_epoch": 8,
        "train_images": 256, "notes": ["Both start from the same weights."], "runs": runs,
        "same_predictions": {"n": 120, "differing": 1},
    }  # fmt: skip


def _onnx() -> dict[str, Any]:
    names = ("tensorflow", "torch", "ort-from-tf", "ort-from-torch")
    comparisons = [
        {"a": a, "b": b, "tensor": tensor, "verdict": "rounding", "d32": 1.1e-7, "share": 0.02}
        for index, a in enumerate(names) for b in names[index + 1 :] for tensor in ("dense1", "sigmoid")
    ]  # fmt: skip
    graphs = [
        {"name": "ort-from-tf", "operators": {"Conv": 1, "MatMul": 2, "Transpose": 2}, "parameters": 5607713,
         "file_bytes": 22435012, "opset": 18},
        {"name": "ort-from-torch", "operators": {"Conv": 1, "Gemm": 2}, "parameters": 5607713,
         "file_bytes": 22433100, "opset": 18},
    ]  # fmt: skip
    return {"comparisons": comparisons, "odd_one_out": None, "vote": "All four agree.", "graphs": graphs}


def _benchmarks(rng: np.random.Generator) -> dict[str, Any]:
    samples = []
    for work, base in (("train", 0.160), ("evaluate", 0.052)):
        for order, (lane, factor) in enumerate((("torch-eager", 1.0), ("tf-graph", 1.14))):
            times = base * factor * (1 + 0.03 * rng.standard_exponential(30))
            samples.append({
                "work": work, "lane": lane, "block": 0, "order": order, "seconds": times,
                "warmup_seconds": times[:3] * 1.4, "batch": 32, "images_per_step": 32, "first_step_s": 0.91 * factor,
                "peak_bytes": np.int64(640 * 2**20), "threads": 2, "device": "cpu",
                "allocator": {"MALLOC_TRIM_THRESHOLD_": 68719476736}, "minor_faults_per_step": 12.0,
                "cpu_per_wall": 1.93,
            })  # fmt: skip
    return {
        "samples": samples, "ratios": [], "detection_limit": None,
        "limits": {"sgemm_gflops": 61.2, "triad_gb_s": 11.8}, "parity_gate": {"passed": True, "loss": "rounding"},
        "preliminary": True,
    }  # fmt: skip


def _record(epochs: int = 3) -> dict[str, Any]:
    """A whole record such as a run on the embedded data writes, NumPy values and all."""
    rng = np.random.default_rng(11)
    record = new_record("standard", "pytest suites/ --benchmark-autosave")
    record["created"] = "2026-11-23T10:00:00Z"
    record["environment"] = {
        "platform": "Linux", "python": "3.11.7", "cpu": "A CPU", "cores": 2, "memory_bytes": 8 * 2**30, "gpu": None,
        "git_commit": "0123abc", "packages": {"numpy": "2.4.6"},
        "workers": {
            "tensorflow": {"versions": {"tensorflow": "2.21.0"}, "threads": 2, "device": "cpu"},
            "torch": {"versions": {"torch": "2.15.0"}, "threads": 2, "device": "cpu", "precision": {"tf32": False}},
        },
    }  # fmt: skip
    record["data"] = {
        "name": "synthetic", "digest": "5f" * 32, "height": 150, "width": 150, "channels": 1, "skipped": [],
        "counts": {"train": {"NORMAL": 128, "PNEUMONIA": 128}, "test": {"NORMAL": 60, "PNEUMONIA": 60}},
        "notes": ["Drawn by a seeded script."], "facts": {"seed": 3}, "source": None,
    }  # fmt: skip
    record["parity"] = _parity(rng)
    record["training"] = _training(rng, epochs)
    record["onnx"] = _onnx()
    record["benchmarks"] = _benchmarks(rng)
    return record


@pytest.fixture
def record() -> dict[str, Any]:
    """A fresh whole record, to be damaged at will."""
    return _record()


def _ratio(**changes: Any) -> dict[str, Any]:
    settled = {
        "work": "train", "a": "torch-eager", "b": "tf-graph", "ratio": 1.12, "low": 1.08, "high": 1.17, "blocks": 10,
        "decision": "faster", "preliminary": False,
    }  # fmt: skip
    return settled | changes


def _settle(record: dict[str, Any], **changes: Any) -> dict[str, Any]:
    record["benchmarks"] |= {"preliminary": False, "detection_limit": 0.03, "ratios": [_ratio(**changes)]}
    return record


def _break(record: dict[str, Any], tensor: str, check: str = "forced", **changes: Any) -> None:
    rows = [row for row in record["parity"] if (row["check"], row["tensor"]) == (check, tensor)]
    assert rows
    for row in rows:
        row |= {"verdict": "semantic", "d64": 0.31} | changes


def _section(text: str, heading: str) -> str:
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, heading
    return found[1]


# --- the record ------------------------------------------------------------------------------------------


def test_a_new_record_says_why_each_section_is_empty() -> None:
    fresh = new_record("smoke", "pytest suites/")
    assert list(fresh)[:4] == ["schema", "profile", "created", "command"]
    assert fresh["parity"] == {"not_run": "not selected in this run"}
    assert fresh["study"] == {"not_run": "this version has no such suite yet"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", fresh["created"])


def test_a_record_survives_writing_and_reading(tmp_path: Path, record: dict[str, Any]) -> None:
    path = tmp_path / "deep" / "record.json"
    write(record, path)
    assert read(path) == plain(record)
    assert [entry.name for entry in path.parent.iterdir()] == ["record.json"]


def test_values_json_does_not_know() -> None:
    value = {"nan": math.nan, "inf": [np.float32(np.inf)], 3: np.arange(2), "t": (np.bool_(True),), "p": Path("a")}
    assert plain(value) == {"nan": None, "inf": [None], "3": [0, 1], "t": [True], "p": "a"}
    with pytest.raises(RecordError, match=re.escape("record.a[1] holds a object")):
        encode({"a": [1, object()]})


def test_a_failed_write_leaves_the_old_record(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    write(new_record("smoke", "first"), path)
    before = path.read_bytes()
    with pytest.raises(RecordError):
        write(new_record("smoke", "second") | {"parity": {1, 2}}, path)
    assert path.read_bytes() == before


def test_a_report_is_readable_by_others(tmp_path: Path) -> None:
    mask = os.umask(0o022)
    try:
        write(new_record("smoke", "x"), tmp_path / "record.json")
    finally:
        os.umask(mask)
    assert (tmp_path / "record.json").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is damaged: Expecting value"),
        (b'{"schema": 1, "pari', "is damaged: "),
        (b"\xff\xfe\x00", "is damaged: "),
        (b"[" * 100_000, "is damaged: "),
        (b"[1]", "it holds a JSON list, not an object"),
        (b"{}", "has schema None, and this version reads schema 1"),
        (b'{"schema": 2}', "has schema 2, and this version reads schema 1"),
        (b'{"schema": true}', "has schema True"),
        (b'{"schema": "1"}', "has schema '1'"),
        (b'{"schema": 1, "parity": 3}', "its section 'parity' is a int, not a list"),
        (b'{"schema": 1, "training": []}', "its section 'training' is a list, not a dict"),
    ],
)
def test_a_bad_record_is_refused_in_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    with pytest.raises(RecordError, match=re.escape(message)) as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_a_missing_record_or_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="no record at"):
        read(tmp_path / "none.json")
    with pytest.raises(RecordError, match="cannot read the record"):
        read(tmp_path)


def test_nan_in_a_saved_record_reads_as_null(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_text('{"schema": 1, "data": {"x": NaN, "y": -Infinity}}')
    assert read(path)["data"] == {"x": None, "y": None}


@pytest.mark.parametrize(
    ("section", "content"),
    [
        ("training", {"runs": [{"epochs": [{"epoch": 1, "loss": 0.5}]}]}),  # no framework
        ("training", {"runs": 3}),
        ("onnx", {"comparisons": [{"a": "torch"}]}),
        ("benchmarks", {"samples": [{"seconds": [1.0]}]}),
        ("parity", [3]),
        ("data", {"counts": {"train": 3}}),
    ],
)
def test_a_misshapen_section_is_named(record: dict[str, Any], section: str, content: Any) -> None:
    record[section] = content
    with pytest.raises(RecordError, match="is not shaped as schema 1 says"):
        render(record)


# --- the report ------------------------------------------------------------------------------------------


def test_the_same_record_gives_the_same_bytes(tmp_path: Path, record: dict[str, Any]) -> None:
    first = write_report(record, tmp_path / "first").parent
    second = write_report(read(first / "comparison.json"), tmp_path / "second").parent
    names = sorted(path.name for path in first.iterdir())
    assert names == sorted(["comparison.json", "comparison.md", *report_plots.NAMES])
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


def test_a_png_carries_no_date_and_no_software(record: dict[str, Any]) -> None:
    from PIL import Image

    for name, image in report_plots.draw(plain(record)).items():
        assert set(Image.open(io.BytesIO(image)).info) <= {"dpi"}, name


def test_drawing_leaves_matplotlib_and_the_users_style_alone(record: dict[str, Any]) -> None:
    import matplotlib

    expected = report_plots.draw(plain(record))
    with matplotlib.rc_context({"font.size": 31, "axes.facecolor": "black"}):
        assert report_plots.draw(plain(record)) == expected
        assert matplotlib.rcParams["font.size"] == 31


def test_rendering_text_imports_no_matplotlib() -> None:
    script = (
        "import sys; from parity.report import new_record, render; render(new_record('smoke', 'x'));"
        "bad = {'matplotlib', 'torch', 'tensorflow', 'keras', 'onnxruntime', 'pytest'} & set(sys.modules); print(bad)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"

"""The record and the report: known answers, honest wording, the same bytes, and records that must be refused."""

from __future__ import annotations

import copy
import io
import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parity.errors import RecordError
from parity.judge.compare import VANISHING
from parity.report import findings as report_findings
from parity.report import new_record, read, render, write, write_report
from parity.report import plots as report_plots
from parity.report.answer import answer
from parity.report.check_table import CLEAR, CheckTable
from parity.report.claims import ratio_phrase
from parity.report.plots.parity import panels_of, worst_layers
from parity.report.record import SECTIONS, encode, plain
from parity.report.sections.step import STAGES
from parity.report.terminal import paint, paint_verdict, supports_colour
from parity.report.terminal import table as plain_table
from parity.report.text import milliseconds, percent, prose, seconds, small, table
from parity.trials.networks import STAGES as NETWORK_STAGES

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
# What the made-up record below has data for; test_report_speed.py has the pictures of a whole benchmark campaign.
OF_SPEED = {"speed.png", "warmup.png"}
DRAWN = {"loss_comparison.png", "parity.png", "trajectory.png", *OF_SPEED}


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


def _parity_rows(rng: np.random.Generator) -> list[dict[str, Any]]:
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


def _trajectory(rng: np.random.Generator) -> dict[str, Any]:
    steps = np.arange(1, 201)
    draws = {side: 1e-7 * np.exp(0.04 * steps + 0.3 * rng.standard_normal((4, 1))) for side in ("tensorflow", "torch")}
    return {
        "steps": 200, "distance": 0.8e-7 * np.exp(0.04 * steps), "twin_distance": 3e-14, "horizon": None,
        "horizon_tensor": None, "twin_by_step": 1e-16 * np.exp(0.028 * steps), "twin_bound": 1e-12, "share": 0.2,
        "twin_first": None, "unsteady": [], "draws": 4, "level": 0.999, "image_size": [16, 16], "batch": 16,
        "optimizer": "adam", **{f"band_{side}": 6 * values.max(0) for side, values in draws.items()},
        **{f"self_{side}": values for side, values in draws.items()},
        **{f"loss_{side}": 0.7 * np.exp(-0.01 * steps) for side in draws},
    }  # fmt: skip


STEP = (
    ("loss", ("loss",), ("propagated",)),
    ("input-gradient", ("relu1<-conv1", "dense1<-flatten"), ("forced",)),
    ("input-gradient", ("conv1", "dense1"), ("propagated",)),
    ("parameter-gradient", ("conv1/kernel", "dense1/bias"), ("forced", "propagated")),
    ("update", ("conv1/kernel", "dense1/bias"), ("propagated",)),
    ("slot", ("conv1/kernel:momentum", "conv1/kernel:velocity"), ("propagated",)),
    ("after-training", ("conv1", "dense1"), ("propagated",)),
)


def _step_rows() -> list[dict[str, Any]]:
    return [
        {
            "check": check, "stage": stage, "model": "cnn", "weights": weights, "probe": "radiographs",
            "tensor": tensor, "kind": "weight", "shape": [3], "verdict": "rounding", "d64": 3e-15, "d64_bound": 1e-9,
            "error_tensorflow": 1e-7, "error_torch": 2e-7, "bound": 4.0 if stage == "update" else 1e-6,
            "share_tensorflow": 0.1, "share_torch": 0.2, "share": 0.2, "closer": "tensorflow", "note": "",
            "mismatched": 1, "elements": 3, "where": [0],
        }
        for weights in ("fresh", "trained") for stage, tensors, checks in STEP for check in checks for tensor in tensors
    ]  # fmt: skip


def _zoo() -> dict[str, Any]:
    def row(model: str, check: str, stage: str, kind: str, tensor: str) -> dict[str, Any]:
        return {
            "model": model, "check": check, "stage": stage, "verdict": "rounding", "tensors": 2, "kind": kind,
            "tensor": tensor, "d64": 4e-15, "d32": 1e-7, "error_tensorflow": 1e-7, "error_torch": 1e-7, "bound": 1e-6,
            "share": 0.5, "notes": [],
        }  # fmt: skip

    rows = []
    for model, kind, node in (
        ("conv2d-same", "conv", "layer"), ("conv1d-same", "conv", "layer"), ("resize-bilinear", "resize", "layer"),
        ("u-net", "conv", "up2"),
    ):  # fmt: skip
        rows.append(row(model, "forced", "forward", kind, node))
        rows.append(row(model, "forced", "input-gradient", kind, f"{node}<-input"))
        if kind == "conv":
            rows.append(row(model, "propagated", "update", "weight", f"{node}/kernel"))
            rows.append(row(model, "propagated", "after-training", kind, node))
        else:
            rows[-2] |= {"d64": 1e-7, "notes": ["No float64 kernel: the twins are judged by the float32 bound."]}
    return {"rows": rows}


def _losses() -> dict[str, Any]:
    def row(case: str, stage: str, form: str, trap: str | None) -> dict[str, Any]:
        return {
            "loss": "mean squared error", "case": case, "mode": "eager", "stage": stage, "form": form,
            "program": "MSELoss", "trap": trap, "fix": "F.mse_loss(x, y)",
            "verdict": "semantic" if trap else "rounding", "d64": 0.3 if trap else 1e-16, "d64_bound": 1e-14,
            "error_tensorflow": 1e-8, "error_torch": 1e-8, "bound": 1e-6, "share": 0.1, "note": "",
            "value_tensorflow": 1.25, "value_torch": 1.5,
        }  # fmt: skip

    traps = {("sum", "as written"): "reduction-last-axis"}
    return {
        "rows": [
            row(case, stage, form, traps.get((case, form)))
            for case in ("mean", "sum") for form in ("as written", "exact") for stage in ("loss", "gradient")
        ]
    }  # fmt: skip


def _optimizers() -> list[dict[str, Any]]:
    gaps = {"default": 0.12, "matched": 3e-5, "adapted": 2e-16}
    row = {
        "optimizer": "adam", "variant": "plain", "gradients": "ordinary", "steps": 200, **gaps, "adapted_bound": 1e-13,
        "reverse": 3e-16, "own_double": 1e-16, "float32": 1e-7, "share_float32": 0.1, "first_step_gaps": gaps,
        "rate_gaps": gaps, "claims": [], "formula": "eps outside the root", "traps": ["adam-epsilon"],
        "verdict": "rounding", "comparisons": 12,
    }  # fmt: skip
    return [row, row | {"optimizer": "sgd", "adapted": 1e-16, "default": 0.0, "traps": []}]


def _modes() -> dict[str, Any]:
    row = {
        "framework": "torch", "mode": "bfloat16-autocast", "says": "bfloat16", "unit_roundoff": 2.0**-8,
        "layer": "dense1", "tensor": "output", "stage": "forward", "probe": "dense", "dtype": "bfloat16",
        "error_in_u": 0.6, "bound_in_u": 2.0, "share": 0.3, "verdict": "rounding", "note": "",
    }  # fmt: skip
    less = {"mode": "xla", "framework": "tensorflow", "verdict": "precision", "share": 3.0, "known": "Measured so."}
    absent = {"framework": "torch", "mode": "compile", "says": "float32", "not_run": "--profile full runs it"}
    return {"rows": [row, row | {"tensor": "kernel", "stage": "gradient"}, row | less, absent]}


def _referee() -> dict[str, Any]:
    row = {
        "model": "u-net", "node": "up1", "stage": "forward", "tensor": "up1", "training": True,
        **{f"verdict_{pair}": "rounding" for pair in ("tensorflow", "torch", "between")},
        **{f"d64_{pair}": 1e-15 for pair in ("tensorflow", "torch", "between")},
        "d64_bound": 1e-13, "error_tensorflow": 1e-7, "error_referee": 1e-7, "error_torch": 1e-7, "bound": 1e-6,
        "conclusion": "same",
    }  # fmt: skip
    return {"rows": [row, row | {"model": "dense", "tensor": "layer"}], "note": "Keras on its torch backend."}


def _kills() -> list[dict[str, Any]]:
    def row(trap: str, pair: str, stage: str, at: str) -> dict[str, Any]:
        return {
            "trap": trap, "pair": pair, "stage": stage, "planted_at": at, "seen_at": at, "caught": True, "d64": 0.2,
            "note": "",
        }  # fmt: skip

    return [
        row("flatten-order", "small-cnn", "forward", "dense1"),
        row("batchnorm-momentum", "batch-norm-alone", "state", "layer"),
        row("prelu-sharing", "prelu", "parameter-gradient", "layer"),
        row("wrong-reduction", "binary cross-entropy", "loss", "loss") | {"mode": "eager"},
        row("gradient-doubled", "binary cross-entropy", "loss", "gradient") | {"mode": "eager"},
        row("adam-epsilon", "adam-plain", "optimizer", "update"),
        row("nadam-decay", "nadam-plain", "optimizer", "slot"),
        row("flatten-order", "u-net", "forward", "dense"),
    ]


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
    record["parity"] = _parity_rows(rng)
    record["training"] = _training(rng, epochs)
    record["trajectory"] = _trajectory(np.random.default_rng(12))
    record |= {"zoo": _zoo(), "losses": _losses(), "optimizers": _optimizers(), "modes": _modes()}
    record |= {"referee": _referee(), "kill_matrix": _kills()}
    record["onnx"] = _onnx()
    record["benchmarks"] = _benchmarks(rng)
    return record


@pytest.fixture
def record() -> dict[str, Any]:
    """A fresh whole record, to be damaged at will."""
    return _record()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a whole record's report, drawn once; not to be written to."""
    return write_report(_record(), tmp_path_factory.mktemp("written")).parent


@pytest.fixture
def held(written: Path, tmp_path: Path) -> Path:
    """A copy of that folder."""
    return Path(shutil.copytree(written, tmp_path / "held"))


@pytest.fixture
def learning(record: dict[str, Any]) -> dict[str, Any]:
    """A whole record with a training step in it."""
    record["parity"] += _step_rows()
    return record


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
    assert fresh["study"] == {"not_run": "not selected in this run"}
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
        (b'{"schema": 1, "layers": []}', "holds no section of a record: it is the verdict of one check"),
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
        ("zoo", {"rows": 3}),
        ("zoo", {"rows": [3]}),
        ("losses", {"rows": [3]}),
        ("optimizers", [3]),
        ("optimizers", [{"optimizer": "adam"}]),
        ("trajectory", {"distance": [1e-7]}),
        ("trajectory", {"steps": 200, "distance": [1e-7], "twin_first": {"step": 3}}),
        ("modes", {"rows": 3}),
        ("referee", {"rows": [3]}),
        ("kill_matrix", [3]),
    ],
)
def test_a_misshapen_section_is_named(record: dict[str, Any], section: str, content: Any) -> None:
    record[section] = content
    with pytest.raises(RecordError, match=f"'({section}|answer)' is not shaped as schema 1 says"):
        render(record)


# --- the report ------------------------------------------------------------------------------------------


def test_the_same_record_gives_the_same_bytes(tmp_path: Path, written: Path) -> None:
    second = write_report(read(written / "comparison.json"), tmp_path / "second").parent
    names = sorted(path.name for path in written.iterdir())
    assert names == sorted(["comparison.json", "comparison.md", *DRAWN])
    for name in names:
        assert (written / name).read_bytes() == (second / name).read_bytes(), name


def test_a_png_carries_no_date_and_no_software(written: Path) -> None:
    from PIL import Image

    for name in DRAWN:
        with Image.open(written / name) as image:
            assert set(image.info) <= {"dpi"}, name


def test_drawing_leaves_matplotlib_and_the_users_style_alone(record: dict[str, Any], written: Path) -> None:
    import matplotlib

    expected = {name: (written / name).read_bytes() for name in DRAWN}
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


@pytest.mark.parametrize("gone", ["training", "parity", "benchmarks", "trajectory"])
def test_a_stale_plot_is_removed(held: Path, record: dict[str, Any], gone: str) -> None:
    (held / "mine.png").write_bytes(b"the user's own")
    record[gone] = {"not_run": "deselected"}
    report = write_report(record, held).read_text()
    renamed = {"training": "loss_comparison.png", "benchmarks": "speed.png"}
    plot = renamed.get(gone, f"{gone}.png")
    assert not (held / plot).exists()
    assert plot not in report
    assert (held / "mine.png").exists()
    assert {path.name for path in held.glob("*.png")} <= {*DRAWN, "mine.png"}
    for other in DRAWN - {plot} - (OF_SPEED if gone == "benchmarks" else set()):
        assert (held / other).exists()
        assert f"]({other})" in report


def test_a_bad_record_leaves_the_old_report_whole(held: Path, record: dict[str, Any]) -> None:
    before = {path.name: path.read_bytes() for path in held.iterdir()}
    record["onnx"] = {"comparisons": [{"a": "torch"}]}
    with pytest.raises(RecordError, match="'onnx'"):
        write_report(record, held)
    assert {path.name: path.read_bytes() for path in held.iterdir()} == before


def test_a_record_in_which_nothing_ran_renders(tmp_path: Path) -> None:
    fresh = new_record("smoke", "pytest suites/ -k nothing")
    text = write_report(fresh, tmp_path).read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["comparison.json", "comparison.md"]
    for name, section in SECTIONS.items():
        assert f"- `{name}`: {section}" in _section(text, "Sections not run")
    assert "**Same function? Not checked:**" in text
    assert "**Speed: not measured:**" in text
    assert "Not run: not selected in this run." in _section(text, "Speed")


def test_each_section_may_be_absent_or_not_run(record: dict[str, Any]) -> None:
    for name in SECTIONS:
        without = {key: value for key, value in record.items() if key != name}
        assert f"- `{name}`: the record has no such section" in render(without)
        assert f"- `{name}`: it broke" in render(record | {name: {"not_run": "it broke"}})


def test_a_section_of_a_later_version_is_owned_up_to(record: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    record["study"] = {"runs": []}
    monkeypatch.setattr(sys.modules["parity.report.render"], "_SHOWN", frozenset(SECTIONS) - {"study"})
    assert "- `study`: in `comparison.json`, but this version has no table for it" in render(record)


def _blocks(text: str) -> Iterator[tuple[str, str]]:
    """Give every table with the text between it and the table or heading before it."""
    before: list[str] = []
    inside = False
    for line in text.splitlines():
        is_row = line.startswith("|")
        if is_row and not inside:
            yield "\n".join(before), line
            before = []
        elif not is_row:
            before = [line] if line.startswith("## ") else [*before, line]
        inside = is_row


def test_synthetic_stands_beside_every_table_plot_and_answer(learning: dict[str, Any]) -> None:
    record = learning
    text = render(_settle(record))
    drawn = [part for part in re.split(r"(?=^## )", text, flags=re.MULTILINE) if "Inputs: numbers drawn from" in part]
    assert len(drawn) == 6
    measured = "".join(part for part in re.split(r"(?=^## )", text, flags=re.MULTILINE) if part not in drawn)
    # These hold no figure that was measured on images: file contents, graph contents, words.
    unmeasured = ("Written, read back", "The two graphs side by side", "## How to read this", "`not-compared`")
    tables = [
        (before, head)
        for before, head in _blocks(measured)
        if not any(part in before for part in unmeasured) and not head.startswith(("| column", "| stage of a"))
    ]
    assert len(tables) >= 20
    for before, head in tables:
        assert "synthetic data" in before, head
    images = re.findall(r"^!\[(.*)\]\((.*)\)$", text, re.MULTILINE)
    early = ["parity.png", "trajectory.png", "loss_comparison.png", "speed.png", "ratios.png", "warmup.png"]
    assert [name for _, name in images] == early
    assert all("(synthetic data)" in caption and "n = " in caption for caption, _ in images)
    sentences = answer(plain(record)).split("**")
    for subject in ("Same function?", "Speed", "Accuracy on the test split"):
        index = next(i for i, part in enumerate(sentences) if part.startswith(subject))
        assert "synthetic data" in sentences[index + 1], subject


def test_plots_carry_the_word_synthetic_in_the_picture(record: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.figure import Figure

    titles = []
    original = Figure.suptitle

    def spy(self: Any, text: str, **options: Any) -> Any:
        titles.append(text)
        return original(self, text, **options)

    monkeypatch.setattr(Figure, "suptitle", spy)
    report_plots.draw(plain(record))
    assert len(titles) == len(DRAWN)
    assert all("(synthetic\N{NO-BREAK SPACE}data)" in title and "n = " in title for title in titles)


def test_a_real_data_set_is_named_and_its_source_thanked(record: dict[str, Any]) -> None:
    record["data"] |= {"name": "chest_xray", "source": "Kermany et al. 2018, CC BY 4.0"}
    text = render(record)
    assert "synthetic data" not in text
    assert "(data: chest_xray)" in text
    assert "Data: Kermany et al. 2018, CC BY 4.0" in _section(text, "Answer")
    assert "- **source**: Kermany et al. 2018, CC BY 4.0" in _section(text, "Data")


def test_unrecorded_data_are_not_passed_off_as_real(record: dict[str, Any]) -> None:
    record["data"] = {"not_run": "deselected"}
    assert "(data set not recorded)" in _section(render(record), "Answer")


# --- the answer ------------------------------------------------------------------------------------------


def test_equal_models_are_called_the_same_function(record: dict[str, Any]) -> None:
    text = answer(plain(record))
    assert "**Same function? Yes:** all 65 comparisons agree" in text
    assert "twins differ by at most 2.1e-16" in text


def test_a_semantic_verdict_names_tensor_source_and_downstream(record: dict[str, Any]) -> None:
    _break(record, "dense1")
    _break(record, "dense2", check="propagated")
    text = answer(plain(record))
    assert "**Same function? No:** 8 of 65 comparisons are semantic" in text
    assert "first `dense1` (forced check, forward: d64 0.31 where rounding explains 1.0e-12)" in text
    assert "fails at `dense1`: there the difference starts" in text
    assert "Differing without a failed forced check: `dense2`." in text


def test_no_source_is_claimed_without_a_failed_forced_check(record: dict[str, Any]) -> None:
    _break(record, "dense2", check="propagated")
    assert "no layer is shown to be the source" in answer(plain(record))


def test_a_semantic_verdict_without_figures_gives_its_note(record: dict[str, Any]) -> None:
    _break(record, "dense1", d64=math.nan, d64_bound=None, note="The shapes differ: (8, 64), (8, 63).")
    assert "(forced check, forward: The shapes differ: (8, 64), (8, 63))." in answer(plain(record))


def test_nothing_compared_is_no_pass(record: dict[str, Any]) -> None:
    record["parity"] = []
    text = render(record)
    assert "**Same function? Not established:** zero comparisons were made." in text
    assert "Zero layers were compared, which is a failure" in _section(text, "Parity by layer")
    assert "no winner is named" in text


@pytest.mark.parametrize("verdict", ["not-compared", None, "a word of a later version"])
def test_what_was_not_compared_is_no_pass(record: dict[str, Any], verdict: str | None) -> None:
    _break(record, "conv1", verdict=verdict, d64=None, note="torch has no layer of this name.")
    assert "Same function? Yes" not in answer(plain(record))
    assert "no winner is named" in answer(plain(_settle(record)))


def test_less_precision_is_named_with_its_side(record: dict[str, Any]) -> None:
    _break(record, "conv1", verdict="precision", d64=1e-16, side="torch", share=7.0)
    text = render(_settle(record))
    assert "But PyTorch computes in less precision than it says at `conv1`." in text
    assert "**precision (PyTorch)**" in text
    assert "not a comparison of like with like" in _section(text, "Answer")


def test_storage_faults_reach_the_answer(record: dict[str, Any]) -> None:
    record["parity"][-1] |= {"verdict": "semantic", "mismatched": 3}
    text = render(record)
    assert "Weights that do not come back the same: `model.keras` (semantic)." in _section(text, "Answer")
    assert "**semantic**" in _section(text, "Saved weights and formats")


def test_nan_in_metrics_and_timings(tmp_path: Path, record: dict[str, Any]) -> None:
    test = record["training"]["runs"][0]["test"]
    test |= {"auc": math.nan, "loss": math.inf}
    record["training"]["runs"][1]["epochs"][1]["loss"] = math.nan
    record["benchmarks"]["samples"][0]["seconds"][0] = math.nan
    record["parity"][0] |= {"verdict": "semantic", "d64": math.nan, "error_torch": math.nan}
    write_report(record, tmp_path)
    text = render(record)
    assert not re.search(r"\bnan\b|\binf\b|\bNone\b", text)
    assert "NaN" not in (tmp_path / "comparison.json").read_text()
    line = next(line for line in _section(text, "Speed").splitlines() if "| `torch-eager` |" in line)
    assert re.search(r"\|\s+29 \|", line)


# --- do they learn the same? -----------------------------------------------------------------------------


def _learned(record: dict[str, Any]) -> str:
    found = re.search(r"\*\*Do they learn the same\?.*?(?= \*\*Speed)", answer(plain(record)))
    assert found
    return found[0]


def test_equal_learning_is_told_with_every_figure(learning: dict[str, Any]) -> None:
    text = _learned(learning)
    assert text.startswith(
        "**Do they learn the same? Yes:** one training step agrees in all 30 comparisons of loss, input-gradient,"
        " parameter-gradient, update, slot, after-training; over 200 steps the float32 weights stay inside the bands"
        " that a nudge of one ulp gives and the float64 twins within 3.0e-14 (synthetic data)."
    )
    for words in (
        "3 layer kinds and 1 small network, 28 tensors, all identical or rounding; d64 at most 4.0e-15 (1 judged by"
        " the float32 bound, for want of a float64 kernel)",
        "1 of 2 ports of losses differ as written, each by a named trap, the exact forms all agree",
        "optimizers after 200 steps: largest adapted gap 2.0e-16, default gap 0.12",
        "1 of 2 speed modes do less than they say (`TensorFlow xla`)",
        "all 8 planted faults were caught",
    ):
        assert words in text, words
    assert "Not run" not in text


def test_the_step_does_not_blur_the_forward_pass(learning: dict[str, Any]) -> None:
    text = answer(plain(learning))
    assert "**Same function? Yes:** all 95 comparisons agree" in text
    assert "at most 2.1e-16 of a tensor's scale in the forward pass and 3.0e-15 in the rest of a training step" in text
    assert "all 64" not in text
    assert _section(render(learning), "Parity by layer").startswith("\n64 forced and propagated comparisons")


def test_a_wrong_gradient_is_named_with_its_stage(learning: dict[str, Any]) -> None:
    _break(learning, "dense1/bias")
    text = answer(plain(learning))
    assert "**Same function? No:** 2 of 95 comparisons are semantic" in text
    assert "fails at `dense1/bias (parameter-gradient)`: there the difference starts" in text
    said = "2 of 30 comparisons of one training step differ, first `dense1/bias (parameter-gradient)` (forced check)"
    assert f"**Do they learn the same? No:** {said}" in text
    section = _section(render(learning), "One training step, taken apart")
    assert "30 comparisons in 6 stages: **2 not identical or rounding**" in section
    assert re.search(r"\| `dense1/bias`\s+\| \*\*semantic\*\* \| rounding\s+\|\s+0.31 \|", section)
    assert "no winner is named" in answer(plain(_settle(learning)))


def test_what_a_step_could_not_compare_establishes_nothing(learning: dict[str, Any]) -> None:
    _break(learning, "loss", check="propagated", verdict="not-compared", d64=None)
    assert "**Do they learn the same? Not established:** 2 of 30" in _learned(learning)
    _break(learning, "loss", check="propagated", verdict="precision", d64=1e-16, side="torch")
    less = "Not established:** 2 of 30 comparisons of one training step are in less precision than said"
    assert less in _learned(learning)


def test_stages_have_tables_and_figures_of_what_cancels_are_marked(learning: dict[str, Any]) -> None:
    rows = [row for row in learning["parity"] if row["tensor"] == "conv1/kernel" and row["stage"] == "update"]
    rows[0] |= {"d64": 0.5, "note": VANISHING}
    section = _section(render(learning), "One training step, taken apart")
    assert re.findall(r"^\*\*([\w-]+)\*\*", section, re.MULTILINE) == [
        "loss", "input-gradient", "parameter-gradient", "update", "slot", "after-training",
    ]  # fmt: skip
    assert "all identical or rounding; d64 at most 3.0e-15 (synthetic data)" in section
    assert "0.5 \\* |" in section
    assert "\\* Zero but for rounding" in section
    assert "In 4 of them float32's largest bound exceeds the tensor itself" in section
    assert section.count("<details>") == 2


def test_the_words_of_the_judge_and_of_the_trials_are_known_here() -> None:
    assert VANISHING.startswith(report_findings.VANISHING)
    trial = Path(__file__).resolve().parents[2] / "parity" / "trials" / "networks.py"
    assert f'note="{report_findings.SINGLE_TWIN}' in trial.read_text()
    assert set(NETWORK_STAGES) == {"forward", *STAGES}


def test_a_record_without_a_training_step_says_so(record: dict[str, Any]) -> None:
    assert "Not run: no training step is recorded." in _section(render(record), "One training step, taken apart")
    assert _learned(record).startswith("**Do they learn the same? Yes, as far as checked:** over 200 steps")
    assert _learned(record).endswith(" Not run: one training step.")


def test_a_leaving_trajectory_is_no_equal_learning(learning: dict[str, Any]) -> None:
    learning["trajectory"] |= {"horizon": 37, "horizon_tensor": "dense1/kernel", "share": 4.0}
    assert "same? No:** one training step agrees" in _learned(learning)
    assert "over 200 steps the float32 weights part at step 37 in `dense1/kernel`" in _learned(learning)
    learning["trajectory"] |= {"horizon": None, "twin_first": {"step": 9, "tensor": "conv1/bias"}}
    assert "same? No:**" in _learned(learning)
    assert "the float64 twins at step 9 in `conv1/bias`" in _learned(learning)
    learning["trajectory"]["distance"] = []
    assert "same? Not established:**" in _learned(learning)


@pytest.mark.parametrize("bound", [1e-12, None])
def test_twins_that_drift_apart_are_no_equal_learning_whoever_noted_the_step(
    learning: dict[str, Any], bound: float | None
) -> None:
    learning["trajectory"] |= {"horizon": None, "twin_first": None, "twin_bound": bound, "twin_distance": 0.5}
    assert "same? No:**" in _learned(learning)
    assert "the float64 twins by 0.5" in _learned(learning)
    assert "**In float64 they part**: up to 0.5" in render(learning)


def test_layers_that_were_compared_alone_are_not_yet_a_network(record: dict[str, Any]) -> None:
    record["parity"] = [row for row in record["parity"] if row["check"] == "forced"]
    assert "**Same function? Yes, layer by layer (the whole network was not compared):** all" in render(record)
    record["parity"] = record["parity"][:1]
    assert "**Same function? Yes, layer by layer (the whole network was not compared):** the only" in render(record)


def test_no_learning_suite_is_no_answer(record: dict[str, Any]) -> None:
    gone = {"not_run": "deselected"}
    record |= dict.fromkeys(("trajectory", "zoo", "losses", "optimizers", "modes", "kill_matrix"), gone)
    assert _learned(record) == "**Do they learn the same? Not checked:** deselected."
    record["zoo"] = _zoo()
    assert _learned(record).startswith("**Do they learn the same? Not checked.** On drawn numbers: 3 layer kinds")
    assert _learned(record).endswith(
        "Not run: one training step, trajectory, losses, optimizers, speed modes, kill matrix."
    )


@pytest.mark.parametrize("section", ["zoo", "losses", "optimizers", "modes", "kill_matrix", "trajectory", "referee"])
def test_an_empty_section_is_no_pass(learning: dict[str, Any], section: str) -> None:
    learning[section] = [] if section in ("optimizers", "kill_matrix") else {"rows": [], "steps": 0}
    text = _learned(learning)
    assert section == "referee" or "zero" in text or "no step of a trajectory" in text
    shown = {"zoo": "Layer zoo", "losses": "Losses", "optimizers": "Optimizers", "kill_matrix": "Kill matrix"}
    if section in shown:
        assert "Zero" in _section(render(learning), shown[section])


def test_a_failing_kind_stands_before_the_tables(learning: dict[str, Any]) -> None:
    rows = [row for row in learning["zoo"]["rows"] if row["model"] == "conv1d-same" and row["stage"] == "update"]
    rows[0] |= {"verdict": "semantic", "d64": 0.2, "notes": ["Two different functions."]}
    section = _section(render(learning), "Layer zoo")
    assert "28 tensors: **1 not the same** (`conv1d-same`)" in section
    said = "- `conv1d-same`, update (propagated), worst in `layer/kernel`: **semantic**, d64 0.2. Two different"
    assert section.index(said) < section.index("**Networks**") < section.index("**Layer kinds, by family**")
    assert re.search(r"\| `conv` \(2\)\s+\| rounding \| rounding\s+\| \*\*semantic\*\*\s+\|", section)
    assert re.search(r"\| `u-net` \| rounding \|", section)
    assert "**1 not the same** (`conv1d-same`)" in _learned(learning)


def test_survivors_stand_first_and_bold(learning: dict[str, Any]) -> None:
    learning["kill_matrix"][-1] |= {"caught": False, "seen_at": None, "d64": None}
    learning["kill_matrix"][1] |= {"caught": False, "seen_at": "other", "note": "seen at ['other']"}
    section = _section(render(learning), "Kill matrix")
    assert "**6 of 8 planted faults (7 traps) were caught: seen first where they were planted**" in section
    assert "- **`flatten-order` in u-net**, planted at `dense`: **nothing saw it**." in section
    assert "- **`batchnorm-momentum` in batch-norm-alone**, planted at `layer`: seen at `other`" in section
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    assert re.sub(r"\s+", " ", lines[0]) == "| trap | forward | loss | gradient | state | slot | update | caught |"
    assert lines[2].startswith("| **`batchnorm-momentum`**")
    assert re.sub(r"\s+", " ", lines[3]) == "| **`flatten-order`** | 1 | · | · | · | · | · | **1 of 2** |"
    assert re.sub(r"\s+", " ", next(x for x in lines if "gradient-doubled" in x)).startswith(
        "| `gradient-doubled` | · | · | 1 | · |"
    )
    said = "**2 of 8 planted faults were not caught where they are** (`batchnorm-momentum`, `flatten-order`)"
    assert said in _learned(learning)


def test_a_kill_without_the_word_is_a_survivor(record: dict[str, Any]) -> None:
    del record["kill_matrix"][0]["caught"]
    assert "1 of 8 planted faults were not caught" in _learned(record)


def test_an_unnamed_difference_of_a_loss_or_an_adapter_is_bold(learning: dict[str, Any]) -> None:
    for row in learning["losses"]["rows"]:
        row["trap"] = None
    learning["losses"]["rows"][2] |= {"verdict": "semantic"}  # the exact form of the mean
    learning["optimizers"][0]["verdict"] = "semantic"
    text = _learned(learning)
    assert "1 of 2 ports of losses differ as written, **1 of them by no named trap**" in text
    assert "**the exact forms fail for `mean squared error: mean`**" in text
    assert "**adapters fail for `adam`**" in text


def test_the_referee_shows_what_is_apart_first(record: dict[str, Any]) -> None:
    assert "2 tensors of 2 models: in all of them the three agree. Keras on its" in render(record)
    record["referee"]["rows"][1] |= {"verdict_torch": "semantic", "verdict_between": "semantic", "d64_torch": 0.25}
    record["referee"]["rows"][1]["conclusion"] = "meaning"
    section = _section(render(record), "Referee: Keras on torch")
    assert "2 tensors of 2 models: **in 1 not the same**." in section
    where = section.index("**Where the three differ**")
    assert where < section.index("| `dense` | `layer`") < section.index("**By model**")
    line = next(line for line in section.splitlines() if line.startswith("| `dense` | `layer`"))
    cells = "| training | rounding 1.0e-15 | **semantic** 0.25 | **semantic** 1.0e-15 | **meaning** |"
    assert re.sub(r"\s+", " ", line).endswith(cells)
    del record["referee"]["rows"][0]["conclusion"]
    assert "**in 2 not the same**" in render(record)


def test_new_words_are_explained(learning: dict[str, Any]) -> None:
    legend = _section(render(learning), "How to read this")
    for word in ("after-training", "default, matched, adapted gap", "band, horizon", "error in u", "as written"):
        assert f"| {word}" in legend, word


def test_every_table_lines_up(learning: dict[str, Any]) -> None:
    lines: list[str] = []
    for line in [*render(learning).splitlines(), ""]:
        if line.startswith("|"):
            lines.append(line)
            continue
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in lines}) <= 1, lines[:1]
        lines = []


def test_gradients_have_a_panel_of_their_own(learning: dict[str, Any]) -> None:
    caption = "used by each layer and each gradient, n = 40 forced comparisons (synthetic data)](parity.png)"
    assert caption in render(learning)
    panels = panels_of(plain(learning))
    assert {what: len(rows) for what, rows in panels.items()} == {"layer": 32, "gradient": 8}
    assert report_plots.draw(plain(learning))["parity.png"]


# --- speed -----------------------------------------------------------------------------------------------


def _claims(text: str) -> bool:
    return bool(re.search(r"times as fast as|equally fast", text))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "**train: torch-eager is 1.12 times as fast as tf-graph** (1.08 to 1.17, 10 blocks"),
        (
            {"ratio": 0.8, "low": 0.75, "high": 0.85, "decision": "slower"},
            "**train: tf-graph is 1.25 times as fast as torch-eager** (1.18 to 1.33, 10 blocks",
        ),
        (
            {"ratio": 1.01, "low": 0.99, "high": 1.02, "decision": "within margin"},
            "train: torch-eager and tf-graph are equally fast within 5 % (ratio 1.01, 0.99 to 1.02, 10 blocks",
        ),
    ],
)
def test_a_settled_ratio_is_claimed_with_its_interval(
    record: dict[str, Any], changes: dict[str, Any], words: str
) -> None:
    text = render(_settle(record, **changes))
    assert words in _section(text, "Answer")
    assert words in _section(text, "Speed")
    assert "detection limit 3 %" in _section(text, "Answer")


@pytest.mark.parametrize(
    "changes",
    [
        {"preliminary": True},
        {"preliminary": None, "blocks": 1, "low": None, "high": None, "decision": "undecided"},
        {"decision": "undecided", "low": 0.9},
    ],
)
def test_an_unsettled_ratio_names_no_winner(record: dict[str, Any], changes: dict[str, Any]) -> None:
    text = render(_settle(record, **changes))
    assert not _claims(text)
    assert "no winner" in _section(text, "Answer")


def test_nothing_is_called_equally_fast_where_the_margin_cannot_be_seen(record: dict[str, Any]) -> None:
    changed = _settle(record, ratio=1.01, low=0.99, high=1.02, decision="within margin")
    assert _claims(render(changed))
    known = plain(changed)
    for row in (known["benchmarks"].get("aa_check") or {}).get("settings") or []:
        row["half_width"] = 0.2
    known["benchmarks"] |= {"detection_limit": 0.2, "detection_limits": {}}
    text = render(known)
    assert not _claims(text)
    assert "the detection limit is wider than the margin, no winner" in _section(text, "Speed")


def test_a_ratio_without_the_flag_is_preliminary_below_ten_blocks(record: dict[str, Any]) -> None:
    ratio = _ratio(blocks=9)
    del ratio["preliminary"]
    known = plain(_settle(record))
    assert "preliminary, no winner" in ratio_phrase(ratio, known)
    assert "times as fast as" in ratio_phrase(ratio | {"blocks": 10}, known)


def test_medians_without_ratios_name_no_winner(record: dict[str, Any]) -> None:
    text = render(record)
    assert "median train step torch-eager" in _section(text, "Answer")
    assert "(n = 30 in 1 process)" in _section(text, "Answer")
    assert not _claims(text)


def test_a_failed_parity_check_is_said_with_the_speed(record: dict[str, Any]) -> None:
    _break(record, "dense1")
    text = render(_settle(record))
    words = "because the parity check failed (4 of 65 comparisons semantic)"
    assert f"> **No winner is named**, {words}." in _section(text, "Speed")
    assert f"**Speed: no winner is named**, {words}." in _section(text, "Answer")
    assert f"No winner is named, {words}](speed.png)" in text
    assert not _claims(text)
    assert "| withheld |" in _section(text, "Speed")
    assert "| faster" not in text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"parity_gate": {"passed": False}}, "the parity gate before the timing did not pass"),
        ({"parity_gate": {"train": {"verdict": "semantic"}}}, "the parity gate before the timing did not pass"),
        ({"parity_gate": None}, "the parity gate before the timing did not pass, or is not recorded"),
        ({"parity_gate": {"checked": 3}}, "the parity gate before the timing did not pass, or is not recorded"),
        ({"aa_check": {"passed": False}}, "the A/A check failed"),
        ({"limits": {"passed": False}}, "the physical-limit check failed"),
    ],
)
def test_no_winner_when_a_gate_fails(record: dict[str, Any], changes: dict[str, Any], words: str) -> None:
    _settle(record)["benchmarks"] |= changes
    text = render(record)
    assert words in _section(text, "Answer")
    assert not _claims(text)


def test_a_gate_of_passing_verdicts_passes(record: dict[str, Any]) -> None:
    _settle(record)["benchmarks"]["parity_gate"] = {"train": {"verdict": "rounding"}, "evaluate": "identical"}
    assert _claims(render(record))


def test_a_step_faster_than_the_hardware_is_refused(record: dict[str, Any]) -> None:
    for sample in record["benchmarks"]["samples"]:
        sample["roof_share"] = 1.7 if sample["lane"] == "tf-graph" else 0.4
    text = render(_settle(record))
    assert "tf-graph is faster than the machine's limit" in _section(text, "Answer")
    lines = [line for line in _section(text, "Speed").splitlines() if "`tf-graph`" in line and "refused" in line]
    assert len(lines) == 5  # its claim, and both works among the steps and among the shares of the roof
    assert "40 %" in _section(text, "Speed")


def test_step_table_known_answers(record: dict[str, Any]) -> None:
    samples = record["benchmarks"]["samples"]
    samples[0] |= {"seconds": [0.1, 0.2, 0.3, 0.4, 0.5], "images_per_step": 30}
    samples[1]["seconds"] = [0.25]
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in _section(render(record), "Speed").splitlines()
        if line.startswith("| train")
    ]
    torch, tensorflow = lines[:2]
    assert torch[2:8] == ["5", "1", "0.3", "0.2 to 0.4", "67 % !!", "100.0"]
    assert tensorflow[2:8] == ["1", "1", "0.25", "–", "–", "128.0"]


def test_blocks_of_one_lane_are_pooled_and_settings_kept_apart(record: dict[str, Any]) -> None:
    first = record["benchmarks"]["samples"][0]
    record["benchmarks"]["samples"] = [
        first,
        first | {"block": 1},
        first | {"allocator": {"MALLOC_TRIM_THRESHOLD_": 1}},
    ]
    lines = [line for line in _section(render(record), "Speed").splitlines() if line.startswith("| train")]
    assert [line.split("|")[3].strip() for line in lines[:2]] == ["60", "30"]
    assert [line.split("|")[4].strip() for line in lines[:2]] == ["2", "1"]


# --- metrics ---------------------------------------------------------------------------------------------


def test_metrics_have_wilson_intervals_and_a_baseline(record: dict[str, Any]) -> None:
    for run in record["training"]["runs"]:
        run["test"] |= {"n": 148, "accuracy": 15 / 148, "confusion": [[10, 90], [43, 5]], "precision": None}
    section = _section(render(record), "Training and metrics")
    assert "0.101 | 0.062 to 0.160" in section  # Newcombe 1998: 15/148 gives 0.0624 to 0.1605
    assert "0.053 (0.023 to 0.117)" in section  # precision 5/95, from the counts
    assert re.search(r"always the larger class \| 148 \|\s+– \|\s+0.676 \|", section)  # 100 of 148


def test_recorded_intervals_win(record: dict[str, Any]) -> None:
    record["training"]["runs"][0]["test"] |= {"accuracy_low": 0.1, "accuracy_high": 0.9}
    assert "TensorFlow 0.917 (0.100 to 0.900, n = 120)" in _section(render(record), "Answer")


def test_a_failed_run_is_said_at_the_top(record: dict[str, Any]) -> None:
    assert "exit status" not in render(record | {"exit": 0})
    for status, why in ((1, "some of its checks failed"), (2, "it was interrupted before all of it had run")):
        head = render(record | {"exit": status}).split("## Answer")[0]
        assert f"**The run ended with exit status {status}**: {why}." in head


# --- hostile names, figures, tables ----------------------------------------------------------------------


def test_names_cannot_break_the_page_or_the_pictures(tmp_path: Path, record: dict[str, Any]) -> None:
    nasty = "$x^$|<img src=x>`_*[层]\n## Speed"
    for row in record["parity"][:40]:
        row |= {"tensor": row["tensor"] + nasty, "probe": nasty, "note": nasty, "kind": nasty}
    for sample in record["benchmarks"]["samples"]:
        sample["lane"] += nasty
    record["data"] |= {"name": nasty, "skipped": [[nasty, nasty], ["\udc80.jpeg", "zero bytes"]]}
    text = write_report(record, tmp_path).read_text()
    # Inside `code` a tag is inert; elsewhere none may open.
    assert "<img" not in re.sub(r"(?<!\\)`[^`\n]*`", "", text)
    assert len(re.findall(r"^## Speed$", text, re.MULTILINE)) == 1
    rows = [re.findall(r"(?<!\\)\|", line) for line in text.splitlines() if re.match(r"\| forced\s", line)]
    assert {len(bars) for bars in rows} == {15}
    assert plain(read(tmp_path / "comparison.json")) == plain(record)


def test_only_the_worst_of_many_layers_are_drawn(record: dict[str, Any]) -> None:
    rows = []
    for index in range(60):
        row = copy.deepcopy(record["parity"][0]) | {"tensor": f"layer{index}", "share": index / 100}
        rows.append(row | {"verdict": "semantic"} if index == 3 else row)
    record["parity"] = rows
    assert "the 40 worst of 60 layers, n = 60 forced comparisons" in render(record)
    chosen = worst_layers(rows)
    assert chosen == ["layer3", *(f"layer{index}" for index in range(21, 60))]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (small(3.14159e-8), "3.1e-8"), (small(0), "0"), (small(0.31), "0.31"), (small(None), "–"),
        (small(True), "–"), (small(99.7), "100"), (small(2.5e5), "2.5e5"), (small(-2e-7), "-2.0e-7"),
        (percent(0.0712), "7.1 %"), (percent(3.1234), "312 %"), (percent(0), "0 %"), (percent(1e-9), "1.0e-7 %"),
        (seconds(0.18123), "0.1812"), (seconds(4.2e-5), "0.0000420"), (seconds(None), "–"),
        (milliseconds(0.18123), "181 ms"), (milliseconds(0.0005), "0.5 ms"), (milliseconds(2.5), "2500 ms"),
        (prose("max_pool2d"), "max_pool2d"), (prose("__init__"), "\\_\\_init__"), (prose("a|b<c"), "a\\|b&lt;c"),
    ],
)  # fmt: skip
def test_figures_known_answers(written: str, expected: str) -> None:
    assert written == expected


def test_markdown_and_plain_tables_line_up() -> None:
    assert table(("layer", "n"), [("层", "5"), ("b", "12")], "<>").splitlines() == [
        "| layer |   n |",
        "| ----- | --: |",
        "| 层    |   5 |",
        "| b     |  12 |",
    ]
    assert plain_table([("a", 1), ("bcd", 23)], ("x", "n"), "<>").splitlines() == [
        "x     n",
        "---  --",
        "a     1",
        "bcd  23",
    ]
    assert plain_table([]) == ""
    with pytest.raises(ValueError, match="unequal length"):
        plain_table([("a",), ("b", "c")])


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colour_only_where_it_is_welcome(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert not supports_colour(io.StringIO())
    assert paint("x", "red", io.StringIO()) == "x"
    assert paint_verdict("semantic", _Terminal()) == "\x1b[31msemantic\x1b[0m"
    assert paint_verdict("rounding", _Terminal()) == "\x1b[32mrounding\x1b[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    assert paint_verdict("semantic", _Terminal()) == "semantic"


@pytest.mark.parametrize("columns", [45, 60, 80, 100, 120, 200])
def test_no_row_of_a_check_is_wider_than_the_terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    terminal = _Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", str(columns))
    forced = {"d64": 0.31, "share": 61234.5}
    row = {"tensorflow": "encoder/" * 8, "torch": "blocks." * 9, "kind": "separable_conv2d_with_more",
           "verdict": "not-compared", "forced": forced, "propagated": {"d32": 3.2e-7}}  # fmt: skip
    CheckTable().row(row)
    lines = terminal.getvalue().splitlines()
    assert len(lines) == 2
    assert max(map(len, lines)) <= columns
    assert "not-compared" in lines[1]
    assert "0.31" in lines[1]
    assert (">999 %" in lines[1]) == (columns >= 100)


@pytest.mark.parametrize(
    ("share", "shown"),
    [(None, ""), (0.0, "0 %"), (6.66e-5, "<0.01 %"), (1.2e-4, "0.012 %"), (0.0266, "2.7 %"), (0.26, "26 %"),
     (0.996, "100 %"), (1.0, "100 %"), (3.46, "346 %"), (4.1e25, ">999 %")],
)  # fmt: skip
def test_a_share_is_shown_whole_in_its_column(
    share: float | None, shown: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    row = {"tensorflow": "a", "torch": "b", "kind": "dense", "verdict": "semantic",
           "forced": {"d64": 0.31, "share": share}, "propagated": {"d32": 3.2e-7}}  # fmt: skip
    CheckTable().row(row)
    assert capsys.readouterr().out.splitlines()[-1].split("0.31")[1].rpartition(" ")[0].strip() == shown


def test_progress_never_takes_two_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = _Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("COLUMNS", "50")
    with CheckTable(quiet=True) as table:  # as `parity convert` has it, which takes as long as a check
        table.tell("stage", f"writing {'a/long/way/' * 9}port.safetensors")
    assert len(terminal.getvalue().removeprefix(CLEAR).removesuffix(CLEAR)) == 49


# --- the command -----------------------------------------------------------------------------------------


def _parity(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "parity.cli", *map(str, arguments)], capture_output=True, text=True, check=False
    )


def test_the_command_renders_a_record_byte_for_byte(tmp_path: Path, written: Path) -> None:
    again = tmp_path / "again"
    done = _parity("render", written / "comparison.json", "--output", again)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", f"{again / 'comparison.md'}\n")
    for path in written.iterdir():
        assert (again / path.name).read_bytes() == path.read_bytes(), path.name


def test_the_command_writes_beside_the_record_but_not_over_another(tmp_path: Path) -> None:
    write_report(new_record("smoke", "the latest run"), tmp_path)
    latest = (tmp_path / "comparison.json").read_bytes()
    write(new_record("full", "an older run"), tmp_path / "older.json")
    refused = _parity("render", tmp_path / "older.json")
    assert refused.returncode == 2
    assert "is another record and would be replaced" in refused.stderr
    assert (tmp_path / "comparison.json").read_bytes() == latest
    assert _parity("render", tmp_path / "comparison.json").returncode == 0


@pytest.mark.parametrize("content", [None, b"{", b'{"schema": 9}', b'{"schema": 1, "onnx": {"comparisons": [{}]}}'])
def test_the_command_refuses_a_bad_record_with_one_line(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "record.json"
    if content is not None:
        path.write_bytes(content)
    done = _parity("render", path, "--output", tmp_path / "out")
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"parity render: .+\n", done.stderr)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("arguments", [(), ("render",), ("render", "a", "--outptu", "b"), ("rendre", "a")])
def test_the_command_refuses_what_it_does_not_know_with_one_line(arguments: tuple[str, ...]) -> None:
    done = _parity(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"parity.*: .+\n", done.stderr)


def test_an_unwritable_folder_is_one_line(tmp_path: Path) -> None:
    write(new_record("smoke", "x"), tmp_path / "record.json")
    (tmp_path / "file").write_text("in the way")
    done = _parity("render", tmp_path / "record.json", "--output", tmp_path / "file" / "folder")
    assert done.returncode == 2
    assert re.fullmatch(r"parity render: cannot write the report to .+\n", done.stderr)


def test_a_failure_stands_at_the_top_of_the_report() -> None:
    record = new_record("smoke", "pytest suites/")
    record["exit"] = 1
    record["failures"] = [{"section": "training", "what": "test_train[torch] failed: torch worker: killed by SIGKILL"}]
    head = render(record).partition("## Answer")[0]
    assert "exit status 1" in head
    assert "`training`: test_train[torch] failed: torch worker: killed by SIGKILL" in head.replace("\\", "")

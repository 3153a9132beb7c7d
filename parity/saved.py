"""Trained models as files: written in every usual format, loaded back by fresh processes, held against the network.

The native formats must give back the network bit for bit. A graph for the shared runtime is another program: it must
hold the same numbers, compute the same function by its float64 twin, and stay within the float32 bound.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from parity.data.prepared import Prepared
from parity.errors import ParityError, UsageError, WorkerError
from parity.exchange import GRAPHS, cross_check
from parity.judge.compare import Quartet, judge
from parity.judge.verdict import IDENTICAL, NOT_COMPARED, PASSING, PRECISION, ROUNDING, SEMANTIC, Finding
from parity.model import layout
from parity.model.layout import Array
from parity.model.spec import ModelSpec
from parity.pair import Pair, network_bounds, same_bits
from parity.pairing import weights as pairing_weights
from parity.workers.client import Worker, WorkerOptions

FORMATS: Mapping[str, str] = {
    ".keras": "Keras 3 archive: architecture and weights",
    ".h5": "Keras HDF5 file: architecture and weights",
    ".pth": "PyTorch state dict: weights",
    ".safetensors": "safetensors file: weights",
    ".onnx": "ONNX graph: architecture and weights",
}
FILES: Mapping[str, tuple[str, ...]] = {
    "tensorflow": ("chest_xray_tf_model.keras", "chest_xray_tf_model.h5", "chest_xray_tf_model.onnx"),
    "torch": ("chest_xray_pt_model.pth", "chest_xray_pt_model.safetensors", "chest_xray_pt_model.onnx"),
}
CARD_NAME = "MODEL_CARD.md"
BOUNDED_IMAGES = 32
"""On how many test images, those whose logits are furthest apart, a graph's logits are held against their bound."""
CHUNK = 32  # images that a graph is fed at a time
_OPEN = "open"  # until the float64 twin has been asked

_BEST_FIRST = (IDENTICAL, ROUNDING, PRECISION, NOT_COMPARED, SEMANTIC)

Row = dict[str, Any]


@dataclass(frozen=True)
class Trained:
    """A network as its training left it: `weights` under Keras's names, and `logits` (n,) float64 of `split`."""

    framework: str
    weights: Mapping[str, Array]
    logits: Array
    split: str = "test"


@dataclass(frozen=True)
class Saved:
    """One file that a trained network of a framework was written to; its ending names the format."""

    framework: str
    path: Path


@dataclass(frozen=True)
class Reloading:
    """What loading back needs: the data, the batch in which the logits were predicted, and the shared runtime.

    `probe`: on how many test images a graph is compared layer by layer, in float64 too.
    """

    prepared: Prepared
    batch: int
    runtime: WorkerOptions
    probe: int = 4


def remember(worker: Worker, spec: ModelSpec, framework: str, logits: Sequence[float]) -> Trained:
    """Return the network that `worker` holds, with the logits that it gave."""
    held = worker.call("get_weights")
    weights = pairing_weights.to_tensorflow(held, spec) if framework == "torch" else held
    return Trained(framework, weights, np.asarray(logits, dtype=np.float64))


def clear(framework: str, folder: Path) -> None:
    """Remove a framework's files and the card: what an earlier run left must not pass for this one's."""
    for name in (*FILES[framework], CARD_NAME):
        (folder / name).unlink(missing_ok=True)


def save(worker: Worker, framework: str, folder: Path) -> list[Saved]:
    """Write the network that `worker` holds in every format of its framework, each file atomically."""
    found = [Saved(framework, folder / name) for name in FILES[framework]]
    for saved in found:
        worker.call("export_onnx" if saved.path.suffix == ".onnx" else "save", path=str(saved.path))
    return found


def describe(saved: Saved) -> Row:
    """Return what the record says of a file: its name, framework, format, size in bytes and SHA-256."""
    content = saved.path.read_bytes() if saved.path.is_file() else b""
    return {
        "file": saved.path.name,
        "framework": saved.framework,
        "format": FORMATS.get(saved.path.suffix, saved.path.suffix),
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def reload(pair: Pair, trained: Mapping[str, Trained], files: Sequence[Saved], how: Reloading) -> list[Row]:
    """Load every file back in processes that never trained, and return its `describe` with what came of it.

    `reload` of each row: `verdict`, a `note`, and where there were predictions the `largest_logit_difference` over the
    split, its `n`, how many decisions are `differing`, and the `differing_images` by name. A file that cannot be read
    is `not-compared`, with one line that says why; the others are checked all the same. The network that the pair holds
    afterwards is another one.

    Raises
        UsageError: a file of a framework of which no trained network is given.
    """
    strange = [saved.path.name for saved in files if saved.framework not in trained]
    if strange:
        raise UsageError(f"no trained network to hold {', '.join(strange)} against")
    native = {name: [s for s in files if s.framework == name and s.path.suffix != ".onnx"] for name in trained}
    graphs = [saved for saved in files if saved.path.suffix == ".onnx"]
    with ThreadPoolExecutor(len(native) + 1) as pool:
        waiting = [
            pool.submit(_natives, pair.options.worker(name), pair.spec, trained[name], some, how)
            for name, some in native.items()
        ]
        waiting.append(pool.submit(_graphs, pair, trained, graphs, how))
        results = {saved: found for future in waiting for saved, found in future.result().items()}
    settled = {saved: _settled(pair, trained[saved.framework], row, how) for saved, row in results.items()}
    return [{**describe(saved), "reload": settled[saved]} for saved in files]


def _natives(
    options: WorkerOptions, spec: ModelSpec, trained: Trained, files: Sequence[Saved], how: Reloading
) -> dict[Saved, Row]:
    """Load native files one after another in one fresh process; a file that kills it does not cost the next one."""
    found: dict[Saved, Row] = {}
    with _Replaceable(options) as fresh:
        for saved in files:
            found[saved] = _attempt(saved, partial(_native, fresh, spec, trained, saved, how))
    return found


def _native(fresh: _Replaceable, spec: ModelSpec, trained: Trained, saved: Saved, how: Reloading) -> Row:
    worker = fresh.worker()
    # Other weights than the file's, drawn from no seed of this run: a load that does nothing is seen.
    worker.call("build", spec=spec.to_dict(), seed=2**20 + 1)
    worker.call("load", path=str(saved.path))
    bad = _other_weights(trained, worker.call("get_weights"), spec)
    try:
        logits = worker.call("predict", folder=str(how.prepared.folder), split=trained.split, batch=how.batch)
    except ParityError as error:
        if not bad:
            raise
        return {"verdict": SEMANTIC, "note": f"{bad} It predicts nothing: {_one_line(error, saved)}"}
    found = _against(trained, logits, how.prepared)
    if bad:
        return {"verdict": SEMANTIC, "note": bad, **found}
    if np.array_equal(logits, trained.logits):
        return {"verdict": IDENTICAL, "note": "Weights and predictions bit for bit.", **found}
    return {"verdict": _OPEN, "logits": logits, **found}


def _settled(pair: Pair, trained: Trained, row: Row, how: Reloading) -> Row:
    """Judge predictions that differ although all weights are the same: other sums, as on a GPU, or another function."""
    if row["verdict"] != _OPEN:
        return row
    logits = row.pop("logits")
    worst = _worst(trained, logits)
    pair.copy_weights(trained.weights)
    bounded = _bounded(pair, trained, logits, worst, _inputs(how.prepared, trained.split, worst))
    passes = bounded.verdict in PASSING
    note = "The weights come back bit for bit, the predictions only up to rounding."
    other = "The weights come back bit for bit, and the predictions do not: the file holds another function."
    return {
        **row,
        "verdict": ROUNDING if passes else SEMANTIC,
        "note": note if passes else other,
        "bound_share": bounded.share,
        "bounded_images": len(worst),
    }


def _other_weights(trained: Trained, held: Mapping[str, Array], spec: ModelSpec) -> str:
    """Say in one sentence which weights are not those of the training; nothing where all are, bit for bit."""
    wanted = dict(trained.weights)
    if trained.framework == "torch":
        wanted = pairing_weights.to_torch(wanted, spec)
    names = sorted(set(wanted) ^ set(held))
    if names:
        return f"Another network: {', '.join(names)} on one side only."
    findings = [same_bits(name, wanted[name], held[name]) for name in wanted]
    return _named([finding for finding in findings if finding.verdict != IDENTICAL])


def _named(findings: Sequence[Finding]) -> str:
    if not findings:
        return ""
    said = [
        f"{f.tensor} in {f.mismatched} of {f.elements} numbers" if f.mismatched else f"{f.tensor} ({f.note})"
        for f in findings
    ]
    return f"Other weights: {'; '.join(said).rstrip('.')}."


# Graphs.


def _graphs(pair: Pair, trained: Mapping[str, Trained], files: Sequence[Saved], how: Reloading) -> dict[Saved, Row]:
    found: dict[Saved, Row] = {}
    with _Replaceable(how.runtime) as fresh:
        for saved in sorted(files, key=lambda s: s.framework):
            found[saved] = _attempt(saved, partial(_graph, pair, fresh, trained[saved.framework], saved.path, how))
    return found


def _graph(pair: Pair, fresh: _Replaceable, trained: Trained, path: Path, how: Reloading) -> Row:
    """Compare one graph: its numbers as they are stored, all its logits, and its layers where it is furthest off."""
    runtime = fresh.worker()
    name = next(graph for graph, (framework, _) in GRAPHS.items() if framework == trained.framework)
    runtime.call("load_graph", name=name, path=str(path), spec=pair.spec.to_dict())
    bad = _absent_numbers(trained, runtime.call("graph_weights", path=str(path)))
    logits = np.concatenate(list(_graph_logits(runtime, name, pair.spec, trained, how.prepared)))
    found = _against(trained, logits, how.prepared)
    worst = _worst(trained, logits)
    pair.copy_weights(trained.weights)
    x = _inputs(how.prepared, trained.split, worst)
    bounded = _bounded(pair, trained, logits, worst, x)
    crossed = cross_check(pair, runtime, {name: path}, x[: how.probe])
    rows = [row for row in crossed["comparisons"] if (row["a"], row["b"]) == (trained.framework, name)]
    total = next(row for row in rows if row["tensor"] == "all")
    verdicts = [bounded.verdict, total["verdict"], *([SEMANTIC] if bad else [])]
    return {
        "verdict": max(verdicts, key=_BEST_FIRST.index),
        "note": bad or _graph_note(bounded, rows),
        "bound_share": bounded.share,
        "bounded_images": len(worst),
        "d64": total["d64"],
        **found,
    }


def _worst(trained: Trained, logits: Array) -> Array:
    """Return the images on which the logits are furthest apart, the furthest first."""
    found: Array = np.argsort(-np.abs(logits - trained.logits), kind="stable")[:BOUNDED_IMAGES]
    return found


def _bounded(pair: Pair, trained: Trained, logits: Array, worst: Array, x: Array) -> Finding:
    """Hold the logits of both programs against the float64 twin, on images `worst` whose input is `x`."""
    layer = pair.spec.layers[-2]
    twin = pair.workers["twin_tensorflow"].call("forward", x=x)
    found = network_bounds(pair.spec, trained.weights, x, twin, pair.options.device)
    bounds = [bound.reshape(-1) for bound in found[layer.name]]
    exact = twin[layer.name].reshape(-1)
    return judge("logits", layer.kind, Quartet(trained.logits[worst], logits[worst], exact, exact), *bounds)


def _graph_note(bounded: Finding, rows: Sequence[Mapping[str, Any]]) -> str:
    first = next((row for row in rows if row["verdict"] not in PASSING), None)
    if first is not None:
        words = {SEMANTIC: "computes something else", PRECISION: "computes in less precision than float32"}
        return f"The same numbers, but the graph {words.get(first['verdict'], 'is not compared')} at {first['tensor']}."
    if bounded.verdict not in PASSING:
        return "Its logits are further from the float64 twin than float32 explains."
    return "The same numbers, and the same function in float64."


def _graph_logits(runtime: Worker, name: str, spec: ModelSpec, trained: Trained, prepared: Prepared) -> Iterator[Array]:
    """Yield what the graph computes before its sigmoid, float64 (n,) of each chunk of images.

    Raises
        UsageError: the graph has no tensor of the last layer before its probability.
    """
    layer, count = spec.layers[-2].name, len(trained.logits)
    for first in range(0, count, CHUNK):
        x = _inputs(prepared, trained.split, np.arange(first, min(first + CHUNK, count)))
        fed = layout.to_torch(x, "image") if trained.framework == "torch" else x
        answers = runtime.call("run", name=name, x=fed, only=[layer])
        if layer not in answers:
            raise UsageError(f"another network: the graph has no layer `{layer}`")
        yield np.asarray(answers[layer], dtype=np.float64).reshape(-1)


def _absent_numbers(trained: Trained, initializers: Mapping[str, Array]) -> str:
    """Say which weights the graph does not hold number for number, in whatever order of axes; nothing where all are."""
    left = [_sorted_bits(array) for array in initializers.values()]
    absent = []
    for name, weight in trained.weights.items():
        wanted = _sorted_bits(weight)
        place = next((i for i, held in enumerate(left) if np.array_equal(held, wanted)), None)
        if place is None:
            absent.append(name)
        else:
            left.pop(place)
    return f"Other weights: the graph does not hold the numbers of {', '.join(absent)}." if absent else ""


def _sorted_bits(array: Array) -> Array:
    """Return float32 numbers as sorted integers: equal only for the same numbers bit for bit, whatever their order."""
    found: Array = np.sort(np.ascontiguousarray(array, dtype=np.float32).reshape(-1).view(np.int32))
    return found


# Both.


def _against(trained: Trained, logits: Array, prepared: Prepared) -> Row:
    if logits.shape != trained.logits.shape:
        raise UsageError(f"{logits.shape} predictions where the training gave {trained.logits.shape}")
    differing = np.flatnonzero((logits > 0) != (trained.logits > 0))
    files = prepared.files(trained.split)
    gap = np.abs(logits - trained.logits)
    return {
        "n": int(logits.size),
        "largest_logit_difference": float(gap.max()) if np.isfinite(gap).all() else None,
        "differing": int(differing.size),
        "differing_images": [files[image] for image in differing],
    }


def _inputs(prepared: Prepared, split: str, rows: Array) -> Array:
    found: Array = np.asarray(prepared.images(split)[rows]).astype(np.float32) / np.float32(255.0)
    return found


def _attempt(saved: Saved, check: Callable[[], Row]) -> Row:
    """Return what the check found, or why there was nothing to check."""
    try:
        return check()
    except ParityError as error:
        return {"verdict": NOT_COMPARED, "note": _one_line(error, saved)}


def _one_line(error: ParityError, saved: Saved) -> str:
    """Return an error's first line with the file's name and without its folder, which is this machine's business."""
    line = str(error).partition("\n")[0].replace(str(saved.path), saved.path.name).strip().rstrip(".:")
    if isinstance(error, WorkerError):  # what a library says of a broken file need not name it, nor be clear
        return f"{saved.path.name} cannot be loaded and run ({line})."
    return f"{line}." if saved.path.name in line else f"{saved.path.name}: {line}."


class _Replaceable:
    """A fresh worker, and another one after it when it died."""

    def __init__(self, options: WorkerOptions) -> None:
        self._options = options
        self._worker: Worker | None = None

    def __enter__(self) -> _Replaceable:
        return self

    def __exit__(self, *_: object) -> None:
        if self._worker is not None:
            self._worker.close()

    def worker(self) -> Worker:
        """Return a living worker that has never trained."""
        if self._worker is None or not self._worker.alive():
            if self._worker is not None:
                self._worker.close()
            self._worker = Worker(self._options)
        return self._worker

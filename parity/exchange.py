"""Export both models to ONNX, run both graphs in one runtime, and let all four answers vote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from parity.judge.compare import Quartet, judge
from parity.judge.verdict import IDENTICAL, PASSING, Finding, overall
from parity.model import layout
from parity.model.layout import Array
from parity.model.spec import LayerShape
from parity.pair import Observation, Pair, in_tensorflow_order, observe
from parity.workers.client import Worker

PARTIES = ("tensorflow", "torch", "ort-from-tf", "ort-from-torch")
GRAPHS = {
    "ort-from-tf": ("tensorflow", "check_tensorflow.onnx"),
    "ort-from-torch": ("torch", "check_torch.onnx"),
}
"""Graph -> framework and file. These hold briefly trained weights: the files of the finished models are `saved`'s."""


def export(pair: Pair, folder: Path) -> dict[str, Path]:
    """Write both networks of the pair as ONNX into `folder` and return graph name -> file."""
    paths = {}
    for graph, (side, name) in GRAPHS.items():
        paths[graph] = folder / name
        pair.workers[side].call("export_onnx", path=str(paths[graph]))
    return paths


def cross_check(pair: Pair, runtime: Worker, paths: Mapping[str, Path], x: Array) -> dict[str, Any]:
    """Return the record's `onnx` section for one batch `x` (n, h, w, c), float32.

    Every two of TensorFlow, PyTorch and the two graphs are compared, tensor by tensor where a graph exposes one, by
    the same rule as everywhere: each party has a float64 twin of its own, a graph's being ONNX's reference evaluator.
    """
    facts = {
        name: runtime.call("load_graph", name=name, path=str(path), spec=pair.spec.to_dict())
        for name, path in paths.items()
    }
    seen = observe(pair, x)
    answers = {name: _answers(runtime, name, x) for name in paths}
    comparisons = []
    for a, b in combinations([party for party in PARTIES if party not in GRAPHS or party in paths], 2):
        findings = compare_parties(pair.spec.shapes(), seen, answers, a, b)
        comparisons += [_row(a, b, finding) for finding in findings]
        comparisons.append(_total(a, b, findings))
    odd, sentence = vote({(row["a"], row["b"]): row["verdict"] for row in comparisons if row["tensor"] == "all"})
    return {
        "comparisons": comparisons,
        "odd_one_out": odd,
        "vote": sentence,
        "batch": int(x.shape[0]),
        "graphs": [{"name": name, "file": paths[name].name, **facts[name]} for name in paths],
    }


def compare_parties(
    steps: Sequence[LayerShape],
    seen: Observation,
    answers: Mapping[str, tuple[Mapping[str, Array], Mapping[str, Array]]],
    a: str,
    b: str,
) -> list[Finding]:
    """Return one finding per layer that both parties expose."""
    findings = []
    for step in steps:
        sides = [_tensor(party, step, seen, answers) for party in (a, b)]
        if None not in sides:
            (a32, a64), (b32, b64) = sides  # type: ignore[misc]
            quartet = Quartet(a32, b32, a64, b64)
            findings.append(judge(step.layer.name, step.layer.kind, quartet, *seen.bounds[step.layer.name]))
    return findings


def vote(verdicts: Mapping[tuple[str, str], str]) -> tuple[str | None, str]:
    """Return the party that differs from all others while those agree among themselves, and a sentence about it."""
    failing = {pair for pair, verdict in verdicts.items() if verdict not in PASSING}
    if not verdicts:
        return None, "Nothing was compared."
    if not failing:
        return None, "All parties compute the same function, up to rounding."
    parties = sorted({party for pair in verdicts for party in pair})
    odd = [party for party in parties if len(parties) > 2 and failing == {pair for pair in verdicts if party in pair}]
    if odd:
        return odd[0], f"{odd[0]} is the odd one out: it differs from all others, which agree among themselves."
    listed = ", ".join(f"{a} / {b}" for a, b in sorted(failing))
    return None, f"No single party is the odd one out; these pairs differ: {listed}."


def _answers(runtime: Worker, name: str, x: Array) -> tuple[dict[str, Array], dict[str, Array]]:
    fed = x if GRAPHS[name][0] == "tensorflow" else layout.to_torch(x, "image")
    return runtime.call("run", name=name, x=fed), runtime.call("run_twin", name=name, x=fed)


def _tensor(
    party: str,
    step: LayerShape,
    seen: Observation,
    answers: Mapping[str, tuple[Mapping[str, Array], Mapping[str, Array]]],
) -> tuple[Array, Array] | None:
    if party not in GRAPHS:
        return seen.ordered(party, step), seen.ordered(f"twin_{party}", step)
    plain, twin = answers[party]
    name = step.layer.name
    if name not in plain:
        return None
    return _graph_order(party, plain[name], step), _graph_order(party, twin[name], step)


def _graph_order(party: str, array: Array, step: LayerShape) -> Array:
    """Return a graph's tensor in TensorFlow's order: converters compute images channels first, whoever they serve."""
    expected = (array.shape[0], *step.output_shape)
    flat_from_tensorflow = step.output_layout == "flat-image" and GRAPHS[party][0] == "tensorflow"
    if flat_from_tensorflow or (step.output_layout == "image" and array.shape == expected and not _square(expected)):
        return array
    return in_tensorflow_order(array, step)


def _square(shape: tuple[int, ...]) -> bool:
    return shape == (shape[0], shape[3], shape[1], shape[2])  # the two orders could not be told apart by shape


def _row(a: str, b: str, finding: Finding) -> dict[str, Any]:
    side = {"tensorflow": a, "torch": b}.get(finding.side or "")
    return {
        "a": a,
        "b": b,
        "tensor": finding.tensor,
        "verdict": finding.verdict,
        "d32": finding.d32,
        "d64": finding.d64,
        "bound": finding.bound,
        "share": finding.share,
        "side": side,
        "note": finding.note if finding.verdict not in (IDENTICAL,) else "",
    }


def _total(a: str, b: str, findings: Sequence[Finding]) -> dict[str, Any]:
    """Return the pair's summary: the worst verdict of all tensors, and the last tensor's difference."""
    last = findings[-1] if findings else None
    return {
        "a": a,
        "b": b,
        "tensor": "all",
        "verdict": overall(findings),
        "d32": last.d32 if last else None,
        "d64": max((f.d64 for f in findings if f.d64 is not None), default=None),
        "share": max((f.share for f in findings if f.share is not None), default=None),
        "compared": [finding.tensor for finding in findings],
    }

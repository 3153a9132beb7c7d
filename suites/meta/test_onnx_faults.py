"""The ONNX cross-check: who is outvoted, with correct graphs, with tampered ones, and with files that are none."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parity.errors import ExportError, UsageError
from parity.exchange import PARTIES, cross_check, export, vote
from parity.judge.verdict import IDENTICAL, NOT_COMPARED, PASSING, PRECISION, ROUNDING, SEMANTIC
from parity.pair import Pair, noise_probe, probe_weights
from parity.pairing.weights import to_torch
from parity.workers.client import Worker, WorkerOptions

PAIRS = [(a, b) for i, a in enumerate(PARTIES) for b in PARTIES[i + 1 :]]


def verdicts(bad: list[tuple[str, str]], verdict: str = SEMANTIC) -> dict[tuple[str, str], str]:
    return {pair: verdict if pair in bad else ROUNDING for pair in PAIRS}


# The vote alone.


@pytest.mark.parametrize("verdict", [SEMANTIC, PRECISION, NOT_COMPARED])
@pytest.mark.parametrize("party", PARTIES)
def test_whoever_differs_from_all_others_is_odd(party: str, verdict: str) -> None:
    odd, sentence = vote(verdicts([pair for pair in PAIRS if party in pair], verdict))
    assert odd == party
    assert sentence == f"{party} is the odd one out: it differs from all others, which agree among themselves."


def test_unanimity_has_no_odd_one() -> None:
    assert vote(verdicts([])) == (None, "All parties compute the same function, up to rounding.")
    assert vote(dict.fromkeys(PAIRS, IDENTICAL))[0] is None


def test_two_against_two_has_no_odd_one_and_names_the_pairs() -> None:
    bad = [pair for pair in PAIRS if ("torch" in pair[0]) != ("torch" in pair[1])]
    assert len(bad) == 4
    odd, sentence = vote(verdicts(bad))
    assert odd is None
    for a, b in PAIRS:
        assert (f"{a} / {b}" in sentence) == ((a, b) in bad)


def test_a_single_differing_pair_blames_nobody() -> None:
    odd, sentence = vote(verdicts([("tensorflow", "torch")]))
    assert (odd, sentence) == (None, "No single party is the odd one out; these pairs differ: tensorflow / torch.")


def test_all_against_all_blames_nobody() -> None:
    assert vote(verdicts(PAIRS))[0] is None


def test_two_parties_cannot_outvote_each_other() -> None:
    assert vote({("tensorflow", "torch"): SEMANTIC})[0] is None


def test_no_comparison_is_no_unanimity() -> None:
    assert vote({}) == (None, "Nothing was compared.")


# Real graphs.


@pytest.fixture(scope="module")
def runtime() -> Iterator[Worker]:
    with Worker(WorkerOptions("onnxruntime")) as worker:
        yield worker


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Where both exports are kept for this module; filled by the first test that asks for `exported`."""
    return {"folder": tmp_path_factory.mktemp("graphs")}


@pytest.fixture
def exported(small_pair: Pair, graphs: dict[str, Path]) -> dict[str, Path]:
    """Both graphs of the small pair, with the weights that `small_pair` restores before each test."""
    if len(graphs) == 1:
        graphs |= export(small_pair, graphs["folder"])
    return {name: path for name, path in graphs.items() if name != "folder"}


def checked(pair: Pair, runtime: Worker, paths: Mapping[str, Path], seed: int = 0) -> dict[str, Any]:
    return cross_check(pair, runtime, paths, noise_probe(pair.spec, 3, seed))


def totals(found: Mapping[str, Any]) -> dict[tuple[str, str], str]:
    return {(row["a"], row["b"]): row["verdict"] for row in found["comparisons"] if row["tensor"] == "all"}


def tampered(source: Path, target: Path, shape: tuple[int, ...], factor: float) -> Path:
    """Write a copy of a graph in which the one initializer that holds a permutation of `shape` is scaled."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load(source)
    found = [tensor for tensor in model.graph.initializer if sorted(tensor.dims) == sorted(shape)]
    assert len(found) == 1
    array = numpy_helper.to_array(found[0]) * np.float32(factor)
    found[0].CopyFrom(numpy_helper.from_array(array, found[0].name))
    onnx.save(model, target)
    return target


@pytest.mark.parametrize("seed", range(3))
def test_correct_graphs_agree_with_everybody(
    small_pair: Pair, runtime: Worker, exported: dict[str, Path], seed: int
) -> None:
    found = checked(small_pair, runtime, exported, seed)
    assert list(totals(found)) == PAIRS
    assert set(totals(found).values()) <= PASSING
    assert {row["verdict"] for row in found["comparisons"]} <= PASSING
    assert (found["odd_one_out"], found["vote"]) == (None, "All parties compute the same function, up to rounding.")


def test_graphs_are_compared_layer_by_layer_and_listed(
    small_pair: Pair, runtime: Worker, exported: dict[str, Path]
) -> None:
    found = checked(small_pair, runtime, exported)
    names = [layer.name for layer in small_pair.spec.layers]
    for row in found["comparisons"]:
        if row["tensor"] == "all" and "ort-from-torch" in (row["a"], row["b"]):
            # A converter may fuse a layer into its neighbour, but not the ones that hold weights, nor the output.
            assert {"conv1", "dense1", "dense2", "dense3", "sigmoid"} <= set(row["compared"]) <= set(names)
    assert [graph["name"] for graph in found["graphs"]] == ["ort-from-tf", "ort-from-torch"]
    for graph in found["graphs"]:
        assert graph["dynamic_batch"] is True
        assert graph["parameters"] >= small_pair.spec.parameters()
        assert graph["file_bytes"] == exported[graph["name"]].stat().st_size
        assert graph["operators"]["Conv"] == 1
        assert graph["operators"]["MaxPool"] == 1


# The kernels by shape: no two of them are permutations of one another. A factor of 1 + 1e-6 is at the edge of float32.
KERNELS = {"conv1": (3, 3, 3, 5), "dense1": (360, 7), "dense2": (7, 7)}


@pytest.mark.parametrize("graph", ["ort-from-tf", "ort-from-torch"])
@pytest.mark.parametrize(("layer", "factor"), [("conv1", 1.01), ("dense1", 1.000_001), ("dense2", -1.0)])
def test_a_tampered_graph_is_outvoted(
    small_pair: Pair,
    runtime: Worker,
    exported: dict[str, Path],
    tmp_path: Path,
    graph: str,
    layer: str,
    factor: float,
) -> None:
    bad = tampered(exported[graph], tmp_path / "tampered.onnx", KERNELS[layer], factor)
    found = checked(small_pair, runtime, {**exported, graph: bad})
    assert found["odd_one_out"] == graph
    assert f"{graph} is the odd one out" in found["vote"]
    for (a, b), verdict in totals(found).items():
        assert (verdict == SEMANTIC) == (graph in (a, b)), (a, b)
    # The first tensor that differs is the one that was tampered with.
    rows = [row for row in found["comparisons"] if (row["a"], row["b"]) == ("tensorflow", graph)]
    assert next(row["tensor"] for row in rows if row["verdict"] not in PASSING) == layer


def test_a_framework_can_be_the_odd_one(small_pair: Pair, runtime: Worker, exported: dict[str, Path]) -> None:
    weights = probe_weights(small_pair.spec)
    carried = to_torch(weights, small_pair.spec)
    carried["dense2.weight"] = carried["dense2.weight"].T.copy()
    small_pair.copy_weights(weights, carried)  # after the export: the graph still holds the right ones
    found = checked(small_pair, runtime, exported)
    assert found["odd_one_out"] == "torch"


def test_wrong_weights_before_the_export_split_the_vote(
    small_pair: Pair, runtime: Worker, exported: dict[str, Path], tmp_path: Path
) -> None:
    weights = probe_weights(small_pair.spec)
    carried = to_torch(weights, small_pair.spec)
    carried["dense1.bias"] = np.zeros_like(carried["dense1.bias"])
    small_pair.copy_weights(weights, carried)
    path = tmp_path / "wrong.onnx"
    small_pair.workers["torch"].call("export_onnx", path=str(path))
    found = checked(small_pair, runtime, {**exported, "ort-from-torch": path})
    assert found["odd_one_out"] is None
    for (a, b), verdict in totals(found).items():
        split = ("torch" in a) != ("torch" in b)
        assert (verdict == SEMANTIC) == split, (a, b)
        assert (f"{a} / {b}" in found["vote"]) == split


def test_one_graph_alone_is_compared_with_both_frameworks(
    small_pair: Pair, runtime: Worker, exported: dict[str, Path]
) -> None:
    found = checked(small_pair, runtime, {"ort-from-tf": exported["ort-from-tf"]})
    assert list(totals(found)) == [("tensorflow", "torch"), ("tensorflow", "ort-from-tf"), ("torch", "ort-from-tf")]


@pytest.mark.parametrize("content", [b"", b"no ONNX at all", b"\x08\x08" * 40], ids=["empty", "text", "bytes"])
def test_a_file_that_is_no_onnx(small_pair: Pair, runtime: Worker, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)
    with pytest.raises(ExportError, match=re.escape(f"{path} is no valid ONNX model: ")):
        checked(small_pair, runtime, {"ort-from-tf": path})


def test_a_truncated_graph_is_no_valid_model(
    small_pair: Pair, runtime: Worker, exported: dict[str, Path], tmp_path: Path
) -> None:
    path = tmp_path / "half.onnx"
    whole = exported["ort-from-tf"].read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ExportError, match="is no valid ONNX model"):
        checked(small_pair, runtime, {"ort-from-tf": path})


def test_a_file_that_is_not_there(small_pair: Pair, runtime: Worker, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=re.escape(f"no ONNX file at {tmp_path / 'none.onnx'}")):
        checked(small_pair, runtime, {"ort-from-tf": tmp_path / "none.onnx"})


def test_an_export_leaves_no_half_written_file(exported: dict[str, Path]) -> None:
    folders = {path.parent for path in exported.values()}
    assert len(folders) == 1
    assert sorted(folders.pop().iterdir()) == sorted(exported.values())

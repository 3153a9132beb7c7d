"""Saved models: a good file passes in every format, and each way to spoil one is found, the others still checked."""

from __future__ import annotations

import re
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parity.data import cache
from parity.data.prepared import Prepared
from parity.errors import UsageError
from parity.judge.verdict import IDENTICAL, NOT_COMPARED, PASSING, ROUNDING, SEMANTIC
from parity.pair import Pair, probe_weights
from parity.pairing.weights import to_torch
from parity.saved import _OPEN as OPEN
from parity.saved import CARD_NAME, FILES, Reloading, Saved, Trained, clear, describe, reload, remember, save
from parity.saved import _settled as settled
from parity.workers.client import WorkerOptions
from suites.meta.conftest import SMALL

pytestmark = pytest.mark.whole_run  # half a minute of exporters and fresh processes

SIDES = ("tensorflow", "torch")
ALL = [(side, name) for side in SIDES for name in FILES[side]]
NATIVE = [(side, name) for side, name in ALL if not name.endswith(".onnx")]
GRAPHS = [(side, name) for side, name in ALL if name.endswith(".onnx")]
BATCH = 32


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    return cache.prepare(None, SMALL.height, SMALL.width, SMALL.channels)


class Spoilt:
    """One folder of files for each way to go wrong, made by the very workers that hold the trained networks."""

    def __init__(self, pair: Pair, prepared: Prepared, folder: Path) -> None:
        self.pair, self.prepared, self.folder = pair, prepared, folder
        self.files: list[Saved] = []
        self.trained: dict[str, Trained] = {}
        pair.build(SMALL)
        for seed, side in enumerate(SIDES):
            self.weights = probe_weights(SMALL, seed)
            self._side(side)
        self.rows = {
            (saved.path.parent.name, saved.framework, saved.path.name): row
            for saved, row in zip(self.files, self._reload(), strict=True)
        }

    def _reload(self) -> list[dict[str, Any]]:
        how = Reloading(self.prepared, BATCH, WorkerOptions("onnxruntime"), probe=3)
        return reload(self.pair, self.trained, self.files, how)

    def _side(self, side: str) -> None:
        worker = self.pair.workers[side]
        self._hold(side, self.weights)
        logits = worker.call("predict", folder=str(self.prepared.folder), split="test", batch=BATCH)
        self.trained[side] = remember(worker, SMALL, side, logits)
        self._save(side, "good")
        self._hold(side, nudged(self.weights, "dense1/kernel"))
        self._save(side, "nudged")
        self._hold(side, {**self.weights, "dense2/kernel": self.weights["dense2/kernel"].T.copy()})
        self._save(side, "transposed")
        worker.call("build", spec=SMALL.to_dict(), seed=7)
        self._save(side, "untrained")
        worker.call("build", spec=SMALL.without("relu1").to_dict(), seed=7)
        self._hold(side, self.weights)
        self._save(side, "without-relu")
        worker.call("build", spec=SMALL.to_dict(), seed=7)
        for saved in [saved for saved in self.files if saved.path.parent.name == "good" and saved.framework == side]:
            self._write("half", side, saved.path.name, saved.path.read_bytes()[: saved.path.stat().st_size // 2])
            self._write("empty", side, saved.path.name, b"")
        self.files.append(Saved(side, self.folder / "gone" / FILES[side][0]))

    def _hold(self, side: str, weights: dict[str, Any]) -> None:
        self.pair.workers[side].call("set_weights", weights=to_torch(weights, SMALL) if side == "torch" else weights)

    def _save(self, side: str, kind: str) -> None:
        self.files += save(self.pair.workers[side], side, self.folder / kind)

    def _write(self, kind: str, side: str, name: str, content: bytes) -> None:
        path = self.folder / kind / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        self.files.append(Saved(side, path))


def nudged(weights: dict[str, Any], name: str) -> dict[str, Any]:
    """Return weights of which one number is moved by one unit in its last place."""
    array = weights[name].copy()
    place = (array.shape[0] // 2, 3)
    array[place] = np.nextafter(array[place], np.float32(np.inf))
    return {**weights, name: array}


@pytest.fixture(scope="module")
def spoilt(small_workers: Pair, prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Spoilt:
    return Spoilt(small_workers, prepared, tmp_path_factory.mktemp("models"))


@pytest.mark.parametrize(("side", "name"), NATIVE)
def test_a_native_file_comes_back_bit_for_bit(spoilt: Spoilt, side: str, name: str) -> None:
    found = spoilt.rows["good", side, name]["reload"]
    assert (found["verdict"], found["largest_logit_difference"]) == (IDENTICAL, 0.0)
    assert (found["n"], found["differing"], found["differing_images"]) == (80, 0, [])


@pytest.mark.parametrize(("side", "name"), GRAPHS)
def test_a_graph_computes_the_same_function(spoilt: Spoilt, side: str, name: str) -> None:
    found = spoilt.rows["good", side, name]["reload"]
    assert found["verdict"] in PASSING
    assert (found["n"], found["differing"], found["bounded_images"]) == (80, 0, 32)
    assert 0 <= found["bound_share"] < 1
    assert found["d64"] < 1e-10


@pytest.mark.parametrize(("side", "name"), ALL)
def test_one_weight_moved_by_one_ulp_is_found_and_named(spoilt: Spoilt, side: str, name: str) -> None:
    found = spoilt.rows["nudged", side, name]["reload"]
    assert found["verdict"] == SEMANTIC
    kernel = "dense1.weight" if side == "torch" and not name.endswith(".onnx") else "dense1/kernel"
    counted = f"Other weights: {kernel} in 1 of 2520 numbers."
    absent = "Other weights: the graph does not hold the numbers of dense1/kernel."
    assert found["note"] == (absent if name.endswith(".onnx") else counted)
    assert found["n"] == 80


@pytest.mark.parametrize(("side", "name"), ALL)
def test_a_transposed_kernel_is_found(spoilt: Spoilt, side: str, name: str) -> None:
    """The very same numbers in another order: a graph is told by what it computes."""
    found = spoilt.rows["transposed", side, name]["reload"]
    assert found["verdict"] == SEMANTIC
    assert found["largest_logit_difference"] > 0.01
    if name.endswith(".onnx"):
        assert found["note"] == "The same numbers, but the graph computes something else at dense2."


@pytest.mark.parametrize(("side", "name"), ALL)
def test_an_untrained_network_under_the_trained_name_is_found(spoilt: Spoilt, side: str, name: str) -> None:
    found = spoilt.rows["untrained", side, name]["reload"]
    assert found["verdict"] == SEMANTIC
    assert "Other weights: " in found["note"]
    for layer in ("conv1", "dense1", "dense2", "dense3"):
        assert f"{layer}{'.weight' if side == 'torch' and not name.endswith('.onnx') else '/kernel'}" in found["note"]


def test_a_network_without_a_layer_is_found_where_the_file_holds_the_network(spoilt: Spoilt) -> None:
    for side, name in ALL:
        found = spoilt.rows["without-relu", side, name]["reload"]
        if name.endswith((".pth", ".safetensors")):
            assert found["verdict"] == IDENTICAL  # they hold weights alone, and those are right
        elif name.endswith(".onnx"):
            assert found["verdict"] in (SEMANTIC, NOT_COMPARED)
        else:
            assert found["verdict"] == SEMANTIC
            assert found["note"].endswith("the file holds another function.")


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(("off", "verdict"), [(1e-8, ROUNDING), (0.01, SEMANTIC)])
def test_with_equal_weights_only_rounding_may_move_a_prediction(
    spoilt: Spoilt, side: str, off: float, verdict: str
) -> None:
    """On a GPU sums may come out otherwise in another process; what goes beyond the bound is another function."""
    trained = spoilt.trained[side]
    how = Reloading(spoilt.prepared, BATCH, WorkerOptions("onnxruntime"))
    moved = trained.logits + off * np.abs(trained.logits).max()
    found = settled(spoilt.pair, trained, {"verdict": OPEN, "logits": moved, "n": 80}, how)
    assert (found["verdict"], found["n"], found["bounded_images"]) == (verdict, 80, 32)
    assert (found["bound_share"] < 1) == (verdict == ROUNDING)
    assert "logits" not in found


@pytest.mark.parametrize("kind", ["half", "empty"])
@pytest.mark.parametrize(("side", "name"), ALL)
def test_a_truncated_file_gives_one_line_without_a_path(spoilt: Spoilt, side: str, name: str, kind: str) -> None:
    row = spoilt.rows[kind, side, name]
    found = row["reload"]
    assert set(found) == {"verdict", "note"}
    assert found["verdict"] == NOT_COMPARED
    assert re.fullmatch(r"[^\n]{10,}\.", found["note"])
    assert name in found["note"]
    assert str(spoilt.folder) not in found["note"]


@pytest.mark.parametrize("side", SIDES)
def test_a_file_that_is_not_there_is_said(spoilt: Spoilt, side: str) -> None:
    row = spoilt.rows["gone", side, FILES[side][0]]
    assert row["bytes"] == 0
    assert row["reload"] == {"verdict": NOT_COMPARED, "note": f"no model file at {FILES[side][0]}."}


def test_files_are_described_by_what_is_in_them(spoilt: Spoilt) -> None:
    import hashlib

    assert len({row["sha256"] for key, row in spoilt.rows.items() if key[0] in ("good", "nudged", "untrained")}) == 18
    for saved in spoilt.files:
        row = describe(saved)
        content = saved.path.read_bytes() if saved.path.exists() else b""
        assert row["sha256"] == hashlib.sha256(content).hexdigest()
        assert row["bytes"] == len(content)


def test_no_half_written_file_is_left_and_all_can_be_read_by_others(spoilt: Spoilt) -> None:
    good = spoilt.folder / "good"
    assert sorted(path.name for path in good.iterdir()) == sorted(name for _, name in ALL)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in good.iterdir()}
    (spoilt.folder / "plain").touch()
    assert modes == {stat.S_IMODE((spoilt.folder / "plain").stat().st_mode)}


def test_a_file_of_a_framework_that_did_not_train_is_refused(small_workers: Pair, prepared: Prepared) -> None:
    how = Reloading(prepared, BATCH, WorkerOptions("onnxruntime"))
    with pytest.raises(UsageError, match=r"no trained network to hold x\.pth against"):
        reload(small_workers, {}, [Saved("torch", Path("x.pth"))], how)


def test_what_an_earlier_run_left_is_cleared(tmp_path: Path) -> None:
    for name in (*FILES["tensorflow"], *FILES["torch"], CARD_NAME, "bench_torch.onnx"):
        (tmp_path / name).touch()
    clear("torch", tmp_path)
    clear("torch", tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {*FILES["tensorflow"], "bench_torch.onnx"}

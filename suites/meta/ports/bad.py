"""Builders and options that go wrong: one clear line and status 2, or what little can still be told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from suites.meta.ports.case import Case, Source

IMAGE, VECTOR = "9x8x3", "8"
_ALWAYS = "gives something else at every call"
_ANY = ("unknown", "residual-scale")  # of models that are no functions, nobody can say where they differ


def _wrong(
    name: str, tensorflow: str, torch: str, *says: str, inputs: str = IMAGE, options: tuple[str, ...] = (), **more: Any
) -> Case:
    """Return a case that must end with status 2, or with `verdict`, and with these words on stderr or in the notes."""
    return Case(
        name=f"bad-{name}" + "".join(one.replace("--", "-") for one in options if one == "--train"),
        tensorflow=tensorflow if ":" in tensorflow else f"bad_tensorflow.py:{tensorflow}",
        torch=torch if ":" in torch else f"bad_torch.py:{torch}",
        inputs=tuple(inputs.split()),
        options=options,
        verdict=more.get("verdict", "error"),
        says=says,
        tolerated=_ANY if more.get("verdict") == "different" or _ALWAYS in says else (),
        note=more.get("note", ""),
    )


def _builders() -> Iterator[Case]:
    yield _wrong("raises", "raises", "good", "units_of", "bad_tensorflow.py:25")
    yield _wrong("raises-own", "raises_own", "good", "RuntimeError", "the checkpoint of epoch 12")
    yield _wrong("raises-torch", "good", "raises", "TypeError", "kernel", "bad_torch.py")
    yield _wrong("no-file", "nowhere_tensorflow.py:good", "good", "nowhere_tensorflow.py")
    yield _wrong("no-file-torch", "good", "nowhere_torch.py:good", "nowhere_torch.py")
    yield _wrong("no-function", "god", "good", "god", "good")
    yield _wrong("no-function-torch", "good", "two_dens", "two_dens", "two_dense")
    yield _wrong("no-module", "no_such_package.models:good", "good", "no_such_package")
    yield _wrong("no-import", "good", "bad_import_torch.py:good", "a_package_that_nobody_has")
    yield _wrong("no-colon", "bad_tensorflow.py:", "good", "function")
    yield _wrong("no-function-but-number", "not_a_function", "good", "not_a_function")
    yield _wrong("needs-arguments", "needs_arguments", "good", "width")
    yield _wrong("needs-arguments-torch", "good", "needs_arguments", "width")
    yield _wrong("returns-nothing", "returns_nothing", "good", "None")
    yield _wrong("returns-nothing-torch", "good", "returns_nothing", "None")
    yield _wrong("returns-number", "returns_number", "good", "int")
    yield _wrong("returns-list", "returns_list", "good", "list")
    yield _wrong("returns-dict", "returns_dict", "good", "dict")
    yield _wrong("returns-class", "returns_class", "good", "class")
    yield _wrong("returns-class-torch", "good", "returns_class", "class")
    yield _wrong("returns-state-torch", "good", "returns_state", "state dict")
    yield _wrong("returns-pair-torch", "good", "returns_pair", "tuple")
    yield _wrong("exchanged", "bad_torch.py:good", "bad_tensorflow.py:good", "returned")
    yield _wrong("exits", "exits", "good", "SystemExit")
    yield _wrong("exits-well", "exits_well", "good", "SystemExit")
    yield _wrong("exits-torch", "good", "exits", "SystemExit")
    yield _wrong("dies", "dies", "good", "tensorflow")
    yield _wrong("dies-torch", "good", "dies", "torch")
    yield _wrong("hangs", "hangs", "good", "60", options=("--timeout", "60"))
    yield _wrong("no-call", "no_call", "good", "__call__")


def _inputs() -> Iterator[Case]:
    yield _wrong("no-input", "good", "good", "--input", inputs="")
    yield _wrong("wrong-size", "good", "good", inputs="10x8x3")
    yield _wrong("wrong-channels", "good", "good", inputs="9x8x4")
    yield _wrong("wrong-rank", "good", "good", inputs="9x8")
    yield _wrong("two-inputs", "good", "good", inputs="9x8x3 9x8x3")
    yield _wrong("wrong-size-torch", "good", "too_narrow", "torch")
    yield _wrong("layout-same", "good", "good", "torch", options=("--torch-layout", "same"))
    yield _wrong("two-outputs", "two_outputs", "one_dense", "2", inputs=VECTOR)


def _on_their_way() -> Iterator[Case]:
    """Yield models that raise on their way, or return other outputs: what was computed until then is compared."""
    at = (Source(("second",), ("second",), ("same-padding-stride",)),)
    strided = _wrong(
        "midway-torch", "strided", "strided", "cannot be multiplied", inputs="20x18x1", verdict="undecided"
    )
    yield replace(strided, sources=at)
    at = (Source(("gelu", "first"), ("gelu",), ("gelu-approximation",)),)
    through = _wrong("midway", "stops_midway", "through", "does not run", inputs=VECTOR, verdict="undecided")
    yield replace(through, sources=at)


def _models() -> Iterator[Case]:
    def on_vectors(name: str, tensorflow: str, torch: str, verdict: str, *says: str, **more: Any) -> Case:
        return _wrong(name, tensorflow, torch, *says, inputs=VECTOR, verdict=verdict, **more)

    yield _wrong("talks", "talks", "talks", verdict="same")
    yield _wrong("volumes", "volumes", "volumes", "float32", inputs="6x7x8x2", verdict="same", note="no float64 kernel")
    yield on_vectors("unhooked", "unhooked", "two_dense", "same")
    yield on_vectors("scripted", "two_dense", "scripted", "same", options=("--weights", "torch-to-tf"))
    yield on_vectors("traced", "two_dense", "traced", "same")
    yield on_vectors("in-place", "two_dense", "in_place", "same")
    yield on_vectors("unseen", "two_dense", "unseen", "error", "replay: the recorded operations do not give")
    yield on_vectors("thin", "thin", "one_dense", "error", "SparseTensor", "dense")
    yield on_vectors("ragged", "ragged", "one_dense", "error", "RaggedTensor", "dense")
    yield on_vectors("thin-torch", "one_dense", "thin", "error", "sparse", "to_dense")
    yield on_vectors("summed", "two_dense", "summed", "same")
    yield on_vectors("compiled", "two_dense", "compiled", "same")
    yield on_vectors("halved", "two_dense", "halved", "same", "it is compared in float32")
    yield on_vectors("for-inference", "one_dense", "for_inference", "same")
    yield on_vectors(
        "in-bfloat16",
        "in_bfloat16",
        "one_dense",
        "different",
        "mixed precision",
        "`dense`: tensorflow computes in less",
    )
    yield on_vectors("leaving", "leaving", "one_dense", "error", "does not run", "SystemExit", "bad_tensorflow.py")
    yield on_vectors("leaving-torch", "one_dense", "leaving", "error", "raised SystemExit", "bad_torch.py")
    yield on_vectors("not-eager", "not_eager", "one_dense", "error", "switches eager execution off")
    yield on_vectors("of-keras-2", "of_keras_2", "one_dense", "error", "TF_USE_LEGACY_KERAS=1 makes tf.keras Keras 2")
    yield on_vectors("not-finite", "not_finite", "not_finite", "error", "ot finite")
    yield on_vectors(
        "idle", "one_dense", "idle", "undecided", "`spare.bias`", "no output depends", "taken out of the model"
    )
    yield _wrong(
        "diverged", "good", "diverged", "weights of the PyTorch model are not finite: `3.weight` (2 of 504)",
        options=("--weights", "torch-to-tf"),
    )  # fmt: skip
    yield on_vectors("drawing", "drawing", "one_dense", "different", "random")
    yield on_vectors("drawing-torch", "one_dense", "drawing", "different", "random")
    yield on_vectors("counting", "counting", "one_dense", "error", "calls", _ALWAYS)
    yield on_vectors("counting-torch", "scaled_dense", "counting", "error", "calls", _ALWAYS)
    for options in ((), ("--train",)):
        yield on_vectors("remembering", "remembering", "one_dense", "error", _ALWAYS, options=options)
        yield on_vectors("remembering-torch", "scaled_dense", "remembering", "error", _ALWAYS, options=options)
    yield on_vectors("growing", "scaled_dense", "growing", "error", _ALWAYS)
    yield on_vectors("row-by-row", "one_dense", "row_by_row", "error", "torch.func.vmap")
    yield on_vectors("complex-weights", "one_dense", "complex_weights", "error", "`turn` holds complex numbers")
    yield on_vectors("branching", "one_dense", "branching", "same", "__bool__")


BAD = (*_builders(), *_inputs(), *_on_their_way(), *_models())

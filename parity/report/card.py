"""The model card that lies beside the saved models: what they are, how they came about, how good, and what not for."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from parity.report.answer import accuracy_interval
from parity.report.findings import Row, framework_name, markdown_label
from parity.report.record import Record, plain, shape_guard, why_not_run, write_bytes
from parity.report.text import NONE, code, fixed, inline, integer, interval, number, percent, prose, small, table
from parity.stats import wilson_interval

CARD_NAME: Final = "MODEL_CARD.md"
_NO_DEVICE: Final = (
    "> **This is no medical device.** It must not be used for diagnosis, for triage, or for any other decision about a"
    " patient. Nobody has examined it for safety, no authority has cleared it, and its mistakes are not known well."
)
_INTENDED: Final = (
    "To compare TensorFlow and PyTorch: two networks of equal shape, trained from the same initial weights on the same"
    " batches in the same order, saved in the formats that people exchange. For teaching and for testing software."
)
_LIMITS: Final = (
    "One training of one seed: another seed gives other weights, and other figures.",
    "The network is as small as a worked example is. It says NORMAL or PNEUMONIA to every image that it is given, a"
    " photograph of a cat included, and knows no third answer.",
    "Metrics are on the images of `test` alone. They say nothing about another hospital, device, age or population.",
    "Intervals are over images. Several films of one patient are not independent, so that the truth is less sure than"
    " they say.",
    "Its probabilities are not calibrated.",
)
_SYNTHETIC: Final = (
    "**The data are synthetic**: drawn by a seeded script. The model has never seen a patient, and its figures say"
    " nothing about pneumonia."
)
_READ_SAFETENSORS: Final = "from safetensors.torch import load_file"
_FIGURES: Final = ("accuracy", "precision", "recall (sensitivity)", "specificity")


def model_card(record: Mapping[str, Any]) -> str:
    """Give the card of a record's trained models in Markdown; the same record gives the same text.

    Raises: RecordError when the section `training` is not shaped as its schema says.
    """
    known: Record = plain(record)
    with shape_guard("training"):
        training = known["training"]
        parts = ["# Model card: NORMAL or PNEUMONIA, in TensorFlow and PyTorch", _NO_DEVICE]
        parts += [f"## What it is\n\n{_what(training)}", f"## Files\n\n{_files(training.get('models') or [])}"]
        parts += [f"## Data\n\n{_data(known)}", f"## Training\n\n{_training(known)}"]
        parts += [f"## Metrics on `test`\n\n{_metrics(known)}", f"## Intended use\n\n{_INTENDED}"]
        parts.append("## Limits\n\n" + "\n".join(f"- {limit}" for limit in _LIMITS))
        parts.append(f"## How to load it\n\n{_loading(training)}")
    return "\n\n".join(parts) + "\n"


def write_card(record: Mapping[str, Any], folder: str | os.PathLike[str]) -> Path:
    """Write `MODEL_CARD.md` into the folder of the models, atomically, and give its path.

    Raises: OSError when the folder cannot be written.
    """
    path = Path(folder) / CARD_NAME
    write_bytes(path, model_card(record).encode("utf-8", "backslashreplace"))
    return path


def _what(training: Row) -> str:
    network = training.get("network")
    if not network:
        return "A binary classifier of chest radiographs."
    height, width, channels = network["input"]
    chain = " -> ".join(_layer(layer) for layer in network["layers"])
    return (
        f"A binary classifier of chest radiographs with {integer(network['parameters'])} parameters: {chain}.\n\n"
        f"Input: {height} x {width} pixels, {'grey' if channels == 1 else 'RGB'}, resized bilinearly, as fractions of 1"
        " in float32; channels last in TensorFlow's files, channels first in PyTorch's. Output: the probability of"
        " PNEUMONIA; above 0.5 it is called PNEUMONIA."
    )


def _layer(layer: Row) -> str:
    kind, size = layer["kind"], layer.get("size")
    if kind == "conv2d":
        return f"Conv2D({size}, {'x'.join(map(str, layer['kernel']))})"
    words = {"max_pool2d": f"MaxPool({size})", "dense": f"Dense({size})", "relu": "ReLU"}
    return prose(words.get(kind, str(kind).replace("_", " ").capitalize()))


def _files(rows: Sequence[Row]) -> str:
    lines = [
        (code(row["file"]), prose(row["format"]), integer(row["bytes"]), code(row["sha256"]), reloaded(row))
        for row in rows
    ]
    loaded = (
        "Loaded back means: read by a process that never trained, which predicted every image of `test` again; in the"
        " file's own framework, or for ONNX in ONNX Runtime."
    )
    return f"{table(('file', 'format', 'bytes', 'SHA-256', 'loaded back'), lines, '<<>')}\n\n{loaded}"


def reloaded(row: Row) -> str:
    """Say what came of loading one file back."""
    found = row.get("reload")
    if not found:
        return "not checked"
    verdict = str(found["verdict"])
    said = f"**{verdict}**: {prose(found.get('note') or '')}".rstrip(": .") if verdict not in _GOOD else verdict
    if number(found.get("n")) is None:
        return said
    gap, differing = found.get("largest_logit_difference"), integer(found.get("differing"))
    far = "no logit differs" if gap == 0 else f"logits differ by at most {small(gap)}"
    return f"{said}; {far}, {differing} of {integer(found['n'])} decisions differ"


_GOOD: Final = frozenset({"identical", "rounding"})


def _data(record: Record) -> str:
    if why_not_run(record, "data") is not None:
        return "Not recorded."
    data = record["data"]
    counts = data.get("counts") or {}
    classes = list(dict.fromkeys(name for held in counts.values() for name in held))
    lines = [(code(split), *(integer(held.get(name)) for name in classes)) for split, held in counts.items()]
    parts = [f"{code(data.get('name'))}, SHA-256 over names and contents of its files {code(data.get('digest'))}."]
    parts += [_SYNTHETIC] if data.get("name") == "synthetic" else []
    parts += [f"Source and licence: {prose(data['source'])}."] if data.get("source") else []
    parts += [table(("images in", *classes), lines, "<" + ">" * len(classes))] if lines else []
    shared = number(((data.get("facts") or {}).get("patients_shared") or {}).get("train/test"))
    if shared:
        parts.append(
            f"{integer(shared)} names of patients are in files of both `train` and `test`. If they are the same people"
            " (names of the Kaggle set are numbered anew for each germ and may not be), the metrics below flatter."
        )
    skipped = len(data.get("skipped") or [])
    parts += [f"Left out as unreadable: {integer(skipped)} file{'s' * (skipped != 1)}."] if skipped else []
    return "\n\n".join(parts)


def _training(record: Record) -> str:
    training = record["training"]
    settings = ("seed", "epochs", "batch", "optimizer", "learning_rate", "epsilon", "steps_per_epoch", "train_images")
    lines = [(key.replace("_", " "), inline(training[key])) for key in settings if key in training]
    lines += [("loss", "binary cross-entropy, mean over the batch"), ("run", prose(record.get("created", NONE)))]
    if why_not_run(record, "environment") is None:
        found = record["environment"]
        lines.append(
            ("machine", prose(f"{found.get('cpu')}, {found.get('cores')} cores, on the {found.get('device')}"))
        )
        lines += [
            (f"versions in the {name} worker", inline(worker["versions"]))
            for name, worker in (found.get("workers") or {}).items()
            if worker.get("versions") and not str(name).startswith("twin")
        ]
    return table(("setting", "value"), lines)


def _metrics(record: Record) -> str:
    tested = [run for run in record["training"].get("runs") or [] if run.get("test")]
    if not tested:
        return "Not measured."
    lines = [_figures(run) for run in tested]
    header = ("framework", "n", *_FIGURES, "F1", "ROC AUC")
    title = (
        f"At a probability of 0.5, with 95 % Wilson intervals over images ({markdown_label(record)}; one seed). F1 and"
        " ROC AUC have no interval here."
    )
    baseline = _larger_class(tested[0]["test"])
    always = [] if baseline is None else [f"Always calling the larger class is right on {percent(baseline, 3)}."]
    return "\n\n".join([title, table(header, lines, "<>>>>>>>"), *always])


def _figures(run: Row) -> tuple[str, ...]:
    test = run["test"]
    (tn, fp), (fn, tp) = test.get("confusion") or ((0, 0), (0, 0))
    shares = [(test.get("precision"), tp, tp + fp), (test.get("recall"), tp, tp + fn), (None, tn, tn + fp)]
    accuracy = f"{fixed(test.get('accuracy'), 3)} ({interval(*accuracy_interval(test), 3)})"
    return (
        framework_name(run["framework"]), integer(test.get("n")), accuracy,
        *(_share(*share) for share in shares), fixed(test.get("f1"), 3), fixed(test.get("auc"), 3),
    )  # fmt: skip


def _share(recorded: Any, hits: int, n: int) -> str:
    if n == 0:
        return fixed(recorded, 3)
    return f"{hits / n:.3f} ({interval(*wilson_interval(hits, n), 3)})"


def _larger_class(test: Row) -> float | None:
    rows = [sum(row) for row in test.get("confusion") or []]
    return max(rows) / sum(rows) if rows and sum(rows) else None


def _loading(training: Row) -> str:
    names = [str(row["file"]) for row in training.get("models") or []]
    shown: Mapping[str, Callable[[str], str]] = {
        ".keras": lambda name: f'import keras\n\nmodel = keras.models.load_model("{name}", compile=False)',
        ".h5": lambda name: f'import keras\n\nmodel = keras.models.load_model("{name}", compile=False)',
        ".pth": lambda name: _torch(training, f'torch.load("{name}", weights_only=True)'),
        ".safetensors": lambda name: _torch(training, f'load_file("{name}")', _READ_SAFETENSORS),
        ".onnx": lambda name: (
            f'import onnxruntime\n\nsession = onnxruntime.InferenceSession("{name}")\n'
            '(probabilities,) = session.run(None, {session.get_inputs()[0].name: images})'
        ),
    }  # fmt: skip
    parts = [f"```python\n{shown[Path(name).suffix](name)}\n```" for name in names if Path(name).suffix in shown]
    return "\n\n".join(parts) or "No file was saved."


def _torch(training: Row, state: str, extra: str | None = None) -> str:
    """Write the program that builds the network and fills it, since PyTorch's files hold weights alone."""
    network = training.get("network") or {"layers": []}
    modules = [f'    ("{layer["name"]}", {_module(layer)}),' for layer in network["layers"]]
    imports = ["from collections import OrderedDict", "", "import torch", "from torch import nn"]
    imports += [extra] if extra else []
    lines = [*imports, "", "model = nn.Sequential(OrderedDict([", *modules, "]))", f"model.load_state_dict({state})"]
    return "\n".join([*lines, "model.eval()"])


def _module(layer: Row) -> str:
    size, given = layer.get("size"), layer.get("inputs")
    kernel = tuple(layer.get("kernel") or ())
    return {
        "conv2d": f"nn.Conv2d({given}, {size}, {kernel})",
        "max_pool2d": f"nn.MaxPool2d({size})",
        "flatten": "nn.Flatten()",
        "dense": f"nn.Linear({given}, {size})",
        "relu": "nn.ReLU()",
        "sigmoid": "nn.Sigmoid()",
    }.get(str(layer["kind"]), f"...  # {layer['kind']}")

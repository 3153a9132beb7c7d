"""A made-up record of a whole benchmark campaign, for tests of the report; every figure in it follows from a rule."""

from __future__ import annotations

from typing import Any

from parity.report import new_record

BATCH, IMAGE = 32, {"height": 150, "width": 150, "channels": 1}
TUNED = {"MALLOC_MMAP_THRESHOLD_": "4294967296", "MALLOC_TRIM_THRESHOLD_": "68719476736"}
MIB = 2**20

# name, framework, kind, milliseconds of a training step, of an evaluation, of a single image (None: not timed)
LANES: tuple[tuple[str, str, str, float | None, float | None, float | None], ...] = (
    ("torch-eager", "torch", "step", 140.0, 50.0, 2.0),
    ("tf-graph", "tensorflow", "step", 168.0, 52.0, 2.4),
    ("torch-eager-again", "torch", "step", 140.0, 50.0, None),
    ("torch-fit", "torch", "fit", 146.0, 52.0, None),
    ("keras-fit", "tensorflow", "fit", 182.0, 60.0, None),
    ("torch-compile", "torch", "compiled", 120.0, 41.0, 1.6),
    ("tf-xla", "tensorflow", "compiled", 100.0, 43.0, 1.9),
    ("keras-fit-10", "tensorflow", "replayed", 170.0, 54.0, None),
    ("torch-bfloat16", "torch", "bfloat16", 420.0, 180.0, None),
    ("tf-graph-bfloat16", "tensorflow", "bfloat16", 510.0, 260.0, None),
    ("torch-default-allocator", "torch", "default-allocator", 231.0, 80.0, None),
    ("tf-graph-default-allocator", "tensorflow", "default-allocator", 215.0, 78.0, None),
    ("torch-one-thread", "torch", "one-thread", 240.0, 92.0, None),
    ("tf-graph-one-thread", "tensorflow", "one-thread", 290.0, 95.0, None),
    ("torch-fused", "torch", "variant", 104.0, 50.0, None),
    ("torch-channels-last", "torch", "variant", 131.0, 46.0, None),
    ("keras-torch", "keras-torch", "control", 260.0, 70.0, None),
    ("ort-from-tf", "onnxruntime", "onnx", None, 38.0, 1.2),
    ("ort-from-torch", "onnxruntime", "onnx", None, 39.0, 1.3),
)
SWEPT = ("torch-eager", "tf-graph", "torch-compile", "tf-xla")
PHASES = {"torch": (35.0, 60.0, 40.0), "tensorflow": (34.0, 58.0, 72.0), "keras-torch": (60.0, 90.0, 95.0)}


def names(step_only: bool = False) -> list[str]:
    """The lanes, in the order of the plan."""
    return [lane[0] for lane in LANES if lane[2] == "step" or not step_only]


def campaign(blocks: int = 10, *, step_only: bool = False, sweeps: bool = True, gpu: bool = True) -> dict[str, Any]:
    """A record whose benchmark section holds every part; medians are exactly those of `LANES`.

    Block i is slower by i per mille for every lane, and the middle block of an odd number of them is exact.
    """
    record = new_record("full", "pytest suites/ --profile full --benchmark-autosave")
    record["created"] = "2026-11-26T10:00:00Z"
    record["data"] = {"name": "synthetic", "digest": "5f" * 32, **IMAGE, "counts": {"train": {"NORMAL": 8}}}
    record["parity"] = [{"check": "forced", "stage": "forward", "tensor": "conv1", "verdict": "rounding", "d64": 1e-16}]
    lanes = [lane for lane in LANES if lane[2] == "step" or not step_only]
    samples = [sample for lane in lanes for sample in _samples(lane, blocks, sweeps)]
    record["benchmarks"] = {
        "samples": samples, "ratios": _ratios(blocks), "preliminary": blocks < 10,
        "aa_check": _aa(blocks), "detection_limit": 0.03, "detection_limits": {"train": 0.03, "evaluate": 0.02},
        "limits": _limits(), "floors": _floors(), "phases": _phases(lanes, blocks),
        "cold_start": _cold(lanes, blocks), "memory": _memory(lanes, blocks), "why": _why(blocks),
        "sensitivity": _sensitivity(blocks), "supply": _supply(), "plan": {
            "blocks": blocks, "seed": 7, "lanes": [lane[0] for lane in lanes], "order": [], "estimate_s": 3600.0,
        },
        "lanes": {
            name: {"framework": framework, "kind": kind, "description": f"the lane {name}", "works": ["train"],
                   "facts": {"run": "eager", "precision": "float32", "optimizer": "Adam"}}
            for name, framework, kind, *_ in lanes
        },
        "lanes_not_run": [{"lane": "torch-graphs", "why": "it needs a GPU"}],
        "timing": {"batch": BATCH, "rounds": 8, "steps_per_round": 3, "threads": 2, "device": "cpu"},
        "environment": {"OMP_NUM_THREADS": "2"},
        "parity_gate": {"passed": True, "layers": "rounding", "lanes": {
            name: {"precision": "float32", "logit_error": 1e-7, "logit_allowed": 1e-5, "loss_error": 2e-8,
                   "loss_allowed": 1e-6, "step_loss_error": 3e-8, "step_loss_allowed": 1e-5,
                   "identical_to_proven": True}
            for name, *_ in lanes
        }},
        "baseline": _baseline(blocks), "self_proof": _self_proof(),
    }  # fmt: skip
    if gpu:
        record["benchmarks"]["gpu"] = _gpu()
    return record


def sample(record: dict[str, Any], work: str, lane: str, **setting: Any) -> dict[str, Any]:
    """The first sample of a lane at a setting."""
    wanted = {"work": work, "lane": lane, **setting}
    return next(
        row for row in record["benchmarks"]["samples"] if all(row[key] == value for key, value in wanted.items())
    )


def _samples(lane: tuple[Any, ...], blocks: int, sweeps: bool) -> list[dict[str, Any]]:
    name, _, kind, *times_ms = lane
    found = []
    for block in range(blocks):
        for work, step_ms in zip(("train", "evaluate", "latency"), times_ms, strict=True):
            if step_ms is None:
                continue
            batch = 1 if work == "latency" else BATCH
            found.append(_sample(name, kind, block, blocks, {"work": work, "batch": batch, **IMAGE}, step_ms))
        if sweeps and name in SWEPT:
            for batch in (1, 8, 128):  # a fixed cost of 6 ms, and the rest in proportion
                for work, whole_ms in zip(("train", "evaluate"), times_ms, strict=False):
                    at = {"work": work, "batch": batch, **IMAGE}
                    found.append(_sample(name, kind, block, blocks, at, 6 + (whole_ms - 6) * batch / BATCH))
        if sweeps and kind == "step" and not name.endswith("again"):
            at = {"work": "train", "batch": BATCH, "height": 224, "width": 224, "channels": 1}
            found.append(_sample(name, kind, block, blocks, at, 2.25 * times_ms[0]))
    return found


def _sample(name: str, kind: str, block: int, blocks: int, at: dict[str, Any], step_ms: float) -> dict[str, Any]:
    drift = 1 + 0.001 * (block - (blocks - 1) / 2) * 10
    rounds = 51 if at["work"] == "latency" else 9
    seconds = [step_ms / 1000 * drift * (1 + 0.002 * (index - rounds // 2)) for index in range(rounds)]
    first_s = {"compiled": 9.0, "replayed": 2.0}.get(kind, 0.4)
    warmup = [step_ms / 1000 * drift * (1 + 3.0 * 0.5**index) for index in range(30)]
    floor_s = 0.1 * step_ms / 1000 if at["work"] == "train" else 0.2 * step_ms / 1000
    return {
        **at, "lane": name, "kind": kind, "block": block, "order": 0, "seconds": seconds, "warmup_seconds": warmup,
        "warmup_settled": not (name == "keras-torch" and block == 0),
        "steps_per_sample": 1 if at["work"] == "latency" else 3,
        "images_per_step": at["batch"], "images_per_s": at["batch"] / (step_ms / 1000), "first_step_s": first_s,
        "threads": 1 if "one-thread" in name else 2, "device": "cpu",
        "allocator": {} if "default-allocator" in name else TUNED,
        "minor_faults_per_step": 31000.0 if "default-allocator" in name else 12.0, "cpu_per_wall": 1.9,
        "process_peak_bytes": 900 * MIB, "device_peak_bytes": None, "peak_bytes": 900 * MIB,
        "host_reads_per_step": 2.0 if "fit" in name or name == "keras-torch" else 0.0,
        "floor_s": floor_s, "roof_share": floor_s / (step_ms / 1000), "roofline_share": 2 * floor_s / (step_ms / 1000),
    }  # fmt: skip


def _ratio(work: str, kind: str, a: str, b: str, ratio: float, half: float, decision: str, blocks: int,
           **more: Any) -> dict[str, Any]:  # fmt: skip
    return {
        "work": work, "batch": 1 if work == "latency" else BATCH, **IMAGE, "a": a, "b": b, "kind": kind,
        "headline": True, "ratio": ratio, "low": ratio / (1 + half), "high": ratio * (1 + half), "blocks": blocks,
        "decision": decision, "preliminary": blocks < 10, **more,
    }  # fmt: skip


def _ratios(blocks: int) -> list[dict[str, Any]]:
    found = [
        _ratio("evaluate", "step", "torch-eager", "tf-graph", 1.04, 0.005, "within margin", blocks),
        _ratio("train", "step", "torch-eager", "tf-graph", 1.2, 0.05, "faster", blocks),
        _ratio("latency", "step", "torch-eager", "tf-graph", 1.2, 0.4, "undecided", blocks),
        _ratio("train", "step", "torch-eager", "tf-graph", 1.35, 0.1, "faster", blocks, batch=8),
        _ratio("train", "step", "torch-eager", "tf-graph", 1.18, 0.04, "faster", blocks, height=224, width=224),
    ]
    for work, scale in (("train", 1.0), ("evaluate", 0.9)):
        found += [
            _ratio(work, "fit", "torch-fit", "keras-fit", 1.25 * scale, 0.04, "faster", blocks),
            _ratio(work, "compiled", "torch-compile", "tf-xla", 0.83 * scale, 0.03, "slower", blocks),
            _ratio(work, "bfloat16", "torch-bfloat16", "tf-graph-bfloat16", 1.21, 0.08, "faster", blocks),
            _ratio(work, "default-allocator", "torch-default-allocator", "tf-graph-default-allocator", 0.93, 0.09,
                   "undecided", blocks),
            _ratio(work, "one-thread", "torch-one-thread", "tf-graph-one-thread", 1.03, 0.01, "within margin", blocks),
        ]  # fmt: skip
    found.append(
        _ratio("train", "variant", "torch-fused", "torch-eager", 1.346, 0.03, "faster", blocks, headline=False)
    )
    again = _ratio("train", "A/A", "torch-eager", "torch-eager-again", 1.001, 0.03, "within margin", blocks)
    return [*found, again | {"headline": False}]


def _aa(blocks: int) -> dict[str, Any]:
    settings = [
        {"work": work, "batch": BATCH, **IMAGE, "ratio": 1.001, "low": 1.001 / (1 + half), "high": 1.001 * (1 + half),
         "blocks": blocks, "half_width": half, "firm_low": 0.95, "firm_high": 1.05, "passed": True}
        for work, half in (("evaluate", 0.02), ("train", 0.03))
    ]  # fmt: skip
    return {"lane": "torch-eager", "again": "torch-eager-again", "passed": True, "settings": settings}


def _limits() -> dict[str, Any]:
    measured = [
        {"framework": framework, "where": where, "sgemm_gflops": 60.0 + index, "triad_gb_s": 11.5, "how": "torch.mm"}
        for index, (framework, where) in enumerate(
            [("tensorflow", "before"), ("torch", "before"), ("tensorflow", "after"), ("torch", "after")]
        )
    ]
    return {"sgemm_gflops": 63.0, "triad_gb_s": 11.5, "measured": measured, "passed": True, "refused": []}


def _floors() -> list[dict[str, Any]]:
    def row(work: str, flops: int, torch_flops: int) -> dict[str, Any]:
        return {
            "work": work, "batch": BATCH, **IMAGE, "precision": "float32", "parameters": 5607713, "flops": flops,
            "bytes": 286_000_000, "saved_bytes": 81_000_000 if work == "train" else 0, "floor_s": 0.0142,
            "roofline_s": 0.03, "by": "memory",
            "counted": [
                {"framework": "tensorflow", "flops": flops, "counter": "registry", "note": "", "agrees": True},
                {"framework": "torch", "flops": torch_flops, "counter": "FlopCounterMode", "note": "",
                 "agrees": torch_flops == flops},
            ],
        }  # fmt: skip

    return [row("train", 1_480_000_000, 1_480_000_000), row("evaluate", 560_000_000, 560_000_000)]


def _phases(lanes: list[Any], blocks: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for name, framework, kind, train_ms, *_ in lanes:
        if train_ms is None:
            continue
        for block in range(blocks):
            row: dict[str, Any] = {"lane": name, "block": block, "batch": BATCH, "host_read_s": [0.0003] * 10}
            if kind == "fit" or name in ("keras-fit-10", "keras-torch"):
                row["how"] = "one call per execution: only the host reads can be separated"
            else:
                scale = train_ms / (140.0 if framework == "torch" else 168.0) / 1000
                parts = zip(("forward_s", "backward_s", "optimizer_s"), PHASES[framework], strict=True)
                row |= {part: [value * scale] * 10 for part, value in parts}
                row["how"] = "one real step, synchronised between its phases"
            found.append(row)
    return found


def _cold(lanes: list[Any], blocks: int) -> list[dict[str, Any]]:
    spans = {"torch": (2.4, 0.06), "tensorflow": (4.1, 0.19), "keras-torch": (5.0, 0.2), "onnxruntime": (0.3, 0.02)}
    return [
        {"lane": name, "block": block, "import_s": spans[framework][0], "build_s": spans[framework][1],
         "start_s": 6.1 if framework == "torch" else 0.03, "first_steps": {work: 9.0 if kind == "compiled" else 0.4
                         for work, ms in zip(("train", "evaluate", "latency"), times, strict=True) if ms is not None}}
        for name, framework, kind, *times in lanes for block in range(blocks)
    ]  # fmt: skip


def _memory(lanes: list[Any], blocks: int) -> list[dict[str, Any]]:
    parts = {"weights": 21 * MIB, "gradients": 21 * MIB, "slots": 42 * MIB, "activations": 56 * MIB}
    return [
        {"lane": name, "block": block, "batch": BATCH, "process_peak_bytes": (900 + block) * MIB,
         "device_peak_bytes": None, **({"floor_bytes": 140 * MIB, "parts": parts} if train else {})}
        for name, _, _, train, *_ in lanes for block in range(blocks)
    ]  # fmt: skip


def _why(blocks: int) -> list[dict[str, Any]]:
    parts = {"forward_s": -0.001, "backward_s": -0.002, "optimizer_s": 0.032, "rest_s": -0.001}
    return [{
        "a": "torch-eager", "b": "tf-graph", "work": "train", "batch": BATCH, "blocks": blocks, "difference_s": 0.028,
        "by_phase": parts, "intervals_s": {name: [value - 0.002, value + 0.002] for name, value in parts.items()},
        "carrier": "optimizer", "share": 0.032 / 0.028,
    }]  # fmt: skip


def _sensitivity(blocks: int) -> list[dict[str, Any]]:
    def row(factor: str, change: str, a: str, b: str, ratio: float, decision: str) -> dict[str, Any]:
        return {
            "factor": factor, "change": change, "work": "train", "batch": BATCH, **IMAGE, "a": a, "b": b,
            "ratio": ratio, "low": ratio * 0.97, "high": ratio * 1.03, "blocks": blocks, "decision": decision,
            "baseline_ratio": 1.2, "baseline_decision": "faster",
        }  # fmt: skip

    return [
        row("allocator", "glibc's default allocator settings", "torch-default-allocator",
            "tf-graph-default-allocator", 0.93, "slower"),
        row("optimizer", "fused Adam for torch-eager alone", "torch-fused", "tf-graph", 1.62, "faster"),
        row("threads", "one thread", "torch-one-thread", "tf-graph-one-thread", 1.21, "undecided"),
    ]  # fmt: skip


def _supply() -> dict[str, Any]:
    rows = []
    for source, decode in (("tf.data", 500.0), ("DataLoader", 430.0), ("DataLoader-Pillow", 400.0)):
        rows += [
            {"source": source, "stage": stage, "workers": workers, "images_per_s": [rate * f for f in (0.97, 1, 1.02)],
             "images": 256, "usable": True}
            for stage, workers, rate in (
                ("decode", 0, decode), ("resize", 0, 0.5 * decode), ("supply", 0, 0.45 * decode),
                ("supply", 2, 0.8 * decode),
            )
        ]  # fmt: skip
    for source in ("cache-tensorflow", "cache-torch"):
        rows += [
            {"source": source, "stage": "supply", "workers": 0, "order": order, "images": 4000, "usable": True,
             "images_per_s": [rate, rate * 1.1]}
            for order, rate in (("in order", 90000.0), ("shuffled", 60000.0))
        ]  # fmt: skip
    pixels = [
        {"a": "Pillow", "b": "tf.data", "stage": "decode", "identical": True, "largest_difference": 0,
         "verdict": "identical", "note": ""},
        {"a": "canonical", "b": "tf.data", "stage": "supply", "identical": False, "largest_difference": 1,
         "verdict": "rounding", "note": "rounds once"},
    ]  # fmt: skip
    demand = [
        {"lane": name, "work": "train", "batch": BATCH, "images_per_s": BATCH / (train / 1000)}
        for name, _, _, train, *_ in LANES if train is not None
    ]  # fmt: skip
    return {
        "rows": rows, "pixels": pixels, "demand": demand,
        "crossover": "tf.data supplies 400 images/s from files with 2 cores, which is enough.",
        "cache": {"zero_copy": {"tensorflow": True, "torch": False}}, "images": 256, "left_out": 3,
        "problems": [], "where": "on the host, files in the page cache",
    }  # fmt: skip


def _gpu() -> dict[str, Any]:
    readings = [
        {"t_s": 0.5 * i, "sm_mhz": 1590 - (300 if 200 <= i < 240 else 0), "memory_mhz": 5000, "power_w": 60.0 + i % 7,
         "temperature_c": 50 + i // 20, "memory_used_bytes": 900 * MIB,
         "throttle": ["software thermal slowdown"] if 200 <= i < 240 else []}
        for i in range(400)
    ]  # fmt: skip
    return {
        "name": "A GPU", "driver": "550.1", "readings": readings, "throttled": True,
        "throttle_reasons": {"software thermal slowdown": 40}, "note": None,
    }  # fmt: skip


def _baseline(blocks: int) -> dict[str, Any]:
    def row(lane: str, ratio: float, decision: str) -> dict[str, Any]:
        return {
            "lane": lane, "work": "train", "batch": BATCH, **IMAGE, "ratio": ratio, "low": ratio * 0.96,
            "high": ratio * 1.04, "blocks": blocks, "decision": decision, "preliminary": blocks < 10, "then_s": 0.12,
            "now_s": 0.12 / ratio,
        }  # fmt: skip

    return {
        "same_machine": True, "why_not": None, "moved": 0.012, "notes": ["The machine's ceilings moved by 1.2 %."],
        "versions": ["torch 2.14.0 -> 2.15.0"],
        "settings": [row("torch-eager", 0.857, "slower"), row("tf-graph", 1.01, "within margin")],
        "not_compared": [{"lane": "tf-xla", "why": "the earlier record has no train at batch 32 of it"}],
    }  # fmt: skip


def _self_proof() -> list[dict[str, Any]]:
    return [
        {"blocks": 10, "noise": "usual", "campaigns": 1000, "coverage": 0.951, "false_winners": 0.018,
         "found_10_percent": 0.996},
        {"blocks": 3, "noise": "all of them", "campaigns": 1000, "coverage": 0.912, "false_winners": 0.061,
         "found_10_percent": 0.22},
    ]  # fmt: skip

"""ONNX Runtime: the shared runtime in which both exports meet."""

from __future__ import annotations

import json
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from parity.adapters.base import Array, WorkerSettings, check_device, process_peak_bytes, quiet_collector
from parity.errors import ExportError, MissingDevice, UsageError
from parity.model.spec import ModelSpec

CUDA = "CUDAExecutionProvider"
CUDA_OPTIONS = {"use_tf32": "0"}
"""TF32 is on by default where a GPU has it: a float32 graph must compute in float32."""

PRODUCTS = ("Conv", "Gemm", "MatMul", "Pool")
"""In the names of operators that must run on the GPU; the arithmetic of shapes is done on the CPU on purpose."""

SPINNING = "session.intra_op.allow_spinning"
LANE_OPTIONS = frozenset({"threads", "source", "learning_rate", "epsilon"})

# Which operators stand for a layer kind, and which one may follow that still belongs to it (the bias).
OPERATORS: Mapping[str, tuple[frozenset[str], frozenset[str]]] = {
    "conv2d": (frozenset({"Conv"}), frozenset({"Add"})),
    "relu": (frozenset({"Relu"}), frozenset()),
    "max_pool2d": (frozenset({"MaxPool"}), frozenset()),
    "flatten": (frozenset({"Reshape", "Flatten"}), frozenset()),
    "dense": (frozenset({"Gemm", "MatMul"}), frozenset({"Add"})),
    "sigmoid": (frozenset({"Sigmoid"}), frozenset()),
}


class OnnxruntimeAdapter:
    """Checks and runs exported graphs, several at a time, each under a name of its own."""

    import_s = 0.0

    def __init__(self, settings: WorkerSettings) -> None:
        import onnx
        import onnx.reference
        import onnxruntime

        self.onnx, self.ort, self.settings = onnx, onnxruntime, settings
        if settings.device == "gpu":
            if CUDA not in onnxruntime.get_available_providers():
                raise MissingDevice("onnxruntime has no CUDA provider: install onnxruntime-gpu, or use --device cpu")
            onnxruntime.preload_dlls()  # the CUDA libraries that pip installed are on no search path
        self._sessions: dict[str, Any] = {}
        self._tensors: dict[str, dict[str, str]] = {}
        self._twins: dict[str, Any] = {}
        self._path: str | None = None
        self._lane: Any = None
        self._images: Array | None = None
        self._fed: Array | None = None
        self._build_s = 0.0
        self._is_placed = False

    def try_device(self) -> None:
        """Run a convolution and a product on the GPU, if this worker has one.

        Raises
            MissingDevice: the provider does not load, does not compute, or leaves them to the CPU.
        """
        if self.settings.device == "gpu":
            check_device(f"onnxruntime {self.ort.__version__}", self._computed_ones, 324.0)

    def environment(self) -> dict[str, Any]:
        """Return versions, device, threads and providers, as JSON data."""
        return {
            "versions": {"onnxruntime": self.ort.__version__, "onnx": self.onnx.__version__, "numpy": np.__version__},
            "device": self.settings.device,
            "threads": self.settings.threads,
            "providers": [entry if isinstance(entry, str) else entry[0] for entry in self._providers()],
        }

    def load_graph(self, name: str, path: str, spec: Mapping[str, Any]) -> dict[str, Any]:
        """Check the file with `onnx.checker`, make its layers' tensors visible, and return facts about the graph.

        Returns `operators` (name -> count), `parameters`, `file_bytes`, `opset`, `dynamic_batch`, and `layers`: the
        layer names whose output the graph exposes.

        Raises
            ExportError: not an ONNX file, or a graph that the checker or the runtime refuses.
        """
        if not Path(path).is_file():
            raise UsageError(f"no ONNX file at {path}")
        try:
            model = self.onnx.load(path)
            self.onnx.checker.check_model(model, full_check=True)
        except Exception as error:
            raise ExportError(f"{path} is no valid ONNX model: {error}") from error
        facts = {**_facts(model.graph), "file_bytes": Path(path).stat().st_size, "opset": _opset(model)}
        found = _layer_tensors(model.graph, ModelSpec.from_dict(spec))
        self._expose(model, found)
        try:
            self._sessions[name] = self._session(model.SerializeToString())
        except MissingDevice:
            raise
        except Exception as error:
            raise ExportError(f"onnxruntime refuses {path}: {error}") from error
        self._tensors[name] = found
        self._twins[name] = _doubled(self.onnx, model)
        return {**facts, "layers": list(found)}

    def graph_weights(self, path: str) -> dict[str, Array]:
        """Return the float32 constants of an ONNX file under their names in the graph, in its own layouts.

        Raises
            ExportError: not an ONNX file.
        """
        try:
            graph = self.onnx.load(path).graph
        except Exception as error:
            raise ExportError(f"{path} is no valid ONNX model: {error}") from error
        single = [tensor for tensor in graph.initializer if tensor.data_type == self.onnx.TensorProto.FLOAT]
        return {tensor.name: np.array(self.onnx.numpy_helper.to_array(tensor)) for tensor in single}

    def run(self, name: str, x: Array, only: Sequence[str] | None = None) -> dict[str, Array]:
        """Return the graph's `output` and every exposed layer's tensor for one batch, in the graph's own layout.

        `only` names the layers that are wanted, where not all of them are.
        """
        session = self._session_of(name)
        return self._by_layer(name, lambda wanted, feed: session.run(wanted, {feed: x}), only)

    def run_twin(self, name: str, x: Array) -> dict[str, Array]:
        """Return the same tensors as `run`, computed by ONNX's reference evaluator in float64.

        The runtime has no double kernels for convolutions; the reference implementation, being NumPy, has.
        """
        self._session_of(name)
        evaluator = self.onnx.reference.ReferenceEvaluator(self._twins[name])
        return self._by_layer(name, lambda wanted, feed: evaluator.run(wanted, {feed: x.astype(np.float64)}))

    def _session_of(self, name: str) -> Any:
        if name not in self._sessions:
            raise UsageError(f"no graph `{name}` is loaded; loaded: {sorted(self._sessions)}")
        return self._sessions[name]

    def _by_layer(
        self, name: str, run: Callable[[list[str], str], list[Array]], only: Sequence[str] | None = None
    ) -> dict[str, Array]:
        session, found = self._sessions[name], self._tensors[name]
        found = {layer: tensor for layer, tensor in found.items() if only is None or layer in only}
        output = session.get_outputs()[0].name
        wanted = list(dict.fromkeys([output, *found.values()]))
        values = dict(zip(wanted, run(wanted, session.get_inputs()[0].name), strict=True))
        return {**{layer: values[tensor] for layer, tensor in found.items()}, "output": values[output]}

    # A lane of the benchmark: one graph as a user deploys it, fed one resident batch.

    def load(self, path: str) -> None:
        """Take the graph that `start_lane` will run, as the exporter wrote it.

        Raises
            UsageError: no such file.
        """
        if not Path(path).is_file():
            raise UsageError(f"no ONNX file at {path}")
        self._path, self._lane, self._is_placed = path, None, False

    def place_images(self, images: Array, labels: Array) -> None:  # noqa: ARG002
        """Keep a batch of uint8 images (n, h, w, c), to be fed in the order of axes that the graph asks for."""
        self._images = images.astype(np.float32) / np.float32(255.0)
        self._fed = None

    def start_lane(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Open the session and return facts as read back from it.

        `threads` is of one operation (default: the worker's own). `source`, and the `learning_rate` and `epsilon` that
        every lane is given, are for the reader.

        Raises
            UsageError: no graph was loaded, or an option that the runtime does not have.
            MissingDevice: the runtime would quietly compute on the CPU.
        """
        unknown = sorted(set(options) - LANE_OPTIONS)
        if unknown:
            raise UsageError(f"an ONNX Runtime lane has no option `{unknown[0]}`; it has {sorted(LANE_OPTIONS)}")
        if self._path is None:
            raise UsageError("no graph: call `load` first")
        start_s = time.perf_counter()
        self._lane = self._session(Path(self._path).read_bytes(), int(options.get("threads", self.settings.threads)))
        self._build_s = time.perf_counter() - start_s
        self._fed = None
        held = self._lane.get_session_options()
        return {
            "run": "session",
            "source": options.get("source"),
            "precision": "float32",
            "providers": self._lane.get_providers(),
            "provider_options": self._lane.get_provider_options().get(CUDA, {}),
            "threads": held.intra_op_num_threads,
            "inter_op_threads": held.inter_op_num_threads,
            "spinning": held.get_session_config_entry(SPINNING) != "0",
            "input": list(self._lane.get_inputs()[0].shape),
            "host_reads_per_step": 1.0,
            "reads": "run() takes and returns host arrays: on a GPU every batch is copied there and every result back",
        }

    def resident_logits(self) -> Array:
        """Return the logits of the resident batch, worked back from the probabilities that the graph puts out.

        Raises
            MissingDevice: on a GPU, the graph's products are computed on the CPU all the same.
        """
        if self.settings.device == "gpu" and self._path is not None and not self._is_placed:
            # Not before the session's first run, whose seconds are a figure of their own.
            self._step()
            self._refuse_cpu(self._executed_by(Path(self._path).read_bytes(), self._feed()))
            self._is_placed = True
        p = np.asarray(self._step(), dtype=np.float64).reshape(-1)
        with np.errstate(divide="ignore"):  # a probability of 0 or 1 has an infinite logit, and fails the gate
            return np.log(p) - np.log1p(-p)

    def first_step(self, work: str) -> float:
        """Return the seconds of the very first run of the session."""
        self._refuse_training(work)
        start_s = time.perf_counter()
        self._step()
        return time.perf_counter() - start_s

    def timed_steps(self, work: str, steps: int) -> dict[str, Any]:
        """Return how long `steps` runs took; `run` returns host arrays, so each of them has ended."""
        self._refuse_training(work)
        images = 0
        with quiet_collector():
            before, start_s = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
            for _ in range(steps):
                images += len(self._step())
            seconds, after = time.perf_counter() - start_s, resource.getrusage(resource.RUSAGE_SELF)
        return {
            "seconds": seconds,
            "minor_faults": float(after.ru_minflt - before.ru_minflt),
            "cpu_s": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
            "compilations": 0.0,
            "images": float(images),
            "host_reads": float(steps),
            "device_s": None,
        }

    def cold_start(self) -> dict[str, float]:
        """Return the seconds of importing the runtime and of opening the session."""
        return {"import_s": self.import_s, "build_s": self._build_s, "start_s": 0.0}

    def _refuse_training(self, work: str) -> None:
        if work == "train":
            raise UsageError("the ONNX runtime does not train")

    def _step(self) -> Array:
        feed = self._feed()
        return np.asarray(self._lane.run(None, feed)[0])

    def _feed(self) -> dict[str, Array]:
        if self._lane is None or self._images is None:
            raise UsageError("no session or no batch: call `load`, `place_images` and `start_lane` first")
        given = self._lane.get_inputs()[0]
        if self._fed is None:
            self._fed = _in_order_of(self._images, given.shape)
        return {given.name: self._fed}

    def _executed_by(self, serialized: bytes, feed: Mapping[str, Array]) -> dict[str, dict[str, int]]:
        """Return how many operators of each name every provider ran, in one run under the runtime's own profiler.

        A session says which providers it has, and nothing of which of them its operators went to.
        """
        with tempfile.TemporaryDirectory() as folder:
            options = self._options()
            options.enable_profiling = True
            options.profile_file_prefix = str(Path(folder) / "placement")
            session = self._opened(serialized, options)
            session.run(None, dict(feed))
            events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        found: dict[str, Counter[str]] = {}
        for given in (event.get("args", {}) for event in events if event.get("cat") == "Node"):
            if "provider" in given:
                found.setdefault(given["provider"], Counter())[given.get("op_name", "?")] += 1
        return {provider: dict(sorted(names.items())) for provider, names in found.items()}

    def _refuse_cpu(self, executed: Mapping[str, Mapping[str, int]]) -> None:
        on_gpu = [name for name in executed.get(CUDA, {}) if _is_product(name)]
        elsewhere = sorted(
            {name for provider, names in executed.items() if provider != CUDA for name in names if _is_product(name)}
        )
        if elsewhere or not on_gpu:
            what = ", ".join(elsewhere) or "the graph"
            raise MissingDevice(f"onnxruntime has its CUDA provider and runs {what} without it: use --device cpu")

    def _computed_ones(self) -> float:
        """Return the sum of ones through a 3x3 convolution and a product: 36 positions of 9 each."""
        serialized, feed = _ones_graph(self.onnx)
        if self.settings.device == "gpu":
            self._refuse_cpu(self._executed_by(serialized, feed))
        return float(self._session(serialized).run(None, feed)[0].item())

    def memory(self) -> dict[str, int | None]:
        """Return the process's peak resident bytes so far."""
        return {"process_peak_bytes": process_peak_bytes(), "device_peak_bytes": None}

    def _providers(self) -> list[Any]:
        gpu = [(CUDA, dict(CUDA_OPTIONS))] if self.settings.device == "gpu" else []
        return [*gpu, "CPUExecutionProvider"]

    def _session(self, serialized: bytes, threads: int | None = None) -> Any:
        return self._opened(serialized, self._options(threads))

    def _options(self, threads: int | None = None) -> Any:
        options = self.ort.SessionOptions()
        options.intra_op_num_threads = threads or self.settings.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Idle threads that spin would slow whatever runs next (microsoft/onnxruntime#13808).
        options.add_session_config_entry(SPINNING, "0")
        return options

    def _opened(self, serialized: bytes, options: Any) -> Any:
        session = self.ort.InferenceSession(serialized, options, providers=self._providers())
        # A provider that cannot load falls back to the CPU with no more than a warning.
        if self.settings.device == "gpu" and CUDA not in session.get_providers():
            raise MissingDevice("onnxruntime's CUDA provider does not load on this machine: use --device cpu")
        return session

    def _expose(self, model: Any, found: Mapping[str, str]) -> None:
        already = {output.name for output in model.graph.output}
        for tensor in dict.fromkeys(found.values()):
            if tensor not in already:
                model.graph.output.append(self.onnx.helper.make_empty_tensor_value_info(tensor))


def _is_product(operator: str) -> bool:
    return any(part in operator for part in PRODUCTS)


def _ones_graph(onnx: Any) -> tuple[bytes, dict[str, Array]]:
    """Return a graph of a convolution and a product, both of ones, and what it is fed."""
    helper, single = onnx.helper, onnx.TensorProto.FLOAT
    weights = [
        onnx.numpy_helper.from_array(np.ones((1, 1, 3, 3), np.float32), "kernel"),
        onnx.numpy_helper.from_array(np.ones((36, 1), np.float32), "column"),
    ]
    nodes = [
        helper.make_node("Conv", ["x", "kernel"], ["windows"]),
        helper.make_node("Flatten", ["windows"], ["row"]),
        helper.make_node("MatMul", ["row", "column"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(name, single, shape) for name, shape in (("x", [1, 1, 8, 8]), ("y", [1, 1]))]
    graph = helper.make_graph(nodes, "ones", ends[:1], ends[1:], weights)
    # The oldest form that every runtime since 2022 reads, whatever the newest one is.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString(), {"x": np.ones((1, 1, 8, 8), np.float32)}


def _in_order_of(images: Array, shape: Sequence[Any]) -> Array:
    """Return images (n, h, w, c) as the graph's input of that shape wants them: TensorFlow's export or torch's.

    Raises
        UsageError: the images are of another size.
    """
    h, w, c = images.shape[1:]
    if list(shape[1:]) == [h, w, c]:
        return images
    if list(shape[1:]) == [c, h, w]:
        return np.ascontiguousarray(np.moveaxis(images, -1, 1))
    raise UsageError(f"the graph takes {list(shape)}, which images of {h} x {w} x {c} do not fit in any order of axes")


def _facts(graph: Any) -> dict[str, Any]:
    first = graph.input[0].type.tensor_type.shape.dim[0]
    return {
        "operators": dict(sorted(Counter(node.op_type for node in graph.node).items())),
        "parameters": int(sum(_size(tensor) for tensor in graph.initializer if tensor.data_type in (1, 11))),
        "dynamic_batch": not first.HasField("dim_value"),
    }


def _size(tensor: Any) -> int:
    return int(np.prod(tensor.dims, dtype=np.int64)) if tensor.dims else 1


def _opset(model: Any) -> int:
    return int(next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0))


def _layer_tensors(graph: Any, spec: ModelSpec) -> dict[str, str]:
    """Return layer name -> tensor name, in order; a layer without a node of its own is left out."""
    nodes, position, found = list(graph.node), 0, {}
    for layer in spec.layers:
        operators, followers = OPERATORS[layer.kind]
        hit = next((i for i in range(position, len(nodes)) if nodes[i].op_type in operators), None)
        if hit is None:
            continue
        tensor = nodes[hit].output[0]
        follower = next((i for i in range(hit + 1, len(nodes)) if tensor in nodes[i].input), None)
        if follower is not None and nodes[follower].op_type in followers:
            hit, tensor = follower, nodes[follower].output[0]
        found[layer.name], position = tensor, hit + 1
    return found


def _doubled(onnx: Any, model: Any) -> Any:
    """Return a copy of the graph in which every float32 constant, input, output and cast is float64."""
    single, double = onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE
    twin = onnx.ModelProto()
    twin.CopyFrom(model)
    for tensor in twin.graph.initializer:
        _double_tensor(onnx, tensor)
    for node in twin.graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                _double_tensor(onnx, attribute.t)
            elif attribute.name == "to" and attribute.i == single:
                attribute.i = double
    for value in [*twin.graph.input, *twin.graph.output]:
        if value.type.tensor_type.elem_type == single:
            value.type.tensor_type.elem_type = double
    del twin.graph.value_info[:]
    return twin


def _double_tensor(onnx: Any, tensor: Any) -> None:
    if tensor.data_type == onnx.TensorProto.FLOAT:
        array = onnx.numpy_helper.to_array(tensor).astype(np.float64)
        tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))

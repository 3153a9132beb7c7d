"""The torch adapter's speed modes: autocast, channels-last, torch.compile and TF32, each fed the same layers."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np

from parity.adapters.base import Array, WorkerSettings
from parity.model.modes import WHOLE, Mode, find_mode
from parity.model.spec import ModelSpec

_CACHE = "TORCHINDUCTOR_CACHE_DIR"


class TorchModes:
    """Runs single layers and the whole network under a mode, forward and backward, beside the built model."""

    torch: Any
    settings: WorkerSettings
    device: Any
    dtype: Any

    def mode_refusal(self, mode: str) -> str | None:
        """Return why a mode of `parity.model.modes` cannot run in this worker; None where it can."""
        found = find_mode("torch", mode)
        if found.gpu_only:
            if self.device.type != "cuda":
                return "no GPU: TF32 is a mode of NVIDIA's matrix units"
            if self.torch.cuda.get_device_capability(self.device)[0] < 8:
                return "this GPU has no TF32: it came with compute capability 8.0"
        compiler = os.environ.get("CXX", "g++")  # as torch._inductor.config.cpp.cxx has it
        if found.run == "compile" and shutil.which(compiler) is None:
            return f"no C++ compiler: torch.compile looks for `{compiler}`"
        return None

    def mode_run(
        self, mode: str, spec: Mapping[str, Any], layers: Sequence[str], cases: Sequence[Mapping[str, Any]]
    ) -> list[dict[str, Any]]:
        """Return, for each case, what the named layers alone and the whole network gave under `mode`.

        A case holds `weights` (torch's names), and `inputs` and `upstream` by layer name and `model` (torch's order of
        axes): the upstream gradient belongs to the output. Each answer maps those names to `output`, the gradients
        `input` and one per parameter, as float32 (float64 from a twin), and `dtypes`: what each tensor came in.
        """
        found, described = find_mode("torch", mode), ModelSpec.from_dict(spec)
        names = [*layers, WHOLE]
        parts = {name: self._mode_part(found, described, name) for name in names}

        def run(inputs: list[Any]) -> list[Any]:
            with self._mode_autocast(found):
                return [parts[name](x) for name, x in zip(names, inputs, strict=True)]

        with self._mode_switches(found), self._mode_runner(found, run) as runner:
            return [self._mode_case(found, parts, runner, case) for case in cases]

    def _mode_part(self, mode: Mode, spec: ModelSpec, name: str) -> Any:
        """Return a module that owns its parameters: the gradients of a layer alone are not those of the network."""
        adapter: Any = self  # the one that this is mixed into knows how a layer is made
        steps = [step for step in spec.shapes() if name in (step.layer.name, WHOLE)]
        modules = OrderedDict((step.layer.name, adapter._module(step)) for step in steps)
        part = self.torch.nn.Sequential(modules).to(self.device, self.dtype)
        return part.to(memory_format=self.torch.channels_last) if mode.run == "channels-last" else part

    def _mode_case(self, mode: Mode, parts: Mapping[str, Any], runner: Any, case: Mapping[str, Any]) -> dict[str, Any]:
        inputs = []
        for name, part in parts.items():
            own = {key: self._mode_tensor(case["weights"][key]) for key in part.state_dict()}
            part.load_state_dict(own, strict=True)  # in place: the layout in memory and compiled code stay as they are
            inputs.append(self._mode_input(mode, case["inputs"][name]))
        outputs = runner(inputs)
        upstream = [self._mode_tensor(case["upstream"][name]) for name in parts]
        # A sum of products hands the upstream gradients on exactly; given as `grad_outputs` they make torch import
        # its symbolic shapes, which takes seconds.
        total = sum((y.to(self.dtype) * g).sum() for y, g in zip(outputs, upstream, strict=True))
        targets = [[x, *part.parameters()] for x, part in zip(inputs, parts.values(), strict=True)]
        flat = self.torch.autograd.grad(total, [t for group in targets for t in group])
        gradients = iter(flat)
        answers: dict[str, Any] = {}
        for (name, part), output in zip(parts.items(), outputs, strict=True):
            labels = ["input", *(key if name == WHOLE else key.split(".")[1] for key, _ in part.named_parameters())]
            tensors = {"output": output, **{label: next(gradients) for label in labels}}
            answers[name] = {key: self._mode_array(tensor) for key, tensor in tensors.items()}
            answers[name]["dtypes"] = {key: str(t.dtype).removeprefix("torch.") for key, t in tensors.items()}
        return answers

    def _mode_input(self, mode: Mode, x: Array) -> Any:
        tensor = self._mode_tensor(x)
        if mode.run == "channels-last" and tensor.dim() == 4:
            tensor = tensor.to(memory_format=self.torch.channels_last)
        return tensor.requires_grad_()

    def _mode_array(self, tensor: Any) -> Array:
        # NumPy has no bfloat16; float32 holds every half-width number exactly.
        wide = tensor.detach() if tensor.dtype == self.torch.float64 else tensor.detach().float()
        return np.ascontiguousarray(wide.cpu().numpy())

    def _mode_autocast(self, mode: Mode) -> Any:
        if not mode.low:
            return nullcontext()
        return self.torch.autocast(self.device.type, dtype=getattr(self.torch, mode.low))

    @contextmanager
    def _mode_switches(self, mode: Mode) -> Iterator[None]:
        backends = self.torch.backends
        before = backends.cudnn.allow_tf32, backends.cuda.matmul.allow_tf32
        backends.cudnn.allow_tf32 = backends.cuda.matmul.allow_tf32 = mode.says == "tf32"
        try:
            yield
        finally:
            backends.cudnn.allow_tf32, backends.cuda.matmul.allow_tf32 = before

    @contextmanager
    def _mode_runner(self, mode: Mode, run: Any) -> Iterator[Any]:
        """Yield the function as the mode executes it; what compiling leaves on disk is gone afterwards."""
        if mode.run != "compile":
            yield run
            return
        before = os.environ.get(_CACHE)
        with tempfile.TemporaryDirectory(prefix="parity-compile-", ignore_cleanup_errors=True) as folder:
            os.environ[_CACHE] = folder
            try:
                # Precompiled headers would be kept in a folder of torch's own choice, and outlive the run.
                yield self.torch.compile(run, dynamic=False, options={"cpp_cache_precompile_headers": False})
            finally:
                self.torch.compiler.reset()
                os.environ.pop(_CACHE) if before is None else os.environ.update({_CACHE: before})

    def _mode_tensor(self, x: Array) -> Any:
        return self.torch.from_numpy(np.array(x)).to(self.device, self.dtype)

"""PyTorch, eager, channels first."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from parity.adapters.base import Array, WorkerSettings, atomically, check_names
from parity.adapters.torch_counting import TorchCounting
from parity.adapters.torch_kinds import TorchKinds
from parity.adapters.torch_lanes import TorchLanes
from parity.adapters.torch_losses import TorchLosses
from parity.adapters.torch_memory import TorchMemory
from parity.adapters.torch_model_files import TorchModelFiles
from parity.adapters.torch_models import TorchModels
from parity.adapters.torch_modes import TorchModes
from parity.adapters.torch_network import TorchNetworks
from parity.adapters.torch_optimizers import TorchOptimizers
from parity.adapters.torch_practice import TorchPractice
from parity.adapters.torch_study import TorchStudy
from parity.adapters.torch_supply import TorchSupply
from parity.adapters.torch_trajectory import TorchTrajectory
from parity.errors import ExportError, MissingDevice, UsageError
from parity.model.spec import LayerShape, ModelSpec

OPSET = 18


class TorchAdapter(
    TorchCounting,
    TorchMemory,
    TorchSupply,
    TorchStudy,
    TorchPractice,
    TorchNetworks,
    TorchLosses,
    TorchOptimizers,
    TorchModes,
    TorchTrajectory,
    TorchKinds,
    TorchModels,
    TorchModelFiles,
    TorchLanes,
):
    """`torch.nn` modules in eager mode, Adam in its default form."""

    image_layout = "NCHW"

    def __init__(self, settings: WorkerSettings) -> None:
        super().__init__(settings)
        import torch

        self.torch = torch
        torch.set_num_threads(settings.threads)
        if settings.device == "gpu" and not torch.cuda.is_available():
            raise MissingDevice(
                f"torch {torch.__version__} sees no GPU (its CUDA version: {torch.version.cuda}): install a CUDA build"
                " in the worker's own environment, or use --device cpu"
            )
        self.device = torch.device("cuda" if settings.device == "gpu" else "cpu")
        # TF32 is on by default for cuDNN's convolutions: a float32 lane must compute in float32.
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.manual_seed(settings.seed)
        self.dtype = torch.float64 if settings.role == "twin" else torch.float32
        self.model: Any = None
        self._batch: tuple[Any, Any] | None = None
        self._forget_lane()

    def environment(self) -> dict[str, Any]:
        torch, gpu = self.torch, self.device.type == "cuda"
        return {
            "versions": {"torch": torch.__version__, "numpy": np.__version__},
            "device": self.settings.device,
            "threads": torch.get_num_threads(),
            "inter_op_threads": torch.get_num_interop_threads(),
            "dtype": str(self.dtype).removeprefix("torch."),
            "precision": {
                "tf32_matmul": bool(torch.backends.cuda.matmul.allow_tf32),
                "tf32_cudnn": bool(torch.backends.cudnn.allow_tf32),
            },
            "cpu_capability": torch.backends.cpu.get_cpu_capability(),
            "mkldnn": bool(torch.backends.mkldnn.is_available()),
            "cuda": torch.version.cuda,
            # A twin or any other worker on the CPU must not start CUDA: its context would take the GPU's memory.
            "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if gpu else [],
        }

    def _computed_ones(self) -> float:
        torch, ones = self.torch, partial(self.torch.ones, device=self.device)
        put_out = torch.conv2d(ones(1, 1, 8, 8), ones(1, 1, 3, 3))
        return float((put_out.reshape(1, 36) @ ones(36, 1)).item())

    def build(self, spec: Mapping[str, Any], seed: int | None = None) -> None:
        described = ModelSpec.from_dict(spec)
        shapes = described.shapes()
        self.torch.manual_seed(self.settings.seed if seed is None else seed)
        start_s = time.perf_counter()
        modules = OrderedDict((shape.layer.name, self._module(shape)) for shape in shapes)
        self.model = self.torch.nn.Sequential(modules).to(self.device, self.dtype)
        self.build_s = time.perf_counter() - start_s
        self.spec = described
        self._forget_lane()

    def layers(self) -> list[str]:
        return [name for name, _ in self._built().named_children()]

    def get_weights(self) -> dict[str, Array]:
        return {name: np.array(tensor.detach().cpu().numpy()) for name, tensor in self._built().state_dict().items()}

    def set_weights(self, weights: Mapping[str, Array]) -> None:
        state = self._built().state_dict()
        check_names("torch", weights, {name: tuple(tensor.shape) for name, tensor in state.items()})
        tensors = {name: self.torch.from_numpy(np.array(array)).to(self.dtype) for name, array in weights.items()}
        self._built().load_state_dict(tensors, strict=True)

    def forward(self, x: Array, training: bool = False) -> dict[str, Array]:
        model = self._built().train(training)
        outputs, value = {}, self._tensor(x)
        with self.torch.no_grad():
            for name, module in model.named_children():
                value = module(value)
                outputs[name] = self._array(value)
            outputs["output"] = self._array(model(self._tensor(x)))
        model.eval()
        return outputs

    def layer_forward(self, name: str, x: Array, training: bool = False) -> Array:
        module = dict(self._built().named_children()).get(name)
        if module is None:
            raise UsageError(f"the torch model has no layer `{name}`; it has {self.layers()}")
        module.train(training)
        with self.torch.no_grad():
            result = self._array(module(self._tensor(x)))
        module.eval()
        return result

    def save(self, path: str) -> None:
        ending = Path(path).suffix
        if ending == ".pth":
            atomically(path, lambda file: self.torch.save(self._built().state_dict(), file))
        elif ending == ".safetensors":
            from safetensors.numpy import save_file

            atomically(path, lambda file: save_file(self.get_weights(), file))
        else:
            raise UsageError(f"torch cannot write `{path}`: use .pth or .safetensors")

    def load(self, path: str) -> None:
        if not Path(path).is_file():
            raise UsageError(f"no model file at {path}")
        ending = Path(path).suffix
        if ending == ".pth":
            # weights_only: a state dict is data, and loading one must not run code that a stranger put into it.
            state = self.torch.load(path, map_location="cpu", weights_only=True)
            self.set_weights({name: tensor.numpy() for name, tensor in state.items()})
        elif ending == ".safetensors":
            from safetensors.numpy import load_file

            self.set_weights(load_file(path))
        else:
            raise UsageError(f"torch cannot read `{path}`: use .pth or .safetensors")

    def export_onnx(self, path: str) -> None:
        spec, torch = self._described(), self.torch
        # Two images: a batch of one would be specialised to the constant 1 in spite of the dynamic axis.
        example = torch.zeros(2, spec.channels, spec.height, spec.width, dtype=self.dtype, device=self.device)
        model = self._built().eval()

        def write(file: str) -> None:
            torch.onnx.export(
                model,
                (example,),
                file,
                dynamo=True,
                opset_version=OPSET,
                input_names=["input"],
                output_names=["output"],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                external_data=False,
                verbose=False,
            )

        try:
            atomically(path, write)
        except Exception as error:
            raise ExportError(f"torch.onnx.export could not convert the torch model: {error}") from error

    def _module(self, shape: LayerShape) -> Any:
        nn, layer = self.torch.nn, shape.layer
        if layer.kind == "conv2d":
            return nn.Conv2d(shape.input_shape[-1], layer.size, layer.kernel, bias=layer.bias)
        if layer.kind == "max_pool2d":
            return nn.MaxPool2d(layer.size)
        if layer.kind == "flatten":
            return nn.Flatten()
        if layer.kind == "dense":
            return nn.Linear(shape.input_shape[0], layer.size, bias=layer.bias)
        if layer.kind == "relu":
            return nn.ReLU()
        if layer.kind == "sigmoid":
            return nn.Sigmoid()
        raise UsageError(f"the torch adapter cannot build layer kind `{layer.kind}` (layer `{layer.name}`)")

    def _built(self) -> Any:
        self._described()
        return self.model

    def _tensor(self, x: Array) -> Any:
        return self.torch.from_numpy(np.array(x)).to(self.device, self.dtype)

    def _array(self, tensor: Any) -> Array:
        return np.array(tensor.detach().cpu().numpy())

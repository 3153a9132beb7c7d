"""TensorFlow through Keras 3, channels last."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from parity.adapters.base import Array, WorkerSettings, atomically, check_names, lean_import
from parity.adapters.keras_layers import described_layer, takes_training
from parity.adapters.tensorflow_counting import TensorflowCounting
from parity.adapters.tensorflow_cuda import preload
from parity.adapters.tensorflow_lanes import TensorflowLanes
from parity.adapters.tensorflow_losses import TensorflowLosses
from parity.adapters.tensorflow_memory import TensorflowMemory
from parity.adapters.tensorflow_model_files import TensorflowModelFiles
from parity.adapters.tensorflow_models import TensorflowModels
from parity.adapters.tensorflow_modes import TensorflowModes
from parity.adapters.tensorflow_network import TensorflowNetworks
from parity.adapters.tensorflow_optimizers import TensorflowOptimizers
from parity.adapters.tensorflow_practice import TensorflowPractice
from parity.adapters.tensorflow_study import TensorflowStudy
from parity.adapters.tensorflow_supply import TensorflowSupply
from parity.adapters.tensorflow_trajectory import TensorflowTrajectory
from parity.errors import ExportError, MissingDevice, UsageError
from parity.model.spec import ModelSpec

OPSET = 18


class TensorflowAdapter(
    TensorflowCounting,
    TensorflowMemory,
    TensorflowSupply,
    TensorflowStudy,
    TensorflowPractice,
    TensorflowNetworks,
    TensorflowLosses,
    TensorflowOptimizers,
    TensorflowModes,
    TensorflowTrajectory,
    TensorflowModels,
    TensorflowModelFiles,
    TensorflowLanes,
):
    """Keras 3 on the TensorFlow backend; `tf.function` without XLA for the steps that are timed or repeated."""

    image_layout = "NHWC"

    def __init__(self, settings: WorkerSettings) -> None:
        super().__init__(settings)
        os.environ["KERAS_BACKEND"] = "tensorflow"
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        with lean_import(settings):
            import keras
            import tensorflow

        self.tf, self.keras = tensorflow, keras
        tensorflow.config.threading.set_intra_op_parallelism_threads(settings.threads)
        tensorflow.config.threading.set_inter_op_parallelism_threads(settings.threads)
        self._choose_device()
        # TF32 would be on by default for matrix products and convolutions: a float32 lane must compute in float32.
        tensorflow.config.experimental.enable_tensor_float_32_execution(False)
        keras.config.set_floatx(settings.dtype)
        if settings.role == "twin":
            self._exact_constants()
        keras.utils.set_random_seed(settings.seed)
        self.model: Any = None
        self._batch: tuple[Any, Any] | None = None
        self._forget_lane()

    def environment(self) -> dict[str, Any]:
        tf = self.tf
        return {
            "versions": {"tensorflow": tf.__version__, "keras": self.keras.__version__, "numpy": np.__version__},
            "device": self.settings.device,
            "threads": tf.config.threading.get_intra_op_parallelism_threads(),
            "inter_op_threads": tf.config.threading.get_inter_op_parallelism_threads(),
            "dtype": self.keras.config.floatx(),
            "precision": {"tf32": bool(tf.config.experimental.tensor_float_32_execution_enabled())},
            "onednn": os.environ.get("TF_ENABLE_ONEDNN_OPTS", "default"),
            "gpus": [gpu.name for gpu in tf.config.list_physical_devices("GPU")],
            "built_with_cuda": bool(tf.test.is_built_with_cuda()),
        }

    def _computed_ones(self) -> float:
        tf = self.tf
        with tf.device("/GPU:0" if self.settings.device == "gpu" else "/CPU:0"):
            put_out = tf.nn.conv2d(tf.ones((1, 8, 8, 1)), tf.ones((3, 3, 1, 1)), strides=1, padding="VALID")
            return float(tf.linalg.matmul(tf.reshape(put_out, (1, 36)), tf.ones((36, 1))).numpy()[0, 0])

    def build(self, spec: Mapping[str, Any], seed: int | None = None) -> None:
        described = ModelSpec.from_dict(spec)
        described.shapes()
        self.keras.utils.set_random_seed(self.settings.seed if seed is None else seed)
        start_s = time.perf_counter()
        model = self._sequential(described)
        self.build_s = time.perf_counter() - start_s
        self._adopt(described, model)

    def layers(self) -> list[str]:
        return [layer.name for layer in self._built().layers]

    def get_weights(self) -> dict[str, Array]:
        return {name: np.asarray(variable.numpy()) for name, variable in self._variables().items()}

    def set_weights(self, weights: Mapping[str, Array]) -> None:
        variables = self._variables()
        check_names("tensorflow", weights, {name: tuple(v.shape) for name, v in variables.items()})
        for name, variable in variables.items():
            variable.assign(weights[name].astype(self.settings.dtype))

    def forward(self, x: Array, training: bool = False) -> dict[str, Array]:
        outputs, value = {}, self._tensor(x)
        for layer in self._built().layers:
            value = layer(value, training=training) if takes_training(layer) else layer(value)
            outputs[layer.name] = value.numpy()
        outputs["output"] = self._built()(self._tensor(x), training=training).numpy()
        return outputs

    def layer_forward(self, name: str, x: Array, training: bool = False) -> Array:
        layer = next((layer for layer in self._built().layers if layer.name == name), None)
        if layer is None:
            raise UsageError(f"the tensorflow model has no layer `{name}`; it has {self.layers()}")
        value = self._tensor(x)
        result = layer(value, training=training) if takes_training(layer) else layer(value)
        return np.asarray(result.numpy())

    def save(self, path: str) -> None:
        ending = Path(path).suffix
        if ending in (".keras", ".h5"):
            atomically(path, self._built().save)
        elif ending == ".safetensors":
            from safetensors.numpy import save_file

            atomically(path, lambda file: save_file(self.get_weights(), file))
        else:
            raise UsageError(f"tensorflow cannot write `{path}`: use .keras, .h5 or .safetensors")

    def load(self, path: str) -> None:
        if not Path(path).is_file():
            raise UsageError(f"no model file at {path}")
        ending = Path(path).suffix
        if ending in (".keras", ".h5"):
            self._adopt(self._described(), self.keras.models.load_model(path, compile=False))
        elif ending == ".safetensors":
            from safetensors.numpy import load_file

            self.set_weights(load_file(path))
        else:
            raise UsageError(f"tensorflow cannot read `{path}`: use .keras, .h5 or .safetensors")

    def export_onnx(self, path: str) -> None:
        import tf2onnx

        spec, model = self._described(), self._built()
        shape = (None, spec.height, spec.width, spec.channels)
        signature = [self.tf.TensorSpec(shape, self.settings.dtype, name="input")]
        # tf2onnx reads Keras 2 attributes off a model; a traced function means the same and needs none of them.
        function = self.tf.function(lambda x: model(x, training=False), input_signature=signature)
        try:
            atomically(
                path,
                lambda file: tf2onnx.convert.from_function(
                    function, input_signature=signature, opset=OPSET, output_path=file
                ),
            )
        except Exception as error:
            raise ExportError(f"tf2onnx could not convert the tensorflow model: {error}") from error

    def _choose_device(self) -> None:
        tf, gpu = self.tf, self.settings.device == "gpu"
        failed = preload(Path(tf.__file__).parent.parent) if gpu else {}
        gpus = tf.config.list_physical_devices("GPU")
        if not gpu:
            tf.config.set_visible_devices([], "GPU")
        elif not gpus:
            built = "has" if tf.test.is_built_with_cuda() else "has no"
            unloaded = "".join(f"; {name} does not load: {why}" for name, why in failed.items())
            raise MissingDevice(
                f"tensorflow {tf.__version__} sees no GPU (it {built} CUDA support built in{unloaded}): install"
                " `tensorflow[and-cuda]` in the worker's own environment, or use --device cpu"
            )
        else:
            tf.config.set_visible_devices(gpus[:1], "GPU")
            # A user's own `false` overrules the call below, and then this process takes the memory of all others.
            os.environ["TF_FORCE_GPU_ALLOW_GROWTH"] = "true"
            tf.config.experimental.set_memory_growth(gpus[0], True)

    def _exact_constants(self) -> None:
        """Make a Python float reach a float64 tensor unrounded, in this twin's process only.

        Keras and TensorFlow pass Python constants through float32 on their way to a float64 tensor, so that
        `keras.ops.cast(0.9, "float64")` is 0.8999999761581421; a twin must be exact.
        """
        from tensorflow.python.ops import math_ops

        tf, cast = self.tf, math_ops.cast

        def exact_cast(x: Any, dtype: Any, name: str | None = None) -> Any:
            if isinstance(x, float) and tf.as_dtype(dtype) == tf.float64:
                return tf.constant(x, dtype=tf.float64, name=name)
            return cast(x, dtype, name)

        tf.cast = math_ops.cast = exact_cast

    def _sequential(self, spec: ModelSpec) -> Any:
        shape = (spec.height, spec.width, spec.channels)
        layers = [described_layer(self.keras, layer) for layer in spec.layers]
        return self.keras.Sequential([self.keras.Input(shape), *layers], name=spec.name)

    def _adopt(self, spec: ModelSpec, model: Any) -> None:
        self.spec, self.model = spec, model
        self._forget_lane()

    def _built(self) -> Any:
        self._described()
        return self.model

    def _variables(self) -> dict[str, Any]:
        return {
            f"{layer.name}/{variable.name}": variable for layer in self._built().layers for variable in layer.weights
        }

    def _tensor(self, x: Array) -> Any:
        return self.tf.convert_to_tensor(np.asarray(x).astype(self.settings.dtype, copy=False))

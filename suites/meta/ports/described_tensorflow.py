"""Every layer kind and small network of the layer zoo as a Keras model: `described_tensorflow.py:unet`."""

from collections.abc import Callable
from typing import Any

import keras

from parity.adapters import keras_layers
from parity.model import zoo

NETWORKS = {network.name.replace("-", "_"): network for network in [*zoo.kinds(), *zoo.small_networks()]}


def __getattr__(name: str) -> Callable[[], Any]:
    if name not in NETWORKS:
        raise AttributeError(name)
    network = NETWORKS[name]

    class Described(keras.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.made = {n.name: keras_layers.layer(keras, n) for n in network.nodes if n.holder == n.name}

        def call(self, *inputs: Any) -> Any:
            given = inputs[0] if len(inputs) == 1 and isinstance(inputs[0], list) else inputs
            known = dict(zip((i.name for i in network.inputs), given, strict=True))
            for node in network.nodes:
                fed = [known[source] for source in node.inputs]
                if node.kind == "attention" and len(fed) > 2:
                    fed[2] = keras.ops.cast(fed[2], "bool")
                known[node.name] = self.made[node.holder](*fed)
            return known[network.output]

    return Described

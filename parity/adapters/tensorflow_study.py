"""What a study asks of TensorFlow: its own order of images, its own pixels, weights that both frameworks start from."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np

from parity.adapters.base import Adapter, Array

BUFFER_BATCHES = 8  # keras.utils.image_dataset_from_directory: `shuffle_buffer_size = batch_size * 8`


class TensorflowStudy(Adapter):
    """What `keras.utils.image_dataset_from_directory` does to files and their order, without reading files twice."""

    tf: Any

    @abstractmethod
    def set_weights(self, weights: Mapping[str, Array]) -> None: ...

    def place_initial(self, weights: Mapping[str, Array]) -> None:
        """Replace the weights by ones under Keras's names and in its layouts."""
        self.set_weights(weights)

    def own_orders(self, images: int, batch: int, seed: int, epochs: int) -> Array:
        """Return the order of images of each epoch, int64 (epochs, images): the list once, then a buffer, shuffled."""
        listed = np.arange(images)
        np.random.RandomState(seed).shuffle(listed)
        dataset = self.tf.data.Dataset.from_tensor_slices(listed)
        dataset = dataset.shuffle(buffer_size=BUFFER_BATCHES * batch, seed=seed)
        return np.stack([np.fromiter(dataset.as_numpy_iterator(), dtype=np.int64) for _ in range(epochs)])

    def own_images(self, files: list[str], size: list[int]) -> Array:
        """Return image files as Keras's loader gives them: float32 (n, h, w, c) from 0 to 255.

        `size`: (height, width, channels). Decoded by `tf.image.decode_image`, resized bilinearly without antialiasing.
        """
        height, width, channels = size
        image = self.tf.image
        found = []
        for file in files:
            decoded = image.decode_image(self.tf.io.read_file(file), channels=channels, expand_animations=False)
            found.append(image.resize(decoded, (height, width), method="bilinear").numpy())
        return np.stack(found)

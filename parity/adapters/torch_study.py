"""What a study asks of torch: its own order of images, its own pixels, and weights that both frameworks start from."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np

from parity.adapters.base import Adapter, Array
from parity.pairing.weights import to_torch


class TorchStudy(Adapter):
    """What `ImageFolder` with `Resize` and `ToTensor` under a `DataLoader` does to files and their order."""

    torch: Any

    @abstractmethod
    def set_weights(self, weights: Mapping[str, Array]) -> None: ...

    def place_initial(self, weights: Mapping[str, Array]) -> None:
        """Replace the weights by ones given under Keras's names and in its layouts."""
        self.set_weights(to_torch(weights, self._described()))

    def own_orders(self, images: int, batch: int, seed: int, epochs: int) -> Array:
        """Return the order of images of each epoch, int64 (epochs, images): a new permutation by `DataLoader`."""
        data = self.torch.utils.data
        generator = self.torch.Generator().manual_seed(seed)
        loader = data.DataLoader(range(images), batch_size=batch, shuffle=True, generator=generator)
        return np.stack([np.concatenate([numbers.numpy() for numbers in loader]) for _ in range(epochs)])

    def own_images(self, files: list[str], size: list[int]) -> Array:
        """Return image files as torchvision's usual transforms give them: float32 (n, h, w, c) from 0 to 255.

        `size`: (height, width, channels). Decoded by Pillow, resized bilinearly with antialiasing, as `ImageFolder` and
        `Resize` do.
        """
        from PIL import Image
        from torchvision.transforms import functional

        height, width, channels = size
        found = []
        for file in files:
            with Image.open(file) as image:
                picture = functional.resize(image.convert("RGB"), [height, width])
            if channels == 1:
                picture = functional.rgb_to_grayscale(picture)
            found.append(functional.to_tensor(picture).permute(1, 2, 0).numpy() * np.float32(255.0))
        return np.stack(found)

"""Padding, strides, layouts: what a careless port gets wrong, in torch with one such fault each."""

import torch
import torch.nn.functional as F  # noqa: N812
from hosts_torch import Gating, hosted
from torch import nn


class Flattened(nn.Module):
    """Flattens channels first: fine by itself, wrong for a kernel copied from Keras as it is."""

    def __init__(self, channels, height, width):
        super().__init__()
        self.dense = nn.Linear(channels * height * width, channels)

    def forward(self, x):
        gate = torch.sigmoid(self.dense(torch.flatten(x, 1)))
        return x * gate[:, :, None, None]


def square_conv(channels, *_):
    return nn.Conv2d(channels, channels, 3, padding=1)


def square_dense(channels, *_):
    return Gating(nn.Linear(channels, channels))


class WideDepthwise(nn.Module):
    """Two output channels for every input channel."""

    def __init__(self, channels, *_):
        super().__init__()
        self.wide = nn.Conv2d(channels, 2 * channels, 3, padding=1, groups=channels)
        self.made = 2 * channels

    def forward(self, x):
        return self.wide(x)


def strided(channels, *_):
    return nn.Conv2d(channels, channels, 3, stride=2, padding=1)


def pooled(*_):
    return nn.MaxPool2d(3, stride=2, padding=1)


def averaged(*_):
    return nn.AvgPool2d(3, stride=1, padding=1)


class Enlarged(nn.Module):
    """The shape is right, the image shifted by one pixel."""

    def __init__(self, channels, *_):
        super().__init__()
        self.up = nn.ConvTranspose2d(channels, channels, 3, stride=2, padding=1, output_padding=1)
        self.down = nn.Conv2d(channels, channels, 2, stride=2)

    def forward(self, x):
        return self.down(self.up(x))


class Shuffled(nn.Module):
    """PixelShuffle reads its channels in another order than depth_to_space."""

    def __init__(self, channels, *_):
        super().__init__()
        self.more = nn.Conv2d(channels, 4 * channels, 1)
        self.shuffle = nn.PixelShuffle(2)
        self.down = nn.Conv2d(channels, channels, 2, stride=2)

    def forward(self, x):
        return self.down(self.shuffle(self.more(x)))


class Tall(nn.Module):
    """The first convolution's rows should lie three apart."""

    def __init__(self, channels, *_):
        super().__init__()
        self.tall = nn.Conv2d(channels, channels, 3, padding=1)
        self.grouped = nn.Conv2d(channels, channels, 3, padding=1, groups=2)

    def forward(self, x):
        return self.grouped(self.tall(x))


class Smooth(nn.Module):
    """Enlarges with aligned corners, which TensorFlow does not."""

    def __init__(self, channels, *_):
        super().__init__()
        self.resize = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        self.down = nn.Conv2d(channels, channels, 2, stride=2)

    def forward(self, x):
        return self.down(self.resize(x))


class Nearest(nn.Module):
    """`nearest` takes the pixel to the upper left; TensorFlow's takes the centre's, torch's `nearest-exact`."""

    def __init__(self, channels, height, width):
        super().__init__()
        self.size = (height + 5, width + 3)
        self.down = nn.Conv2d(channels, channels, (6, 4))

    def forward(self, x):
        return self.down(F.interpolate(x, size=self.size, mode="nearest"))


class WidthSoftmax(nn.Module):
    """The last axis, but of channels-first data."""

    def __init__(self, *_):
        super().__init__()

    def forward(self, x):
        return F.softmax(x, dim=-1)


def width_softmax(*_):
    return nn.Softmax(dim=-1)


class LateStride(nn.Module):
    """The second convolution strides, where the first one should."""

    def __init__(self, channels, *_):
        super().__init__()
        self.a = nn.Conv2d(channels, channels, 1)
        self.b = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x):
        return self.b(F.relu(self.a(x)))


class Difference(nn.Module):
    """The wrong way round."""

    def __init__(self, channels, *_):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        return F.relu(self.conv(x)) - x


def transposed_conv(network):
    weight = network.slot.weight
    weight.copy_(weight.transpose(0, 1).clone())


def transposed_dense(network):
    weight = network.slot.inner.weight
    weight.copy_(weight.T.clone())


def swapped(network):
    weight = network.slot.weight
    weight.copy_(weight.transpose(2, 3).clone())


def flipped(network):
    weight = network.slot.weight
    weight.copy_(weight.flip(2, 3))


def other_channel_order(network):
    weight, bias = network.slot.wide.weight, network.slot.wide.bias
    channels = weight.shape[0] // 2
    weight.copy_(weight.reshape(channels, 2, 1, 3, 3).transpose(0, 1).reshape(weight.shape).clone())
    assert bias is not None


flatten_order_shallow, flatten_order_deep = hosted(Flattened)
kernel_layout_shallow, kernel_layout_deep = hosted(square_conv, spoil=transposed_conv)
dense_layout_shallow, dense_layout_deep = hosted(square_dense, spoil=transposed_dense)
kernel_spatial_swap_shallow, kernel_spatial_swap_deep = hosted(square_conv, spoil=swapped)
kernel_flip_shallow, kernel_flip_deep = hosted(square_conv, spoil=flipped)
depthwise_channel_order_shallow, depthwise_channel_order_deep = hosted(WideDepthwise, spoil=other_channel_order)
same_padding_stride_shallow, same_padding_stride_deep = hosted(strided, stride=2)
pool_padding_shallow, pool_padding_deep = hosted(pooled, stride=2)
avgpool_count_pad_shallow, avgpool_count_pad_deep = hosted(averaged)
conv_transpose_crop_shallow, conv_transpose_crop_deep = hosted(Enlarged)
pixel_shuffle_order_shallow, pixel_shuffle_order_deep = hosted(Shuffled)
dilation_shallow, dilation_deep = hosted(square_conv)
tall_dilation_shallow, tall_dilation_deep = hosted(Tall)
resize_bilinear_shallow, resize_bilinear_deep = hosted(Smooth)
resize_nearest_shallow, resize_nearest_deep = hosted(Nearest)
axis_mismatch_shallow, axis_mismatch_deep = hosted(WidthSoftmax)[0], hosted(width_softmax)[1]
padding_mode_shallow, padding_mode_deep = hosted(square_conv)
stride_placement_shallow, stride_placement_deep = hosted(LateStride, stride=2)
operand_order_shallow, operand_order_deep = hosted(Difference)

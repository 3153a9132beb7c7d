"""The deep networks of the faults' files, ported as they should be: what cures each fault, and nothing else."""

import torch
import torch.nn.functional as F  # noqa: N812
from faults_activations_torch import Bottleneck, TwoGates, nothing, then, then_function
from faults_geometry_torch import Flattened, WideDepthwise, square_conv, square_dense
from faults_norms_torch import batch_norm
from faults_sequences_torch import Attention, BothEnds, ByHand, gru, lstm
from hosts_torch import Deep, Gating, Tokens, fill, hosted, tensor, text_hosted
from torch import nn


def deep(slot, stride=1, cure=None):
    """Return one builder, of the deep network."""
    return hosted(slot, stride, cure)[1]


class LastStates(BothEnds):
    def taken(self, sequence, states):  # noqa: ARG002
        return torch.cat([states[0], states[1]], -1)


class Padded(nn.Module):
    """Pads as TensorFlow's SAME does for this size, then runs the layer."""

    def __init__(self, layer, value=0.0):
        super().__init__()
        self.layer = layer
        self.value = value

    def forward(self, x):
        return self.layer(F.pad(x, (0, 1, 0, 1), value=self.value))


class Conv(nn.Conv2d):
    """A convolution that pads as SAME does."""

    def forward(self, x):
        return super().forward(F.pad(x, (0, 1, 0, 1)))


class Cropped(nn.Module):
    """A transposed convolution whose last row and column are cut off."""

    def __init__(self, channels, *_):
        super().__init__()
        self.up = nn.ConvTranspose2d(channels, channels, 3, stride=2)
        self.down = nn.Conv2d(channels, channels, 2, stride=2)

    def forward(self, x):
        return self.down(self.up(x)[:, :, :-1, :-1])


class BlockMajor(nn.Module):
    """PixelShuffle on channels put into its order."""

    def __init__(self, channels, *_):
        super().__init__()
        self.more = nn.Conv2d(channels, 4 * channels, 1)
        self.shuffle = nn.PixelShuffle(2)
        self.down = nn.Conv2d(channels, channels, 2, stride=2)

    def forward(self, x):
        x = self.more(x)
        batch, channels, height, width = x.shape
        x = x.reshape(batch, 4, channels // 4, height, width).transpose(1, 2).reshape(x.shape)
        return self.down(self.shuffle(x))


class Tall(nn.Module):
    """Rows three apart, then two groups."""

    def __init__(self, channels, *_):
        super().__init__()
        self.tall = nn.Conv2d(channels, channels, 3, padding=(3, 1), dilation=(3, 1))
        self.grouped = nn.Conv2d(channels, channels, 3, padding=1, groups=2)

    def forward(self, x):
        return self.grouped(self.tall(x))


class EarlyStride(nn.Module):
    """The first convolution strides."""

    def __init__(self, channels, *_):
        super().__init__()
        self.a = nn.Conv2d(channels, channels, 1, stride=2)
        self.b = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        return self.b(F.relu(self.a(x)))


class Difference(nn.Module):
    """The right way round."""

    def __init__(self, channels, *_):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        return x - F.relu(self.conv(x))


class Resized(nn.Module):
    """Half-pixel centres."""

    def __init__(self, channels, size, kernel, stride, **options):
        super().__init__()
        self.size, self.options = size, options
        self.down = nn.Conv2d(channels, channels, kernel, stride)

    def forward(self, x):
        return self.down(F.interpolate(x, size=self.size, **self.options))


def smooth(channels, height, width):
    return Resized(channels, (2 * height, 2 * width), 2, 2, mode="bilinear", align_corners=False)


def nearest(channels, height, width):
    return Resized(channels, (height + 5, width + 3), (6, 4), 1, mode="nearest-exact")


class Floored(nn.Module):
    """Unit vectors with the floor of TensorFlow."""

    def __init__(self, *_):
        super().__init__()

    def forward(self, x):
        x = x * 1e-8
        return x * torch.rsqrt(x.square().sum(1, keepdim=True).clamp(min=1e-12))


class Residual(nn.Module):
    """The branch counts a fifth."""

    def __init__(self, channels, *_):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        return x + F.relu(self.conv(x)) * 0.2


class Sum(nn.Module):
    """No activation after the sum."""

    def __init__(self, channels, *_):
        super().__init__()
        self.a = nn.Conv2d(channels, channels, 3, padding=1)
        self.b = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        return x + self.b(F.relu(self.a(x)))


class Before(nn.Module):
    """A network behind a function of its image."""

    def __init__(self, network, function):
        super().__init__()
        self.network = network
        self.function = function

    def forward(self, x):
        return self.network(self.function(x))


class PerElement(nn.Module):
    """One slope for every element of the map."""

    def __init__(self, channels, height, width):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.alpha = nn.Parameter(tensor("slot_act/alpha", (height, width, channels), 2, 0, 1))

    def forward(self, x):
        x = self.conv(x)
        return torch.where(x > 0, x, self.alpha * x)


class SixAtMost(nn.Module):
    """Stops at six."""

    def __init__(self, channels, *_):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        return F.relu6(self.conv(x) * 7.0)


class Attend(Attention):
    """True means blocked here: the mask is turned round."""

    def forward(self, x):
        batch, channels, height, width = x.shape
        s = x.flatten(2).transpose(1, 2)
        places = torch.arange(s.shape[1], device=x.device)
        mask = (places[:, None] - places[None, :]).abs() > self.reach
        made, _ = self.inner(s, s, s, attn_mask=mask, need_weights=False)
        return made.transpose(1, 2).reshape(batch, channels, height, width)


class ByHandScaled(ByHand):
    """Attention spelled out, scaled by the width of a head."""

    def forward(self, s):
        batch, length, width = s.shape
        q, k, v = (
            part(s).reshape(batch, length, self.heads, width // self.heads).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        made = F.scaled_dot_product_attention(q, k, v)
        return self.attention_output(made.transpose(1, 2).reshape(batch, length, width))


def kernels_in_tensorflows_order(network):
    """Put the rows of the Dense kernel, (h, w, c) in TensorFlow, into torch's order (c, h, w)."""
    weight = network.slot.dense.weight
    weight.copy_(weight.reshape(-1, 16, 14, 12).permute(0, 3, 1, 2).reshape(weight.shape).clone())


def with_positive_means(network):
    network.slot.running_mean.copy_(network.slot.running_mean.abs() + 0.2)


def layer_norm(eps, affine=True):
    return lambda channels, *_: Tokens(nn.LayerNorm(channels, eps=eps, elementwise_affine=affine))


def embed():
    return nn.Embedding(20, 8)


def input_scale():
    return Before(fill(Deep(nothing)), lambda x: x / 127.5 - 1)


def channel_order():
    return Before(fill(Deep(nothing)), lambda x: x.flip(1))


class Classes(Deep):
    """The deep network with a head of another name."""

    def __init__(self):
        super().__init__(nothing)
        self.classes = self.head
        del self.head

    def forward(self, x):
        self.__dict__["head"] = self.classes
        return super().forward(x)


def output_permutation():
    return fill(Classes())


flatten_order = deep(Flattened, cure=kernels_in_tensorflows_order)
square = deep(square_conv)
dense = deep(square_dense)
depthwise_channel_order = deep(WideDepthwise)
same_padding_stride = deep(lambda channels, *_: Conv(channels, channels, 3, stride=2), stride=2)
pool_padding = deep(lambda *_: Padded(nn.MaxPool2d(3, stride=2), float("-inf")), stride=2)
avgpool_count_pad = deep(lambda *_: nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False))
conv_transpose_crop = deep(Cropped)
pixel_shuffle_order = deep(BlockMajor)
dilation = deep(lambda channels, *_: nn.Conv2d(channels, channels, 3, padding="same", dilation=2))
tall_dilation = deep(Tall)
resize_bilinear = deep(smooth)
resize_nearest = deep(nearest)
padding_mode = deep(lambda channels, *_: nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect"))
stride_placement = deep(EarlyStride, stride=2)
operand_order = deep(Difference)
axis_mismatch = deep(lambda *_: nn.Softmax(dim=1))
axis_mismatch_2d = deep(lambda *_: nn.Softmax2d())
batchnorm_eps = deep(lambda channels, *_: nn.BatchNorm2d(channels, eps=1.001e-5))
batchnorm = deep(batch_norm)
mean_variance_swap = deep(batch_norm, cure=with_positive_means)
layernorm_eps = deep(layer_norm(1e-3))
groupnorm_groups = deep(lambda channels, *_: nn.GroupNorm(2, channels))
norm_axes = deep(layer_norm(1e-5, affine=False))
l2_normalize_eps = deep(Floored)
residual_scale = deep(Residual)
gelu_approximation = deep(then(lambda: nn.GELU(approximate="tanh")))
leaky_slope = deep(then_function(lambda x: F.leaky_relu(x, 0.2)))
prelu_sharing = deep(PerElement)
elu_alpha = deep(then(nn.ELU))
softplus_threshold = deep(then_function(lambda x: torch.logaddexp(x, torch.zeros_like(x))))
hard_sigmoid_slope = deep(then_function(F.hardsigmoid))
relu6_missing = deep(SixAtMost)
activation_missing = deep(then_function(torch.relu))
activation_extra = deep(Sum)
bias_missing = deep(then_function(lambda x: x))
weight_wrong_layer = deep(Bottleneck)
dense_wrong_layer = deep(lambda channels, *_: Gating(TwoGates(channels)))
dropout_active = deep(then(lambda: nn.Dropout(0.3)))
recurrent_lstm = deep(lstm)
recurrent_last_step = deep(LastStates)
recurrent_gru = deep(gru)
attention_mask_polarity = deep(lambda channels, *_: Attend(channels, 2, 3))
attention_heads = deep(lambda channels, *_: Attention(channels, 3))
attention_scale = deep(lambda channels, *_: Tokens(ByHandScaled(channels)))
embedding = text_hosted(embed)[1]

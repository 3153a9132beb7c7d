"""The networks that the faults are planted in, in torch: a shallow one, and a deep one of five blocks with branches."""

import torch
import torch.nn.functional as F  # noqa: N812
from drawn import drawn
from torch import nn


def tensor(name, shape, *moves):
    """Return what TensorFlow's file draws for this name, its axes in the order `moves`."""
    values = drawn(name, shape)
    return torch.from_numpy((values.transpose(moves) if moves else values).copy())


def conv_kernel(name, module):
    """Return a convolution's weight out of (height, width, in, out)."""
    out, inner, *kernel = module.weight.shape
    spatial = tuple(range(len(kernel)))
    if isinstance(module, nn.modules.conv._ConvTransposeNd):  # (height, width, out, in)
        return tensor(name, (*kernel, inner, out), len(kernel) + 1, len(kernel), *spatial)
    if module.groups == module.in_channels > 1:  # (height, width, channel, multiple)
        multiple = out // module.groups
        moved = tensor(name, (*kernel, module.groups, multiple), len(kernel), len(kernel) + 1, *spatial)
        return moved.reshape(module.weight.shape)
    return tensor(name, (*kernel, inner, out), len(kernel) + 1, len(kernel), *spatial)


def lstm_weights(name, size, inner):
    """Return the weights of an LSTM: both frameworks order the gates i, f, g, o."""
    return {
        "weight_ih_l0": tensor(f"{name}/lstm_cell/kernel", (inner, 4 * size), 1, 0),
        "weight_hh_l0": tensor(f"{name}/lstm_cell/recurrent_kernel", (size, 4 * size), 1, 0),
        "bias_ih_l0": tensor(f"{name}/lstm_cell/bias", (4 * size,)),
        "bias_hh_l0": torch.zeros(4 * size),
    }


def gru_weights(name, size, inner):
    """Return the weights of a GRU, z, r, h put into the order r, z, n."""

    def ordered(weight):
        z, r, n = weight.chunk(3)
        return torch.cat([r, z, n])

    bias = tensor(f"{name}/gru_cell/bias", (2, 3 * size))
    return {
        "weight_ih_l0": ordered(tensor(f"{name}/gru_cell/kernel", (inner, 3 * size), 1, 0)),
        "weight_hh_l0": ordered(tensor(f"{name}/gru_cell/recurrent_kernel", (size, 3 * size), 1, 0)),
        "bias_ih_l0": ordered(bias[0]),
        "bias_hh_l0": ordered(bias[1]),
    }


def attention_weights(name, size, heads):
    """Return the weights of an attention layer; q, k and v stacked in one matrix."""
    each = size // heads
    kernels = [tensor(f"{name}/{part}/kernel", (size, heads, each)) for part in ("query", "key", "value")]
    biases = [tensor(f"{name}/{part}/bias", (heads, each)) for part in ("query", "key", "value")]
    return {
        "in_proj_weight": torch.cat([kernel.reshape(size, size).T for kernel in kernels]),
        "in_proj_bias": torch.cat([bias.reshape(size) for bias in biases]),
        "out_proj.weight": tensor(f"{name}/attention_output/kernel", (heads, each, size)).reshape(size, size).T,
        "out_proj.bias": tensor(f"{name}/attention_output/bias", (size,)),
    }


def weights_of(name, module):
    """Return what a module of one of the common classes should hold, by the names of its own weights."""
    if isinstance(module, nn.modules.conv._ConvNd):
        found = {"weight": conv_kernel(f"{name}/kernel", module)}
    elif isinstance(module, nn.Linear):
        found = {"weight": tensor(f"{name}/kernel", tuple(reversed(module.weight.shape)), 1, 0)}
    elif isinstance(module, nn.Embedding):
        return {"weight": tensor(f"{name}/embeddings", tuple(module.weight.shape))}
    elif isinstance(module, nn.LSTM):
        return lstm_weights(name, module.hidden_size, module.input_size)
    elif isinstance(module, nn.GRU):
        return gru_weights(name, module.hidden_size, module.input_size)
    elif isinstance(module, nn.PReLU):
        return {"weight": tensor(f"{name}/alpha", tuple(module.weight.shape))}
    elif isinstance(module, (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)):
        found = {}
        if module.weight is not None:
            found["weight"] = tensor(f"{name}/gamma", tuple(module.weight.shape))
            found["bias"] = tensor(f"{name}/beta", tuple(module.bias.shape))
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            found["running_mean"] = tensor(f"{name}/moving_mean", tuple(module.running_mean.shape))
            found["running_var"] = tensor(f"{name}/moving_variance", tuple(module.running_var.shape))
        return found
    else:
        return {}
    if module.bias is not None:
        found["bias"] = tensor(f"{name}/bias", tuple(module.bias.shape))
    return found


def fill(network):
    """Give every weight the values drawn for its name, with `_` for the dots of a path."""
    done = set()
    for path, module in network.named_modules():
        if any(path.startswith(f"{other}.") for other in done):
            continue
        name = path.replace(".", "_")
        if isinstance(module, nn.MultiheadAttention):
            found = attention_weights(name, module.embed_dim, module.num_heads)
            done.add(path)
        else:
            found = weights_of(name, module)
        if found:
            module.load_state_dict(found, strict=False)
    return network.eval()


class Shallow(nn.Module):
    """Conv, the slot, conv, mean, dense."""

    def __init__(self, slot):
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3)
        self.slot = slot(6, 19, 16)
        self.second = nn.Conv2d(getattr(self.slot, "made", 6), 5, (2, 3))
        self.last = nn.Linear(5, 4)

    def forward(self, x):
        x = self.slot(F.relu(self.first(x)))
        return self.last(self.second(x).mean((2, 3)))


class Normed(nn.Sequential):
    """Convolution and batch normalisation."""

    def __init__(self, before, after, kernel, stride=1, padding=0):
        super().__init__()
        self.add_module("conv", nn.Conv2d(before, after, kernel, stride, padding, bias=False))
        self.add_module("bn", nn.BatchNorm2d(after))


class Deep(nn.Module):
    """Five blocks; the third one holds the slot on its longer branch."""

    def __init__(self, slot, stride=1):
        super().__init__()
        self.stem = Normed(3, 8, 3)
        self.one_a = Normed(8, 8, 3, padding=1)
        self.one_b = Normed(8, 8, 3, padding=1)
        self.two_a = Normed(8, 12, 3, stride=2, padding=1)
        self.two_b = Normed(12, 12, 3, padding=1)
        self.two_skip = Normed(8, 12, 1, stride=2)
        self.three_in = Normed(12, 12, 1)
        self.slot = slot(12, 16, 14)
        self.three_out = Normed(getattr(self.slot, "made", 12), 12, 1)
        self.three_skip = nn.Conv2d(12, 12, 1, stride) if stride != 1 else nn.Identity()
        self.four_conv = nn.Conv2d(12, 6, 3, padding=1)
        self.five_left = nn.Conv2d(18, 7, 1)
        self.five_right = nn.Conv2d(18, 9, 3, padding=1)
        self.head = nn.Linear(16, 5)

    def forward(self, x):
        x = F.relu(self.stem(x))
        x = F.relu(x + self.one_b(F.relu(self.one_a(x))))
        x = F.relu(self.two_b(F.relu(self.two_a(x))) + self.two_skip(x))
        y = self.three_out(self.slot(F.relu(self.three_in(x))))
        x = F.relu(self.three_skip(x) + y)
        x = torch.cat([x, F.relu(self.four_conv(x))], dim=1)
        x = torch.cat([F.relu(self.five_left(x)), F.relu(self.five_right(x))], dim=1)
        return self.head(x.mean((2, 3)))


def hosted(slot, stride=1, spoil=None):
    """Return two builders: the shallow network with this slot, and the deep one; `spoil` then changes its weights."""

    def spoilt(network):
        if spoil is not None:
            with torch.no_grad():
                spoil(network)
        return network

    def in_shallow():
        return spoilt(fill(Shallow(slot)))

    def in_deep():
        return spoilt(fill(Deep(slot, stride)))

    return in_shallow, in_deep


class Gating(nn.Module):
    """What the inner module makes of the mean of every channel is what the channel is multiplied by."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return x * self.inner(x.mean((2, 3)))[:, :, None, None]


class Tokens(nn.Module):
    """The inner module sees the map as a row of tokens."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        batch, channels, height, width = x.shape
        x = self.inner(x.flatten(2).transpose(1, 2))
        return x.transpose(1, 2).reshape(batch, channels, height, width)


class TextShallow(nn.Module):
    """Embedding, mean, dense."""

    def __init__(self, embed):
        super().__init__()
        self.embed = embed()
        self.last = nn.Linear(8, 4)

    def forward(self, ids):
        return self.last(self.embed(ids).mean(1))


class TextDeep(nn.Module):
    """Four blocks over tokens: two readings of the text, residual convolutions, a gate."""

    def __init__(self, embed):
        super().__init__()
        self.embed = embed()
        self.other = nn.Embedding(20, 8)
        self.joined_norm = nn.LayerNorm(8)
        for block in ("one", "two", "three"):
            self.add_module(f"{block}_wide", nn.Conv1d(8, 12, 3, padding=1))
            self.add_module(f"{block}_back", nn.Conv1d(12, 8, 1))
            self.add_module(f"{block}_norm", nn.LayerNorm(8))
        self.gate = nn.Linear(8, 8)
        self.right = nn.Linear(8, 6)
        self.hidden = nn.Linear(14, 9)
        self.head = nn.Linear(9, 4)

    def block(self, name, x):
        wide, back, norm = (getattr(self, f"{name}_{part}") for part in ("wide", "back", "norm"))
        y = back(F.relu(wide(x.transpose(1, 2)))).transpose(1, 2)
        return norm(x + y)

    def forward(self, ids):
        x = self.joined_norm(self.embed(ids) + self.other(ids))
        for name in ("one", "two", "three"):
            x = self.block(name, x)
        left = x.mean(1) * torch.sigmoid(self.gate(x.mean(1)))
        right = torch.tanh(self.right(x.amax(1)))
        return self.head(F.relu(self.hidden(torch.cat([left, right], dim=1))))


def text_hosted(embed, spoil=None):
    """Return two builders: the shallow text network and the deep one with this embedding."""

    def spoilt(network):
        if spoil is not None:
            with torch.no_grad():
                spoil(network)
        return network

    def in_shallow():
        return spoilt(fill(TextShallow(embed)))

    def in_deep():
        return spoilt(fill(TextDeep(embed)))

    return in_shallow, in_deep

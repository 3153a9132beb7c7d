"""Recurrence, attention and embeddings, in torch with one fault each."""

import torch
import torch.nn.functional as F  # noqa: N812
from hosts_torch import Tokens, hosted, text_hosted
from torch import nn


class Outputs(nn.Module):
    """A recurrent layer sees the mean of every row; what it makes is added to the whole row."""

    def __init__(self, layer):
        super().__init__()
        self.inner = layer

    def forward(self, x):
        made, _ = self.inner(x.mean(3).transpose(1, 2))
        return x + made.transpose(1, 2).unsqueeze(3)


def lstm(channels, *_):
    return Outputs(nn.LSTM(channels, channels, batch_first=True))


def gru(channels, *_):
    return Outputs(nn.GRU(channels, channels, batch_first=True))


class BothEnds(nn.Module):
    """Takes the last step of a sequence, where the backward direction has read one step alone."""

    def __init__(self, channels, *_):
        super().__init__()
        self.inner = nn.GRU(channels, channels // 2, batch_first=True, bidirectional=True)

    def forward(self, x):
        return x + self.taken(*self.inner(x.mean(3).transpose(1, 2)))[:, :, None, None]

    def taken(self, sequence, states):  # noqa: ARG002
        return sequence[:, -1]


class Attention(nn.Module):
    """Attention of the tokens to each other, perhaps with a mask."""

    def __init__(self, channels, heads, reach=None):
        super().__init__()
        self.inner = nn.MultiheadAttention(channels, heads, batch_first=True)
        self.reach = reach

    def forward(self, x):
        batch, channels, height, width = x.shape
        s = x.flatten(2).transpose(1, 2)
        mask = None
        if self.reach is not None:
            places = torch.arange(s.shape[1], device=x.device)
            mask = (places[:, None] - places[None, :]).abs() <= self.reach
        made, _ = self.inner(s, s, s, attn_mask=mask, need_weights=False)
        return made.transpose(1, 2).reshape(batch, channels, height, width)


class ByHand(nn.Module):
    """Attention spelled out, scaled by the whole width and not by that of a head."""

    def __init__(self, channels, heads=3):
        super().__init__()
        self.query = nn.Linear(channels, channels)
        self.key = nn.Linear(channels, channels)
        self.value = nn.Linear(channels, channels)
        self.attention_output = nn.Linear(channels, channels)
        self.heads = heads

    def forward(self, s):
        batch, length, width = s.shape
        q, k, v = (
            part(s).reshape(batch, length, self.heads, width // self.heads).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        scores = q @ k.transpose(-2, -1) / width**0.5
        made = (F.softmax(scores, dim=-1) @ v).transpose(1, 2).reshape(batch, length, width)
        return self.attention_output(made)


class OffByOne(nn.Module):
    """The first id is taken for the second row."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(20, 8)

    def forward(self, ids):
        return self.table((ids + 1).clamp(max=19))


def padded():
    return nn.Embedding(20, 8, padding_idx=0)


def output_gate_before_cell(network):
    """Put the gates into the order i, f, o, g."""
    for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"):
        weight = getattr(network.slot.inner, name)
        i, f, g, o = weight.chunk(4)
        weight.copy_(torch.cat([i, f, o, g]))


def update_gate_first(network):
    """Leave the gates in the order z, r, n of Keras."""
    for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"):
        weight = getattr(network.slot.inner, name)
        r, z, n = weight.chunk(3)
        weight.copy_(torch.cat([z, r, n]))


def bias_twice(network):
    network.slot.inner.bias_hh_l0.copy_(network.slot.inner.bias_ih_l0)


def empty_padding(network):
    network.embed.weight[0] = 0


lstm_gate_order_shallow, lstm_gate_order_deep = hosted(lstm, spoil=output_gate_before_cell)
gru_gate_order_shallow, gru_gate_order_deep = hosted(gru, spoil=update_gate_first)
recurrent_last_step_shallow, recurrent_last_step_deep = hosted(BothEnds)
gru_reset_after_shallow, gru_reset_after_deep = hosted(gru)
bias_doubled_shallow, bias_doubled_deep = hosted(lstm, spoil=bias_twice)
attention_mask_polarity_shallow, attention_mask_polarity_deep = hosted(lambda channels, *_: Attention(channels, 2, 3))
attention_heads_shallow, attention_heads_deep = hosted(lambda channels, *_: Attention(channels, 2))
attention_scale_shallow, attention_scale_deep = hosted(lambda channels, *_: Tokens(ByHand(channels)))
embedding_offset_shallow, embedding_offset_deep = text_hosted(OffByOne)
embedding_padding_index_shallow, embedding_padding_index_deep = text_hosted(padded, spoil=empty_padding)

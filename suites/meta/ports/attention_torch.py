"""Attention and transformers, in torch."""

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn


class Attention(nn.Module):
    """torch's own attention; `mask` says which places are hidden."""

    def __init__(self, mask=None):
        super().__init__()
        self.attention = nn.MultiheadAttention(12, 3, batch_first=True)
        self.mask = mask

    def forward(self, x, memory=None):
        memory = x if memory is None else memory
        return self.attention(x, memory, memory, attn_mask=self.mask, need_weights=False)[0]


def self_attention():
    return Attention()


class WithWeights(Attention):
    """Asks for the weights too, which takes another way through torch."""

    def forward(self, x, memory=None):
        assert memory is None
        made, _ = self.attention(x, x, x)
        return made


def self_attention_with_weights():
    return WithWeights()


def cross_attention():
    return Attention()


def cross_attention_by_hand():
    return Attention()


class OneHead(Attention):
    """The same with a single head."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(12, 1, batch_first=True)


def cross_attention_of_one_head():
    return OneHead()


def causal_attention():
    return Attention(torch.triu(torch.ones(7, 7, dtype=torch.bool), diagonal=1))


def causal_attention_added():
    """Return the one whose mask is added: minus infinity where it must not look."""
    return Attention(nn.Transformer.generate_square_subsequent_mask(7))


def masked_attention():
    places = torch.arange(7)
    return Attention((places[:, None] - places[None, :]).abs() > 2)


class ByHand(nn.Module):
    """Attention with linear layers, spelled out."""

    def __init__(self, width=12, heads=3):
        super().__init__()
        self.q = nn.Linear(width, width)
        self.k = nn.Linear(width, width)
        self.v = nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        self.heads = heads

    def split(self, x):
        batch, length, width = x.shape
        return x.view(batch, length, self.heads, width // self.heads).transpose(1, 2)

    def forward(self, x):
        q, k, v = self.split(self.q(x)), self.split(self.k(x)), self.split(self.v(x))
        scores = torch.matmul(q, k.transpose(-2, -1)) / math.sqrt(q.shape[-1])
        made = torch.matmul(torch.softmax(scores, dim=-1), v)
        return self.out(made.transpose(1, 2).contiguous().view(x.shape))


def self_attention_by_hand():
    return ByHand()


def self_attention_of_two_heads():
    return ByHand(heads=2)


class EverySoMany(ByHand):
    """The same whose heads take every third of the numbers each."""

    def split(self, x):
        batch, length, width = x.shape
        return x.view(batch, length, width // self.heads, self.heads).permute(0, 3, 1, 2)


def self_attention_every_so_many():
    return EverySoMany()


class CausalByHand(ByHand):
    """The same with torch's fused function, which looks at nothing that comes later."""

    def forward(self, x):
        heads = [self.split(layer(x)) for layer in (self.q, self.k, self.v)]
        made = F.scaled_dot_product_attention(*heads, is_causal=True)
        return self.out(made.transpose(1, 2).reshape(x.shape))


def causal_attention_by_hand():
    return CausalByHand()


class Stacked(nn.Module):
    """q, k and v out of one linear layer, and torch's fused function."""

    def __init__(self, width=12, heads=3, causal=False):
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.heads = heads
        self.causal = causal

    def forward(self, x):
        batch, length, width = x.shape
        q, k, v = self.qkv(x).reshape(batch, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        made = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.proj(made.transpose(1, 2).reshape(batch, length, width))


def self_attention_stacked():
    return Stacked()


def self_attention_stacked_of_two_heads():
    return Unbound(heads=2)


class Unbound(Stacked):
    """The same with its products written out."""

    def forward(self, x):
        batch, length, width = x.shape
        q, k, v = self.qkv(x).reshape(batch, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        shares = torch.softmax(q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5, dim=-1)
        return self.proj((shares @ v).transpose(1, 2).reshape(batch, length, width))


class QueriesScaled(Stacked):
    """The same with its products written out; the queries are scaled, not the scores."""

    def forward(self, x):
        batch, length, width = x.shape
        q, k, v = self.qkv(x).reshape(batch, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        shares = torch.softmax((q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1), dim=-1)
        return self.proj((shares @ v).transpose(1, 2).reshape(batch, length, width))


def causal_attention_stacked():
    return Stacked(causal=True)


def encoder():
    return nn.Sequential(*(nn.TransformerEncoderLayer(12, 3, 20, dropout=0.0, batch_first=True) for _ in range(2)))


def encoder_stack():
    layer = nn.TransformerEncoderLayer(12, 3, 20, dropout=0.1, batch_first=True)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


def pre_norm_encoder():
    layer = nn.TransformerEncoderLayer(12, 3, 20, activation="gelu", batch_first=True, norm_first=True)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


class Block(nn.Module):
    """One block by hand, norms first."""

    def __init__(self, attention=Stacked):
        super().__init__()
        self.norm1 = nn.LayerNorm(12)
        self.attn = attention()
        self.norm2 = nn.LayerNorm(12)
        self.mlp = nn.Sequential(nn.Linear(12, 20), nn.GELU(), nn.Dropout(0.1), nn.Linear(20, 12))

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


def pre_norm_encoder_by_hand():
    return nn.Sequential(Block(ByHand), Block(ByHand))


def pre_norm_encoder_stacked():
    return nn.Sequential(Block(), Block())


def pre_norm_encoder_queries_scaled():
    return nn.Sequential(Block(QueriesScaled), Block(QueriesScaled))


def pre_norm_encoder_queries_scaled_behind_another_eps():
    blocks = pre_norm_encoder_queries_scaled()
    blocks[0].norm1.eps = 1e-3
    return blocks


class VisionTransformer(nn.Module):
    """As timm writes it."""

    def __init__(self):
        super().__init__()
        self.cls_token = nn.Parameter(torch.randn(1, 1, 12) * 0.02)
        self.pos_embed = nn.Parameter(torch.randn(1, 13, 12) * 0.02)
        self.patch_embed = nn.Conv2d(3, 12, 4, stride=4)
        self.blocks = nn.Sequential(Block(Attention), Block(Attention))
        self.norm = nn.LayerNorm(12)
        self.head = nn.Linear(12, 5)

    def forward(self, image):
        x = self.patch_embed(image).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1) + self.pos_embed
        return self.head(self.norm(self.blocks(x))[:, 0])


def vision_transformer():
    return VisionTransformer()


class LanguageModel(nn.Module):
    """One causal block."""

    def __init__(self):
        super().__init__()
        self.wte = nn.Embedding(30, 12)
        self.wpe = nn.Embedding(7, 12)
        self.ln_1 = nn.LayerNorm(12)
        self.attn = Stacked(causal=True)
        self.ln_2 = nn.LayerNorm(12)
        self.c_fc = nn.Linear(12, 20)
        self.c_proj = nn.Linear(20, 12)
        self.lm_head = nn.Linear(12, 30, bias=False)

    def forward(self, ids):
        x = self.wte(ids) + self.wpe(torch.arange(ids.shape[1], device=ids.device))
        x = x + self.attn(self.ln_1(x))
        x = x + self.c_proj(F.gelu(self.c_fc(self.ln_2(x)), approximate="tanh"))
        return self.lm_head(x)


def language_model():
    return LanguageModel()


class PlainDotProduct(nn.Module):
    """Attention of one head that is not scaled."""

    def __init__(self):
        super().__init__()
        self.q = nn.Linear(6, 6)
        self.k = nn.Linear(6, 6)
        self.v = nn.Linear(6, 6)
        self.out = nn.Linear(6, 3)

    def forward(self, x):
        scores = torch.einsum("bqc,bkc->bqk", self.q(x), self.k(x))
        return self.out(torch.bmm(scores.softmax(-1), self.v(x)))


def plain_dot_product():
    return PlainDotProduct()


class FusedHeads(nn.Module):
    """Queries, keys and values in one product, and torch's fused attention, whose result lies with its heads last."""

    def __init__(self):
        super().__init__()
        self.qkv, self.out = nn.Linear(12, 36), nn.Linear(12, 12)

    def forward(self, x):
        count, places, width = x.size()
        heads = [part.view(count, places, 3, 4).transpose(1, 2) for part in self.qkv(x).split(width, dim=2)]
        made = F.scaled_dot_product_attention(*heads, is_causal=True)
        return self.out(made.transpose(1, 2).contiguous().view(count, places, width))


def causal_attention_in_one_product():
    return FusedHeads()

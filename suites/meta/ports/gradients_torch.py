"""Ports of a small classifier that are right forwards alone, and functions with gradients of their own."""

import torch
from torch import nn


class Classifier(nn.Module):
    """Trains its last layer, and nothing before it."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3)
        self.head = nn.Linear(7 * 6 * 5, 4)

    def forward(self, x):
        return self.head(self.conv(x).detach().relu().flatten(1))


def cut_off():
    return Classifier()


class Against(torch.autograd.Function):
    """Turns a gradient round."""

    @staticmethod
    def forward(_ctx, x):
        return x.view_as(x)

    @staticmethod
    def backward(_ctx, gradient):
        return -gradient


class Binary(torch.autograd.Function):
    """The sign, with the gradient of a line between -1 and 1."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.sign()

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return torch.where(x.abs() <= 1.0, gradient, 0.0)


class Product(torch.autograd.Function):
    """A linear layer that writes its gradients out."""

    @staticmethod
    def forward(ctx, x, weight, bias):
        ctx.save_for_backward(x, weight)
        return x @ weight.T + bias

    @staticmethod
    def backward(ctx, gradient):
        x, weight = ctx.saved_tensors
        return gradient @ weight, gradient.T @ x, gradient.sum(0)


turned_round = Against.apply


class TwiceProduct(Product):
    """Gives its weight twice the gradient."""

    @staticmethod
    def backward(ctx, gradient):
        to_input, to_weight, to_bias = Product.backward(ctx, gradient)
        return to_input, 2.0 * to_weight, to_bias


class Gated(nn.Module):
    """A layer of signs, and a gate whose gradient is turned round, or is not."""

    def __init__(self, around, product=Product):
        super().__init__()
        self.product = product
        self.first, self.gate, self.last = nn.Linear(12, 9), nn.Linear(9, 9), nn.Linear(9, 4)
        self.around = around

    def forward(self, x):
        x = Binary.apply(self.first(x))
        return self.last(x * self.around(torch.sigmoid(self.product.apply(x, self.gate.weight, self.gate.bias))))


def gated():
    return Gated(turned_round)


def gated_twice():
    return Gated(turned_round, TwiceProduct)


def gated_with_it():
    return Gated(lambda x: x)

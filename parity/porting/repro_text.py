"""The text around both halves of a reproduction script."""

from __future__ import annotations

CALL = '''\
def call(layer, weights, *given, **options):
    """Return what a Keras layer answers that holds these weights."""
    layer(*given, **options)  # makes its variables
    layer.set_weights(weights)
    return layer(*given, **options)
'''

CALL_AND_KEEP = '''\
KEPT = []


def call(layer, weights, *given, **options):
    """Return what a Keras layer answers that holds these weights, and keep it."""
    layer(*given, **options)  # makes its variables
    layer.set_weights(weights)
    KEPT.append((layer, weights))
    return layer(*given, **options)


def variable(values):
    """Return the variable of a layer that was given these values."""
    for layer, weights in KEPT:
        for found, weight in zip(layer.weights, weights):
            if weight is values:
                return found if isinstance(found, tf.Variable) else found.value
'''

GRADIENTS = '''

def gradient(tape, total, source):
    """Return TensorFlow's gradient; zeros where nothing depends on the source."""
    return tf.convert_to_tensor(tape.gradient(total, source, unconnected_gradients="zero"))


def backward(total, source):
    """Return PyTorch's gradient; zeros where nothing depends on the source."""
    if total.requires_grad:
        total.backward()
    return torch.zeros_like(source) if source.grad is None else source.grad

'''

ATTEND = '''

def attend(module, weights, *given, **options):
    """Return what an attention module answers that holds these weights."""
    return torch.func.functional_call(module, weights, given, {"need_weights": False, **options})[0]

'''

RECURRENT = '''

def recurrent(module, weights, x, *first):
    """Return the sequence and last states that a recurrent module answers with these weights, from first states on."""
    names = [name for name, _ in module.named_parameters()]
    given = (x, first if len(first) > 1 else first[0]) if first else (x,)
    y, last = torch.func.functional_call(module, dict(zip(names, weights, strict=True)), given)
    return apart((y, *last) if isinstance(last, tuple) else (y, last), module.bidirectional)

'''

APART = '''

def apart(results, both):
    """Return a sequence and its last states, those of each direction on their own."""
    y, *last = results
    return (y, *(state[way] for way in (0, 1) for state in last)) if both else (y, *last)

'''

UNPACKED = '''

def unpacked(x, sizes, order, length, goes_on):
    """Return packed sequences as padded ones; behind the end of each its last step goes on, or there are zeros."""
    steps, samples = torch.arange(length)[None], torch.arange(int(sizes[0]))[:, None]
    lengths = (sizes[None] > samples).sum(1, keepdim=True)
    place = (sizes.cumsum(0) - sizes)[torch.minimum(steps, lengths - 1)] + samples
    if not goes_on:
        place = torch.where(steps < lengths, place, len(x))
        x = torch.cat([x, x.new_zeros(1, *x.shape[1:])])
    return x[place if order is None else place[order]]

'''

PACKED = '''\
PACKED = """
{text}
"""
ARRAYS = dict(np.load(io.BytesIO(base64.b64decode(PACKED))))'''

HEAD = '''\
# {title}
{told}
#
# Written by `parity check --repro`; needs NumPy, PyTorch and TensorFlow alone. Exit status: 1 if the two differ by more
# than rounding, 0 if they do not.
import base64
import io
import os
import sys

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import torch  # before TensorFlow: in one process, the other way round may hang
import torch.nn.functional as F

import tensorflow as tf
{imports}

ROUNDING = {limit!r}  # the largest difference that rounding explains, as a fraction of the largest value


{called}

def tensor(array):
    return torch.from_numpy(np.array(array))

{helpers}
def in_tensorflow(a, dtype):
{tensorflow}


def in_torch(a, dtype):
{torch}


def to_tensorflow_order(a, b):
{order}
    return b


def difference(dtype):
    """Return the largest difference as a fraction of the largest value."""
    a = {{name: array.astype(dtype) if array.dtype.kind == "f" else array for name, array in ARRAYS.items()}}
    ours = in_tensorflow(a, dtype).numpy()
    theirs = to_tensorflow_order(a, in_torch(a, dtype).detach().numpy())
    if ours.shape != theirs.shape:
        print(f"{{dtype}}: TensorFlow's result has shape {{ours.shape}}, PyTorch's {{theirs.shape}}")
        return float("inf")
    same = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
    apart = np.abs(np.where(same, 0, ours) - np.where(same, 0, theirs))
    largest = max(np.abs(x[np.isfinite(x)]).max(initial=0) for x in (ours, theirs)) or 1
    found = float(np.nan_to_num(apart, nan=np.inf).max() / largest)
    print(f"{{dtype}}: largest difference {{found:.3g}} of the largest value")
    return found


def main():
    python, versions = sys.version.split()[0], (np.__version__, tf.__version__, keras.__version__, torch.__version__)
    print("Python {{}}, NumPy {{}}, TensorFlow {{}}, Keras {{}}, PyTorch {{}}".format(python, *versions))
    found = [difference(dtype) for dtype in {dtypes!r}]
    return int(not found[0] <= ROUNDING)


{arrays}

if __name__ == "__main__":
    sys.exit(main())
'''

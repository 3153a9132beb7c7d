"""Padding, strides, layouts: what a careless port gets wrong, in Keras as it should be."""

import tensorflow as tf
from hosts_tensorflow import gating, hosted
from keras import layers, ops


def flattened(x):
    """Return the map, each channel multiplied by what a Dense makes of the whole flattened map."""
    channels = x.shape[-1]
    gate = layers.Dense(channels, activation="sigmoid", name="slot_dense")(layers.Flatten(name="slot_flatten")(x))
    return layers.Multiply()([x, layers.Reshape((1, 1, channels))(gate)])


def square_conv(x):
    return layers.Conv2D(x.shape[-1], 3, padding="same", name="slot")(x)


def wide_depthwise(x):
    return layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, name="slot_wide")(x)


def strided(x):
    return layers.Conv2D(x.shape[-1], 3, strides=2, padding="same", name="slot")(x)


def pooled(x):
    return layers.MaxPooling2D(3, strides=2, padding="same", name="slot")(x)


def averaged(x):
    return layers.AveragePooling2D(3, strides=1, padding="same", name="slot")(x)


def enlarged(x):
    x = layers.Conv2DTranspose(x.shape[-1], 3, strides=2, padding="same", name="slot_up")(x)
    return layers.Conv2D(x.shape[-1], 2, strides=2, name="slot_down")(x)


def shuffled(x):
    channels = x.shape[-1]
    x = layers.Conv2D(4 * channels, 1, name="slot_more")(x)
    x = layers.Lambda(lambda t: tf.nn.depth_to_space(t, 2), name="slot_shuffle")(x)
    return layers.Conv2D(channels, 2, strides=2, name="slot_down")(x)


def dilated(x):
    return layers.Conv2D(x.shape[-1], 3, padding="same", dilation_rate=2, name="slot")(x)


def grouped(x):
    """Return two convolutions, the second one on two groups of channels."""
    x = layers.Conv2D(x.shape[-1], 3, padding="same", dilation_rate=(3, 1), name="slot_tall")(x)
    return layers.Conv2D(x.shape[-1], 3, padding="same", groups=2, name="slot_grouped")(x)


def smooth(x):
    x = layers.UpSampling2D(2, interpolation="bilinear", name="slot_resize")(x)
    return layers.Conv2D(x.shape[-1], 2, strides=2, name="slot_down")(x)


def nearest(x):
    """Return the map enlarged by no whole factor, then brought back to its size."""
    _, height, width, channels = x.shape
    x = layers.Resizing(height + 5, width + 3, interpolation="nearest", name="slot_resize")(x)
    return layers.Conv2D(channels, (6, 4), name="slot_down")(x)


def channel_softmax(x):
    return layers.Softmax(name="slot")(x)


def mirrored(x):
    x = ops.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
    return layers.Conv2D(x.shape[-1], 3, name="slot")(x)


def early_stride(x):
    x = layers.Conv2D(x.shape[-1], 1, strides=2, activation="relu", name="slot_a")(x)
    return layers.Conv2D(x.shape[-1], 3, padding="same", name="slot_b")(x)


def difference(x):
    y = layers.Conv2D(x.shape[-1], 3, padding="same", activation="relu", name="slot_conv")(x)
    return layers.Subtract(name="slot_minus")([x, y])


square_dense = gating(lambda v: layers.Dense(v.shape[-1], name="slot_inner")(v))

flatten_order_shallow, flatten_order_deep = hosted(flattened)
kernel_layout_shallow, kernel_layout_deep = hosted(square_conv)
dense_layout_shallow, dense_layout_deep = hosted(square_dense)
kernel_spatial_swap_shallow, kernel_spatial_swap_deep = hosted(square_conv)
kernel_flip_shallow, kernel_flip_deep = hosted(square_conv)
depthwise_channel_order_shallow, depthwise_channel_order_deep = hosted(wide_depthwise)
same_padding_stride_shallow, same_padding_stride_deep = hosted(strided, stride=2)
pool_padding_shallow, pool_padding_deep = hosted(pooled, stride=2)
avgpool_count_pad_shallow, avgpool_count_pad_deep = hosted(averaged)
conv_transpose_crop_shallow, conv_transpose_crop_deep = hosted(enlarged)
pixel_shuffle_order_shallow, pixel_shuffle_order_deep = hosted(shuffled)
dilation_shallow, dilation_deep = hosted(dilated)
tall_dilation_shallow, tall_dilation_deep = hosted(grouped)
resize_bilinear_shallow, resize_bilinear_deep = hosted(smooth)
resize_nearest_shallow, resize_nearest_deep = hosted(nearest)
axis_mismatch_shallow, axis_mismatch_deep = hosted(channel_softmax)
padding_mode_shallow, padding_mode_deep = hosted(mirrored)
stride_placement_shallow, stride_placement_deep = hosted(early_stride, stride=2)
operand_order_shallow, operand_order_deep = hosted(difference)

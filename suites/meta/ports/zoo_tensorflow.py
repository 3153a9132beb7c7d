"""Well-known networks as Keras ships them, freshly initialised."""

from keras import applications

SIZE = (64, 96, 3)


def vgg16():
    return applications.VGG16(weights=None)


def resnet50():
    return applications.ResNet50(weights=None, input_shape=SIZE)


def resnet152():
    """Return a big one, for images of the usual size: its check must stay within bounded memory."""
    return applications.ResNet152(weights=None)


def densenet121():
    return applications.DenseNet121(weights=None, input_shape=SIZE)


def mobilenet_v2():
    return applications.MobileNetV2(weights=None, input_shape=SIZE)


def efficientnet_b0():
    return applications.EfficientNetB0(weights=None, input_shape=SIZE)


def convnext_tiny():
    return applications.ConvNeXtTiny(weights=None, input_shape=SIZE)

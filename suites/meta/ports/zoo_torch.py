"""Well-known networks as torchvision ships them, freshly initialised."""

from torchvision import models


def vgg16():
    return models.vgg16()


def resnet50():
    return models.resnet50()


def resnet152():
    return models.resnet152()


def densenet121():
    return models.densenet121()


def mobilenet_v2():
    return models.mobilenet_v2()


def efficientnet_b0():
    return models.efficientnet_b0()


def convnext_tiny():
    return models.convnext_tiny()

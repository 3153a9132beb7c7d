"""keras.applications against torchvision.models, and everything in which they are known to differ.

Read in the sources of both (Keras 3.15.1, torchvision 0.29.2). All of Keras's networks end in a softmax, none of
torchvision's does.
"""

from __future__ import annotations

from collections.abc import Iterator

from suites.meta.ports.case import Case, Source

_SOFTMAX = Source(("predictions:softmax", "predictions"), ("-",), ("activation-missing",))


def _source(tensorflow: str, torch: str, *causes: str) -> Source:
    return Source((tensorflow,), (torch,), causes)


def _network(name: str, *sources: Source, inputs: str = "64x96x3") -> Case:
    return Case(
        name=f"zoo-{name}",
        tensorflow=f"zoo_tensorflow.py:{name}",
        torch=f"zoo_torch.py:{name}",
        inputs=(inputs,),
        verdict="different",
        sources=sources,
        heavy=True,
    )


def _resnet(*blocks_of_stages: int) -> Iterator[Source]:
    """Yield: every convolution has a bias; eps is 1.001e-5; a stage's first convolution strides, not its second."""
    yield _source("conv1_conv", "conv1", "bias-missing-or-doubled")
    yield _source("conv1_bn", "bn1", "batchnorm-eps")
    for stage, blocks in enumerate(blocks_of_stages, start=2):
        for block in range(1, blocks + 1):
            tensorflow, torch = f"conv{stage}_block{block}", f"layer{stage - 1}.{block - 1}"
            strided = stage > 2 and block == 1
            for part in (1, 2, 3):
                conv = (f"{tensorflow}_{part}_conv", f"{torch}.conv{part}")
                yield _source(*conv, "bias-missing-or-doubled")
                if strided and part < 3:
                    yield _source(*conv, "stride-placement")
                yield _source(f"{tensorflow}_{part}_bn", f"{torch}.bn{part}", "batchnorm-eps")
            if block == 1:
                yield _source(f"{tensorflow}_0_conv", f"{torch}.downsample.0", "bias-missing-or-doubled")
                yield _source(f"{tensorflow}_0_bn", f"{torch}.downsample.1", "batchnorm-eps")


def _densenet121() -> Iterator[Source]:
    """Yield: eps is 1.001e-5."""
    norms = [("conv1_bn", "norm0"), ("bn", "norm5")]
    norms += [(f"pool{stage}_bn", f"transition{stage - 1}.norm") for stage in (2, 3, 4)]
    for stage, blocks in enumerate((6, 12, 24, 16), start=2):
        for block in range(1, blocks + 1):
            layer = f"denseblock{stage - 1}.denselayer{block}"
            norms += [(f"conv{stage}_block{block}_{part}_bn", f"{layer}.norm{part + 1}") for part in (0, 1)]
    return (_source(tensorflow, f"features.{torch}", "batchnorm-eps") for tensorflow, torch in norms)


def _mobilenet_v2() -> Iterator[Source]:
    """Yield: eps is 1e-3; what strides pads the end only, as all sizes are even."""
    yield _source("Conv1", "features.0.0", "same-padding-stride")
    yield _source("bn_Conv1", "features.0.1", "batchnorm-eps")
    yield _source("expanded_conv_depthwise_BN", "features.1.conv.0.1", "batchnorm-eps")
    yield _source("expanded_conv_project_BN", "features.1.conv.2", "batchnorm-eps")
    for block in range(1, 17):
        tensorflow, torch = f"block_{block}", f"features.{block + 1}.conv"
        if block in (1, 3, 6, 13):
            yield _source(f"{tensorflow}_depthwise", f"{torch}.1.0", "same-padding-stride")
        yield _source(f"{tensorflow}_expand_BN", f"{torch}.0.1", "batchnorm-eps")
        yield _source(f"{tensorflow}_depthwise_BN", f"{torch}.1.1", "batchnorm-eps")
        yield _source(f"{tensorflow}_project_BN", f"{torch}.3", "batchnorm-eps")
    yield _source("Conv_1_bn", "features.18.1", "batchnorm-eps")


def _efficientnet_b0() -> Iterator[Source]:
    """Yield: bytes are rescaled inside; eps is 1e-3; what strides pads the end more, as all sizes are even."""
    yield Source(("rescaling*", "stem_conv"), ("features.0.0",), ("input-scale",))
    yield _source("stem_conv", "features.0.0", "same-padding-stride")
    yield _source("stem_bn", "features.0.1", "batchnorm-eps")
    for stage, repeats in enumerate((1, 2, 2, 3, 3, 4, 1), start=1):
        for repeat in range(repeats):
            tensorflow, torch = f"block{stage}{'abcd'[repeat]}", f"features.{stage}.{repeat}.block"
            first = 0 if stage == 1 else 1  # the first stage does not expand
            if first:
                yield _source(f"{tensorflow}_expand_bn", f"{torch}.0.1", "batchnorm-eps")
            if repeat == 0 and stage in (2, 3, 4, 6):
                yield _source(f"{tensorflow}_dwconv", f"{torch}.{first}.0", "same-padding-stride")
            yield _source(f"{tensorflow}_bn", f"{torch}.{first}.1", "batchnorm-eps")
            yield _source(f"{tensorflow}_project_bn", f"{torch}.{first + 2}.1", "batchnorm-eps")
    yield _source("top_bn", "features.8.1", "batchnorm-eps")


ZOO = (
    _network("vgg16", _SOFTMAX, inputs="224x224x3"),
    _network("resnet50", *_resnet(3, 4, 6, 3), _SOFTMAX),
    _network("resnet152", *_resnet(3, 8, 36, 3), _SOFTMAX, inputs="224x224x3"),
    _network("densenet121", *_densenet121(), _SOFTMAX),
    _network("mobilenet_v2", *_mobilenet_v2(), _SOFTMAX),
    _network("efficientnet_b0", *_efficientnet_b0(), _SOFTMAX),
    _network(
        "convnext_tiny",
        Source(("*prestem_normalization", "*stem_conv"), ("features.0.0",), ("input-scale",)),
        Source(("*head_dense*",), ("-",), ("activation-missing",)),
    ),
)

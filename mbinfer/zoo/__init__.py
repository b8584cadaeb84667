"""Known architectures as graphs, weights given or seeded random, and what they cost: one file a family."""

from __future__ import annotations

from .costs import Cost, count
from .deeplab import deeplab_v3
from .dscnn import ds_cnn, ds_cnn_stream
from .efficientnet import (
    efficientnet_b0,
    efficientnet_lite0,
    efficientnet_lite1,
    efficientnet_lite2,
    efficientnet_lite3,
    efficientnet_lite4,
)
from .mnasnet import mnasnet_b1
from .mobilenet1 import mobilenet_v1
from .mobilenet2 import mobilenet_v2
from .mobilenet3 import mobilenet_v3_large, mobilenet_v3_small
from .mobilenet4 import mobilenet_v4_conv_medium, mobilenet_v4_conv_small
from .resnet import resnet8, resnet18
from .shufflenet import shufflenet_v2
from .ssdlite import ssdlite_v2, ssdlite_v3

# What `mbinfer build` makes, by name.
ARCHITECTURES = {
    make.__name__: make
    for make in (
        mobilenet_v1,
        mobilenet_v2,
        mobilenet_v3_large,
        mobilenet_v3_small,
        mobilenet_v4_conv_small,
        mobilenet_v4_conv_medium,
        efficientnet_b0,
        efficientnet_lite0,
        efficientnet_lite1,
        efficientnet_lite2,
        efficientnet_lite3,
        efficientnet_lite4,
        mnasnet_b1,
        shufflenet_v2,
        resnet8,
        resnet18,
        ds_cnn,
        ds_cnn_stream,
        ssdlite_v2,
        ssdlite_v3,
        deeplab_v3,
    )
}

__all__ = [
    "ARCHITECTURES",
    "Cost",
    "count",
    "mobilenet_v1",
    "mobilenet_v2",
    "mobilenet_v3_large",
    "mobilenet_v3_small",
    "mobilenet_v4_conv_small",
    "mobilenet_v4_conv_medium",
    "efficientnet_b0",
    "efficientnet_lite0",
    "efficientnet_lite1",
    "efficientnet_lite2",
    "efficientnet_lite3",
    "efficientnet_lite4",
    "mnasnet_b1",
    "shufflenet_v2",
    "resnet8",
    "resnet18",
    "ds_cnn",
    "ds_cnn_stream",
    "ssdlite_v2",
    "ssdlite_v3",
    "deeplab_v3",
]

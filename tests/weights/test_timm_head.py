"""What timm's head gives: features for others to read, while the network goes on classifying."""

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from drnn.weights.timm_models import build

from .images import ramp

CALLS = 300


@pytest.mark.parametrize("name", ["dr_resnet_digits", "preresnet110_cifar", "dr_mobilenetv2"])
def test_the_classifier_reads_what_the_head_gives_before_it(name):
    made = build(name).eval()
    x = ramp(made.input_size if made.input_size[1] < 64 else (3, 64, 64))
    with torch.no_grad():
        features = made.forward_features(x)
        read = made.forward_head(features, pre_logits=True)
        assert features.shape[1] == made.num_features
        assert read.shape == (2, made.head_hidden_size)
        assert torch.equal(made.fc(read), made.forward_head(features))
        assert torch.equal(made.forward_head(features), made(x))


@pytest.mark.parametrize("name", ["dr_resnet_digits", "dr_mobilenetv2"])
def test_one_thread_embeds_while_another_classifies(name):
    made = build(name, num_classes=5).eval()
    with torch.no_grad():
        features = made.forward_features(ramp((3, 32, 32) if name == "dr_mobilenetv2" else (1, 8, 8)))

    def shapes(pre_logits):
        with torch.no_grad():
            return {tuple(made.forward_head(features, pre_logits=pre_logits).shape) for _ in range(CALLS)}

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(2) as threads:
            embedded, classified = threads.map(shapes, (True, False))
    finally:
        sys.setswitchinterval(interval)
    assert embedded == {(2, made.num_features)}
    assert classified == {(2, 5)}

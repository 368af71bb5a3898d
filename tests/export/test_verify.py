"""The comparison of a file with the network: it sees each output, and excuses no more than float32 must."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch

from drnn.core import gates_of
from drnn.costs import count_costs
from drnn.export import verify

from .small import SPEC, small_network


def answers_of(model):
    def answer(images, thresholds):
        verify.set_thresholds_by_block(model, thresholds)
        logits, record = model.forward_with_gates(images)
        macs = count_costs(model, tuple(images.shape[1:])).macs_per_image(record)
        return logits.detach().numpy(), verify.loops_per_block(model, record).numpy(), macs.numpy()

    return answer


def test_the_comparison_sees_each_output_in_each_state():
    model, twin = small_network(), small_network()
    assert verify.verify(model, answers_of(twin)).difference == 0
    for place, state in ((0, "own"), (1, "own"), (2, "own")):

        def spoilt(images, thresholds, place=place):
            parts = [part.copy() for part in answers_of(twin)(images, thresholds)]
            parts[place][-1] += 1
            return parts

        with pytest.raises(ValueError, match=f"{state} gates, batch 1"):
            verify.verify(model, spoilt)

    def deaf(images, thresholds):
        return answers_of(twin)(images, torch.zeros(1))

    with pytest.raises(ValueError, match="stop gates, batch 1"):
        verify.verify(model, deaf)


def test_a_file_of_any_size_is_compared_at_a_larger_and_a_smaller_size_too():
    model = small_network()
    sizes = set()

    def answer(images, thresholds, wrong=0):
        sizes.add(tuple(images.shape[2:]))
        logits, loops, macs = answers_of(deepcopy(model))(images, thresholds)
        return logits, loops, macs + wrong * (images.shape[2] > 8)

    def wrong(images, thresholds):
        return answer(images, thresholds, 1)

    assert verify.verify(model, wrong).images == 4 * sum(verify.BATCHES)
    with pytest.raises(ValueError, match="own gates, batch 2 of 3x17x13: 2 images differ"):
        verify.verify(model, wrong, any_size=True)
    verify.verify(model, answer, any_size=True)
    assert sizes == {(8, 8), (17, 13), (5, 3)}


def test_gates_that_answer_nearly_alike_excuse_nothing():
    torch.manual_seed(0)
    model = replace(SPEC, blocks=(2, 2), loops=(2, 2)).build().eval()
    model.name = "fresh"
    for gate in gates_of(model).values():
        torch.nn.init.zeros_(gate.scorer.fc2.weight)
    assert verify.verify(model, answers_of(deepcopy(model))).difference == 0

    def wrong_when_mixed(images, thresholds):
        logits, loops, macs = answers_of(deepcopy(model))(images, thresholds)
        known = len(set(thresholds.tolist())) == 1 and thresholds[0] in (0, torch.inf, -torch.inf)
        return (logits, loops, macs) if known else (logits + 777, loops + 99, macs - 1)

    with pytest.raises(ValueError, match="mixed gates, batch 1 of 3x8x8: 1 images differ from fresh"):
        verify.verify(model, wrong_when_mixed)


def test_an_image_on_a_tie_may_go_either_way_but_no_third():
    model, tied = small_network(), verify.varied_images(sum(verify.BATCHES), (3, 8, 8))[:1]
    verify.set_thresholds_by_block(model, first_margins(model, tied))

    def moved(by):
        return lambda images, thresholds: answers_of(deepcopy(model))(images, thresholds + by)

    for by in (-1e-6, 1e-6):
        assert verify.verify(model, moved(by)).difference < 1e-5
    own = verify.read_thresholds(model)

    def third(images, thresholds):
        logits, loops, macs = answers_of(deepcopy(model))(images, thresholds)
        if torch.equal(thresholds, own):
            loops[(images == tied).all((1, 2, 3)).numpy()] += 1
        return logits, loops, macs

    with pytest.raises(ValueError, match="own gates, batch 1 of 3x8x8: 1 images differ"):
        verify.verify(model, third)


def first_margins(model, images):
    seen = []
    (gate,) = gates_of(model).values()
    handle = gate.register_forward_hook(lambda _gate, _x, answer: seen.append(answer.margin))
    with torch.no_grad():
        model(images)
    handle.remove()
    return seen[0]


def test_mixed_thresholds_divide_the_images():
    model = small_network()
    images = verify.varied_images(42, (3, 8, 8))
    verify.set_thresholds_by_block(model, verify.mixed_thresholds(model, images))
    entered = model.forward_with_gates(images)[1].executed[:, 0].float().mean()
    assert 0.2 < entered < 0.8

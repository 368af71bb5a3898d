"""Moving rows equals plain indexing, gradients too, and keeps the memory format."""

import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from drnn.core.rows import Join, Part, close_ranks, put, ranks, take

from .small import images, make_block

FORMATS = st.sampled_from([torch.contiguous_format, torch.channels_last])


def batch(count, memory_format, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, 2, 4, generator=generator).to(memory_format=memory_format)


@settings(deadline=None)
@given(first=st.integers(0, 5), second=st.integers(0, 5), memory_format=FORMATS, seed=st.integers(0, 9))
def test_parted_and_joined_again_gives_the_same_images_and_gradients(first, second, memory_format, seed):
    count = first + second
    if count == 0:
        return
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    rows = order[:first], order[first:]
    x = batch(count, memory_format, seed).requires_grad_()
    parts = Part.apply(x, *rows)
    for part, where in zip(parts, rows, strict=True):
        assert torch.equal(part, x[where])
    joined = Join.apply(rows, parts[0] * 2, parts[1] * 3)
    expected = x * (2 + torch.isin(torch.arange(count), rows[1]))[:, None, None, None]
    assert torch.equal(joined, expected)
    weight = batch(count, memory_format, seed + 1)
    (got,) = torch.autograd.grad((joined * weight).sum(), x)
    (plain,) = torch.autograd.grad((expected * weight).sum(), x)
    torch.testing.assert_close(got, plain)


@settings(deadline=None)
@given(flags=st.lists(st.booleans(), min_size=1, max_size=9), memory_format=FORMATS, in_place=st.booleans())
def test_ranks_are_closed_by_as_few_moves_as_can_be(flags, memory_format, in_place):
    stays, count = torch.tensor(flags), sum(flags)
    going, leaving = ranks(stays, count)
    assert sorted(going.tolist()) == [row for row, flag in enumerate(flags) if flag]
    assert leaving.tolist() == [row for row, flag in enumerate(flags) if not flag]
    moved = sum(place != row for place, row in enumerate(going.tolist()))
    assert moved == sum(flags[count:])
    x = batch(len(flags), memory_format)
    before = x.clone()
    closed = close_ranks(x, going, in_place)
    assert torch.equal(closed, before[going])
    assert closed.is_contiguous(memory_format=memory_format)
    assert in_place or torch.equal(x, before)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_the_memory_format_is_kept(memory_format):
    x, rows = batch(6, memory_format).requires_grad_(), torch.tensor([4, 1])
    rest = torch.tensor([0, 2, 3, 5])
    first, second = Part.apply(x, rows, rest)
    joined = Join.apply((rows, rest), first, second)
    (gradient,) = torch.autograd.grad(joined, x, batch(6, memory_format))
    for moved in (take(x, rows), first, second, joined, gradient):
        assert moved.is_contiguous(memory_format=memory_format)


PUT = {
    "pieces of 16 bytes": (3, 2, 4, torch.float32),
    "half precision": (3, 2, 4, torch.float16),
    "no multiple of 16": (3, 1, 3, torch.float32),
    "large": (32, 32, 33, torch.float32),
}


@pytest.mark.parametrize("kind", PUT)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("other_layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("offset", [0, 1])
def test_put_writes_where_it_is_told(kind, layout, other_layout, offset):
    *size, dtype = PUT[kind]
    out = torch.randn(6, *size).to(dtype).to(memory_format=layout)
    new = torch.randn(3 + offset, *size).to(dtype).to(memory_format=other_layout)[offset:]
    places, rows, expected = torch.tensor([4, 1]), torch.tensor([2, 0]), out.clone()
    expected[places] = new[rows]
    put(out, places, new, rows)
    assert torch.equal(out, expected)
    expected[places] = new[:2]
    put(out, places, new[:2])
    assert torch.equal(out, expected)


def test_put_keeps_every_bit():
    bits = torch.randint(-(2**31), 2**31 - 1, (2, 4, 8, 8), dtype=torch.int32).view(torch.float32)
    out = torch.zeros(3, 4, 8, 8)
    put(out, torch.tensor([2, 0]), bits)
    assert torch.equal(out[[2, 0]].view(torch.int32), bits.view(torch.int32))


def test_put_writes_odd_strides_unaligned_memory_and_gradients():
    x, places = torch.randn(2, 3, 2, 4), torch.tensor([1, 2])
    unaligned = torch.randn(2 * 24 + 1)[1:].view(2, 3, 2, 4)
    for source in (x.transpose(2, 3).contiguous().transpose(2, 3), unaligned, x[:, :1].expand(2, 3, 2, 4)):
        out = torch.zeros(4, 3, 2, 4)
        put(out, places, source)
        assert torch.equal(out[1:3], source)
    out, x = torch.zeros(4, 3, 2, 4), x.requires_grad_()
    put(out, places, x)
    (gradient,) = torch.autograd.grad(out.square().sum(), x)
    torch.testing.assert_close(gradient, 2 * x)


def test_the_default_form_runs_under_compilers_and_functional_transforms():
    """Those know no addresses of memory; a compiler breaks its graph where a gate has to be asked."""
    block, x = make_block().float().eval(), images(6).float()
    with torch.no_grad():
        expected, record = block.forward_with_gates(x)
    assert 0 < record.executed[:, 0].sum() < 6
    torch._dynamo.reset()
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.testing.assert_close(torch.compile(block, backend="eager")(x), expected)
    y = x.clone().requires_grad_()
    block(y).square().sum().backward()
    torch.testing.assert_close(torch.func.grad(lambda z: block(z).square().sum())(x), y.grad)

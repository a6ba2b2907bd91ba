import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from triskele.model import next_token_loss

N_TOKENS, WIDTH, VOCAB = 23, 4, 40


def problem(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(N_TOKENS, WIDTH, generator=generator).to(dtype).requires_grad_()
    weight = torch.randn(VOCAB, WIDTH, generator=generator).to(dtype).requires_grad_()
    return x, weight, torch.randint(VOCAB, (N_TOKENS,), generator=generator)


def gradients(loss: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(3.0 * loss, inputs)


@pytest.mark.parametrize("slice_size", [1, VOCAB, 5 * VOCAB, 10_000, None])
def test_loss_and_gradients_are_those_of_whole_logits(slice_size: int | None) -> None:
    x, weight, targets = problem()
    whole = F.cross_entropy(x @ weight.T, targets)
    sliced = next_token_loss(x, weight, targets, slice_size=slice_size)
    torch.testing.assert_close(sliced, whole)
    for ours, theirs in zip(gradients(sliced, x, weight), gradients(whole, x, weight), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_loss_is_finite_where_the_right_id_is_hopeless() -> None:
    x, weight, targets = problem()
    loss = next_token_loss(1e4 * x, weight, targets)
    torch.testing.assert_close(loss, F.cross_entropy(1e4 * x @ weight.T, targets))
    assert loss.isfinite()


def test_memory_is_one_slice_not_the_batch() -> None:
    x, weight, targets = problem()
    largest = 0

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            nonlocal largest
            result = function(*args, **(kwargs or {}))
            if isinstance(result, Tensor) and result.shape[-1:] == (VOCAB,):
                largest = max(largest, result.numel())
            return result

    with Watch():
        next_token_loss(x, weight, targets, slice_size=5 * VOCAB)
    assert largest == 5 * VOCAB


def test_autocast_makes_products_in_its_precision_and_keeps_gradients_in_theirs() -> None:
    x, weight, targets = problem()
    with torch.autocast("cpu", torch.bfloat16):
        loss = next_token_loss(x, weight, targets, slice_size=5 * VOCAB)
    exact = next_token_loss(x.bfloat16().float(), weight.bfloat16().float(), targets)
    assert loss.dtype == torch.float32
    assert loss != exact
    assert loss.item() == pytest.approx(exact.item(), rel=1e-2)
    for ours, theirs in zip(
        gradients(loss, x, weight),
        gradients(next_token_loss(x, weight, targets), x, weight),
        strict=True,
    ):
        assert ours.dtype == torch.float32
        assert F.cosine_similarity(ours.flatten(), theirs.flatten(), dim=0) > 0.999


def test_bfloat16_weights_get_bfloat16_gradients() -> None:
    x, weight, targets = problem(torch.bfloat16)
    loss = next_token_loss(x, weight, targets)
    assert {g.dtype for g in gradients(loss, x, weight)} == {torch.bfloat16}


def test_a_frozen_head_still_passes_gradients_down_and_a_frozen_stack_to_the_head() -> None:
    x, weight, targets = problem()
    both = gradients(next_token_loss(x, weight, targets), x, weight)
    (to_x,) = gradients(next_token_loss(x, weight.detach(), targets), x)
    (to_weight,) = gradients(next_token_loss(x.detach(), weight, targets), weight)
    torch.testing.assert_close((to_x, to_weight), both)


def test_without_gradients_none_are_made() -> None:
    x, weight, targets = problem()
    with torch.no_grad():
        loss = next_token_loss(x, weight, targets)
    assert not loss.requires_grad
    torch.testing.assert_close(loss, F.cross_entropy(x @ weight.T, targets))


def test_rows_and_targets_must_match() -> None:
    x, weight, targets = problem()
    with pytest.raises(ValueError, match=r"one target for each row.*got \(22,\) for \(23, 4\)"):
        next_token_loss(x, weight, targets[:-1])
    with pytest.raises(ValueError, match="at least one"):
        next_token_loss(x[:0], weight, targets[:0])

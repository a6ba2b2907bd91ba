import pytest
import torch

from triskele.model.config import RopeScaling
from triskele.model.rotary import Rotation, rotate, rotation

HEAD_DIM, THETA = 16, 10_000.0


def turn(positions: list[int]) -> Rotation:
    return rotation(torch.tensor(positions), HEAD_DIM, theta=THETA)


def test_scores_depend_on_distance_alone() -> None:
    q, k = torch.randn(2, 1, 1, 1, HEAD_DIM, generator=torch.Generator().manual_seed(0))

    def score(query_at: int, key_at: int) -> float:
        return float((rotate(q, turn([query_at])) * rotate(k, turn([key_at]))).sum())

    for shift in (1, 17, 400):
        assert score(9 + shift, 2 + shift) == pytest.approx(score(9, 2), abs=1e-4)
    assert score(9, 3) != pytest.approx(score(9, 2), abs=1e-2)


def test_position_zero_is_left_as_it_was_and_lengths_never_change() -> None:
    x = torch.randn(2, 3, 5, HEAD_DIM)
    turned = rotate(x, turn([0, 1, 2, 3, 4]))
    torch.testing.assert_close(turned[:, :, 0], x[:, :, 0], rtol=0, atol=0)
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))


def test_channel_i_turns_together_with_channel_i_plus_half_by_its_own_frequency() -> None:
    for i in range(HEAD_DIM // 2):
        x = torch.zeros(1, 1, 1, HEAD_DIM)
        x[..., i] = 1.0
        angle = torch.tensor(5 * THETA ** (-2 * i / HEAD_DIM))
        expected = torch.zeros(HEAD_DIM)
        expected[i], expected[i + HEAD_DIM // 2] = angle.cos(), angle.sin()
        torch.testing.assert_close(rotate(x, turn([5]))[0, 0, 0], expected)


def test_each_sequence_may_have_positions_of_its_own() -> None:
    x = torch.randn(2, 3, 4, HEAD_DIM)
    positions = torch.tensor([[0, 1, 2, 3], [7, 8, 9, 10]])
    together = rotate(x, rotation(positions, HEAD_DIM, theta=THETA))
    for i in range(2):
        torch.testing.assert_close(
            together[i], rotate(x[i : i + 1], turn(positions[i].tolist()))[0]
        )


def test_the_stretch_divides_slow_frequencies_and_keeps_fast_ones() -> None:
    scaling = RopeScaling(8.0, 1.0, 4.0, 8192)
    one = torch.tensor([1])
    plain = rotation(one, 128, theta=5e5).sin.asin()[0]
    stretched = rotation(one, 128, theta=5e5, scaling=scaling).sin.asin()[0]
    wavelength = 2 * torch.pi / plain
    fast, slow = wavelength < 8192 / 4, wavelength > 8192
    torch.testing.assert_close(stretched[fast], plain[fast])
    torch.testing.assert_close(stretched[slow], plain[slow] / 8)
    between = stretched[~fast & ~slow] / plain[~fast & ~slow]
    assert ((between > 1 / 8) & (between < 1)).all()


def test_angles_are_exact_in_float32_whatever_the_result_is_rounded_to() -> None:
    positions = torch.tensor([1001])
    rounded = rotation(positions, HEAD_DIM, theta=THETA, dtype=torch.bfloat16).cos
    exact = rotation(positions, HEAD_DIM, theta=THETA).cos
    torch.testing.assert_close(rounded, exact.bfloat16(), rtol=0, atol=0)

import pytest
import torch

from triskele.optim.matrices import MatrixView, chunks, lr_ratio, shape_matrices


def polar(batch: torch.Tensor) -> torch.Tensor:
    u, _, vh = torch.linalg.svd(batch, full_matrices=False)
    return u @ vh


def shaped(tensors: list[torch.Tensor], view: MatrixView | None = None) -> list[torch.Tensor]:
    return shape_matrices(tensors, view=view or MatrixView(), adjust_lr="none", shaper=polar)


def test_tall_and_wide_matrices_of_one_size_share_one_batch() -> None:
    sizes: list[tuple[int, ...]] = []

    def spy(batch: torch.Tensor) -> torch.Tensor:
        sizes.append(tuple(batch.shape))
        return batch

    tensors = [torch.randn(4, 6), torch.randn(6, 4), torch.randn(4, 6), torch.randn(5, 5)]
    results = shape_matrices(tensors, view=MatrixView(), adjust_lr="none", shaper=spy)
    assert sorted(sizes) == [(1, 5, 5), (3, 4, 6)]
    assert all(torch.equal(a, b) for a, b in zip(tensors, results, strict=True))


def test_stacking_does_not_mix_matrices() -> None:
    tensors = [torch.randn(4, 6), torch.randn(6, 4), torch.randn(4, 6)]
    together = shaped(tensors)
    for tensor, result in zip(tensors, together, strict=True):
        torch.testing.assert_close(result, polar(tensor))


def test_a_convolution_is_one_matrix_of_its_output_channels() -> None:
    kernel = torch.randn(8, 3, 2, 2)
    (result,) = shaped([kernel], MatrixView(flatten=True))
    torch.testing.assert_close(result.flatten(1), polar(kernel.flatten(1)))


def test_channels_last_kernels_give_the_same_result() -> None:
    kernel = torch.randn(8, 3, 2, 2)
    (plain,) = shaped([kernel], MatrixView(flatten=True))
    (strided,) = shaped([kernel.to(memory_format=torch.channels_last)], MatrixView(flatten=True))
    torch.testing.assert_close(plain, strided)


def test_experts_are_shaped_one_by_one() -> None:
    experts = torch.randn(3, 6, 4)
    (result,) = shaped([experts])
    for one, expert in zip(result, experts, strict=True):
        torch.testing.assert_close(one, polar(expert))


def test_a_fused_projection_equals_separate_ones() -> None:
    q, k, v = torch.randn(8, 6), torch.randn(4, 6), torch.randn(4, 6)
    (fused,) = shaped([torch.cat([q, k, v])], MatrixView(split=(8, 4, 4)))
    torch.testing.assert_close(fused, torch.cat([polar(q), polar(k), polar(v)]))


def test_a_transposed_fused_projection_is_cut_along_its_columns() -> None:
    q, k, v = torch.randn(6, 6), torch.randn(6, 6), torch.randn(6, 6)
    stored = torch.cat([q, k, v]).mT.contiguous()
    (fused,) = shaped([stored], MatrixView(transposed=True, split=(6, 6, 6)))
    torch.testing.assert_close(fused.mT, torch.cat([polar(q), polar(k), polar(v)]))


def test_inputs_are_left_untouched() -> None:
    tensor = torch.randn(5, 3)
    before = tensor.clone()
    shape_matrices(
        [tensor], view=MatrixView(), adjust_lr="match_rms_adamw", shaper=lambda batch: batch * 2
    )
    assert torch.equal(tensor, before)


def test_empty_matrices_keep_their_shape() -> None:
    (result,) = shape_matrices(
        [torch.zeros(0, 4)], view=MatrixView(), adjust_lr="none", shaper=lambda batch: batch
    )
    assert result.shape == (0, 4)


@pytest.mark.parametrize(
    ("mode", "tall", "wide"),
    [("original", 2.0, 1.0), ("match_rms_adamw", 1.6, 1.6), ("spectral", 2.0, 0.5), ("none", 1, 1)],
)
def test_learning_rate_ratio_depends_on_orientation(mode: str, tall: float, wide: float) -> None:
    assert lr_ratio(64, 16, mode) == pytest.approx(tall)  # type: ignore[arg-type]
    assert lr_ratio(16, 64, mode) == pytest.approx(wide)  # type: ignore[arg-type]


def test_ratio_is_of_each_part_of_a_fused_projection() -> None:
    fused = torch.ones(12, 4)
    (result,) = shape_matrices(
        [fused], view=MatrixView(split=(8, 4)), adjust_lr="spectral", shaper=lambda batch: batch
    )
    assert torch.allclose(result[:8], torch.tensor(2.0**0.5))
    assert torch.equal(result[8:], torch.ones(4, 4))


def test_gains_multiply_the_parts_they_belong_to() -> None:
    fused = torch.ones(6, 4)
    view = MatrixView(split=(4, 2), gains=(3.0, 1.0))
    (result,) = shape_matrices([fused], view=view, adjust_lr="none", shaper=lambda batch: batch)
    assert torch.equal(result[:4], torch.full((4, 4), 3.0))
    assert torch.equal(result[4:], torch.ones(2, 4))
    with pytest.raises(ValueError, match="expected 2 gains"):
        MatrixView(split=(4, 2), gains=(3.0,)).of(fused)


def test_chunks_cover_every_tensor_once_within_the_bound() -> None:
    tensors = [torch.empty(n, 8) for n in (1, 9, 3, 9, 3, 40, 1)]
    runs = chunks(tensors, max_elements=100)
    assert sorted(i for run in runs for i in run) == list(range(7))
    for run in runs:
        assert len(run) == 1 or sum(tensors[i].numel() for i in run) <= 100


def test_vectors_and_wrong_splits_are_refused() -> None:
    with pytest.raises(ValueError, match=r"two or more dimensions, got shape \(3,\)"):
        MatrixView().of(torch.zeros(3))
    with pytest.raises(ValueError, match=r"split \(4, 4\) adds up to 8 rows.* has 6"):
        MatrixView(split=(4, 4)).of(torch.zeros(6, 2))
    with pytest.raises(ValueError, match="adjust_lr must be one of"):
        lr_ratio(1, 1, "moonshot")  # type: ignore[arg-type]

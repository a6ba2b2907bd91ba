import numpy as np
import pytest
from numpy.typing import NDArray
from tests.evaluate.planted import planted

from triskele.evaluate.clustering import landmarks
from triskele.evaluate.clustering.landmarks import WIDTH, Landmarks
from triskele.evaluate.inputs import directions


def queries(n: int = 60) -> NDArray[np.float64]:
    return directions(planted(n, n_features=8).embeddings, np.zeros(8))


def kernel(x: NDArray[np.float64], z: NDArray[np.float64], gamma: float) -> NDArray[np.float64]:
    return np.array([[np.exp(-gamma * ((a - b) ** 2).sum()) for b in z] for a in x])


def test_inner_products_are_the_kernel_at_the_landmarks() -> None:
    x = queries()
    fitted = Landmarks.fit(x, n_landmarks=20, rng=np.random.default_rng(0))
    points = fitted.points_LD
    features = fitted.transform(points) + fitted.mean_L
    np.testing.assert_allclose(
        features @ features.T, kernel(points, points, fitted.gamma), atol=1e-6
    )


def test_inner_products_with_a_landmark_are_the_kernel_everywhere() -> None:
    x = queries()
    fitted = Landmarks.fit(x, n_landmarks=20, rng=np.random.default_rng(0))
    everywhere = fitted.transform(x) + fitted.mean_L
    at_points = fitted.transform(fitted.points_LD) + fitted.mean_L
    np.testing.assert_allclose(
        everywhere @ at_points.T, kernel(x, fitted.points_LD, fitted.gamma), atol=1e-6
    )


def test_all_queries_as_landmarks_give_the_whole_kernel() -> None:
    x = queries(30)
    fitted = Landmarks.fit(x, n_landmarks=400, rng=np.random.default_rng(0))
    assert len(fitted.points_LD) == 30
    features = fitted.transform(x) + fitted.mean_L
    np.testing.assert_allclose(features @ features.T, kernel(x, x, fitted.gamma), atol=1e-5)


def test_the_kernel_is_as_wide_as_the_queries_are_apart() -> None:
    x = queries(40)
    fitted = Landmarks.fit(x, n_landmarks=5, rng=np.random.default_rng(0))
    squares = [((a - b) ** 2).sum() for a in x for b in x]
    assert fitted.gamma * float(np.mean(squares)) == pytest.approx(WIDTH)


def test_features_are_centered_on_the_queries_fitted() -> None:
    x = queries()
    fitted = Landmarks.fit(x, n_landmarks=20, rng=np.random.default_rng(0))
    np.testing.assert_allclose(fitted.transform(x).mean(0), 0.0, atol=1e-12)


def test_blocks_give_the_same_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    x = queries()
    fitted = Landmarks.fit(x, n_landmarks=20, rng=np.random.default_rng(0))
    whole = fitted.transform(x)
    monkeypatch.setattr(landmarks, "BLOCK", 7)
    np.testing.assert_allclose(fitted.transform(x), whole, atol=1e-14)


def test_features_turn_with_the_queries() -> None:
    x = queries()
    turn = np.linalg.qr(np.random.default_rng(1).standard_normal((8, 8)))[0]
    plain, turned = (
        Landmarks.fit(each, n_landmarks=20, rng=np.random.default_rng(0)).transform(each)
        for each in (x, x @ turn)
    )
    np.testing.assert_allclose(plain, turned, atol=1e-8)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_queries_that_are_all_alike_have_no_features(value: float) -> None:
    x = np.full((10, 3), value)
    fitted = Landmarks.fit(x, n_landmarks=4, rng=np.random.default_rng(0))
    np.testing.assert_allclose(fitted.transform(x), 0.0, atol=1e-9)


def test_landmarks_that_coincide_are_no_trouble() -> None:
    x = np.repeat(queries(10), 4, axis=0)
    fitted = Landmarks.fit(x, n_landmarks=40, rng=np.random.default_rng(0))
    features = fitted.transform(x) + fitted.mean_L
    np.testing.assert_allclose(features @ features.T, kernel(x, x, fitted.gamma), atol=1e-5)


@pytest.mark.parametrize("at_fit", [np.float32, np.float64])
@pytest.mark.parametrize("later", [np.float32, np.float64])
def test_precision_may_differ_between_fit_and_use(at_fit: type, later: type) -> None:
    x = queries()
    plain = Landmarks.fit(x, n_landmarks=20, rng=np.random.default_rng(0)).transform(x)
    fitted = Landmarks.fit(x.astype(at_fit), n_landmarks=20, rng=np.random.default_rng(0))
    features = fitted.transform(x.astype(later))
    assert features.dtype == later
    np.testing.assert_allclose(features, plain, atol=1e-3)

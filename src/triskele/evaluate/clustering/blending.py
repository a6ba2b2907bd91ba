"""How much each part of an estimate is worth: weights that are learned on held-out comparisons.

A logistic regression without intercept, of outcomes on what each part says of the difference of two
models, with weights of at least zero: a part that does not help held-out predictions gets none
(stacked generalisation, Wolpert 1992; non-negative, Breiman 1996).
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize
from scipy.special import expit

from triskele.evaluate.columns import Floats


def blend(
    parts: Floats, outcome: Floats, weight: Floats, *, expected: ArrayLike, certainty: ArrayLike
) -> Floats:
    """Return the weights of parts.

    Parameters
    ----------
    parts
        (n, n_parts): the log odds that each part adds.
    outcome, weight
        Of each comparison, (n,).
    expected, certainty
        Mean and precision of a normal prior on the weights, (n_parts,).
    """
    mean, precision = np.asarray(expected, np.float64), np.asarray(certainty, np.float64)

    def loss(weights: Floats) -> tuple[float, Floats]:
        z = parts @ weights
        surplus = weight * (expit(z) - outcome)
        away = weights - mean
        value = float(weight @ (np.logaddexp(0.0, z) - outcome * z) + 0.5 * precision @ away**2)
        return value, parts.T @ surplus + precision * away

    bounds = [(0.0, None)] * len(mean)
    return np.asarray(minimize(loss, mean, jac=True, method="L-BFGS-B", bounds=bounds).x)

"""AutoRec in plain float64 NumPy with a dense matrix and a mask: slow and obvious."""

import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def predictions(inputs, V, mu, W, b, m=None, a=None):
    """Return h(r) of all cells (N, D) and the codes g (N, K); with offsets m and a (N,), or as in the paper without.

    inputs (N, D), 0 where unobserved; V, W (D, K); mu (K,); b (D,).
    """
    hidden = sigmoid(inputs @ V + mu)
    if a is None:
        return hidden @ W.T + b, hidden
    return m + a[:, None] + (hidden - sigmoid(mu)) @ W.T + b, hidden


def objective_and_gradients(ratings, observed, V, mu, W, b, reg_weight, m=None, a=None, damping=(0, 0)):
    """Return J and its gradients for a sigmoid encoder and an identity decoder.

    ratings, observed (N, D); reg_weight (encoder, decoder); damping (row, column) of the offsets a and b.
    """
    inputs = np.where(observed, ratings, 0.0)
    predicted, hidden = predictions(inputs, V, mu, W, b, m, a)
    error = np.where(observed, predicted - ratings, 0.0)  # (N, D)
    J = (error**2).sum() + reg_weight[0] / 2 * (V**2).sum() + reg_weight[1] / 2 * (W**2).sum()
    d_hidden = 2 * error @ W * hidden * (1 - hidden)  # (N, K)
    gradients = {
        "encoder_weight": inputs.T @ d_hidden + reg_weight[0] * V,
        "encoder_bias": d_hidden.sum(0),
        "decoder_weight": 2 * error.T @ hidden + reg_weight[1] * W,
        "decoder_bias": 2 * error.sum(0),
    }
    if a is None:
        return J, gradients
    empty = sigmoid(mu)
    J += damping[0] * (a**2).sum() + damping[1] * (b**2).sum()
    gradients["encoder_bias"] -= (2 * error @ W).sum(0) * empty * (1 - empty)
    gradients["decoder_weight"] -= 2 * error.sum(0)[:, None] * empty
    gradients["decoder_bias"] += 2 * damping[1] * b
    gradients["row_bias"] = 2 * error.sum(1) + 2 * damping[0] * a
    return J, gradients

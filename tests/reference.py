"""AutoRec written plainly in float64 NumPy with a dense matrix and a mask: slow and obvious."""

import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def objective_and_gradients(ratings, observed, V, mu, W, b, reg_weight):
    """J and its gradients for sigmoid encoder and identity decoder.

    ratings, observed (N, D); V, W (D, K); mu (K,); b (D,); reg_weight (encoder, decoder).
    """
    inputs = np.where(observed, ratings, 0.0)
    hidden = sigmoid(inputs @ V + mu)  # (N, K)
    error = np.where(observed, hidden @ W.T + b - ratings, 0.0)  # (N, D)
    J = (error**2).sum() + reg_weight[0] / 2 * (V**2).sum() + reg_weight[1] / 2 * (W**2).sum()
    d_hidden = 2 * error @ W * hidden * (1 - hidden)  # (N, K)
    return J, {
        "encoder_weight": inputs.T @ d_hidden + reg_weight[0] * V,
        "encoder_bias": d_hidden.sum(0),
        "decoder_weight": 2 * error.T @ hidden + reg_weight[1] * W,
        "decoder_bias": 2 * error.sum(0),
    }

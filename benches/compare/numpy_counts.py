"""NumPy and SciPy at counts over one choice set: direct maximum likelihood by L-BFGS with the analytic gradient."""

import time

import numpy as np
from scipy.optimize import minimize


class Model:
    def __init__(self, X, counts):
        self.X, self.n = X, counts.astype(X.dtype)
        self.N = float(counts.sum())

    def evaluate(self, theta, alpha):
        """Log-likelihood, its gradient in the atoms, and the weight of each class."""
        z = self.X @ theta.T
        z -= z.max(0)
        z -= np.log(np.exp(z).sum(0))
        a = z + np.log(alpha).astype(self.X.dtype)
        m = a.max(1)
        e = np.exp(a - m[:, None])
        t = e.sum(1)
        value = float(np.dot(self.n.astype(np.float64), (m + np.log(t)).astype(np.float64)))
        e *= (self.n / t)[:, None]
        total = e.sum(0)
        return value, (e - np.exp(z) * total).T @ self.X, total


def direct(model, theta, alpha, maxiter=2000, memory=20, tolerance=1e-13):
    """`[(seconds, log-likelihood)]` of every evaluation of a fit."""
    K, L = theta.shape
    path, start = [], time.process_time()

    def f(v):
        alpha = np.exp(v[K * L:] - v[K * L:].max())
        alpha /= alpha.sum()
        value, gradient, total = model.evaluate(v[:K * L].reshape(K, L), alpha)
        path.append((time.process_time() - start, value))
        return -value / model.N, -np.concatenate([gradient.ravel(), total - model.N * alpha]) / model.N

    minimize(f, np.concatenate([theta.ravel(), np.log(alpha)]), jac=True, method="L-BFGS-B",
             options=dict(maxiter=maxiter, maxfun=3 * maxiter, ftol=tolerance, gtol=1e-9, maxcor=memory))
    return path

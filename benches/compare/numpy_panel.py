"""NumPy at a panel: EM with one Newton step a class, constant class shares."""

import time

import numpy as np


class Panel:
    """`X` is situations x alternatives x features; `chosen[s]` the alternative of situation s, and `persons[u]` where person u's begin."""

    def __init__(self, X, chosen, persons):
        self.S, self.J, self.L = X.shape
        self.X, self.chosen = np.ascontiguousarray(X.reshape(-1, self.L)), chosen
        self.persons, self.n = persons, len(persons)
        self.counts = np.diff(np.r_[persons, self.S])
        self.person = np.repeat(np.arange(self.n), self.counts)
        self.row_situation = np.repeat(np.arange(self.S), self.J)
        self.starts = np.arange(0, self.S * self.J, self.J)
        self.Xc = X[np.arange(self.S), chosen]

    def probabilities(self, theta):
        z = (self.X @ theta.T).reshape(self.S, self.J, -1)
        m = z.max(1, keepdims=True)
        e = np.exp(z - m)
        t = e.sum(1, keepdims=True)
        log = np.take_along_axis(z, self.chosen[:, None, None], 1)[:, 0] - (m + np.log(t))[:, 0]
        return (e / t).reshape(-1, z.shape[2]), log

    def posterior(self, theta, log_alpha):
        _, log = self.probabilities(theta)
        a = np.add.reduceat(log, self.persons) + log_alpha
        m = a.max(1)
        e = np.exp(a - m[:, None])
        t = e.sum(1)
        return float((m + np.log(t)).sum()), e / t[:, None]

    def newton(self, theta, r):
        """One safeguarded Newton step for one class of responsibilities r."""
        w = r[self.person]
        rows = w[self.row_situation]

        def q(t):
            P, log = self.probabilities(t[None])
            return float(w @ log[:, 0]), P[:, 0]
        f, P = q(theta)
        g = w @ self.Xc - (P * rows) @ self.X
        mu = np.add.reduceat(P[:, None] * self.X, self.starts)
        H = self.X.T @ ((P * rows)[:, None] * self.X) - mu.T @ (w[:, None] * mu)
        H.flat[::self.L + 1] += 1e-8
        d, step = np.linalg.solve(H, g), 1.0
        for _ in range(30):
            if q(theta + step * d)[0] >= f - 1e-12 * abs(f):
                return theta + step * d
            step *= 0.5
        return theta


def em_newton(model, theta, alpha, maxiter=5000, tolerance=1e-13):
    """`[(seconds, log-likelihood)]` of every step of a fit."""
    start = time.process_time()
    value, R = model.posterior(theta, np.log(alpha))
    path = [(time.process_time() - start, value)]
    for _ in range(maxiter):
        alpha = R.mean(0)
        theta = np.stack([model.newton(theta[k], R[:, k]) for k in range(len(alpha))])
        new, R = model.posterior(theta, np.log(np.maximum(alpha, 1e-300)))
        path.append((time.process_time() - start, new))
        if abs(new - value) < tolerance * abs(new):
            break
        value = new
    return path

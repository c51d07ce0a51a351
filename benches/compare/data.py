"""The jobs of the comparison, made from fixed seeds: counts over one choice set, and a panel of many."""

import numpy as np

SEED = 20240914

# Alternatives, features, draws and classes; log-likelihood of the best fit known, by long searches.
COUNTS = {
    "A2": (dict(p=10_000, L=50, N=1_000_000, K=5), -8303209.677780),
    "A3": (dict(p=30_000, L=384, N=1_000_000, K=4), -9262326.844111),
    "A K=2": (dict(p=200, L=5, N=20_000, K=2), -79972.450686),
    "A K=3": (dict(p=200, L=5, N=20_000, K=3), -84234.239792),
    "1e6": (dict(p=1_000_000, L=16, N=10_000_000, K=8), None),
}
PANEL = {"B K=2": (2, -2963.116551), "B K=3": (3, -3042.280197)}


def log_softmax_columns(z):
    m = z.max(0)
    return z - (m + np.log(np.exp(z - m).sum(0)))


def counts(p, L, N, K, norm=2.0, warm=0.3):
    """Gaussian features and atoms of norm 2; `start` is random, `warm` is 0.3 of the norm away from the truth."""
    r = np.random.default_rng(SEED + K)
    X = r.standard_normal((p, L))
    theta = r.standard_normal((K, L))
    theta *= norm / np.linalg.norm(theta, axis=1, keepdims=True)
    alpha = np.arange(1, K + 1, dtype=float) + 1
    alpha /= alpha.sum()
    pi = np.exp(log_softmax_columns(X @ theta.T)) @ alpha
    n = r.multinomial(N, pi / pi.sum())
    start = r.standard_normal((K, L)) * (norm / np.sqrt(L)) * 0.5
    d = r.standard_normal((K, L))
    d *= warm * norm / np.linalg.norm(d, axis=1, keepdims=True)
    return dict(X=aligned(X), counts=n.astype(float), alpha=alpha, theta=theta, start=start, warm=theta + d, even=np.full(K, 1 / K))


def panel(K, people=300, situations=12, alternatives=4, L=6, norm=2.0):
    """People who each choose in several situations; a row of `X` is an alternative of a situation."""
    r = np.random.default_rng(SEED + K)
    X = r.standard_normal((people * situations, alternatives, L))
    theta = r.standard_normal((K, L))
    theta *= norm / np.linalg.norm(theta, axis=1, keepdims=True)
    alpha = np.arange(1, K + 1, dtype=float) + 1
    alpha /= alpha.sum()
    z = r.choice(K, size=people, p=alpha)
    person = np.repeat(np.arange(people), situations)
    utility = np.einsum("sjl,sl->sj", X, theta[z[person]]) + r.gumbel(size=(people * situations, alternatives))
    start = r.standard_normal((K, L)) * 0.5
    sets = np.arange(0, people * situations * alternatives + 1, alternatives)
    return dict(X=aligned(X.reshape(-1, L)), sets=sets, chosen=sets[:-1] + utility.argmax(1), person=person,
                indptr=np.arange(0, people * situations + 1, situations), start=start, even=np.full(K, 1 / K))


def aligned(X):
    """The matrix at a multiple of 64 bytes."""
    memory = np.empty(X.nbytes + 64, dtype=np.uint8)
    start = -memory.ctypes.data % 64
    copy = memory[start:start + X.nbytes].view(X.dtype).reshape(X.shape)
    copy[...] = X
    return copy

"""PyTorch at counts over one choice set: direct maximum likelihood by autograd and its own L-BFGS."""

import time

import torch


def direct(X, counts, theta, alpha, best, relative, maxiter=2000):
    """`[(seconds, log-likelihood)]` of every evaluation until one is within `relative` of `best`."""
    X, n = torch.from_numpy(X), torch.from_numpy(counts)
    N = float(n.sum())
    theta = torch.tensor(theta, requires_grad=True)
    log_alpha = torch.tensor(alpha).log().requires_grad_()
    path, start = [], time.process_time()

    def closure():
        optimizer.zero_grad()
        log_p = torch.log_softmax(X @ theta.T, 0) + torch.log_softmax(log_alpha, 0)
        loss = -(n * torch.logsumexp(log_p, 1)).sum() / N
        loss.backward()
        path.append((time.process_time() - start, -loss.item() * N))
        return loss

    optimizer = torch.optim.LBFGS([theta, log_alpha], lr=1.0, max_iter=10, max_eval=30, tolerance_grad=1e-12, tolerance_change=0,
                                  history_size=20, line_search_fn="strong_wolfe")
    for _ in range(maxiter // 10):
        optimizer.step(closure)
        if path[-1][1] >= best - relative * abs(best):
            break
    return path

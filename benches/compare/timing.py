"""Timings of several contenders at the same work, taken in turns so that a slow moment of the machine hits all alike.

Seconds are those that the process computed, on all its threads, so that what other programs take of the processor does not count; only
contenders of several threads are timed by the clock.
"""

import statistics
import time

median = statistics.median


def repeated(call, clock=time.process_time):
    """A contender from a Python function: seconds of `repeats` calls."""
    def contender(repeats):
        start = clock()
        for _ in range(repeats):
            call()
        return clock() - start
    return contender


def in_turns(contenders, batch=1e-3, rounds=41, budget=6.0):
    """Seconds of one call, `rounds` times for each contender: `{name: function of a number of repeats}` gives `{name: list}`.

    A batch lasts about `batch` seconds, or is one call; the order turns from round to round. Rounds end after `budget` seconds,
    but not before the third.
    """
    repeats, seconds = {}, {name: [] for name in contenders}
    for name, run in contenders.items():
        run(1)
        count, spent = 1, run(1)
        while spent < batch / 4 and count < 1 << 24:
            count *= 4
            spent = run(count)
        repeats[name] = max(1, round(count * batch / spent))
    names, start = list(contenders), time.perf_counter()
    for r in range(rounds):
        if r >= 3 and time.perf_counter() - start > budget:
            break
        for name in names[r % len(names):] + names[:r % len(names)]:
            seconds[name].append(contenders[name](repeats[name]) / repeats[name])
    return seconds


def ratio(seconds, a, b):
    """How many times as long `a` takes as `b`: the median over the rounds."""
    return median(x / y for x, y in zip(seconds[a], seconds[b]))

//! Sums of exponentials on their way: states that merge, and a sum that runs with compensation.

use super::Isa;
use super::dispatch::Element;
use super::logsumexp::Contiguous;

/// A sum of exponentials `e^max · sum`, kept apart so that it neither overflows nor vanishes: what parts of a sum hand
/// over to be merged, in threads or over machines.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogSumExp {
    /// The largest exponent so far, clamped to the finite numbers.
    pub max: f64,
    /// `Σ_i e^(x_i − max)`: at least 1 once there is a finite number, 0 before, +∞ after +∞, and NaN after NaN.
    pub sum: f64,
}

impl LogSumExp {
    /// The sum of nothing.
    pub const EMPTY: Self = LogSumExp { max: f64::MIN, sum: 0.0 };

    /// The sum over a slice, in one pass.
    pub fn of<T: Element>(isa: Isa, x: &[T]) -> Self {
        T::run(isa, Contiguous(x))
    }

    /// The sum of both. Commutative; the order of several merges changes the last digits only. A sum of 0 adds nothing, whatever its `max`.
    pub fn merge(self, other: Self) -> Self {
        match (self.sum == 0.0, other.sum == 0.0) {
            (true, true) => return Self::EMPTY,
            (true, false) => return other,
            (false, true) => return self,
            (false, false) => {}
        }
        let mut running = Running { max: self.max, sum: self.sum, rest: 0.0 };
        running.rescale(other.max);
        running.add(other.sum * libm::exp(other.max - running.max));
        running.state()
    }

    /// The logarithm: −∞ for an empty sum and for −∞ alone.
    pub fn value(self) -> f64 {
        self.max + libm::log(self.sum)
    }
}

/// A maximum with a sum that is compensated by what its roundings left out (Neumaier 1974).
pub(super) struct Running {
    pub max: f64,
    pub sum: f64,
    pub rest: f64,
}

impl Running {
    #[inline(always)]
    pub fn new() -> Self {
        Running { max: f64::MIN, sum: 0.0, rest: 0.0 }
    }

    /// Makes `max` the maximum if it is larger.
    #[inline(always)]
    pub fn rescale(&mut self, max: f64) {
        if max > self.max {
            let factor = libm::exp(self.max - max);
            self.sum *= factor;
            self.rest *= factor;
            self.max = max;
        }
    }

    /// Adds `more ≥ 0`.
    #[inline(always)]
    pub fn add(&mut self, more: f64) {
        let sum = self.sum + more;
        let (large, small) = if self.sum >= more { (self.sum, more) } else { (more, self.sum) };
        let rest = (large - sum) + small;
        // After +∞ or NaN there is nothing to compensate.
        self.rest += if rest.is_nan() { 0.0 } else { rest };
        self.sum = sum;
    }

    #[inline(always)]
    pub fn state(&self) -> LogSumExp {
        let sum = self.sum + self.rest;
        // 0 and +∞ may come from f32, whose finite numbers end earlier.
        let max = if sum == 0.0 {
            f64::MIN
        } else if sum == f64::INFINITY {
            f64::MAX
        } else {
            self.max
        };
        LogSumExp { max, sum }
    }
}

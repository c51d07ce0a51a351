//! Tilts: a base measure centred at the one-class fit, and importance weights that shrink the atoms.
//!
//! With η the one-class fit and μ the mean of the features under `e^{b_i + x_i·η}`, rows and draws alike are weighted by `e^{t_i}`,
//! `t_i = −τ |T (x_i − μ)|² / 2`. The atoms and the ratios of choice probabilities are unchanged, but under normal features the frame of
//! the tilted base measure sees them shrunk to `δ / √(1 + τ)`, and each class rests on more rows: relative to p,
//!
//! `log (rows / p) = (r/2) log (1 + 2τ) − r log (1 + τ) + s/(1 + τ) − 2s/(1 + 2τ)`, s = |δ|².
//!
//! With r = 20 and s = 6.25 that is −6.25 at τ = 0, four rows of 2000, and −3.3 at τ = ½, 77 rows.

use super::frame::largest;
use crate::data::{Data, Shape};
use crate::error::Result;
use crate::evaluate::{block_rows, blocks};
use crate::fit::{FitOptions, FitOutput, fit, fit_workspace};
use crate::linalg::axpy;
use crate::parallel::Context;
use crate::simd::{Rows, exp_shifted_sum_to, logits};
use crate::starts::StartKind;
use crate::whiten::Whitening;
use crate::workspace::{Workspace, WorkspaceSize, filled};

/// The one-class fit, and how far every row is from its mean.
pub(crate) struct Tilting<'w> {
    /// η, L numbers.
    pub center: &'w [f64],
    /// `b_i + x_i·η`, p numbers.
    pub log_base: &'w [f64],
    /// `|T (x_i − μ)|²`, p numbers.
    distance: &'w [f64],
    /// Passes over X that the fit took.
    pub passes: u64,
}

/// How one class is fitted to so many draws. A ridge of one of them, or a thousandth of all, keeps it from running off, and next to nothing
/// from where it is.
fn one_class(draws: f64, context: Context) -> FitOptions<'static> {
    FitOptions { ridge: f64::min(1.0, 1e-3 * draws), max_evaluations: 100, gradient_tolerance: 1e-6, context, ..FitOptions::new(1) }
}

impl<'w> Tilting<'w> {
    pub fn workspace(shape: &Shape) -> WorkspaceSize {
        let of = |a: usize, b: usize| WorkspaceSize::of::<f64>(a.saturating_mul(b));
        let (p, l) = (shape.rows, shape.columns);
        of(l, 1).and(of(p, 1)).and(of(p, 1)).and(Self::scratch(shape))
    }

    fn scratch(shape: &Shape) -> WorkspaceSize {
        let of = |a: usize, b: usize| WorkspaceSize::of::<f64>(a.saturating_mul(b));
        let (l, block) = (shape.columns, block_rows(shape.columns));
        let rows = of(block, l).and(of(block, l)).and(of(l, 1));
        rows.or(WorkspaceSize::of::<bool>(l).and(fit_workspace(shape, &one_class(1.0, Context::default()))))
    }

    /// The fit of one class, and the features under it.
    pub fn new(data: &Data<'_>, wh: &Whitening<'_>, ctx: Context, ws: &mut Workspace<'w>) -> Result<Self> {
        let (p, l, r) = (data.features().rows(), wh.columns, wh.rank);
        let center = ws.f64s(l)?;
        let log_base = ws.f64s(p)?;
        let distance = ws.f64s(p)?;
        let passes = {
            let mut ws = ws.scope();
            let out = FitOutput {
                weights: &mut [1.0],
                atoms: &mut *center,
                diverging: &mut [false],
                unidentified: ws.fill(l, false)?,
                start_values: &mut [0.0],
                start_kinds: &mut [StartKind::Random],
            };
            fit(data, &one_class(data.total_choices(), ctx), &mut |_| true, out, ws)?.passes
        };
        let block = block_rows(l);
        let mut ws = ws.scope();
        let (room, columns, mean) = (ws.room(block * l)?, ws.f64s(block * l)?, ws.f64s(l)?);
        let (features, ahead) = (data.features(), data.features().ahead());
        for range in blocks(0..p, block) {
            let (x, offset) = (features.block(range.clone(), room), data.offset().map(|b| &b[range.clone()]));
            x.logits(ctx.isa, center, offset, &mut log_base[range], block, ahead);
        }
        let top = largest(log_base);
        let mut total = 0.0;
        for range in blocks(0..p, block) {
            let w = &mut columns[..range.len()];
            total += exp_shifted_sum_to(ctx.isa, &log_base[range.clone()], top, w);
            features.block(range, room).weighted_sum(ctx.isa, w, block, mean, ahead);
        }
        mean.iter_mut().for_each(|m| *m /= total);
        for range in blocks(0..p, block) {
            let n = range.len();
            let rows = filled(&mut room[..n * l], 0.0);
            data.features().copy(range.clone(), rows);
            for row in rows.chunks_exact_mut(l) {
                axpy(-1.0, mean, row);
            }
            let x = Rows { values: &*rows, rows: n, columns: l, stride: l };
            logits(ctx.isa, x, wh.to_atoms, None, columns, block);
            for j in 0..r {
                for (d, z) in distance[range.clone()].iter_mut().zip(&columns[j * block..]) {
                    *d += z * z;
                }
            }
        }
        Ok(Tilting { center, log_base, distance, passes: passes + 3 })
    }

    /// Writes `t_i = −τ (d_i − d_min) / 2`, at most 0, and `b_i + x_i·η + t_i`.
    pub fn tilt(&self, tau: f64, log_weights: &mut [f64], log_base: &mut [f64]) {
        let least = self.distance.iter().copied().fold(f64::INFINITY, f64::min);
        for (t, d) in log_weights.iter_mut().zip(self.distance) {
            *t = -0.5 * tau * (d - least);
        }
        for ((g, b), t) in log_base.iter_mut().zip(self.log_base).zip(&*log_weights) {
            *g = b + t;
        }
    }
}

/// The tilt under which a class rests on most rows, with normal features of rank r and atoms of mean square length s.
pub(crate) fn best_tilt(rank: usize, s: f64) -> f64 {
    let r = rank as f64;
    let log_rows = |t: f64| {
        let (a, b) = (libm::log1p(t), libm::log1p(2.0 * t));
        0.5 * r * b - r * a + s / (1.0 + t) - 2.0 * s / (1.0 + 2.0 * t)
    };
    let tilts = (1..=40).map(|i| 0.05 * f64::from(i));
    tilts.fold(0.05, |best, t| if log_rows(t) > log_rows(best) { t } else { best })
}

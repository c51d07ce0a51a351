//! The sums over a block in a sweep, once the responsibilities of those who chose in it are known.

use super::found::Found;
use super::layout::zone;
use super::passes::{Evaluation, TRUSTED};
use super::units::{OfUnits, Set, Walk, add_strided};
use crate::data::Data;
use crate::linalg::axpy;
use crate::parallel::Context;
use crate::simd;
use crate::simd::panel::{SETS, products_of_groups, sums_of_groups};
use crate::workspace::filled;
use core::mem::MaybeUninit;
use core::ops::Range;

/// The sums of a task over its units and blocks, which follow one another.
pub(super) struct Sums<'a, 'd> {
    walk: Walk<'d>,
    set: Set<'d>,
    pub units: OfUnits<'a>,
    /// C × L each: `X^T Ω` (of `units`, too) and `X^T (t ∘ A)`, or nothing and their difference.
    mean: &'a mut [f64],
    apart: bool,
    curvature: Curvature<'a>,
    /// Room for the row weights of a block.
    omega: &'a mut [f64],
}

/// The curvature's sums of a task, and its scratch; empty where it is not wanted.
pub(super) struct Curvature<'a> {
    pub h: &'a mut [f64],
    pub scratch: &'a mut [f64],
}

impl Curvature<'_> {
    pub(super) fn lend(&mut self) -> Curvature<'_> {
        Curvature { h: &mut *self.h, scratch: &mut *self.scratch }
    }
}

impl Evaluation<'_> {
    /// The sums of blocks from `b` on, with room for the row weights of any of `blocks`.
    pub(super) fn begin<'a, 'd>(
        &self,
        data: &Data<'d>,
        b: usize,
        blocks: &Range<usize>,
        room: &'a mut [MaybeUninit<f64>],
        units: OfUnits<'a>,
        mean: &'a mut [f64],
        apart: bool,
        curvature: Curvature<'a>,
    ) -> Sums<'a, 'd> {
        let longest = blocks.clone().map(|b| self.layout.length(b)).max().unwrap_or(0);
        let first = self.layout.rows_of(data, b..b).start;
        let omega = filled(&mut room[..longest * self.columns()], 0.0);
        Sums { walk: Walk::from(data, first), set: Set::from(data, first), units, mean, apart, curvature, omega }
    }

    /// t and the sums of block `b`, where `r` are the responsibilities from some unit on.
    pub(super) fn sums_of_block(
        &self,
        found: Found<'_>,
        data: &Data<'_>,
        b: usize,
        (r, first): (&[f64], usize),
        t: &mut [f64],
        sums: &mut Sums<'_, '_>,
        ctx: Context,
    ) {
        let (layout, c) = (&self.layout, self.columns());
        let (at, n, end) = (layout.start(b) * c, layout.length(b), layout.rows_of(data, b..b + 1).end);
        let Sums { walk, set, omega, .. } = sums;
        let of_unit = |u: usize| &r[(u - first) * c..(u - first + 1) * c];
        if self.by_units() {
            let before = b * layout.sets_of_block();
            t.fill(0.0);
            walk.on(end, |u, times, i| {
                let to = zone(layout.position(set.of(i)) - before, 0, c);
                add_strided(data.unit_weight(u) * times, of_unit(u), t, to, SETS);
            });
        } else {
            let omega = &mut omega[..n * c];
            omega.fill(0.0);
            walk.on(end, |u, times, i| {
                let (to, stride) = layout.at(i, c);
                add_strided(data.unit_weight(u) * times, of_unit(u), omega, to - at, stride);
            });
            sums_of_groups(ctx.isa, layout.groups(b, c), omega, t);
        }
        self.sums_of_features(found, b, t, sums, ctx);
    }

    /// Value of block `b` where units are rows; if `all`, t and the sums too.
    pub(super) fn sums_of_counts(
        &self,
        found: Found<'_>,
        data: &Data<'_>,
        weights: &[f64],
        b: usize,
        t: &mut [f64],
        totals: &mut [f64],
        value: &mut [f64],
        sums: &mut Sums<'_, '_>,
        all: bool,
        ctx: Context,
    ) {
        let (layout, c, kk) = (&self.layout, self.columns(), self.classes);
        let (at, n) = (layout.start(b), layout.length(b));
        let (a, counts) = (found.block(layout, b, c), &layout.counts[at..at + n]);
        for start in 0..c / kk {
            let of = start * kk..(start + 1) * kk;
            let (a, omega) = (&a[of.start * n..of.end * n], &mut sums.omega[of.start * n..of.end * n]);
            let totals_of = &mut totals[of.clone()];
            let rows = simd::row_weights_from(ctx.isa, a, n, &weights[of.clone()], counts, omega, totals_of, false);
            value[start] += match rows.smallest >= TRUSTED {
                true => rows.value,
                false => self.counts_anew(found, data, b, start, weights, counts, omega, &mut totals[of.clone()]),
            };
        }
        axpy(1.0, totals, sums.units.class_weight);
        axpy(1.0, totals, sums.units.class_choices);
        if !all {
            return;
        }
        sums_of_groups(ctx.isa, layout.groups(b, c), &sums.omega[..n * c], t);
        self.sums_of_features(found, b, t, sums, ctx);
    }

    /// The sums of the features of block `b`, whose t is known, and its row weights where they do not come from the units.
    pub(super) fn sums_of_features(&self, found: Found<'_>, b: usize, t: &[f64], sums: &mut Sums<'_, '_>, ctx: Context) {
        let (layout, c) = (&self.layout, self.columns());
        let (n, groups) = (layout.length(b), layout.groups(b, c));
        let (a, x) = (found.block(layout, b, c), found.features(layout, b, self.shape.columns));
        let Sums { units, mean, apart, curvature, omega, .. } = sums;
        let omega = &mut omega[..n * c];
        if *apart && !self.by_units() {
            simd::weighted_sum_of_columns(ctx.isa, x, omega, n, units.chosen);
        }
        if !curvature.h.is_empty() {
            return self.curvature_of_block(b, x, a, t, curvature.h, mean, &mut [], curvature.scratch, ctx.isa);
        }
        match *apart {
            true => products_of_groups::<true>(ctx.isa, groups, t, a, omega),
            false => products_of_groups::<false>(ctx.isa, groups, t, a, omega),
        }
        simd::weighted_sum_of_columns(ctx.isa, x, omega, n, mean);
    }
}

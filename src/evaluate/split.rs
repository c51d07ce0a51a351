//! Where the passes of an evaluation meet other ranks: what each has of its own rows and units becomes what all have together. Section 10.
//!
//! Of data that are no part nothing here does anything.

use super::layout::zone;
use super::passes::{Evaluation, normalize};
use crate::data::Data;
use crate::error::{Error, ErrorKind, Result};
use crate::linalg::axpy;
use crate::parallel::{Context, TASKS, sum_over};
use crate::simd::panel::{SETS, products_of_zones};

impl Evaluation<'_> {
    /// Of one choice set split by rows, merges the states (m, z, Σ e^{S − m} x) of the ranks: `m` by zones and `z` become those of the
    /// whole set, `mean` what this rank adds to them. `message`: 1 + 2 C numbers.
    pub(super) fn merge_normalizers(
        data: &Data<'_>,
        classes: usize,
        m: &mut [f64],
        z: &mut [f64],
        mean: &mut [f64],
        message: &mut [f64],
    ) -> Result<()> {
        if !data.splits_rows() {
            return Ok(());
        }
        let (c, l) = (z.len(), mean.len() / z.len());
        let (top, own) = message[..2 * c + 1].split_at_mut(c + 1);
        top[0] = 0.0;
        for k in 0..c {
            own[k] = m[zone(0, k, c)];
            let bad = own[k].is_nan() || own[k] == f64::INFINITY;
            top[k + 1] = if bad { f64::NEG_INFINITY } else { own[k] };
            if bad && top[0] == 0.0 {
                top[0] = (k % classes + 1) as f64;
            }
        }
        data.max(top)?;
        if top[0] > 0.0 {
            return Err(Error::new(ErrorKind::NotFinite, "logits").class((top[0] as usize).saturating_sub(1)));
        }
        for k in 0..c {
            let fall = if own[k] == f64::NEG_INFINITY { 0.0 } else { libm::exp(own[k] - top[k + 1]) };
            z[k] *= fall;
            mean[k * l..(k + 1) * l].iter_mut().for_each(|v| *v *= fall);
            m[zone(0, k, c)] = top[k + 1];
        }
        data.sum(z)
    }

    /// A class whose logits overflow on any rank, that of the first here if there is one.
    pub(super) fn agree_on_logits(data: &Data<'_>, bad: Option<usize>) -> Result<()> {
        let mut flag = [bad.map_or(0.0, |class| class as f64 + 1.0)];
        // Log-normalizers of a set split by rows are the same on all ranks, and so is what is wrong with them.
        if !data.splits_rows() {
            data.max(&mut flag)?;
        }
        match flag[0] > 0.0 {
            true => Err(Error::new(ErrorKind::NotFinite, "logits").class((flag[0] as usize).saturating_sub(1))),
            false => Ok(()),
        }
    }

    /// Of units whose choices are on several ranks, `log P(u | c)` of all of them in one sum, left in the place of the responsibilities.
    pub(super) fn join_units(&mut self, data: &Data<'_>) -> Result<()> {
        let c = self.columns();
        let r = core::mem::take(&mut self.r);
        for (u, r) in r[..self.shape.units * c].chunks_exact_mut(c).enumerate() {
            r.fill(0.0);
            for (i, times) in data.entries(u).filter(|e| e.1 != 0.0) {
                for (k, r) in r.iter_mut().enumerate() {
                    *r += times * self.log_probability(data, i, k);
                }
            }
        }
        let reduced = data.sum(&mut r[..self.shape.units * c]);
        self.r = r;
        reduced
    }

    /// Responsibilities of unit `u` after [`Self::join_units`], K numbers of one start; its log-likelihood.
    pub(super) fn joined_responsibilities(&self, weights: &[f64], u: usize, out: &mut [f64]) -> f64 {
        out.copy_from_slice(&self.r[u * self.classes..(u + 1) * self.classes]);
        add_logs(weights, out);
        normalize(out)
    }

    /// Units whose choices are on several ranks: responsibilities from the sums of their log-likelihoods, and all that follows; the value
    /// is the same on all ranks.
    pub(super) fn split_units(&mut self, data: &Data<'_>, weights: &[f64], ctx: Context) -> Result<()> {
        let (c, kk) = (self.columns(), self.classes);
        self.join_units(data)?;
        let value = &mut self.value[..c / kk];
        value.fill(0.0);
        for (u, r) in self.r[..self.shape.units * c].chunks_exact_mut(c).enumerate() {
            let w = data.unit_weight(u);
            for (start, r) in r.chunks_exact_mut(kk).enumerate() {
                add_logs(&weights[start * kk..(start + 1) * kk], r);
                let log_likelihood = normalize(r);
                if w > 0.0 {
                    value[start] += w * log_likelihood;
                }
            }
        }
        self.units(data, None, ctx);
        Ok(())
    }

    /// Sums of the ranks' class weights, class choices and values.
    pub(super) fn sum_choices(&mut self, data: &Data<'_>) -> Result<()> {
        if !data.is_part() {
            return Ok(());
        }
        let (c, starts) = (self.columns(), self.starts);
        if data.splits_units() {
            return data.sum(&mut self.class_choices[..c]);
        }
        let message = &mut self.scratch.pieces[..2 * c + starts];
        message[..c].copy_from_slice(&self.class_weight[..c]);
        message[c..2 * c].copy_from_slice(&self.class_choices[..c]);
        message[2 * c..].copy_from_slice(&self.value[..starts]);
        data.sum(message)?;
        self.class_weight[..c].copy_from_slice(&message[..c]);
        self.class_choices[..c].copy_from_slice(&message[c..2 * c]);
        self.value[..starts].copy_from_slice(&message[2 * c..]);
        Ok(())
    }

    /// The sum of the ranks' gradients, `chosen − mean`, left in `chosen`.
    pub(super) fn sum_gradient(&mut self, data: &Data<'_>) -> Result<()> {
        if !data.is_part() {
            return Ok(());
        }
        let n = self.columns() * self.shape.columns;
        axpy(-1.0, &self.mean[..n], &mut self.chosen[..n]);
        self.mean[..n].fill(0.0);
        data.sum(&mut self.chosen[..n])
    }

    /// The mean features under every class of a choice set split by rows, C × L.
    pub(super) fn split_set_means(&self, data: &Data<'_>, means: &mut [f64]) -> Result<()> {
        let (l, c) = (self.shape.columns, self.columns());
        means[..c * l].fill(0.0);
        for i in (0..self.shape.rows).filter(|&i| data.available(i)) {
            for (k, mean) in means[..c * l].chunks_exact_mut(l).enumerate() {
                let a = self.probability(i, k);
                for (j, m) in mean.iter_mut().enumerate() {
                    *m += a * data.features().get(i, j);
                }
            }
        }
        data.sum(&mut means[..c * l])
    }

    /// `Σ_s t_sk log Z_sk` of every class, and the sum of the terms' sizes: `out` 2 C.
    pub fn partition_products(&mut self, data: &Data<'_>, out: &mut [f64], ctx: Context) -> Result<()> {
        let t = core::mem::take(&mut self.t);
        let found = self.partition_products_of(data, t, out, ctx);
        self.t = t;
        found
    }

    /// The same with other t.
    pub fn partition_products_of(&mut self, data: &Data<'_>, t: &[f64], out: &mut [f64], ctx: Context) -> Result<()> {
        let (c, shape) = (self.columns(), self.shape);
        let groups = shape.sets.div_ceil(SETS);
        let (n, length) = (self.layout.blocks.clamp(1, TASKS), self.scratch_length());
        let Evaluation { log_z, scratch, .. } = self;
        // Eight sums side by side, of the places in a group.
        let row = c * SETS;
        let (log_z, sums) = (&**log_z, &mut scratch.rooms.numbers(n, length)[..n * 2 * row]);
        sum_over(ctx.threads, n, groups, sums, &mut [], |groups, sums, _| {
            let (values, sizes) = sums.split_at_mut(row);
            values.fill(0.0);
            sizes.fill(0.0);
            // Places past the last set hold anything.
            let whole = groups.start * row..groups.end.min(shape.sets / SETS).max(groups.start) * row;
            products_of_zones(ctx.isa, &t[whole.clone()], &log_z[whole.clone()], values, sizes);
            for (set, k) in (whole.end / row.max(1) * SETS..shape.sets.min(groups.end * SETS)).flat_map(|set| (0..c).map(move |k| (set, k)))
            {
                let product = t[zone(set, k, c)] * log_z[zone(set, k, c)];
                values[k * SETS + set % SETS] += product;
                sizes[k * SETS + set % SETS] += product.abs();
            }
        });
        for (out, places) in out[..2 * c].iter_mut().zip(sums.chunks_exact(SETS)) {
            *out = places.iter().sum();
        }
        // t and log Z of a set split by rows are those of the whole.
        if data.splits_rows() { Ok(()) } else { data.sum(&mut out[..2 * c]) }
    }
}

/// Adds the logarithms of `weights`.
fn add_logs(weights: &[f64], out: &mut [f64]) {
    out.iter_mut().zip(weights).for_each(|(x, w)| *x += libm::log(*w));
}

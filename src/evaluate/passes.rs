//! The passes of an evaluation: logits → log-normalizers → responsibilities → value, gradient.
//!
//! Columns are classes of one or many starts: `C = starts × classes`, so that a race of starts reads the features once.
//! Matrices over rows stand block after block (see `layout.rs`); atoms and sums of features are C × L.
//!
//! | quantity | here | formula |
//! |---|---|---|
//! | choice probabilities | `a`, `scale` | `A_ic = exp(S_ic − log Z_s(i)c)`, `S = b + X Θ` |
//! | log-normalizers | `log_z` | `log Z_sc = logsumexp_{i∈s} S_ic` |
//! | responsibilities | `r` | `r_uc ∝ α_c exp Σ_i c_ui log A_ic`; of few units from `log Z` (`units.rs`) |
//! | row weights | `omega`, `t` | `Ω_ic = Σ_u w_u r_uc c_ui`, `t_sc = Σ_{i∈s} Ω_ic` |
//! | sums over the chosen rows | `chosen` | `X^T Ω`; of few units `Σ_u w_u r_uc Σ_i c_ui x_i` (`units.rs`) |
//! | sums under the model | `mean` | `X^T (t ∘ A)` |
//!
//! Exponentials are taken once: responsibilities and sums follow from the stored `A`. Of one choice set, whose normalizer is known only at
//! its end, `a` holds `e^{S − m}` with the maximum m of each block, and `scale` is `e^{m − log Z}`. A probability too small for that (below
//! 1e-290) is worked out anew from its logit where its logarithm matters.
//!
//! X is read twice. The second read is of `X^T (Ω − t ∘ A)` at once (`evaluate`) unless less than an eighth of one large choice set was
//! chosen: then the part under the model is accumulated in the first read (online softmax), and the second read is of observed rows alone.
//! Where weights may be what comes out, one read serves: `once.rs`; of small choice sets, as a rule, too: `sweep.rs`.

use super::found::Found;
use super::layout::{FEW_COLUMNS, Kind, Layout, block_rows, blocks, zone};
use super::sweep::{Beside, keeps_features};
use super::tasks::{Length, Matrices, Scratch, each_task};
use super::units::Own;
use crate::data::{Choices, Data, Shape};
use crate::error::Result;
use crate::parallel::{Context, TASKS, take};
use crate::simd::panel::SETS;
use crate::simd::{all_finite, set_softmax};
use crate::workspace::{Numbers, Workspace, WorkspaceSize, filled, written_or_zero};

/// Probabilities that count as 0 as weights.
const NOTHING: f64 = 1e-250;

/// Probabilities below are worked out anew.
pub(super) const TRUSTED: f64 = 1e-290;

/// Of one choice set of more than so many numbers, of which less than one alternative in so many was chosen, the chosen ones alone are read
/// again. No cache is asked, which bits would depend on.
const LARGE: usize = 1 << 19;
const FEW: usize = 8;

/// The state of an evaluation: everything section 2 defines, at the parameters last given.
pub(crate) struct Evaluation<'w> {
    pub shape: Shape,
    pub classes: usize,
    pub starts: usize,
    pub layout: Layout<'w>,
    /// Choice probabilities, of one choice set to be multiplied by `scale`.
    pub(super) a: Numbers<'w>,
    /// Blocks × C: `log` of the factor of `a`, and the factor; empty for many choice sets.
    pub(super) log_scale: &'w mut [f64],
    pub(super) scale: &'w mut [f64],
    /// Log-normalizers and t by [`zone`].
    pub(super) log_z: &'w mut [f64],
    pub t: &'w mut [f64],
    /// U × C; empty where units are rows, whose responsibilities are made block by block.
    pub r: &'w mut [f64],
    /// Log-likelihoods of such units, U; empty unless [`Evaluation::keep_log_likelihoods`] was called.
    pub(super) log_likelihoods: &'w mut [f64],
    /// Of units, where they serve, U × (L + 2): `Σ_i c_ui x_i`, `Σ_i c_ui b_i` and `Σ_i c_ui`.
    pub(super) unit_features: &'w mut [f64],
    /// Of one choice set: what x_i are less there, and the features that they were, 0 before; 0 of others.
    pub(super) unit_origin: &'w mut [f64],
    /// Features at one address are the same for as long as the evaluation lives.
    pub(super) unit_source: usize,
    /// Row weights; empty for counts over one choice set, which have shares of each start.
    pub(super) omega: Numbers<'w>,
    pub(super) shares: Numbers<'w>,
    /// Σ_u w_u r_uc, C.
    pub class_weight: &'w mut [f64],
    /// Σ_s t_sc, C.
    pub class_choices: &'w mut [f64],
    /// X^T Ω, C × L.
    pub chosen: &'w mut [f64],
    /// X^T (t ∘ A), C × L; for one choice set Σ_i A_ic x_i until multiplied by t.
    pub mean: &'w mut [f64],
    /// ℓ of each start.
    pub value: &'w mut [f64],
    /// The atoms of the last `normalizers`, C × L.
    pub(super) atoms: &'w mut [f64],
    pub(super) scratch: Scratch<'w>,
    /// Whether the choices of all units stand in the order of the rows, once that is known.
    pub(super) ordered: Option<bool>,
    /// Where they do, and choice sets stand side by side: what the tasks have of their own, once that is known.
    pub(super) own: [Own; TASKS],
    pub(super) own_known: bool,
    /// Whether `a` has the probabilities: a sweep may not keep them.
    pub(super) kept: bool,
    /// Reads of X so far.
    pub passes: u64,
}

impl<'w> Evaluation<'w> {
    pub fn workspace(shape: &Shape, classes: usize, starts: usize) -> WorkspaceSize {
        Self::workspace_for(shape, classes, starts, true)
    }

    /// Workspace of [`Evaluation::of_probabilities`].
    pub fn probabilities_workspace(shape: &Shape, classes: usize) -> WorkspaceSize {
        Self::workspace_for(shape, classes, 1, false)
    }

    /// `choices`: whether with what follows from them.
    fn workspace_for(shape: &Shape, classes: usize, starts: usize, choices: bool) -> WorkspaceSize {
        let c = classes.saturating_mul(starts);
        let of = |n: usize| WorkspaceSize::of::<f64>(n.saturating_mul(c));
        let (rows, sets) = Layout::most_numbers(shape);
        let mut size = Layout::workspace(shape, choices).and(of(rows)).and(of(sets)).and(of(1)).and(of(1));
        size = size.and(of(shape.columns)).and(of(shape.columns)).and(of(shape.columns)).and(WorkspaceSize::of::<f64>(starts));
        if shape.sets == 1 {
            size = size.and(of(Layout::most_blocks(shape))).and(of(Layout::most_blocks(shape)));
        }
        if choices {
            size = size.and(of(sets));
            if !shape.units_are_rows {
                let features = WorkspaceSize::of::<f64>(unit_features(shape));
                size = size.and(of(shape.units)).and(features).and(WorkspaceSize::of::<f64>(shape.columns));
            }
            if !stores_omega(shape, choices) {
                size = size.and(WorkspaceSize::of::<f64>(rows.saturating_mul(starts)));
            }
        }
        if stores_omega(shape, choices) {
            size = size.and(of(rows));
        }
        size.and(Scratch::workspace(shape, c))
    }

    pub fn new(shape: Shape, classes: usize, starts: usize, ws: &mut Workspace<'w>) -> Result<Self> {
        Self::new_for(shape, classes, starts, true, ws)
    }

    /// One for [`Evaluation::normalizers_alone`], without room for what follows from choices.
    pub fn of_probabilities(shape: Shape, classes: usize, ws: &mut Workspace<'w>) -> Result<Self> {
        Self::new_for(shape, classes, 1, false, ws)
    }

    fn new_for(shape: Shape, classes: usize, starts: usize, choices: bool, ws: &mut Workspace<'w>) -> Result<Self> {
        ws.require(Self::workspace_for(&shape, classes, starts, choices))?;
        let c = classes * starts;
        let (rows, sets) = Layout::most_numbers(&shape);
        let scales = if shape.sets == 1 { Layout::most_blocks(&shape) * c } else { 0 };
        let of_choices = |n: usize| if choices { n } else { 0 };
        Ok(Evaluation {
            shape,
            classes,
            starts,
            layout: Layout::new(&shape, choices, ws)?,
            a: Numbers::new(ws.room(rows * c)?),
            log_scale: ws.f64s(scales)?,
            scale: ws.f64s(scales)?,
            log_z: ws.f64s(sets * c)?,
            t: ws.f64s(of_choices(sets * c))?,
            r: ws.f64s(of_choices(if shape.units_are_rows { 0 } else { shape.units * c }))?,
            log_likelihoods: &mut [],
            unit_features: ws.f64s(of_choices(unit_features(&shape)))?,
            unit_origin: ws.f64s(of_choices(if shape.units_are_rows { 0 } else { shape.columns }))?,
            unit_source: 0,
            omega: Numbers::new(ws.room(if stores_omega(&shape, choices) { rows * c } else { 0 })?),
            shares: Numbers::new(ws.room(of_choices(if stores_omega(&shape, choices) { 0 } else { rows * starts }))?),
            class_weight: ws.f64s(c)?,
            class_choices: ws.f64s(c)?,
            chosen: ws.f64s(c * shape.columns)?,
            mean: ws.f64s(c * shape.columns)?,
            value: ws.f64s(starts)?,
            atoms: ws.f64s(c * shape.columns)?,
            scratch: Scratch::new(&shape, c, ws)?,
            ordered: None,
            own: [const { Own::NOTHING }; TASKS],
            own_known: false,
            kept: false,
            passes: 0,
        })
    }

    /// Works on fewer starts than the workspace was made for, until called again.
    pub fn set_starts(&mut self, starts: usize) {
        debug_assert!(starts * self.classes * self.shape.columns <= self.mean.len());
        self.starts = starts;
    }

    pub fn columns(&self) -> usize {
        self.classes * self.starts
    }

    /// Numbers of scratch of a task.
    pub(super) fn scratch_length(&self) -> Length {
        Length::of(&self.shape, self.columns())
    }

    /// Value and the parts of the gradient at `weights` (starts × K) and `atoms` (C × L): all of section 2.
    pub fn evaluate(&mut self, data: &Data<'_>, weights: &[f64], atoms: &[f64], ctx: Context) -> Result<()> {
        self.evaluate_beside(data, weights, atoms, Beside::Probabilities, ctx)
    }

    /// The same where no probabilities are asked for afterwards.
    pub fn evaluate_alone(&mut self, data: &Data<'_>, weights: &[f64], atoms: &[f64], ctx: Context) -> Result<()> {
        self.evaluate_beside(data, weights, atoms, Beside::Nothing, ctx)
    }

    /// The same value and responsibilities, bit for bit, and the gradient in the log-odds, without the sums over the features, and so in one read
    /// of X. `probabilities`: whether they are asked for afterwards.
    pub fn evaluate_value(&mut self, data: &Data<'_>, weights: &[f64], atoms: &[f64], probabilities: bool, ctx: Context) -> Result<()> {
        if self.sweep_serves(data) {
            let features = probabilities || keeps_features(data);
            return self.sweep(data, weights, atoms, Beside::Value { probabilities }, features, ctx);
        }
        self.normalizers(data, atoms, false, ctx)?;
        self.row_weights(data, Some(weights), true, ctx)
    }

    fn evaluate_beside(&mut self, data: &Data<'_>, weights: &[f64], atoms: &[f64], beside: Beside<'_, '_>, ctx: Context) -> Result<()> {
        let features = matches!(beside, Beside::Probabilities) || keeps_features(data);
        // Counts are known of the whole, entries of this rank.
        let (observed, rows) = match *data.choices() {
            Choices::Counts(_) => (data.observed_units(), self.shape.total_rows),
            Choices::SparseCounts { indices, .. } | Choices::Units { indices, .. } => (indices.len(), self.shape.rows),
        };
        if !self.layout.is_grouped() {
            // Whether units have features of their own.
            self.prepare(data, ctx);
        }
        let few = observed < rows / FEW && rows.saturating_mul(self.shape.columns) > LARGE;
        if self.shape.sets == 1 && (few || self.by_units()) {
            self.apart(data, weights, atoms, ctx)?;
            return self.sum_gradient(data);
        }
        if self.sweep_serves(data) {
            self.sweep(data, weights, atoms, beside, features, ctx)?;
            return self.sum_gradient(data);
        }
        self.normalizers(data, atoms, false, ctx)?;
        self.row_weights(data, Some(weights), true, ctx)?;
        if self.has_shares() {
            self.gradient_of_shares(data, weights, ctx);
        } else if self.by_units() {
            self.means_here(data, ctx);
        } else {
            self.gradient_at_once(data, ctx);
        }
        self.sum_gradient(data)
    }

    /// The same of one choice set, with the sums over the chosen rows and under the model each for itself.
    pub fn evaluate_apart(&mut self, data: &Data<'_>, weights: &[f64], atoms: &[f64], ctx: Context) -> Result<()> {
        self.apart(data, weights, atoms, ctx)?;
        let n = self.columns() * self.shape.columns;
        data.sum(&mut self.chosen[..n])?;
        data.sum(&mut self.mean[..n])
    }

    fn apart(&mut self, data: &Data<'_>, weights: &[f64], atoms: &[f64], ctx: Context) -> Result<()> {
        self.normalizers(data, atoms, true, ctx)?;
        self.choices_here(data, Some(weights), ctx)?;
        self.means_here(data, ctx);
        Ok(())
    }

    /// The first read of X: logits, log-normalizers, and for one choice set the mean features `Σ_i A_ic x_i` if wanted.
    pub fn normalizers(&mut self, data: &Data<'_>, atoms: &[f64], mean: bool, ctx: Context) -> Result<()> {
        data.reduced()?;
        self.prepare(data, ctx);
        self.normalizers_as_laid_out(data, atoms, mean, true, ctx)
    }

    /// The same where nothing asks for the features of small choice sets afterwards: they are copied block by block.
    pub fn normalizers_alone(&mut self, data: &Data<'_>, atoms: &[f64], ctx: Context) -> Result<()> {
        data.reduced()?;
        match self.layout.is_grouped() {
            true => self.layout.index(data, ctx),
            false => self.prepare(data, ctx),
        }
        self.normalizers_as_laid_out(data, atoms, false, true, ctx)
    }

    /// The same after an evaluation of the same data, where nothing asks for probabilities either.
    pub fn normalizers_again(&mut self, data: &Data<'_>, atoms: &[f64], ctx: Context) -> Result<()> {
        data.reduced()?;
        self.normalizers_as_laid_out(data, atoms, false, false, ctx)
    }

    /// `probabilities`: whether they stay; those of one choice set do, of which their sums are made.
    fn normalizers_as_laid_out(&mut self, data: &Data<'_>, atoms: &[f64], mean: bool, probabilities: bool, ctx: Context) -> Result<()> {
        self.passes += 1;
        let c = self.columns();
        self.atoms[..c * self.shape.columns].copy_from_slice(&atoms[..c * self.shape.columns]);
        self.kept = probabilities || !self.layout.is_grouped();
        let finite = if self.shape.sets == 1 {
            self.normalizers_of_one_set(data, mean, ctx)?;
            false
        } else if self.layout.is_grouped() {
            self.normalizers_of_groups(data, probabilities, ctx)
        } else {
            self.normalizers_of_sets(data, ctx)
        };
        self.check_logits(data, finite)
    }

    /// An error where a log-normalizer of any rank is not finite; here all may be known to be `finite`.
    pub(super) fn check_logits(&self, data: &Data<'_>, finite: bool) -> Result<()> {
        let c = self.columns();
        let bad = match finite {
            true => None,
            // Or a place is one of no set.
            false => (0..c).find(|&k| (0..self.shape.sets).any(|s| !self.log_z[zone(s, k, c)].is_finite())),
        };
        Self::agree_on_logits(data, bad.map(|k| k % self.classes))
    }

    /// Whether all log-normalizers are known to be finite.
    fn normalizers_of_sets(&mut self, data: &Data<'_>, ctx: Context) -> bool {
        let (shape, c, l) = (self.shape, self.columns(), self.shape.columns);
        let Evaluation { layout, a, log_z, atoms, scratch, omega, .. } = self;
        let (atoms, length) = (&atoms[..c * l], Length::of(&shape, c));
        let written = a.reached() >= layout.start(layout.blocks) * c;
        let room = a.take();
        // log Z goes by zones, whose groups of eight sets may lie in two tasks: it waits in the matrix of Ω, at the first row of its set.
        let waiting = omega.take();
        let matrices = Matrices { rows: &mut *room, others: &mut *waiting, ..Matrices::default() };
        let ahead = data.features().ahead();
        each_task(layout, c, length, scratch, matrices, ctx, |layout, task, room| {
            let (mut a, mut waiting) = (&mut *task.of.rows, &mut *task.of.others);
            let mut offsets = [0; super::layout::MOST_ROWS + 1];
            let mut found = [0.0; super::layout::MOST_ROWS];
            for b in task.blocks.clone() {
                let (range, n) = (layout.rows(b), layout.length(b));
                // SAFETY: `written` says that blocks have all been written, else `a` is filled.
                let a = unsafe { written_or_zero(take(&mut a, n * c), written) };
                let waiting = filled(take(&mut waiting, n * c), 0.0);
                for part in blocks(range.clone(), block_rows(l)) {
                    let x = data.features().block(part.clone(), room.copy);
                    let offset = data.offset().map(|b| &b[part.clone()]);
                    let logits = &mut a[part.start - range.start..];
                    x.logits(ctx.isa, atoms, offset, logits, n, ahead);
                    if data.hides_infinite(ctx.isa, part.clone(), logits.chunks(n).map(|logits| &logits[..part.len()])) {
                        logits[0] = f64::NAN;
                    }
                }
                let sets = layout.sets(data, b);
                for (offset, set) in offsets[1..].iter_mut().zip(sets.clone()) {
                    *offset = data.set(set).end - range.start;
                }
                for (column, waiting) in a.chunks_exact_mut(n).zip(waiting.chunks_exact_mut(n)) {
                    set_softmax(ctx.isa, column, &offsets[..=sets.len()], &mut found[..sets.len()]);
                    for (start, z) in offsets.iter().zip(&found[..sets.len()]) {
                        waiting[*start] = *z;
                    }
                }
            }
        });
        // SAFETY: the tasks have filled every block.
        unsafe {
            a.give_back(room, shape.rows * c);
            omega.give_back(waiting, shape.rows * c);
        }
        for set in 0..shape.sets {
            let (base, stride) = layout.at(data.set(set).start, c);
            for k in 0..c {
                log_z[zone(set, k, c)] = omega[base + k * stride];
            }
        }
        all_finite(ctx.isa, &log_z[..shape.sets.next_multiple_of(SETS) * c])
    }

    /// `A_ic`.
    pub fn probability(&self, i: usize, c: usize) -> f64 {
        debug_assert!(self.kept, "probabilities");
        let (base, stride) = self.layout.at(i, self.columns());
        let a = self.a[base + c * stride];
        if self.layout.kind == Kind::One { a * self.scale[self.layout.block_of(i) * self.columns() + c] } else { a }
    }

    /// `A_ic` of the rows from `from` on, as many as `out` is long; 0 where it is so small that its products with features may be no normal
    /// numbers, which take processors tens of times as long: classes that run off have many of those.
    pub fn probabilities(&self, c: usize, from: usize, out: &mut [f64]) {
        let (mut i, end, columns) = (from, from + out.len(), self.columns());
        if self.layout.kind == Kind::One {
            // Block by block.
            while i < end {
                let b = i / self.layout.block;
                let next = ((b + 1) * self.layout.block).min(end);
                let (base, stride) = self.layout.at(i, columns);
                let factor = self.scale[b * columns + c];
                let (a, least) = (&self.a[base + c * stride..][..next - i], NOTHING / factor);
                out[i - from..next - from].iter_mut().zip(a).for_each(|(out, a)| *out = if *a < least { 0.0 } else { factor * a });
                i = next;
            }
            return;
        }
        for (i, out) in (from..end).zip(out) {
            *out = self.probability(i, c);
            *out = if *out < NOTHING { 0.0 } else { *out };
        }
    }

    /// `A_ic` of some rows; of rows in a row 0 below `NOTHING`.
    pub fn probabilities_of(&self, rows: &[usize], c: usize, out: &mut [f64]) {
        match rows.first() {
            Some(first) if rows.windows(2).all(|pair| pair[1] == pair[0] + 1) => self.probabilities(c, *first, out),
            _ => out.iter_mut().zip(rows).for_each(|(out, i)| *out = self.probability(*i, c)),
        }
    }

    /// `log A_ic`, however small.
    pub fn log_probability(&self, data: &Data<'_>, i: usize, c: usize) -> f64 {
        self.log_probability_of(self.found(), data, i, c)
    }

    /// The same of a row that was `found`.
    pub(super) fn log_probability_of(&self, found: Found<'_>, data: &Data<'_>, i: usize, c: usize) -> f64 {
        let (base, stride) = self.layout.at(i, self.columns());
        let a = found.probability(base + c * stride, self.columns());
        if a >= TRUSTED {
            let scale = if self.layout.kind == Kind::One { self.log_scale[self.layout.block_of(i) * self.columns() + c] } else { 0.0 };
            return libm::log(a) + scale;
        }
        self.log_probability_anew(found, data, i, c)
    }

    /// The same from the logit.
    #[cold]
    fn log_probability_anew(&self, found: Found<'_>, data: &Data<'_>, i: usize, c: usize) -> f64 {
        let l = self.shape.columns;
        let s = self.layout.dot(data, i, &self.atoms[c * l..(c + 1) * l]) + data.offset().map_or(0.0, |b| b[i]);
        let set = if self.shape.sets == 1 { 0 } else { data.set_of(i) };
        s - found.log_z[self.layout.zone(set, c, self.columns()) - found.before.1]
    }

    /// All that the last `normalizers` found.
    pub(super) fn found(&self) -> Found<'_> {
        debug_assert!(self.kept, "probabilities");
        Found::new(&self.a, self.log_z, None, (0, 0))
    }

    /// `log Z_sc`.
    pub fn log_z(&self, set: usize, c: usize) -> f64 {
        self.log_z[self.layout.zone(set, c, self.columns())]
    }

    /// `t_sc`.
    pub fn t(&self, set: usize, c: usize) -> f64 {
        self.t[self.layout.zone(set, c, self.columns())]
    }

    /// Of one choice set, t as it is given, C numbers.
    pub fn set_t(&mut self, t: impl Fn(&Self, usize) -> f64) {
        for k in 0..self.columns() {
            self.t[zone(0, k, self.columns())] = t(self, k);
        }
    }

    /// The gradient of ℓ in the atoms, C × L: `X^T (Ω − t ∘ A)`.
    pub fn atom_gradient(&self, out: &mut [f64]) {
        for ((g, chosen), mean) in out.iter_mut().zip(&*self.chosen).zip(&*self.mean) {
            *g = chosen - mean;
        }
    }
}

/// Numbers of the features of units, where they may serve: see `units.rs`.
fn unit_features(shape: &Shape) -> usize {
    let serve = match shape.sets {
        1 if shape.units_are_draws || shape.units_are_split => false,
        1 => !shape.is_part() && (shape.columns <= FEW_COLUMNS || shape.units <= shape.rows),
        _ => !shape.units_are_rows && shape.units <= shape.rows / 4 && Layout::may_group(shape),
    };
    if serve { shape.units.saturating_mul(shape.columns.saturating_add(2)) } else { 0 }
}

/// Whether Ω has a matrix of its own, in which log-normalizers of many choice sets wait.
fn stores_omega(shape: &Shape, choices: bool) -> bool {
    choices && !shape.units_are_rows || shape.sets > 1
}

/// Turns logarithms into probabilities in place; the log of their sum before.
pub(crate) fn normalize(j: &mut [f64]) -> f64 {
    let m = j.iter().fold(f64::NEG_INFINITY, |m, x| if x.is_nan() || *x > m { *x } else { m });
    if m == f64::NEG_INFINITY {
        j.fill(0.0);
        return m;
    }
    let mut sum = 0.0;
    for x in j.iter_mut() {
        *x = libm::exp(*x - m);
        sum += *x;
    }
    j.iter_mut().for_each(|x| *x /= sum);
    m + libm::log(sum)
}

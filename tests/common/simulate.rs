//! What choices are simulated with, and what found atoms are held against: for tests, benches and the study.
#![allow(dead_code)]

use rand_distr::{Binomial, Distribution};
use rand_pcg::Pcg64;
use softmix::whiten::Whitening;

/// `π_i = Σ_k α_k e^(x_i·θ_k) / Σ_j e^(x_j·θ_k)` of every row.
pub fn shares(x: &[f64], columns: usize, weights: &[f64], atoms: &[f64]) -> Vec<f64> {
    let mut pi = vec![0.0; x.len() / columns];
    for (weight, atom) in weights.iter().zip(atoms.chunks_exact(columns)) {
        let s: Vec<f64> = x.chunks_exact(columns).map(|x| x.iter().zip(atom).map(|(a, b)| a * b).sum()).collect();
        let top = s.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let z: f64 = s.iter().map(|s| (s - top).exp()).sum();
        pi.iter_mut().zip(&s).for_each(|(pi, s)| *pi += weight * (s - top).exp() / z);
    }
    pi
}

/// Multinomial counts of n draws, row after row, each binomial in what is left.
pub fn multinomial(pi: &[f64], n: u64, random: &mut Pcg64) -> Vec<f64> {
    let (mut left, mut mass) = (n, 1.0);
    let one = |p: &f64| {
        let count = if left == 0 { 0 } else { Binomial::new(left, (p / mass).clamp(0.0, 1.0)).unwrap().sample(random) };
        left -= count;
        mass = f64::max(mass - p, f64::MIN_POSITIVE);
        count as f64
    };
    pi.iter().map(one).collect()
}

/// Makes every atom one of this norm.
pub fn scale_to(norm: f64, atoms: &mut [f64], columns: usize) {
    for atom in atoms.chunks_exact_mut(columns) {
        let length = atom.iter().map(|a| a * a).sum::<f64>().sqrt();
        atom.iter_mut().for_each(|a| *a *= norm / length);
    }
}

/// Mean distance of matched atoms in whitened units, over the best matching.
pub fn matched_distance(wh: &Whitening<'_>, found: &[f64], truth: &[f64]) -> f64 {
    let whiten = |atom: &[f64]| {
        let mut beta = vec![0.0; wh.rank];
        wh.whiten_atom(atom, &mut beta);
        beta
    };
    let [found, truth]: [Vec<Vec<f64>>; 2] = [found, truth].map(|atoms| atoms.chunks_exact(wh.columns).map(whiten).collect());
    let distance = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| (x - y).powi(2)).sum::<f64>().sqrt();
    // By dynamic programming over subsets of the true atoms.
    let k = found.len();
    let mut best = vec![f64::INFINITY; 1 << k];
    best[0] = 0.0;
    for set in 0..(1usize << k) - 1 {
        let next = set.count_ones() as usize;
        for j in (0..k).filter(|j| set >> j & 1 == 0) {
            best[set | 1 << j] = best[set | 1 << j].min(best[set] + distance(&found[next], &truth[j]));
        }
    }
    best[(1 << k) - 1] / k as f64
}

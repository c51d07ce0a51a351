//! Random data of every layout and shape, the same on every machine.

use super::Panel;
use softmix::data::{Choices, Data, Features};

/// A stream of random numbers (SplitMix64, Steele and others 2014).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform on (0, 1).
    pub fn uniform(&mut self) -> f64 {
        ((self.next() >> 12) as f64 + 0.5) / (1u64 << 52) as f64
    }

    /// One of `0..n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.uniform() * n as f64) as usize
    }

    /// Standard normal (Box and Muller 1958).
    pub fn normal(&mut self) -> f64 {
        (-2.0 * self.uniform().ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos()
    }

    pub fn normals(&mut self, n: usize, scale: f64) -> Vec<f64> {
        (0..n).map(|_| scale * self.normal()).collect()
    }

    /// Positive weights that sum to one.
    pub fn simplex(&mut self, n: usize) -> Vec<f64> {
        let w: Vec<f64> = (0..n).map(|_| 0.2 + self.uniform()).collect();
        let total: f64 = w.iter().sum();
        w.iter().map(|w| w / total).collect()
    }

    /// A random order of `0..n`.
    pub fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for i in (1..n).rev() {
            order.swap(i, self.below(i + 1));
        }
        order
    }
}

/// The layouts of the data model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Counts over one choice set.
    Counts,
    /// Sparse counts over one choice set.
    SparseCounts,
    /// Units with several choices from one choice set.
    Units,
    /// Units with choices from many sets.
    Panel,
    /// Counts over many sets.
    CountsOverSets,
}

pub const LAYOUTS: [Layout; 5] = [Layout::Counts, Layout::SparseCounts, Layout::Units, Layout::Panel, Layout::CountsOverSets];

/// Choices that own their memory.
#[derive(Clone, Debug)]
pub enum OwnedChoices {
    Counts(Vec<f64>),
    Sparse { indices: Vec<usize>, counts: Vec<f64> },
    Units { indptr: Vec<usize>, indices: Vec<usize>, counts: Vec<f64>, weights: Vec<f64> },
}

/// Data that own their memory, in any layout.
#[derive(Clone, Debug)]
pub struct Case {
    /// Row-major.
    pub features: Vec<f64>,
    pub columns: usize,
    pub offset: Option<Vec<f64>>,
    pub sets: Option<Vec<usize>>,
    pub choices: OwnedChoices,
}

impl Case {
    pub fn rows(&self) -> usize {
        self.features.len() / self.columns
    }

    pub fn row(&self, i: usize) -> &[f64] {
        &self.features[i * self.columns..(i + 1) * self.columns]
    }

    pub fn sets(&self) -> Vec<usize> {
        self.sets.clone().unwrap_or(vec![0, self.rows()])
    }

    pub fn set_of(&self, i: usize) -> usize {
        self.sets().partition_point(|s| *s <= i) - 1
    }

    pub fn choices(&self) -> Choices<'_> {
        match &self.choices {
            OwnedChoices::Counts(n) => Choices::Counts(n),
            OwnedChoices::Sparse { indices, counts } => Choices::SparseCounts { indices, counts },
            OwnedChoices::Units { indptr, indices, counts, weights } => {
                Choices::Units { indptr, indices, counts: Some(counts), weights: Some(weights) }
            }
        }
    }

    pub fn data(&self) -> Data<'_> {
        self.with_features(Features::row_major(&self.features[..], self.rows(), self.columns).unwrap())
    }

    /// The same data with features seen in another way.
    pub fn with_features<'a>(&'a self, features: Features<'a>) -> Data<'a> {
        Data::new(features, self.offset.as_deref(), self.sets.as_deref(), self.choices()).unwrap()
    }

    /// Units as lists of (row, multiplicity), and their weights.
    pub fn units(&self) -> (Vec<Vec<(usize, f64)>>, Vec<f64>) {
        match &self.choices {
            OwnedChoices::Counts(n) => ((0..n.len()).map(|i| vec![(i, 1.0)]).collect(), n.clone()),
            OwnedChoices::Sparse { indices, counts } => (indices.iter().map(|i| vec![(*i, 1.0)]).collect(), counts.clone()),
            OwnedChoices::Units { indptr, indices, counts, weights } => {
                let unit = |w: &[usize]| (w[0]..w[1]).map(|e| (indices[e], counts[e])).collect();
                (indptr.windows(2).map(unit).collect(), weights.clone())
            }
        }
    }

    /// The same data as units in compressed rows.
    pub fn as_units(&self) -> Case {
        let (units, weights) = self.units();
        let kept: Vec<usize> = (0..units.len()).filter(|u| weights[*u] > 0.0).collect();
        let units: Vec<_> = kept.iter().map(|u| units[*u].clone()).collect();
        Case { choices: compressed(&units, kept.iter().map(|u| weights[*u]).collect()), ..self.clone() }
    }
}

/// Units in compressed rows.
pub fn compressed(units: &[Vec<(usize, f64)>], weights: Vec<f64>) -> OwnedChoices {
    let mut indptr = vec![0];
    for u in units {
        indptr.push(indptr[indptr.len() - 1] + u.len());
    }
    OwnedChoices::Units {
        indptr,
        indices: units.iter().flatten().map(|e| e.0).collect(),
        counts: units.iter().flatten().map(|e| e.1).collect(),
        weights,
    }
}

/// What a random case is made of.
#[derive(Clone, Copy, Debug)]
pub struct Recipe {
    pub layout: Layout,
    pub rows: usize,
    pub columns: usize,
    /// Units, or draws where choices are counts.
    pub units: usize,
    /// Offsets, some of them −inf, or none.
    pub offsets: bool,
    pub seed: u64,
}

/// Standard normal features; sets of 1 to 9 rows, and one of 300 among them where there are more than 600 rows; choices of two or three
/// latent classes with atoms of norm about 1.5; fractional weights, some of them 0; multiplicities.
pub fn random_case(recipe: Recipe) -> Case {
    let Recipe { layout, rows, columns, units, .. } = recipe;
    let mut random = Random::new(recipe.seed);
    let features = random.normals(rows * columns, 1.0);
    let sets = matches!(layout, Layout::Panel | Layout::CountsOverSets).then(|| {
        let mut sets = vec![0];
        while sets[sets.len() - 1] < rows {
            let first = sets[sets.len() - 1];
            let large = rows > 600 && (200..209).contains(&first);
            let size = if large { 300 } else { 1 + random.below(9) };
            sets.push((first + size).min(rows));
        }
        sets
    });
    let bounds = sets.clone().unwrap_or(vec![0, rows]);
    let offset = recipe.offsets.then(|| {
        let mut b = random.normals(rows, 0.5);
        for s in bounds.windows(2).filter(|s| s[1] - s[0] > 2) {
            let gone = s[0] + random.below(s[1] - s[0]);
            b[gone] = f64::NEG_INFINITY;
        }
        b
    });
    let classes = 2 + random.below(2);
    let atoms = random.normals(classes * columns, 1.5 / (columns as f64).sqrt());
    let mut case = Case { features, columns, offset, sets, choices: OwnedChoices::Counts(vec![]) };
    let draw = |case: &Case, set: usize, class: usize, random: &mut Random| {
        let atom = &atoms[class * columns..(class + 1) * columns];
        // The largest of utilities with Gumbel errors.
        let utility = |i: usize, random: &mut Random| {
            let s: f64 = case.row(i).iter().zip(atom).map(|(x, a)| x * a).sum();
            s + case.offset.as_ref().map_or(0.0, |b| b[i]) - (-random.uniform().ln()).ln()
        };
        let mut best = (bounds[set], f64::NEG_INFINITY);
        for i in bounds[set]..bounds[set + 1] {
            let u = utility(i, random);
            if u > best.1 {
                best = (i, u);
            }
        }
        best.0
    };
    let set_count = bounds.len() - 1;
    case.choices = match layout {
        Layout::Counts | Layout::CountsOverSets | Layout::SparseCounts => {
            let mut counts = vec![0.0; rows];
            for _ in 0..units {
                let (set, class) = (random.below(set_count), random.below(classes));
                counts[draw(&case, set, class, &mut random)] += 1.25;
            }
            if layout == Layout::SparseCounts {
                let indices: Vec<usize> = random.permutation(rows).into_iter().filter(|i| counts[*i] > 0.0).collect();
                OwnedChoices::Sparse { counts: indices.iter().map(|i| counts[*i]).collect(), indices }
            } else {
                OwnedChoices::Counts(counts)
            }
        }
        Layout::Units | Layout::Panel => {
            let mut all = vec![];
            let mut weights = vec![];
            for _ in 0..units {
                let class = random.below(classes);
                let n = 1 + random.below(6);
                let choose = |random: &mut Random| {
                    let set = random.below(set_count);
                    (draw(&case, set, class, random), (1 + random.below(3)) as f64)
                };
                all.push((0..n).map(|_| choose(&mut random)).collect());
                weights.push(if all.len() % 11 == 5 { 0.0 } else { 0.25 * (1 + random.below(8)) as f64 });
            }
            compressed(&all, weights)
        }
    };
    case
}

/// A simulated panel of sets of `size` alternatives, `each` of them a person's, and its atoms, normal of the given scale as the features
/// are of 1.
pub fn simulated_panel(sets: usize, each: usize, size: usize, columns: usize, classes: usize, scale: f64, seed: u64) -> (Panel, Vec<f64>) {
    let mut r = Random::new(seed);
    let (features, atoms) = (r.normals(sets * size * columns, 1.0), r.normals(classes * columns, scale));
    let class: Vec<usize> = (0..sets.div_ceil(each)).map(|_| r.below(classes)).collect();
    let indices = (0..sets)
        .map(|s| {
            let atom = &atoms[class[s / each] * columns..][..columns];
            // Utilities with errors of the extreme-value distribution: the largest is chosen.
            let utility: Vec<f64> = features[s * size * columns..(s + 1) * size * columns]
                .chunks_exact(columns)
                .map(|x| x.iter().zip(atom).map(|(x, t)| x * t).sum::<f64>() - (-r.uniform().ln()).ln())
                .collect();
            s * size + (0..size).max_by(|a, b| utility[*a].total_cmp(&utility[*b])).unwrap()
        })
        .collect();
    let panel = Panel {
        features,
        columns,
        sets: (0..=sets).map(|s| s * size).collect(),
        offset: None,
        indptr: (0..=sets.div_ceil(each)).map(|u| (u * each).min(sets)).collect(),
        indices,
        counts: vec![1.0; sets],
        weights: vec![1.0; sets.div_ceil(each)],
    };
    (panel, atoms)
}

//! Clusters of points: centres drawn far from one another (k-means++: Arthur and Vassilvitskii 2007), and some steps of Lloyd.

use super::{pick, square_distance};
use crate::data::Data;
use crate::error::Result;
use crate::linalg::axpy;
use crate::workspace::{Workspace, WorkspaceSize};
use rand_pcg::Pcg64;

/// A clustering of the units of some data, and its scratch.
pub(crate) struct Clusters<'w> {
    /// The cluster of every unit, U.
    pub labels: &'w mut [usize],
    /// Centres, K × r; and their sizes, K.
    centers: &'w mut [f64],
    sizes: &'w mut [f64],
    /// Square distances from the nearest centre, U.
    distance: &'w mut [f64],
}

impl<'w> Clusters<'w> {
    /// Workspace for clusters of `units` points of at most `dimension` coordinates.
    pub fn workspace(units: usize, dimension: usize, classes: usize) -> WorkspaceSize {
        let of = WorkspaceSize::of::<f64>;
        WorkspaceSize::of::<usize>(units).and(of(classes.saturating_mul(dimension))).and(of(classes)).and(of(units))
    }

    pub fn new(units: usize, dimension: usize, classes: usize, ws: &mut Workspace<'w>) -> Result<Self> {
        Ok(Clusters {
            labels: ws.fill(units, 0)?,
            centers: ws.f64s(classes * dimension)?,
            sizes: ws.f64s(classes)?,
            distance: ws.f64s(units)?,
        })
    }

    /// Clusters `points` (U × r), each as heavy as its unit, from centres of their own and `steps` of Lloyd.
    pub fn draw(&mut self, data: &Data<'_>, points: &[f64], r: usize, random: &mut Pcg64, steps: usize) {
        self.distance.fill(1.0);
        for j in 0..self.sizes.len() {
            let u = pick(data, random, |u| data.unit_weight(u) * self.distance[u]);
            self.centers[j * r..(j + 1) * r].copy_from_slice(point(points, u, r));
            for (u, distance) in self.distance.iter_mut().enumerate() {
                let d = square_distance(point(points, u, r), point(self.centers, j, r));
                *distance = if j == 0 { d } else { d.min(*distance) };
            }
        }
        self.assign(points, r);
        for _ in 0..steps {
            let centers = &mut self.centers[..self.sizes.len() * r];
            centers.fill(0.0);
            self.sizes.fill(0.0);
            for (u, &j) in self.labels.iter().enumerate() {
                let w = data.unit_weight(u);
                self.sizes[j] += w;
                axpy(w, point(points, u, r), &mut centers[j * r..(j + 1) * r]);
            }
            for (center, n) in centers.chunks_exact_mut(r.max(1)).zip(&*self.sizes) {
                center.iter_mut().for_each(|c| *c /= n.max(f64::MIN_POSITIVE));
            }
            self.assign(points, r);
        }
    }

    /// Every point to the nearest centre, the first of equal ones.
    fn assign(&mut self, points: &[f64], r: usize) {
        for (u, label) in self.labels.iter_mut().enumerate() {
            let distance = |j: usize| square_distance(point(points, u, r), point(self.centers, j, r));
            *label = (1..self.sizes.len()).fold(0, |best, j| if distance(j) < distance(best) { j } else { best });
        }
    }
}

fn point(points: &[f64], u: usize, r: usize) -> &[f64] {
    &points[u * r..(u + 1) * r]
}

//! Clusters of the rows of a matrix (Lloyd's algorithm), up to sign: `X o X` does not know the sign of a row.

use crate::dense::Dense;
use rand::{Rng, rngs::StdRng};

/// Iterations at most.
const ITERATIONS: usize = 50;
/// Starts, of which the best counts.
const STARTS: usize = 8;

/// The cluster, `0..count`, of every row.
pub fn group(x: &Dense, count: usize, rng: &mut StdRng) -> Vec<usize> {
    let count = count.clamp(1, x.rows.max(1));
    let mut best = (f64::INFINITY, vec![0; x.rows]);
    for _ in 0..STARTS {
        let mut centres: Vec<Vec<f64>> =
            (0..count).map(|_| x.row(rng.random_range(0..x.rows.max(1))).to_vec()).collect();
        let mut labels = vec![0; x.rows];
        let mut total = f64::INFINITY;
        for _ in 0..ITERATIONS {
            let mut sum = 0.0;
            for (i, label) in labels.iter_mut().enumerate() {
                let distances = centres.iter().map(|centre| distance(x.row(i), centre));
                let nearest = distances.enumerate().min_by(|a, b| a.1.total_cmp(&b.1));
                let (place, square) = nearest.unwrap_or((0, 0.0));
                (*label, sum) = (place, sum + square);
            }
            if sum >= total {
                break;
            }
            total = sum;
            for (place, centre) in centres.iter_mut().enumerate() {
                let members: Vec<usize> = (0..x.rows).filter(|i| labels[*i] == place).collect();
                if members.is_empty() {
                    continue;
                }
                let old = centre.clone();
                centre.fill(0.0);
                for i in &members {
                    let sign = sign_of(x.row(*i), &old);
                    centre.iter_mut().zip(x.row(*i)).for_each(|(c, x)| *c += sign * x / members.len() as f64);
                }
            }
        }
        if total < best.0 {
            best = (total, labels);
        }
    }
    best.1
}

fn sign_of(row: &[f64], centre: &[f64]) -> f64 {
    let dot: f64 = row.iter().zip(centre).map(|(a, b)| a * b).sum();
    if dot < 0.0 { -1.0 } else { 1.0 }
}

fn distance(row: &[f64], centre: &[f64]) -> f64 {
    let sign = sign_of(row, centre);
    row.iter().zip(centre).map(|(a, b)| (sign * a - b).powi(2)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn rows_that_differ_in_sign_only_are_together() {
        let x = Dense::from_fn(8, 2, |i, j| {
            let direction = if i % 2 == 0 { [1.0, 0.1] } else { [0.1, 1.0] };
            let sign = if i < 4 { 1.0 } else { -1.0 };
            sign * direction[j]
        });
        let labels = group(&x, 2, &mut StdRng::seed_from_u64(1));
        assert!((0..8).all(|i| (labels[i] == labels[0]) == (i % 2 == 0)), "{labels:?}");
    }
}

//! Sparse products against plain loops: ragged patterns, every kernel width, any number of threads.

use super::*;
use rand::{Rng, SeedableRng, rngs::StdRng};

struct Case {
    matrix: SparseMatrix<f64>,
    entries: Vec<(usize, usize, f64)>,
    left: Vec<f64>,
    right: Vec<f64>,
    rank: usize,
}

const ROWS: usize = 230;
const COLS: usize = 170;

fn case(rank: usize) -> Case {
    let mut rng = StdRng::seed_from_u64(rank as u64);
    let mut entries = Vec::new();
    for i in (0..ROWS).rev() {
        // Ragged: the first row is full, the second empty.
        let share = [1.0, 0.0, 0.6][i.min(2)];
        for j in 0..COLS {
            if rng.random_bool(share) {
                entries.push((i, j, rng.random_range(-1.0..1.0)));
            }
        }
    }
    let mut numbers = |n: usize| (0..n).map(|_| rng.random_range(-1.0..1.0)).collect::<Vec<f64>>();
    let (left, right) = (numbers(ROWS * rank), numbers(COLS * rank));
    Case { matrix: SparseMatrix::new(ROWS, COLS, &entries).unwrap(), entries, left, right, rank }
}

impl Case {
    fn tables(&self) -> [Table<f64>; 2] {
        let mut tables = [Table::default(), Table::default()];
        tables[0].fill(&[Panel::from_slice(&self.left, ROWS, self.rank)]);
        tables[1].fill(&[Panel::from_slice(&self.right, COLS, self.rank)]);
        tables
    }

    fn sampled(&self, i: usize, j: usize) -> f64 {
        let row = |x: &[f64], i: usize| x[i * self.rank..][..self.rank].to_vec();
        row(&self.left, i).iter().zip(row(&self.right, j)).map(|(a, b)| a * b).sum()
    }

    /// `out[line] += weight x[other]` over all entries.
    fn gather(
        &self,
        orientation: Orientation,
        weight: impl Fn(usize, usize, f64) -> f64,
        x: &[f64],
    ) -> Vec<f64> {
        let lines = if orientation == Orientation::Rows { ROWS } else { COLS };
        let mut out = vec![0.0; lines * self.rank];
        for &(i, j, value) in &self.entries {
            let (line, other) = if orientation == Orientation::Rows { (i, j) } else { (j, i) };
            for k in 0..self.rank {
                out[line * self.rank + k] += weight(i, j, value) * x[other * self.rank + k];
            }
        }
        out
    }
}

fn close(what: &str, ours: &[f64], expected: &[f64]) {
    assert_eq!(ours.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(1.0, |a: f64, b| a.max(b.abs()));
    let error = ours.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(error < 1e-13 * scale, "{what}: {error:e}");
}

fn extract(table: &Table<f64>, part: [usize; 2], rank: usize) -> Vec<f64> {
    let mut out = vec![f64::NAN; table.rows() * rank];
    table.extract(part, PanelMut::from_slice(&mut out, table.rows(), rank));
    out
}

const RANKS: [usize; 8] = [1, 4, 6, 10, 13, 21, 30, 37];

#[test]
fn residuals_and_their_products_are_those_of_plain_loops() {
    for rank in RANKS {
        let case = case(rank);
        let [left, right] = case.tables();
        assert!(left.holds(Panel::from_slice(&case.left, ROWS, rank)));
        for (orientation, x) in [(Orientation::Rows, &case.right), (Orientation::Columns, &case.left)] {
            let data = case.matrix.values(orientation);
            let (mut d, mut product) = (vec![f64::NAN; data.len()], Table::default());
            let mask = case.matrix.mask();
            let square =
                mask.residual(Threads::Pool, orientation, [&left, &right], data, &mut d, &mut product);
            let weight = |i, j, value| case.sampled(i, j) - value;
            close("product", &extract(&product, [0, 1], rank), &case.gather(orientation, weight, x));
            let expected: f64 = case.entries.iter().map(|&(i, j, value)| weight(i, j, value).powi(2)).sum();
            assert!((square - expected).abs() < 1e-12 * expected);
            let mut alone = Table::default();
            mask.residual_product(Threads::Pool, orientation, [&left, &right], data, &mut alone);
            assert_eq!(alone, product, "the product alone");
            let rows = if orientation == Orientation::Rows { d } else { continue };
            let expected: Vec<f64> =
                mask.entries().zip(data).map(|((i, j), value)| case.sampled(i, j) - value).collect();
            close("residual", &rows, &expected);
        }
    }
}

#[test]
fn curvature_products_are_those_of_plain_loops() {
    for rank in RANKS {
        let case = case(rank);
        let mut tables = [Table::default(), Table::default()];
        let [k, h] = [0.5, -2.0].map(|c| case.left.iter().map(|x| c * x).collect::<Vec<_>>());
        let [v, w] = [1.5, 3.0].map(|c| case.right.iter().map(|x| c * x * x).collect::<Vec<_>>());
        let panel = |x, rows| Panel::from_slice(x, rows, rank);
        tables[0].fill(&[panel(&k, ROWS), panel(&h, ROWS)]);
        tables[1].fill(&[panel(&v, COLS), panel(&w, COLS)]);
        let sampled = |i: usize, j: usize, _: f64| -> f64 {
            let term =
                |a: &[f64], b: &[f64]| -> f64 { (0..rank).map(|l| a[i * rank + l] * b[j * rank + l]).sum() };
            term(&k, &v) + term(&h, &w)
        };
        let given = |_: usize, _: usize, value: f64| value;
        let mask = case.matrix.mask();
        let run = |orientation, halves| {
            let mut product = Table::default();
            let values = case.matrix.values(orientation);
            mask.curvature(
                Threads::Pool,
                orientation,
                [&tables[0], &tables[1]],
                halves,
                values,
                &mut product,
            );
            [[0, 2], [1, 2]].map(|part| extract(&product, part, rank))
        };
        let rows = run(Orientation::Rows, Halves::SampledFirst);
        close("D V", &rows[0], &case.gather(Orientation::Rows, sampled, &v));
        close("E W", &rows[1], &case.gather(Orientation::Rows, given, &w));
        let columns = run(Orientation::Columns, Halves::SampledSecond);
        close("E^T K", &columns[0], &case.gather(Orientation::Columns, given, &k));
        close("D^T H", &columns[1], &case.gather(Orientation::Columns, sampled, &h));
    }
}

#[test]
fn products_and_samples_are_those_of_plain_loops() {
    let case = case(7);
    let (mut rows, mut cols) = (vec![f64::NAN; ROWS * 7], vec![f64::NAN; COLS * 7]);
    let (left, right) = (Panel::from_slice(&case.left, ROWS, 7), Panel::from_slice(&case.right, COLS, 7));
    case.matrix.times(Threads::Pool, right, PanelMut::from_slice(&mut rows, ROWS, 7));
    case.matrix.transposed_times(Threads::Pool, left, PanelMut::from_slice(&mut cols, COLS, 7));
    let value = |_, _, value| value;
    close("S R", &rows, &case.gather(Orientation::Rows, value, &case.right));
    close("S^T L", &cols, &case.gather(Orientation::Columns, value, &case.left));

    let ([l, r], mask) = (case.tables(), case.matrix.mask());
    let data = case.matrix.values(Orientation::Rows);
    let mut d = vec![f64::NAN; mask.len()];
    let (square, mixed) = mask.sample(Threads::Pool, [&l, &r], data, &mut d);
    let expected: Vec<f64> = mask.entries().map(|(i, j)| case.sampled(i, j)).collect();
    close("samples", &d, &expected);
    let sums: (f64, f64) = expected.iter().zip(data).fold((0.0, 0.0), |s, (d, a)| (s.0 + d * d, s.1 + d * a));
    assert!((square - sums.0).abs() < 1e-12 * sums.0 && (mixed - sums.1).abs() < 1e-12 * sums.0);
}

#[test]
fn sums_over_packed_tables_are_those_of_the_samples() {
    for rank in RANKS {
        let case = case(rank);
        let (mask, data) = (case.matrix.mask(), case.matrix.values(Orientation::Rows));
        let twice: Vec<f64> = case.left.iter().map(|x| 2.0 * x).collect();
        let left = [&case.left, &twice].map(|x| Panel::from_slice(x, ROWS, rank));
        let right = [Panel::from_slice(&case.right, COLS, rank); 2];
        let (mut packed, mut padded) =
            ([(); 2].map(|()| Table::default()), [(); 2].map(|()| Table::default()));
        for (place, parts) in [left, right].iter().enumerate() {
            // What stood there before must not show in the padding.
            let rows = parts[0].rows();
            packed[place].fill(&[Panel::from_slice(&vec![7.0; rows * 80], rows, 80)]);
            packed[place].fill_packed(parts);
            padded[place].fill(parts);
        }
        assert_eq!(packed[0].width(), (2 * rank).next_multiple_of(4));
        let mut d = vec![0.0; mask.len()];
        let expected = mask.sample(Threads::Serial, [&padded[0], &padded[1]], data, &mut d);
        let found = mask.sampled_sums(Threads::Serial, [&packed[0], &packed[1]], data);
        assert!((found.0 - expected.0).abs() < 1e-12 * expected.0, "{found:?} {expected:?} at rank {rank}");
        assert!((found.1 - expected.1).abs() < 1e-12 * expected.0, "{found:?} {expected:?} at rank {rank}");
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let case = case(6);
    let [left, right] = case.tables();
    let data = case.matrix.values(Orientation::Rows);
    let run = |threads| {
        let (mut d, mut product) = (vec![0.0; data.len()], Table::default());
        let tables = [&left, &right];
        let square =
            case.matrix.mask().residual(threads, Orientation::Rows, tables, data, &mut d, &mut product);
        (square.to_bits(), d, product)
    };
    assert!(case.matrix.mask().len() > 1 << 14, "the pass is cut");
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    assert_eq!(pool.install(|| run(Threads::Pool)), run(Threads::Serial));
}

#[test]
fn entries_that_make_no_matrix_are_named() {
    let new = |entries: &[(usize, usize, f64)]| SparseMatrix::new(3, 4, entries);
    let message = |entries| new(entries).unwrap_err().to_string();
    assert!(message(&[(0, 0, 1.0), (1, 4, 1.0)]).contains("entry 1 at (1, 4) lies outside a 3 x 4 matrix"));
    assert!(message(&[(2, 1, 1.0), (0, 0, 1.0), (2, 1, 2.0)]).contains("row 2, column 1 is given twice"));
    assert!(message(&[(2, 1, f64::NAN)]).contains("row 2, column 1 is NaN"));
    let covering = |entries| new(entries).unwrap().mask().require_covering().map_err(|e| e.to_string());
    assert!(covering(&[(0, 0, 1.0), (2, 1, 1.0)]).unwrap_err().contains("row 1 of the mask is empty"));
    let rows = [(0, 0, 1.0), (1, 1, 1.0), (2, 3, 1.0)];
    assert!(covering(&rows).unwrap_err().contains("column 2 of the mask is empty"));
}

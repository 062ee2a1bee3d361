//! Textbook factorizations of one `f64` matrix: Cholesky by definition, Householder QR, singular values
//! by one-sided Jacobi rotations, symmetric eigenvalues by cyclic Jacobi, inverse by Gauss-Jordan
//! elimination with partial pivoting (Golub and Van Loan, chapters 3, 4, 5 and 8).

/// One row-major matrix.
#[derive(Clone, Debug)]
pub(super) struct Dense {
    pub rows: usize,
    pub cols: usize,
    pub data: Vec<f64>,
}

/// Sweeps over all pairs before an iteration counts as not converging; ten are plenty.
const MAX_SWEEPS: usize = 60;

impl Dense {
    pub fn zeros(rows: usize, cols: usize) -> Self {
        Self { rows, cols, data: vec![0.0; rows * cols] }
    }

    /// Ones on the main diagonal.
    pub fn identity(rows: usize, cols: usize) -> Self {
        let mut one = Self::zeros(rows, cols);
        (0..rows.min(cols)).for_each(|i| *one.at(i, i) = 1.0);
        one
    }

    pub fn get(&self, i: usize, j: usize) -> f64 {
        self.data[i * self.cols + j]
    }

    pub fn at(&mut self, i: usize, j: usize) -> &mut f64 {
        &mut self.data[i * self.cols + j]
    }

    pub fn is_finite(&self) -> bool {
        self.data.iter().all(|x| x.is_finite())
    }

    /// Divides by a power of two near the largest entry, so that squares neither overflow nor vanish;
    /// returns that power. Zero and non-finite matrices stay.
    fn normalize(&mut self) -> f64 {
        let largest = self.data.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
        if largest == 0.0 || !largest.is_finite() {
            return 1.0;
        }
        let power = largest.log2().floor().clamp(-1000.0, 1000.0).exp2();
        self.data.iter_mut().for_each(|x| *x /= power);
        power
    }

    /// `<column i, column j>` from row `start` on.
    fn column_dot(&self, start: usize, i: usize, j: usize) -> f64 {
        (start..self.rows).map(|k| self.get(k, i) * self.get(k, j)).sum()
    }

    /// Rotates columns `p` and `q`: `(p, q) <- (c p - s q, s p + c q)`.
    fn rotate_columns(&mut self, p: usize, q: usize, c: f64, s: f64) {
        for k in 0..self.rows {
            let (x, y) = (self.get(k, p), self.get(k, q));
            *self.at(k, p) = c * x - s * y;
            *self.at(k, q) = s * x + c * y;
        }
    }

    /// The columns in the order of `permutation`.
    fn permuted(&self, permutation: &[usize]) -> Self {
        let mut out = Self::zeros(self.rows, permutation.len());
        for i in 0..self.rows {
            for (j, &from) in permutation.iter().enumerate() {
                *out.at(i, j) = self.get(i, from);
            }
        }
        out
    }
}

/// Lower `L` with `a = L L^T`, or the 0-based index of a pivot that is not positive.
pub(super) fn cholesky(a: &Dense) -> Result<Dense, usize> {
    let mut l = Dense::zeros(a.rows, a.cols);
    for j in 0..a.rows {
        for i in j..a.rows {
            let sum: f64 = (0..j).map(|k| l.get(i, k) * l.get(j, k)).sum();
            let rest = a.get(i, j) - sum;
            if i == j {
                if !(rest > 0.0 && rest.is_finite()) {
                    return Err(j);
                }
                *l.at(i, j) = rest.sqrt();
            } else {
                *l.at(i, j) = rest / l.get(j, j);
            }
        }
    }
    Ok(l)
}

/// Thin `(Q, R)` of a tall matrix, diagonal of `R` not negative.
pub(super) fn qr(mut a: Dense) -> (Dense, Dense) {
    let (m, n) = (a.rows, a.cols);
    let power = a.normalize();
    // Reflector j is I - v v^T with |v|^2 = 2 (or v = 0), stored in column j from row j on.
    let mut reflectors = Dense::zeros(m, n);
    for j in 0..n {
        let norm = a.column_dot(j, j, j).sqrt();
        // Squares that underflow have lost their digits; the largest entry is about 1.
        if norm < 1e-140 {
            continue;
        }
        let head = a.get(j, j);
        (j..m).for_each(|i| *reflectors.at(i, j) = a.get(i, j));
        *reflectors.at(j, j) = head + norm.copysign(head);
        let length = (reflectors.column_dot(j, j, j) / 2.0).sqrt();
        (j..m).for_each(|i| *reflectors.at(i, j) /= length);
        reflect(&reflectors, j, &mut a);
    }
    let mut q = Dense::identity(m, n);
    (0..n).rev().for_each(|j| reflect(&reflectors, j, &mut q));
    let mut r = Dense::zeros(n, n);
    for i in 0..n {
        let sign = if a.get(i, i) < 0.0 { -1.0 } else { 1.0 };
        (i..n).for_each(|j| *r.at(i, j) = sign * power * a.get(i, j));
        (0..m).for_each(|k| *q.at(k, i) *= sign);
    }
    (q, r)
}

/// Applies reflector `j` from the left.
fn reflect(reflectors: &Dense, j: usize, target: &mut Dense) {
    for col in 0..target.cols {
        let sum: f64 = (j..target.rows).map(|i| reflectors.get(i, j) * target.get(i, col)).sum();
        (j..target.rows).for_each(|i| *target.at(i, col) -= sum * reflectors.get(i, j));
    }
}

/// Cosine and sine that make the symmetric `[[app, apq], [apq, aqq]]` diagonal.
fn jacobi_angle(app: f64, apq: f64, aqq: f64) -> (f64, f64) {
    let tau = (aqq - app) / (2.0 * apq);
    let t = 1.0_f64.copysign(tau) / (tau.abs() + tau.hypot(1.0));
    let c = 1.0 / t.hypot(1.0);
    (c, t * c)
}

/// Thin `(U, s, V)` of a finite tall matrix, `s` descending; `None` when the rotations do not converge.
pub(super) fn svd(mut a: Dense) -> Option<(Dense, Vec<f64>, Dense)> {
    let n = a.cols;
    let power = a.normalize();
    let mut v = Dense::identity(n, n);
    // Rounding of the inner products themselves; columns of rounding noise are never orthogonal to it.
    let orthogonal = 2.0 * f64::EPSILON * a.rows as f64;
    let noise = (f64::EPSILON * a.rows as f64).powi(2);
    let mut converged = false;
    for _ in 0..MAX_SWEEPS {
        converged = true;
        for p in 0..n {
            for q in p + 1..n {
                let (app, apq, aqq) = (a.column_dot(0, p, p), a.column_dot(0, p, q), a.column_dot(0, q, q));
                if apq.abs() <= orthogonal * app.sqrt() * aqq.sqrt() + noise {
                    continue;
                }
                converged = false;
                let (c, s) = jacobi_angle(app, apq, aqq);
                a.rotate_columns(p, q, c, s);
                v.rotate_columns(p, q, c, s);
            }
        }
        if converged {
            break;
        }
    }
    if !converged {
        return None;
    }
    let norms: Vec<f64> = (0..n).map(|j| a.column_dot(0, j, j).sqrt()).collect();
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&i, &j| norms[j].total_cmp(&norms[i]));
    // A V = U diag(s): its QR factor is U, completed where singular values vanish.
    let (u, _) = qr(a.permuted(&order));
    Some((u, order.iter().map(|&j| power * norms[j]).collect(), v.permuted(&order)))
}

/// `(Q, w)` of a finite symmetric matrix given by its lower triangle, `w` ascending; `None` when the
/// rotations do not converge.
pub(super) fn eigh(mut a: Dense) -> Option<(Dense, Vec<f64>)> {
    let n = a.cols;
    for i in 0..n {
        for j in 0..i {
            *a.at(j, i) = a.get(i, j);
        }
    }
    let power = a.normalize();
    let norm = a.data.iter().map(|x| x * x).sum::<f64>().sqrt();
    let mut vectors = Dense::identity(n, n);
    let mut converged = false;
    for _ in 0..MAX_SWEEPS {
        converged = true;
        for p in 0..n {
            for q in p + 1..n {
                let apq = a.get(p, q);
                if apq.abs() <= f64::EPSILON * norm {
                    continue;
                }
                converged = false;
                let (c, s) = jacobi_angle(a.get(p, p), apq, a.get(q, q));
                a.rotate_columns(p, q, c, s);
                for k in 0..n {
                    let (x, y) = (a.get(p, k), a.get(q, k));
                    *a.at(p, k) = c * x - s * y;
                    *a.at(q, k) = s * x + c * y;
                }
                vectors.rotate_columns(p, q, c, s);
            }
        }
        if converged {
            break;
        }
    }
    if !converged {
        return None;
    }
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&i, &j| a.get(i, i).total_cmp(&a.get(j, j)));
    Some((vectors.permuted(&order), order.iter().map(|&j| power * a.get(j, j)).collect()))
}

/// The inverse of a square matrix; nothing if a pivot is zero or not a number.
pub(super) fn invert(mut a: Dense) -> Option<Dense> {
    let n = a.rows;
    let mut x = Dense::identity(n, n);
    for k in 0..n {
        let pivot = (k..n).max_by(|&i, &j| a.get(i, k).abs().total_cmp(&a.get(j, k).abs()))?;
        for j in 0..n {
            a.data.swap(k * n + j, pivot * n + j);
            x.data.swap(k * n + j, pivot * n + j);
        }
        let value = a.get(k, k);
        if value == 0.0 || value.is_nan() {
            return None;
        }
        for j in 0..n {
            *a.at(k, j) /= value;
            *x.at(k, j) /= value;
        }
        for i in (0..n).filter(|&i| i != k) {
            let factor = a.get(i, k);
            for j in 0..n {
                *a.at(i, j) -= factor * a.get(k, j);
                *x.at(i, j) -= factor * x.get(k, j);
            }
        }
    }
    Some(x)
}

//! [`CameraGraph`]: relative rotations between cameras, made or read, and checked.

use crate::{
    dense::{Dense, normal},
    error::AppError,
};
use lr_linalg::sparse::SparseMatrix;
use rand::{Rng, rngs::StdRng};
use std::collections::BTreeMap;

/// A 3 x 3 rotation, row by row.
pub type Rotation = [[f64; 3]; 3];

/// A measurement `R ~ R_j R_i^T` between cameras i and j.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measurement {
    /// Camera i.
    pub from: usize,
    /// Camera j.
    pub to: usize,
    /// The relative rotation.
    pub rotation: Rotation,
}

/// Cameras with measurements between them.
#[derive(Clone, Debug)]
pub struct CameraGraph {
    /// Number of cameras.
    pub cameras: usize,
    /// The measurements.
    pub measurements: Vec<Measurement>,
    /// The true rotations, where they are known.
    pub truth: Option<Vec<Rotation>>,
}

/// Deviation from orthogonality at which a measurement is no rotation.
const ROTATION_TOLERANCE: f64 = 1e-3;

impl CameraGraph {
    /// Random cameras on a ring of neighbours with random chords, noisy measurements.
    ///
    /// # Errors
    /// [`AppError::Data`] for fewer than 2 cameras, or a noise or degree that is none.
    pub fn random(cameras: usize, degree: f64, noise: f64, rng: &mut StdRng) -> Result<Self, AppError> {
        if cameras < 2 {
            return Err(AppError::Data(format!("{cameras} cameras: synchronization needs at least 2")));
        }
        if !(noise >= 0.0 && noise.is_finite() && degree >= 2.0 && degree.is_finite()) {
            return Err(AppError::Data(format!(
                "noise {noise} must not be negative, degree {degree} must be at least 2"
            )));
        }
        let truth: Vec<Rotation> = (0..cameras)
            .map(|_| {
                let q = [normal(rng), normal(rng), normal(rng), normal(rng)];
                from_quaternion(q).unwrap_or([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
            })
            .collect();
        let share = ((degree - 2.0) / cameras as f64).min(1.0);
        let mut measurements = Vec::new();
        for from in 0..cameras {
            for to in from + 1..cameras {
                let neighbours = to == from + 1 || (from == 0 && to == cameras - 1);
                if neighbours || rng.random_bool(share) {
                    let error = exponential([noise * normal(rng), noise * normal(rng), noise * normal(rng)]);
                    let relative = times(&truth[to], &transposed(&truth[from]));
                    measurements.push(Measurement { from, to, rotation: times(&error, &relative) });
                }
            }
        }
        Ok(Self { cameras, measurements, truth: Some(truth) })
    }

    /// Refuses measurements of no camera, of one camera, twice, that are no rotations, and graphs in several
    /// parts.
    ///
    /// # Errors
    /// [`AppError::Data`] naming the measurement or the camera.
    pub fn validate(&self) -> Result<(), AppError> {
        let mut seen = BTreeMap::new();
        for (place, m) in self.measurements.iter().enumerate() {
            let name = || format!("measurement {} between cameras {} and {}", place + 1, m.from, m.to);
            if m.from.max(m.to) >= self.cameras || m.from == m.to {
                return Err(AppError::Data(format!(
                    "{}: there are {} cameras, and two differ",
                    name(),
                    self.cameras
                )));
            }
            let product = times(&m.rotation, &transposed(&m.rotation));
            let defect =
                (0..9).map(|k| (product[k / 3][k % 3] - f64::from(k / 3 == k % 3)).abs()).fold(0.0, f64::max);
            // False where a number is NaN.
            let orthogonal = defect <= ROTATION_TOLERANCE;
            if !orthogonal
                || determinant(&m.rotation) <= 0.0
                || m.rotation.as_flattened().iter().any(|x| x.is_nan())
            {
                return Err(AppError::Data(format!("{} is no rotation", name())));
            }
            if let Some(first) = seen.insert((m.from.min(m.to), m.from.max(m.to)), place) {
                return Err(AppError::Data(format!(
                    "{} is given before, as measurement {}",
                    name(),
                    first + 1
                )));
            }
        }
        self.require_connected()
    }

    fn require_connected(&self) -> Result<(), AppError> {
        let mut part: Vec<usize> = (0..self.cameras).collect();
        fn root(part: &mut [usize], mut i: usize) -> usize {
            while part[i] != i {
                part[i] = part[part[i]];
                i = part[i];
            }
            i
        }
        for m in &self.measurements {
            let (a, b) = (root(&mut part, m.from), root(&mut part, m.to));
            part[a.max(b)] = a.min(b);
        }
        let roots: Vec<usize> = (0..self.cameras).map(|i| root(&mut part, i)).collect();
        let parts = roots.iter().enumerate().filter(|(i, root)| i == *root).count();
        match roots.iter().position(|root| *root != roots[0]) {
            None => Ok(()),
            Some(camera) => Err(AppError::Data(format!(
                "the camera graph falls into {parts} parts: no measurements lead from camera 0 to camera \
                 {camera}; \
                 their relative rotation is undetermined. Synchronize the parts one by one"
            ))),
        }
    }

    /// `C`: block `C_ji = -R_ij`, `C_ij = C_ji^T`.
    ///
    /// # Errors
    /// [`AppError::Sparse`] naming a place.
    pub fn matrix(&self) -> Result<SparseMatrix<f64>, AppError> {
        let mut entries = Vec::with_capacity(18 * self.measurements.len());
        for m in &self.measurements {
            for (k, l) in (0..9).map(|k| (k / 3, k % 3)) {
                entries.push((3 * m.to + k, 3 * m.from + l, -m.rotation[k][l]));
                entries.push((3 * m.from + l, 3 * m.to + k, -m.rotation[k][l]));
            }
        }
        Ok(SparseMatrix::new(3 * self.cameras, 3 * self.cameras, &entries)?)
    }
}

/// Rotations on top of one another, `3 n x 3`.
pub fn stacked(rotations: &[Rotation]) -> Dense {
    Dense::from_fn(3 * rotations.len(), 3, |i, j| rotations[i / 3][i % 3][j])
}

/// `a b`.
pub fn times(a: &Rotation, b: &Rotation) -> Rotation {
    std::array::from_fn(|i| std::array::from_fn(|j| (0..3).map(|k| a[i][k] * b[k][j]).sum()))
}

/// `a^T`.
pub fn transposed(a: &Rotation) -> Rotation {
    std::array::from_fn(|i| std::array::from_fn(|j| a[j][i]))
}

/// Determinant.
pub fn determinant(a: &Rotation) -> f64 {
    let minor = |i: usize, j: usize| {
        let (r, c) = ([(i + 1) % 3, (i + 2) % 3], [(j + 1) % 3, (j + 2) % 3]);
        a[r[0]][c[0]] * a[r[1]][c[1]] - a[r[0]][c[1]] * a[r[1]][c[0]]
    };
    (0..3).map(|j| a[0][j] * minor(0, j)).sum()
}

/// The rotation of a quaternion `[x, y, z, w]` of any length but 0.
pub fn from_quaternion([x, y, z, w]: [f64; 4]) -> Option<Rotation> {
    let square = x * x + y * y + z * z + w * w;
    if !(square > f64::MIN_POSITIVE && square.is_finite()) {
        return None;
    }
    let s = 2.0 / square;
    Some([
        [1.0 - s * (y * y + z * z), s * (x * y - z * w), s * (x * z + y * w)],
        [s * (x * y + z * w), 1.0 - s * (x * x + z * z), s * (y * z - x * w)],
        [s * (x * z - y * w), s * (y * z + x * w), 1.0 - s * (x * x + y * y)],
    ])
}

/// The rotation by `|v|` radians about `v`.
pub fn exponential(v: [f64; 3]) -> Rotation {
    let angle = v.iter().map(|x| x * x).sum::<f64>().sqrt();
    // sin(a/2)/a, by its limit at 0.
    let factor = if angle > 1e-12 { (0.5 * angle).sin() / angle } else { 0.5 };
    let q = [factor * v[0], factor * v[1], factor * v[2], (0.5 * angle).cos()];
    from_quaternion(q).unwrap_or([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
}

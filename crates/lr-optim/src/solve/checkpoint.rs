//! [`Checkpoint`]: where a solver stopped, as bytes, to go on from there.
//!
//! Stopped by a criterion and resumed, trust regions, conjugate gradients and L-BFGS take the steps of a run in
//! one piece: the very ones where the geometry factors a point to the bits that its retraction left, as `M_h`
//! does, and up to rounding elsewhere. Trust regions need the radius, conjugate gradients the direction and the
//! next trial step, L-BFGS its pairs. The other solvers go on from the point.
//!
//! Iterations of a resumed run count from 0; [`Checkpoint::of`] adds up. Relative criteria of conjugate gradients
//! and L-BFGS compare with the gradient of the first start, those of the other solvers with that of the resumed
//! one.
//!
//! Little-endian: the eight bytes `lowrank2`; m, n, r, iterations, inner iterations, the solver, number of numbers,
//! number of tangent vectors as 64-bit integers; numbers, both factors, both parts of every vector, row by row, as 64-bit
//! floats; an FNV-1a checksum of all of it. Numbers and vectors are those of the solver:
//!
//! | | solver | numbers | vectors |
//! |---|---|---|---|
//! | 0 | others | | |
//! | 1 | trust regions | radius | |
//! | 2 | conjugate gradients | slope, trial step, norm of the first gradient | direction |
//! | 3 | L-BFGS | norm of the first gradient, `<s, y>` and `<y, y>` of every pair | `s` and `y` of every pair, old to new |

use super::{Solution, SolveError, TrustRegions, stop::Carried};
use lr_linalg::{Dims, Linalg, Mats, Scalar};
use lr_manifolds::Factors;

const MAGIC: &[u8; 8] = b"lowrank2";
const WORD: usize = 8;
/// Magic and eight integers.
const HEADER: usize = 9 * WORD;

/// Whose numbers and vectors a checkpoint holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Solver {
    Other,
    TrustRegions,
    ConjugateGradients,
    Lbfgs,
}

impl Solver {
    const ALL: [Self; 4] = [Self::Other, Self::TrustRegions, Self::ConjugateGradients, Self::Lbfgs];

    /// How many numbers come with so many vectors.
    fn numbers(self, vectors: usize) -> Option<usize> {
        match (self, vectors) {
            (Self::Other, 0) => Some(0),
            (Self::TrustRegions, 0) => Some(1),
            (Self::ConjugateGradients, 1) => Some(3),
            (Self::Lbfgs, count) if count.is_multiple_of(2) => count.checked_add(1),
            _ => None,
        }
    }
}

/// A point and how a solver came there.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    left: Vec<f64>,
    right: Vec<f64>,
    rank: usize,
    /// Outer iterations so far.
    pub iterations: usize,
    /// Inner iterations so far.
    pub inner_iterations: usize,
    solver: Solver,
    numbers: Vec<f64>,
    /// Both parts of every vector, one after the other.
    vectors: Vec<f64>,
}

/// Bytes that are no checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a checkpoint of a solver: {0}")]
pub struct DamagedCheckpoint(&'static str);

fn checksum(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

impl Checkpoint {
    /// Where `solution` stopped, after the iterations of `before`, the checkpoint that it went on from.
    ///
    /// # Errors
    /// [`SolveError`] when the device fails.
    pub fn of<B: Linalg>(b: &B, solution: &Solution<B>, before: Option<&Self>) -> Result<Self, SolveError> {
        let host = |x: &Mats<B>| -> Result<Vec<f64>, SolveError> {
            Ok(x.to_vec(b)?.into_iter().map(Scalar::to_f64).collect())
        };
        let (outcome, mut vectors) = (&solution.outcome, Vec::new());
        let mut add = |x: &Factors<B>| -> Result<(), SolveError> {
            vectors.extend(host(&x.left)?);
            vectors.extend(host(&x.right)?);
            Ok(())
        };
        let (solver, numbers) = match &solution.carried {
            Carried::Nothing => match outcome.radius {
                Some(radius) => (Solver::TrustRegions, vec![radius]),
                None => (Solver::Other, Vec::new()),
            },
            Carried::Direction { direction, numbers } => {
                add(direction)?;
                (Solver::ConjugateGradients, numbers.to_vec())
            }
            Carried::Pairs { pairs, first_gradient_norm } => {
                let mut numbers = vec![*first_gradient_norm];
                for (s, y, products) in pairs {
                    add(s)?;
                    add(y)?;
                    numbers.extend(products);
                }
                (Solver::Lbfgs, numbers)
            }
        };
        let earlier = before.map_or((0, 0), |before| (before.iterations, before.inner_iterations));
        Ok(Self {
            left: host(&solution.x.left)?,
            right: host(&solution.x.right)?,
            rank: solution.x.left.dims().cols,
            iterations: earlier.0 + outcome.iterations,
            inner_iterations: earlier.1 + outcome.inner_iterations,
            solver,
            numbers,
            vectors,
        })
    }

    /// The point.
    ///
    /// # Errors
    /// [`SolveError`] when the device fails.
    pub fn point<B: Linalg>(&self, b: &B) -> Result<Factors<B>, SolveError> {
        self.factors(b, &self.left, &self.right)
    }

    fn factors<B: Linalg>(&self, b: &B, left: &[f64], right: &[f64]) -> Result<Factors<B>, SolveError> {
        let device = |x: &[f64]| -> Result<Mats<B>, SolveError> {
            let values: Vec<B::Elem> = x.iter().map(|x| B::Elem::from_f64(*x)).collect();
            Ok(Mats::from_slice(b, Dims::new(1, x.len() / self.rank.max(1), self.rank), &values)?)
        };
        Ok(Factors { left: device(left)?, right: device(right)? })
    }

    /// What conjugate gradients or L-BFGS left.
    pub(super) fn carried<B: Linalg>(&self, b: &B) -> Result<Carried<B>, SolveError> {
        let mut vectors = Vec::new();
        for vector in self.vectors.chunks_exact((self.left.len() + self.right.len()).max(1)) {
            let (left, right) = vector.split_at(self.left.len());
            vectors.push(self.factors(b, left, right)?);
        }
        let mut vectors = vectors.into_iter();
        Ok(match (self.solver, &self.numbers[..], vectors.next()) {
            (Solver::ConjugateGradients, &[slope, trial, first], Some(direction)) => {
                Carried::Direction { direction, numbers: [slope, trial, first] }
            }
            (Solver::Lbfgs, [first, products @ ..], newest) => {
                let mut vectors = newest.into_iter().chain(vectors);
                let mut pairs = Vec::with_capacity(products.len() / 2);
                for products in products.as_chunks::<2>().0 {
                    if let (Some(s), Some(y)) = (vectors.next(), vectors.next()) {
                        pairs.push((s, y, *products));
                    }
                }
                Carried::Pairs { pairs, first_gradient_norm: *first }
            }
            _ => Carried::Nothing,
        })
    }

    /// Radius of the trust region, where there is one.
    pub fn radius(&self) -> Option<f64> {
        (self.solver == Solver::TrustRegions).then(|| self.numbers.first().copied()).flatten()
    }

    /// Trust regions that go on with the radius of the checkpoint.
    pub fn resume(&self, solver: TrustRegions) -> TrustRegions {
        TrustRegions { first_radius: self.radius().unwrap_or(solver.first_radius), ..solver }
    }

    /// As bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let rank = self.rank.max(1);
        let vector = (self.left.len() + self.right.len()).max(1);
        let counts = [
            self.left.len() / rank,
            self.right.len() / rank,
            self.rank,
            self.iterations,
            self.inner_iterations,
            self.solver as usize,
            self.numbers.len(),
            self.vectors.len() / vector,
        ];
        let mut bytes = MAGIC.to_vec();
        counts.iter().for_each(|n| bytes.extend((*n as u64).to_le_bytes()));
        for part in [&self.numbers, &self.left, &self.right, &self.vectors] {
            part.iter().for_each(|x| bytes.extend(x.to_le_bytes()));
        }
        let sum = checksum(&bytes);
        bytes.extend(sum.to_le_bytes());
        bytes
    }

    /// From bytes.
    ///
    /// # Errors
    /// [`DamagedCheckpoint`] when they are of another kind, cut off or changed.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DamagedCheckpoint> {
        if !bytes.starts_with(MAGIC) {
            return Err(DamagedCheckpoint("another kind of file"));
        }
        let (words, rest) = bytes.as_chunks::<WORD>();
        if !rest.is_empty() || bytes.len() < HEADER + WORD {
            return Err(DamagedCheckpoint("it is cut off"));
        }
        let (body, sum) = bytes.split_at(bytes.len() - WORD);
        if checksum(body).to_le_bytes() != sum {
            return Err(DamagedCheckpoint("its checksum is another"));
        }
        let count = |place: usize| usize::try_from(u64::from_le_bytes(words[place])).unwrap_or(usize::MAX);
        let [m, n, rank, iterations, inner_iterations, solver, numbers, vectors] =
            [1, 2, 3, 4, 5, 6, 7, 8].map(count);
        let Some(&solver) = Solver::ALL.get(solver) else {
            return Err(DamagedCheckpoint("its solver is unknown"));
        };
        let floats = &words[HEADER / WORD..words.len() - 1];
        let lengths = || {
            let (left, right) = (m.checked_mul(rank)?, n.checked_mul(rank)?);
            let rest = vectors.checked_mul(left.checked_add(right)?)?;
            Some([numbers, left, right, rest])
        };
        let Some(lengths) = lengths() else { return Err(DamagedCheckpoint("its shape overflows")) };
        let total = lengths.iter().try_fold(0, |sum: usize, length| sum.checked_add(*length));
        if rank == 0 || total != Some(floats.len()) || solver.numbers(vectors) != Some(numbers) {
            return Err(DamagedCheckpoint("its shape is not that of its numbers"));
        }
        let mut floats = floats.iter().map(|word| f64::from_le_bytes(*word));
        let [numbers, left, right, vectors] =
            lengths.map(|length| floats.by_ref().take(length).collect::<Vec<f64>>());
        Ok(Self { left, right, rank, iterations, inner_iterations, solver, numbers, vectors })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole() -> Checkpoint {
        Checkpoint {
            left: vec![1.0, -2.0, 3.5, 0.1, 5.0, 6.0],
            right: vec![7.0, 8.0, 9.0, 1e-300],
            rank: 2,
            iterations: 4,
            inner_iterations: 9,
            solver: Solver::Lbfgs,
            numbers: vec![0.3, 1.5, 2.5],
            vectors: (0..20).map(f64::from).collect(),
        }
    }

    #[test]
    fn bytes_come_back_and_damage_is_named() {
        let whole = whole();
        let bytes = whole.to_bytes();
        assert_eq!(Checkpoint::from_bytes(&bytes).unwrap(), whole);
        let mut changed = bytes.clone();
        changed[HEADER + 3] ^= 1;
        for (bytes, expected) in [
            (&b"something"[..], "another kind of file"),
            (&bytes[..bytes.len() - 3], "it is cut off"),
            (&bytes[..bytes.len() - WORD], "its checksum is another"),
            (&changed[..], "its checksum is another"),
        ] {
            assert!(Checkpoint::from_bytes(bytes).unwrap_err().to_string().contains(expected));
        }
    }

    #[test]
    fn hostile_counts_are_refused() {
        // Shapes, solver and counts, each beyond what the bytes hold, under a right checksum.
        for (place, value, expected) in [
            (1, u64::MAX, "its shape overflows"),
            (1, 4, "its shape is not that of its numbers"),
            (3, 0, "its shape is not that of its numbers"),
            (6, 7, "its solver is unknown"),
            (6, 2, "its shape is not that of its numbers"),
            (8, u64::MAX, "its shape overflows"),
        ] {
            let mut bytes = whole().to_bytes();
            bytes[place * WORD..][..WORD].copy_from_slice(&value.to_le_bytes());
            let end = bytes.len() - WORD;
            let sum = checksum(&bytes[..end]);
            bytes[end..].copy_from_slice(&sum.to_le_bytes());
            let refused = Checkpoint::from_bytes(&bytes).unwrap_err().to_string();
            assert!(refused.contains(expected), "{place} {value}: {refused}");
        }
    }
}

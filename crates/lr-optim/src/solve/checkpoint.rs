//! [`Checkpoint`]: where a solver stopped, as bytes, to go on from there.
//!
//! A solver that starts from [`Checkpoint::start`] takes the steps of a run in one piece, and its relative criteria
//! compare with the first start's gradient, if the checkpoint is of its kind: the very same steps where the geometry
//! factors a point to the bits that its retraction left, as `M_h` does, and up to rounding elsewhere. Only projected
//! gradients that stopped below rank r go on differently: they turn their columns to spare once more. A solver of
//! another kind starts anew from the point. Iterations of a resumed run count from 0; [`Checkpoint::of`] adds up.
//!
//! Little-endian: the eight bytes `lowrank3`; m, n, r, iterations, inner iterations, the solver, number of numbers,
//! number of tangent vectors as 64-bit integers; numbers, both factors, both parts of every vector, row by row, as 64-bit
//! floats; an FNV-1a checksum of all of it. Numbers and vectors are those of the solver, `g0` the norm of the gradient at
//! the first start:
//!
//! | | solver | numbers | vectors |
//! |---|---|---|---|
//! | 0 | none: nothing to carry on | | |
//! | 1 | trust regions | `g0`, radius, size of the first cost | |
//! | 2 | conjugate gradients | `g0`, slope, trial step | direction |
//! | 3 | L-BFGS | `g0`, `<s, y>` and `<y, y>` of every pair | `s` and `y` of every pair, old to new |
//! | 4 | gradient descent, projected gradients | `g0`, trial step | |

use super::{Solution, SolveError, Start, start::Carried};
use lr_linalg::{Dims, Linalg, Mats, Scalar};
use lr_manifolds::{Factors, Tangent};

const MAGIC: &[u8; 8] = b"lowrank3";
const WORD: usize = 8;
/// Magic and eight integers.
const HEADER: usize = 9 * WORD;

/// Whose numbers and vectors a checkpoint holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Solver {
    Nobody,
    TrustRegions,
    ConjugateGradients,
    Lbfgs,
    Descent,
}

impl Solver {
    const ALL: [Self; 5] =
        [Self::Nobody, Self::TrustRegions, Self::ConjugateGradients, Self::Lbfgs, Self::Descent];

    /// Whether the solver can go on with these numbers and so many vectors: with a radius or a trial step that is not
    /// positive it might never end.
    fn goes_on(self, numbers: &[f64], vectors: usize) -> bool {
        let fits = match (self, numbers) {
            (Self::Nobody, []) => vectors == 0,
            (Self::TrustRegions, [_, radius, _]) => vectors == 0 && *radius > 0.0,
            (Self::ConjugateGradients, [_, slope, trial]) => vectors == 1 && *slope < 0.0 && *trial > 0.0,
            (Self::Lbfgs, [_, products @ ..]) => {
                vectors == products.len() && vectors.is_multiple_of(2) && products.iter().all(|x| *x > 0.0)
            }
            (Self::Descent, [_, trial]) => vectors == 0 && *trial > 0.0,
            _ => false,
        };
        fits && numbers.iter().all(|x| x.is_finite())
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

/// Solver, numbers and vectors of what is carried, as in the file.
fn parts<B: Linalg>(carried: &Carried<B>) -> (Solver, Vec<f64>, Vec<&Tangent<B>>) {
    match carried {
        Carried::Nothing => (Solver::Nobody, Vec::new(), Vec::new()),
        Carried::Radius { radius, first_cost, first_gradient_norm } => {
            (Solver::TrustRegions, vec![*first_gradient_norm, *radius, *first_cost], Vec::new())
        }
        Carried::Direction { direction, slope, trial, first_gradient_norm } => {
            (Solver::ConjugateGradients, vec![*first_gradient_norm, *slope, *trial], vec![direction])
        }
        Carried::Pairs { pairs, first_gradient_norm } => {
            let products = pairs.iter().flat_map(|(_, _, products)| *products);
            let vectors = pairs.iter().flat_map(|(s, y, _)| [s, y]).collect();
            (Solver::Lbfgs, [*first_gradient_norm].into_iter().chain(products).collect(), vectors)
        }
        Carried::Trial { trial, first_gradient_norm } => {
            (Solver::Descent, vec![*first_gradient_norm, *trial], Vec::new())
        }
    }
}

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
        let host = |x: &Factors<B>| -> Result<[Vec<f64>; 2], SolveError> {
            let values =
                |x: &Mats<B>| Ok::<_, SolveError>(x.to_vec(b)?.into_iter().map(Scalar::to_f64).collect());
            Ok([values(&x.left)?, values(&x.right)?])
        };
        let (mut solver, mut numbers, mut carried) = parts(&solution.carried);
        if !solver.goes_on(&numbers, carried.len()) {
            (solver, numbers, carried) = (Solver::Nobody, Vec::new(), Vec::new());
        }
        let mut vectors = Vec::new();
        for vector in carried {
            vectors.extend(host(vector)?.concat());
        }
        let [left, right] = host(&solution.x)?;
        let earlier = before.map_or((0, 0), |before| (before.iterations, before.inner_iterations));
        Ok(Self {
            left,
            right,
            rank: solution.x.left.dims().cols,
            iterations: earlier.0.saturating_add(solution.outcome.iterations),
            inner_iterations: earlier.1.saturating_add(solution.outcome.inner_iterations),
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

    /// Where a solver goes on.
    ///
    /// # Errors
    /// [`SolveError`] when the device fails.
    pub fn start<B: Linalg>(&self, b: &B) -> Result<Start<B>, SolveError> {
        let mut vectors = Vec::new();
        for vector in self.vectors.chunks_exact((self.left.len() + self.right.len()).max(1)) {
            let (left, right) = vector.split_at(self.left.len());
            vectors.push(self.factors(b, left, right)?);
        }
        Ok(Start { x: self.point(b)?, carried: self.carried(vectors) })
    }

    fn factors<B: Linalg>(&self, b: &B, left: &[f64], right: &[f64]) -> Result<Factors<B>, SolveError> {
        let device = |x: &[f64]| -> Result<Mats<B>, SolveError> {
            let values: Vec<B::Elem> = x.iter().map(|x| B::Elem::from_f64(*x)).collect();
            Ok(Mats::from_slice(b, Dims::new(1, x.len() / self.rank.max(1), self.rank), &values)?)
        };
        Ok(Factors { left: device(left)?, right: device(right)? })
    }

    /// The reverse of [`parts`].
    fn carried<B: Linalg>(&self, vectors: Vec<Tangent<B>>) -> Carried<B> {
        let mut vectors = vectors.into_iter();
        match (self.solver, &self.numbers[..]) {
            (Solver::TrustRegions, &[first_gradient_norm, radius, first_cost]) => {
                Carried::Radius { radius, first_cost, first_gradient_norm }
            }
            (Solver::ConjugateGradients, &[first_gradient_norm, slope, trial]) => match vectors.next() {
                Some(direction) => Carried::Direction { direction, slope, trial, first_gradient_norm },
                None => Carried::Nothing,
            },
            (Solver::Lbfgs, &[first_gradient_norm, ref products @ ..]) => {
                let products = products.as_chunks::<2>().0.iter();
                let pairs = products.map_while(|of| Some((vectors.next()?, vectors.next()?, *of))).collect();
                Carried::Pairs { pairs, first_gradient_norm }
            }
            (Solver::Descent, &[first_gradient_norm, trial]) => Carried::Trial { trial, first_gradient_norm },
            _ => Carried::Nothing,
        }
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
        let word = |place: usize| usize::try_from(u64::from_le_bytes(words[place])).unwrap_or(usize::MAX);
        let [m, n, rank, iterations, inner_iterations, solver, numbers, count] =
            [1, 2, 3, 4, 5, 6, 7, 8].map(word);
        let Some(&solver) = Solver::ALL.get(solver) else {
            return Err(DamagedCheckpoint("its solver is unknown"));
        };
        let floats = &words[HEADER / WORD..words.len() - 1];
        let lengths = || {
            let (left, right) = (m.checked_mul(rank)?, n.checked_mul(rank)?);
            let rest = count.checked_mul(left.checked_add(right)?)?;
            Some([numbers, left, right, rest])
        };
        let Some(lengths) = lengths() else { return Err(DamagedCheckpoint("its shape overflows")) };
        let total = lengths.iter().try_fold(0, |sum: usize, length| sum.checked_add(*length));
        if rank == 0 || total != Some(floats.len()) {
            return Err(DamagedCheckpoint("its shape is not that of its numbers"));
        }
        let mut floats = floats.iter().map(|word| f64::from_le_bytes(*word));
        let [numbers, left, right, vectors] =
            lengths.map(|length| floats.by_ref().take(length).collect::<Vec<f64>>());
        if !solver.goes_on(&numbers, count) {
            return Err(DamagedCheckpoint("its solver cannot go on with its numbers"));
        }
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
            (6, 2, "its solver cannot go on"),
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

    #[test]
    fn every_solver_comes_back_and_numbers_it_cannot_go_on_with_are_refused() {
        use Solver::{ConjugateGradients, Descent, Lbfgs, Nobody, TrustRegions};
        let read = |solver, numbers: &[f64], count: usize| {
            let (numbers, vectors) = (numbers.to_vec(), vec![0.5; 10 * count]);
            let written = Checkpoint { solver, numbers, vectors, ..whole() };
            Checkpoint::from_bytes(&written.to_bytes()).map(|read| assert_eq!(read, written))
        };
        for (solver, numbers, count) in [
            (Nobody, &[][..], 0),
            (TrustRegions, &[1.0, 0.5, 0.0], 0),
            (ConjugateGradients, &[1.0, -2.0, 0.5], 1),
            (Lbfgs, &[1.0], 0),
            (Lbfgs, &[1.0, 2.0, 3.0], 2),
            (Descent, &[1.0, 0.5], 0),
        ] {
            read(solver, numbers, count).unwrap();
            // One number more, one less, a vector more, and none of the numbers may be NaN.
            let mut hostile = vec![([numbers, &[1.0]].concat(), count), (numbers.to_vec(), count + 1)];
            hostile.extend(numbers.split_last().map(|(_, fewer)| (fewer.to_vec(), count)));
            for place in 0..numbers.len() {
                let mut changed = numbers.to_vec();
                changed[place] = f64::NAN;
                hostile.push((changed, count));
            }
            for (numbers, count) in hostile {
                let refused = read(solver, &numbers, count);
                assert!(refused.is_err(), "{solver:?} {numbers:?} {count}");
            }
        }
        for (solver, numbers, count) in [
            (TrustRegions, &[1.0, -0.5, 0.0][..], 0),
            (ConjugateGradients, &[1.0, 2.0, 0.5], 1),
            (ConjugateGradients, &[1.0, -2.0, 0.0], 1),
            (Lbfgs, &[1.0, 2.0], 1),
            (Lbfgs, &[1.0, -2.0, 3.0], 2),
            (Descent, &[1.0, f64::INFINITY], 0),
            (Descent, &[1.0, 0.0], 0),
        ] {
            let refused = read(solver, numbers, count).unwrap_err().to_string();
            assert!(refused.contains("its solver cannot go on with its numbers"), "{solver:?} {refused}");
        }
    }
}

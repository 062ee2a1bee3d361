//! [`Checkpoint`]: where a solver stopped, as bytes, to go on from there.
//!
//! Trust regions keep nothing but the point, the radius and their counts: stopped by
//! [`Stop::Iterations`](super::Stop) and resumed they take the very steps of a run in one piece. The other
//! solvers go on from the point with a fresh direction.
//!
//! Little-endian: the eight bytes `lowrank1`; m, n, r, iterations, inner iterations as 64-bit integers; the
//! radius (0 for none) and both factors, row by row, as 64-bit floats; an FNV-1a checksum of all of it.

use super::{Solution, SolveError, TrustRegions};
use lr_linalg::{Dims, Linalg, Mats, Scalar};
use lr_manifolds::Factors;

const MAGIC: &[u8; 8] = b"lowrank1";
const WORD: usize = 8;
/// Magic, five integers, the radius.
const HEADER: usize = 7 * WORD;

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
    /// Radius of the trust region, where there is one.
    pub radius: Option<f64>,
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
        let outcome = &solution.outcome;
        let earlier = before.map_or((0, 0), |before| (before.iterations, before.inner_iterations));
        Ok(Self {
            left: host(&solution.x.left)?,
            right: host(&solution.x.right)?,
            rank: solution.x.left.dims().cols,
            iterations: earlier.0 + outcome.iterations,
            inner_iterations: earlier.1 + outcome.inner_iterations,
            radius: outcome.radius,
        })
    }

    /// The point.
    ///
    /// # Errors
    /// [`SolveError`] when the device fails.
    pub fn point<B: Linalg>(&self, b: &B) -> Result<Factors<B>, SolveError> {
        let device = |x: &[f64]| -> Result<Mats<B>, SolveError> {
            let values: Vec<B::Elem> = x.iter().map(|x| B::Elem::from_f64(*x)).collect();
            Ok(Mats::from_slice(b, Dims::new(1, x.len() / self.rank.max(1), self.rank), &values)?)
        };
        Ok(Factors { left: device(&self.left)?, right: device(&self.right)? })
    }

    /// Trust regions that go on with the radius of the checkpoint.
    pub fn resume(&self, solver: TrustRegions) -> TrustRegions {
        TrustRegions { first_radius: self.radius.unwrap_or(solver.first_radius), ..solver }
    }

    /// As bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let rank = self.rank.max(1);
        let counts = [
            self.left.len() / rank,
            self.right.len() / rank,
            self.rank,
            self.iterations,
            self.inner_iterations,
        ];
        let mut bytes = MAGIC.to_vec();
        counts.iter().for_each(|n| bytes.extend((*n as u64).to_le_bytes()));
        let numbers = std::iter::once(self.radius.unwrap_or(0.0)).chain(self.left.iter().copied());
        numbers.chain(self.right.iter().copied()).for_each(|x| bytes.extend(x.to_le_bytes()));
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
        let [m, n, rank, iterations, inner_iterations] = [1, 2, 3, 4, 5].map(count);
        let numbers = &words[HEADER / WORD..words.len() - 1];
        let shape = (m.checked_mul(rank), n.checked_mul(rank));
        let (Some(left), Some(right)) = shape else { return Err(DamagedCheckpoint("its shape overflows")) };
        if rank == 0 || left.checked_add(right) != Some(numbers.len()) {
            return Err(DamagedCheckpoint("its shape is not that of its numbers"));
        }
        let floats = |words: &[[u8; WORD]]| words.iter().map(|word| f64::from_le_bytes(*word)).collect();
        let radius = f64::from_le_bytes(words[6]);
        Ok(Self {
            left: floats(&numbers[..left]),
            right: floats(&numbers[left..]),
            rank,
            iterations,
            inner_iterations,
            radius: (radius > 0.0).then_some(radius),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_and_damage_is_named() {
        let (left, right) = (vec![1.0, -2.0, 3.5, 0.1, 5.0, 6.0], vec![7.0, 8.0, 9.0, 1e-300]);
        let whole =
            Checkpoint { left, right, rank: 2, iterations: 4, inner_iterations: 9, radius: Some(0.3) };
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
}

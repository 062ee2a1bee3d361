//! [`Grid`]: the shape of one low-rank problem, `I x J` blocks `W_ij = A_i B_j^T` that share factors
//! across block rows and columns (paper section 2). A singleton is `I = J = 1`.

use lr_linalg::{Backend, Dims, MatsMut, MatsRef};
use std::ops::Range;

/// A shape that no geometry admits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// The rank exceeds what the matrices can have.
    #[error("{geometry}: rank r = {rank} exceeds {bound} = {limit}; lower the rank or use larger matrices")]
    RankTooLarge {
        /// Name of the geometry.
        geometry: &'static str,
        /// Rank asked for.
        rank: usize,
        /// What bounds it, in words.
        bound: &'static str,
        /// Its value.
        limit: usize,
    },
    /// A rank, a height or a number of blocks is zero.
    #[error("{what} is zero; every block needs at least one row and the rank must be at least 1")]
    Empty {
        /// Which number.
        what: &'static str,
    },
    /// The rows cannot be cut into blocks of one height.
    #[error(
        "{rows} rows cannot be cut into blocks of {height}; the block height must divide the number of rows"
    )]
    Indivisible {
        /// Rows of the matrix.
        rows: usize,
        /// Rows of a block.
        height: usize,
    },
    /// The rank is below what blocks with orthonormal rows need.
    #[error(
        "rank r = {rank} is below the block height p = {height}; blocks with p orthonormal rows need r >= p"
    )]
    RankTooSmall {
        /// Rank asked for.
        rank: usize,
        /// Rows of a block.
        height: usize,
    },
    /// The weight of a metric is not positive.
    #[error("omega = {0} must be a positive finite number; the usual choice is 0.5")]
    Omega(String),
    /// A geometry for single pairs was given a grid.
    #[error("{geometry} is a geometry of single pairs; got a grid of {left} x {right} blocks")]
    NotSingleton {
        /// Name of the geometry.
        geometry: &'static str,
        /// Block rows.
        left: usize,
        /// Block columns.
        right: usize,
    },
}

/// Heights of the blocks stacked on one side of a grid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocks {
    /// First row of each block, then the total height.
    offsets: Vec<usize>,
}

impl Blocks {
    /// Blocks of the given heights, top to bottom.
    pub fn new(heights: &[usize]) -> Self {
        let mut offsets = vec![0];
        for h in heights {
            offsets.push(offsets[offsets.len() - 1] + h);
        }
        Self { offsets }
    }

    /// Number of blocks.
    pub fn count(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Sum of the heights.
    pub fn total(&self) -> usize {
        self.offsets[self.count()]
    }

    /// Smallest height.
    pub fn least(&self) -> usize {
        self.ranges().map(|r| r.len()).min().unwrap_or(0)
    }

    /// Rows of each block within the stack.
    pub fn ranges(&self) -> impl Iterator<Item = Range<usize>> {
        self.offsets.windows(2).map(|w| w[0]..w[1])
    }

    /// How operations on single blocks go through the side: all blocks in one batch where they have
    /// equal heights, one after another otherwise.
    pub(crate) fn passes(&self) -> impl Iterator<Item = Pass> {
        let height = self.offsets.get(1).copied().unwrap_or(0);
        let equal = self.ranges().all(|rows| rows.len() == height);
        let together = equal.then(|| Pass::Together { blocks: self.count(), height });
        let rest = if equal { 0 } else { self.count() };
        together.into_iter().chain(self.ranges().take(rest).map(Pass::One))
    }
}

/// Some blocks of a side that one batched operation handles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pass {
    /// All of them: `[P, I m, r]` seen as `[P I, m, r]`.
    Together {
        /// How many.
        blocks: usize,
        /// Their common height.
        height: usize,
    },
    /// The rows of one.
    One(Range<usize>),
}

impl Pass {
    /// Blocks of each problem in this pass.
    pub fn blocks(&self) -> usize {
        match self {
            Self::Together { blocks, .. } => *blocks,
            Self::One(_) => 1,
        }
    }

    fn together(dims: Dims, blocks: usize, height: usize) -> Dims {
        Dims::new(dims.batch * blocks, height, dims.cols)
    }

    /// The blocks of the stack `x`, `[P blocks, m_i, cols]`.
    pub fn of<'a, B: Backend>(&self, x: MatsRef<'a, B>) -> MatsRef<'a, B> {
        match self {
            Self::Together { blocks, height } => x.reshape(Self::together(x.dims(), *blocks, *height)),
            Self::One(rows) => x.rows(rows.clone()),
        }
    }

    /// The blocks of the stack `x`, writable.
    pub fn of_mut<'a, B: Backend>(&self, x: MatsMut<'a, B>) -> MatsMut<'a, B> {
        match self {
            Self::Together { blocks, height } => {
                let dims = Self::together(x.dims(), *blocks, *height);
                x.reshape(dims)
            }
            Self::One(rows) => x.rows(rows.clone()),
        }
    }
}

/// Shape of one problem: `left` blocks of `m_i x r` above one another, `right` blocks of `n_j x r`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Heights `m_1 .. m_I`.
    pub left: Blocks,
    /// Heights `n_1 .. n_J`.
    pub right: Blocks,
    /// Columns `r` of every factor.
    pub rank: usize,
}

impl Grid {
    /// One pair: `A` is `m x r`, `B` is `n x r`.
    pub fn singleton(m: usize, n: usize, rank: usize) -> Self {
        Self::new(&[m], &[n], rank)
    }

    /// Blocks of heights `left` and `right`.
    pub fn new(left: &[usize], right: &[usize], rank: usize) -> Self {
        Self { left: Blocks::new(left), right: Blocks::new(right), rank }
    }

    /// Whether there is a single pair.
    pub fn is_singleton(&self) -> bool {
        self.left.count() == 1 && self.right.count() == 1
    }

    /// Shape of the stacked left factors of `problems` problems.
    pub fn left_dims(&self, problems: usize) -> Dims {
        Dims::new(problems, self.left.total(), self.rank)
    }

    /// Shape of the stacked right factors of `problems` problems.
    pub fn right_dims(&self, problems: usize) -> Dims {
        Dims::new(problems, self.right.total(), self.rank)
    }

    /// Shape of one `r x r` matrix for each of `problems` problems.
    pub fn small_dims(&self, problems: usize) -> Dims {
        Dims::square(problems, self.rank)
    }

    /// Checks that there are blocks on both sides, that none is without rows, and that the rank is not zero.
    ///
    /// # Errors
    /// [`ShapeError::Empty`].
    pub fn require_nonempty(&self) -> Result<(), ShapeError> {
        let counts = [
            ("the rank", self.rank),
            ("the number of left blocks", self.left.count()),
            ("the number of right blocks", self.right.count()),
            ("a left block height", self.left.least()),
            ("a right block height", self.right.least()),
        ];
        match counts.into_iter().find(|(_, n)| *n == 0) {
            Some((what, _)) => Err(ShapeError::Empty { what }),
            None => Ok(()),
        }
    }

    /// Checks that the stacked matrix can have rank `r`.
    pub(crate) fn require_stacked_rank(&self, geometry: &'static str) -> Result<(), ShapeError> {
        self.require_nonempty()?;
        let limit = self.left.total().min(self.right.total());
        if self.rank > limit {
            return Err(ShapeError::RankTooLarge { geometry, rank: self.rank, bound: "min(m, n)", limit });
        }
        Ok(())
    }

    /// Checks that every block can have orthonormal columns.
    pub(crate) fn require_block_rank(&self, geometry: &'static str) -> Result<(), ShapeError> {
        self.require_nonempty()?;
        let limit = self.left.least().min(self.right.least());
        if self.rank > limit {
            let bound = "the least block height min(m_i, n_j)";
            return Err(ShapeError::RankTooLarge { geometry, rank: self.rank, bound, limit });
        }
        Ok(())
    }

    /// Checks that there is a single pair.
    pub(crate) fn require_singleton(&self, geometry: &'static str) -> Result<(), ShapeError> {
        if self.is_singleton() {
            return Ok(());
        }
        Err(ShapeError::NotSingleton { geometry, left: self.left.count(), right: self.right.count() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unequal_blocks_stack() {
        let g = Grid::new(&[4, 2, 3], &[5], 2);
        assert_eq!(g.left.ranges().collect::<Vec<_>>(), [0..4, 4..6, 6..9]);
        assert_eq!((g.left.total(), g.left.least(), g.left.count()), (9, 2, 3));
        assert!(!g.is_singleton());
    }

    #[test]
    fn equal_blocks_go_together_and_unequal_ones_in_turn() {
        let passes = |heights: &[usize]| Blocks::new(heights).passes().collect::<Vec<_>>();
        assert_eq!(passes(&[3, 3]), [Pass::Together { blocks: 2, height: 3 }]);
        assert_eq!(passes(&[5]), [Pass::Together { blocks: 1, height: 5 }]);
        assert_eq!(passes(&[2, 3]), [Pass::One(0..2), Pass::One(2..5)]);
    }

    #[test]
    fn bad_shapes_say_what_is_wrong() {
        let text = |e: Result<(), ShapeError>| e.unwrap_err().to_string();
        assert!(
            text(Grid::singleton(4, 9, 5).require_stacked_rank("g")).contains("r = 5 exceeds min(m, n) = 4")
        );
        assert!(
            text(Grid::new(&[4, 2], &[9], 3).require_block_rank("g"))
                .contains("exceeds the least block height")
        );
        assert!(text(Grid::singleton(4, 9, 0).require_stacked_rank("g")).contains("the rank is zero"));
        assert!(text(Grid::new(&[], &[9], 1).require_stacked_rank("g")).contains("zero"));
        assert!(text(Grid::new(&[4, 2], &[9], 1).require_singleton("g")).contains("grid of 2 x 1"));
    }
}

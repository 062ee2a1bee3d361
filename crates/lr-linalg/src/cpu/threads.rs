//! How work is spread over threads: batches by problem, large single matrices by blocks.
//!
//! Every cut depends on shapes only, never on the number of threads, and no sum is cut; results are
//! therefore the same bits whatever the pool. `rayon::join` allocates nothing inside a pool.

use crate::{Backend, MatsMut};

/// Where the operations of a handle run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    /// Spread over the current rayon pool.
    Pool,
    /// On the calling thread; what `for_each_slice` hands to its closure.
    Serial,
}

/// Elementary operations below which a task is not worth handing to another thread (some 10 us).
const GRAIN: usize = 1 << 16;

/// Batched things that can be cut into two disjoint parts.
pub(super) trait Divide: Sized + Send {
    /// Number of problems.
    fn problems(&self) -> usize;
    /// The first `at` problems and the rest.
    fn divide(self, at: usize) -> (Self, Self);
}

impl<B: Backend> Divide for MatsMut<'_, B> {
    fn problems(&self) -> usize {
        self.dims().batch
    }

    fn divide(self, at: usize) -> (Self, Self) {
        self.split_problems(at)
    }
}

macro_rules! divide_tuple {
    ($($x:ident)+, $first:ident) => {
        #[allow(non_snake_case)]
        impl<$first: Divide, $($x: Divide),+> Divide for ($first, $($x),+) {
            fn problems(&self) -> usize {
                self.0.problems()
            }

            fn divide(self, at: usize) -> (Self, Self) {
                let ($first, $($x),+) = self;
                let $first = $first.divide(at);
                $(let $x = $x.divide(at);)+
                (($first.0, $($x.0),+), ($first.1, $($x.1),+))
            }
        }
    };
}
divide_tuple!(Y, X);
divide_tuple!(Y Z, X);
divide_tuple!(Y Z W, X);

impl Threads {
    /// Calls `work(p, part)` for every problem `p` of `whole`, where `part` is that problem alone;
    /// `cost` is the number of elementary operations of one problem.
    pub(super) fn each<X: Divide>(self, cost: usize, whole: X, work: impl Fn(usize, X) + Sync) {
        let grain = match self {
            Self::Pool => (GRAIN / cost.max(1)).max(1),
            Self::Serial => usize::MAX,
        };
        each(0, grain, whole, &work);
    }

    /// Runs both, at the same time where the handle may.
    pub(super) fn join<L: Send, R: Send>(
        self,
        left: impl FnOnce() -> L + Send,
        right: impl FnOnce() -> R + Send,
    ) -> (L, R) {
        match self {
            Self::Pool => rayon::join(left, right),
            Self::Serial => (left(), right()),
        }
    }
}

fn each<X: Divide>(first: usize, grain: usize, whole: X, work: &(impl Fn(usize, X) + Sync)) {
    let problems = whole.problems();
    if problems > grain {
        let half = problems / 2;
        let (left, right) = whole.divide(half);
        rayon::join(|| each(first, grain, left, work), || each(first + half, grain, right, work));
        return;
    }
    let mut rest = whole;
    for p in 0..problems {
        let (one, others) = rest.divide(1);
        work(first + p, one);
        rest = others;
    }
}

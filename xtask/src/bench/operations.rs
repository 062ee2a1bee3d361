//! The HAL's operations at the optimizers' shapes: what one of them computes, costs and moves, and a call of it on
//! any backend.

use std::time::Instant;

use lr_linalg::{
    AdamWCoefficients, Coef, DeviceError, Dims, Epilogue, Linalg, Map, Mats, Part, PivotGuard, PolarMethod,
    Scalar, Scratch, Side, Triangle,
};

use super::bank::Random;
use super::race::Contender;

/// Declares the operations with their names, so that none is without.
macro_rules! operations {
    ($($(#[$meta:meta])* $variant:ident = $name:literal),+ $(,)?) => {
        /// What is measured.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Operation { $($(#[$meta])* $variant),+ }

        impl Operation {
            /// Every operation.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Its name in tables.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }
    };
}

operations! {
    /// `m x r` times `r x r`.
    TallTimesSmall = "gemm tall x small",
    /// The Gram matrix of an `m x r` matrix.
    Gram = "gemm gram",
    /// A product of `r x r` matrices.
    SmallTimesSmall = "gemm small x small",
    /// Cholesky of an `r x r` matrix.
    Cholesky = "cholesky",
    /// Inverse of a general `r x r` matrix.
    Invert = "invert",
    /// Solution of `m` right sides of an `r x r` triangle.
    Solve = "trsm tall",
    /// Thin Householder QR of an `m x r` matrix.
    Qr = "qr",
    /// The same through Gram matrices.
    CholeskyQr = "cholesky-qr",
    /// SVD of the `2r x 2r` core.
    Svd = "svd",
    /// Symmetric eigendecomposition of an `r x r` matrix.
    Eigh = "eigh",
    /// Polar factor of an `m x r` matrix.
    Polar = "polar",
    /// A copy of an `m x r` matrix.
    Copy = "copy",
    /// Its transpose.
    Transpose = "transpose",
    /// A copy of the problems whose status is set: none.
    CopyWhere = "copy-where",
    /// A constant everywhere.
    Fill = "fill",
    /// A constant on the diagonal.
    AddDiagonal = "add-diagonal",
    /// `y = alpha x + beta y` with a device scalar.
    Axpby = "axpby",
    /// The symmetric part of an `r x r` matrix.
    TakePart = "take-part",
    /// Columns by a diagonal.
    ScaleColumns = "scale-columns",
    /// The Hadamard product.
    Multiply = "multiply",
    /// A quotient, element by element.
    Map = "map",
    /// The Frobenius inner product.
    Dot = "dot",
    /// The largest entry.
    MaxAbs = "max-abs",
    /// Which problems have a large entry.
    FlagAbove = "flag-above",
    /// AdamW in one pass.
    AdamW = "adamw",
}

impl Operation {
    /// Rows and columns of the argument, for tall matrices of `m x r`.
    pub fn shape(self, m: usize, r: usize) -> (usize, usize) {
        match self {
            Self::SmallTimesSmall
            | Self::Cholesky
            | Self::Invert
            | Self::Eigh
            | Self::TakePart
            | Self::AddDiagonal => (r, r),
            Self::Svd => (2 * r, 2 * r),
            _ => (m, r),
        }
    }

    /// Floating-point operations of the textbook's algorithm (Golub and Van Loan 2013) on one matrix: whoever does
    /// with less, or needs more, has the rate that its time is worth. Zero for what only moves data.
    pub fn flops(self, rows: usize, cols: usize) -> f64 {
        let (m, n) = (rows as f64, cols as f64);
        match self {
            Self::TallTimesSmall | Self::Gram | Self::SmallTimesSmall => 2.0 * m * n * n,
            Self::Cholesky => n.powi(3) / 3.0,
            Self::Invert => 2.0 * n.powi(3),
            Self::Solve => m * n * n,
            // Factorization and explicit Q.
            Self::Qr | Self::CholeskyQr => 4.0 * m * n * n - 4.0 * n.powi(3) / 3.0,
            Self::Svd => 14.0 * m * n * n + 8.0 * n.powi(3),
            Self::Eigh => 9.0 * n.powi(3),
            // Gram matrix, eigendecomposition, two r x r products and one tall one.
            Self::Polar => 4.0 * m * n * n + 13.0 * n.powi(3),
            Self::Copy | Self::Transpose | Self::CopyWhere | Self::Fill => 0.0,
            Self::AddDiagonal => n,
            Self::Axpby => 3.0 * m * n,
            Self::TakePart | Self::Dot => 2.0 * m * n,
            Self::ScaleColumns | Self::Multiply | Self::Map | Self::MaxAbs | Self::FlagAbove => m * n,
            Self::AdamW => 15.0 * m * n,
        }
    }

    /// Elements that it must read and write at least, on one matrix.
    pub fn elements(self, rows: usize, cols: usize) -> f64 {
        let (m, n) = (rows as f64, cols as f64);
        match self {
            Self::Gram => m * n + n * n,
            Self::TallTimesSmall
            | Self::SmallTimesSmall
            | Self::Solve
            | Self::Qr
            | Self::CholeskyQr
            | Self::Svd => 2.0 * m * n + n * n,
            Self::Cholesky
            | Self::Invert
            | Self::Eigh
            | Self::Polar
            | Self::Copy
            | Self::Transpose
            | Self::TakePart
            | Self::ScaleColumns
            | Self::Map
            | Self::Dot => 2.0 * m * n,
            Self::CopyWhere => 1.0,
            Self::Fill | Self::MaxAbs | Self::FlagAbove => m * n,
            Self::AddDiagonal => 2.0 * n,
            Self::Axpby | Self::Multiply => 3.0 * m * n,
            Self::AdamW => 7.0 * m * n,
        }
    }

    /// Whether the result is the same for every correct implementation, up to rounding; else what it is composed
    /// of must be multiplied together again before a comparison.
    fn is_unique(self) -> bool {
        !matches!(self, Self::Svd | Self::Eigh)
    }
}

/// An operation's arguments, and what it overwrites.
pub struct Calls<B: Linalg> {
    b: B,
    operation: Operation,
    /// A positive definite matrix for those that need one.
    source: Mats<B>,
    small: Mats<B>,
    target: Mats<B>,
    turned: Mats<B>,
    square: Mats<B>,
    values: Mats<B>,
    scalars: Mats<B>,
    status: Mats<B>,
    moments: [Mats<B>; 2],
    scratch: Scratch<B>,
}

/// Some step in the middle of a run.
const ADAMW: AdamWCoefficients = AdamWCoefficients {
    lr: 1e-3,
    beta1: 0.9,
    beta2: 0.95,
    epsilon: 1e-8,
    weight_decay: 0.1,
    bias_correction1: 0.5,
    bias_correction2: 0.3,
};

impl<B: Linalg> Calls<B> {
    /// The same pseudo-random arguments on every backend, `dims.batch` matrices.
    ///
    /// # Errors
    /// Memory that cannot be had.
    pub fn new(b: &B, operation: Operation, dims: Dims) -> Result<Self, DeviceError> {
        let square = Dims::square(dims.batch, dims.cols);
        let mut random = Random(3);
        let mut source = Mats::from_slice(b, dims, &random.values(dims))?;
        let mut small = Mats::from_slice(b, square, &random.values(square))?;
        // Well-conditioned, so that backends agree to rounding.
        match operation {
            Operation::Solve => b.add_diagonal(dims.cols as f64, small.as_mut()),
            Operation::Invert => b.add_diagonal(dims.cols as f64, source.as_mut()),
            Operation::Cholesky | Operation::Eigh => {
                let mut gram = Mats::zeros(b, square)?;
                b.gemm(1.0, source.as_ref().t(), source.as_ref().n(), Epilogue::Overwrite, gram.as_mut());
                b.add_diagonal(dims.cols as f64, gram.as_mut());
                source = gram;
            }
            _ => {}
        }
        let mut scalars = Mats::zeros(b, Dims::scalars(dims.batch))?;
        b.fill(0.5, scalars.as_mut());
        let turned = if operation == Operation::Transpose { dims.transposed() } else { Dims::scalars(1) };
        let moments = if operation == Operation::AdamW { dims } else { Dims::scalars(1) };
        let mut values = Mats::zeros(b, Dims::new(dims.batch, 1, dims.cols))?;
        b.fill(0.25, values.as_mut());
        Ok(Self {
            b: b.clone(),
            operation,
            source,
            small,
            target: Mats::zeros(b, dims)?,
            turned: Mats::zeros(b, turned)?,
            square: Mats::zeros(b, square)?,
            values,
            scalars,
            status: Mats::zeros(b, Dims::scalars(dims.batch))?,
            moments: [Mats::zeros(b, moments)?, Mats::zeros(b, moments)?],
            scratch: Scratch::new(b)?,
        })
    }

    /// One call on all problems; milliseconds without the copy of the argument that it overwrites.
    ///
    /// # Errors
    /// What the device says.
    pub fn call(&mut self) -> Result<f64, DeviceError> {
        let Self {
            b,
            operation,
            source,
            small,
            target,
            turned,
            square,
            values,
            scalars,
            status,
            moments,
            scratch,
        } = self;
        let source = source.as_ref();
        b.copy(source.n(), target.as_mut());
        let (target, square) = (target.as_mut(), square.as_mut());
        b.sync()?;
        let started = Instant::now();
        match operation {
            Operation::TallTimesSmall | Operation::SmallTimesSmall => {
                b.gemm(1.0, source.n(), small.as_ref().n(), Epilogue::Overwrite, target);
            }
            Operation::Gram => b.gemm(1.0, source.t(), source.n(), Epilogue::Overwrite, square),
            Operation::Cholesky => b.cholesky(PivotGuard::Report, target, status.as_mut()),
            Operation::Invert => b.invert(target, status.as_mut()),
            Operation::Solve => b.trsm(Side::Right, Triangle::Upper, small.as_ref().n(), target),
            Operation::Qr => b.qr(target, square, status.as_mut()),
            Operation::CholeskyQr => {
                scratch.scope(|scope| b.cholesky_qr(target, square, status.as_mut(), scope));
            }
            Operation::Svd => b.svd(target, values.as_mut(), square, status.as_mut()),
            Operation::Eigh => b.eigh(target, values.as_mut(), status.as_mut()),
            Operation::Polar => {
                scratch.scope(|scope| b.polar(PolarMethod::default(), target, status.as_mut(), scope));
            }
            Operation::Copy => b.copy(source.n(), target),
            Operation::Transpose => b.copy(source.t(), turned.as_mut()),
            Operation::CopyWhere => b.copy_where(status.as_ref(), source, target),
            Operation::Fill => b.fill(0.5, target),
            Operation::AddDiagonal => b.add_diagonal(0.5, target),
            Operation::Axpby => b.axpby(Coef::Device(scalars.as_ref()), source, 0.5, target),
            Operation::TakePart => b.take_part(Part::Sym, target),
            Operation::ScaleColumns => b.scale_columns(values.as_ref(), target),
            Operation::Multiply => b.multiply(source, target),
            Operation::Map => b.map(Map::Ratio { numerator: 1.0, floor: 0.5 }, target),
            Operation::Dot => b.dot(1.0, source, target.as_ref(), 0.0, scalars.as_mut()),
            Operation::MaxAbs => b.max_abs(source, scalars.as_mut()),
            Operation::FlagAbove => b.flag_above(2.0, source, status.as_mut()),
            Operation::AdamW => {
                let [first, second] = moments;
                b.adamw(ADAMW, source, first.as_mut(), second.as_mut(), target);
            }
        }
        b.sync()?;
        Ok(started.elapsed().as_secs_f64() * 1e3)
    }

    /// Everything that a call left, such that correct backends agree on it up to rounding: singular vectors and
    /// eigenvectors are multiplied together again.
    ///
    /// # Errors
    /// What the device says.
    pub fn outcome(&mut self) -> Result<Vec<f64>, DeviceError> {
        let Self { b, operation, target, turned, square, values, scalars, status, .. } = self;
        let mut all = vec![values.as_ref(), scalars.as_ref(), status.as_ref(), turned.as_ref()];
        let mut product = Mats::zeros(b, target.dims())?;
        if operation.is_unique() {
            all.extend([target.as_ref(), square.as_ref()]);
        } else {
            let left = Mats::from_slice(b, target.dims(), &target.to_vec(b)?)?;
            b.scale_columns(values.as_ref(), target.as_mut());
            let right = if *operation == Operation::Svd { square.as_ref() } else { left.as_ref() };
            b.gemm(1.0, target.as_ref().n(), right.t(), Epilogue::Overwrite, product.as_mut());
            all.push(product.as_ref());
        }
        let mut out = Vec::new();
        for part in all {
            out.extend(b.download(part)?.into_iter().map(Scalar::to_f64));
        }
        Ok(out)
    }
}

/// A bank's calls on a thread pool, as a contender.
pub struct OnPool<'a, B: Linalg> {
    /// Where CPU backends compute.
    pub pool: &'a rayon::ThreadPool,
    /// What is called.
    pub calls: Calls<B>,
}

impl<B: Linalg> Contender for OnPool<'_, B> {
    fn turn(&mut self, warm: usize, steps: usize) -> Result<Vec<f64>, String> {
        let Self { pool, calls } = self;
        let times: Result<Vec<f64>, DeviceError> =
            pool.install(|| (0..warm + steps).map(|_| calls.call()).collect());
        Ok(times.map_err(|error| error.to_string())?.split_off(warm))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lr_linalg::{Cpu, Reference};

    #[test]
    fn every_operation_succeeds_on_its_argument_and_agrees_with_the_textbook() {
        for &operation in Operation::ALL {
            let (rows, cols) = operation.shape(24, 6);
            let dims = Dims::new(2, rows, cols);
            let mut calls = Calls::new(&Cpu::<f64>::new(), operation, dims).unwrap();
            let mut textbook = Calls::new(&Reference::<f64>::new(), operation, dims).unwrap();
            calls.call().unwrap();
            textbook.call().unwrap();
            assert_eq!(calls.status.to_vec(&calls.b).unwrap(), [0.0; 2], "{operation:?}");
            let (own, other) = (calls.outcome().unwrap(), textbook.outcome().unwrap());
            let worst = own.iter().zip(&other).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(own.len() == other.len() && worst < 1e-11, "{operation:?}: {worst:e}");
        }
    }

    #[test]
    fn operations_are_counted_as_in_the_textbook() {
        assert_eq!(Operation::TallTimesSmall.flops(512, 64), 4_194_304.0);
        assert_eq!(Operation::Cholesky.flops(6, 6), 72.0);
        assert_eq!(Operation::Qr.flops(3, 3), 72.0);
        assert_eq!(Operation::AdamW.elements(2, 3), 42.0);
    }
}

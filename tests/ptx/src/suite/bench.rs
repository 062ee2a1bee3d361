//! What a case works with: matrices in device memory that notice every stray access, launches, comparisons.
//!
//! The gaps between the rows and matrices of a view hold nothing: reading one is a fault, and one that was
//! written is found when the view is read. Inputs are compared with what they held before.

use std::collections::BTreeMap;

use lr_kernels::ptx::Precision;

use crate::{Argument, LaunchShape, Memory, MemoryError, Module, Options, launch};

/// Elements before and behind a view that belong to nobody.
const SLACK: u64 = 4;

/// What a case returns: the first thing that is wrong.
pub(crate) type Check = Result<(), String>;

/// Extents of a batch of matrices, and the unused elements behind each row and each matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) batch: usize,
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    row_gap: usize,
    batch_gap: usize,
}

impl Shape {
    /// Without gaps.
    pub(crate) fn packed(batch: usize, rows: usize, cols: usize) -> Self {
        Self { batch, rows, cols, row_gap: 0, batch_gap: 0 }
    }

    /// With gaps behind rows and matrices.
    pub(crate) fn gapped(batch: usize, rows: usize, cols: usize) -> Self {
        Self { batch, rows, cols, row_gap: 3, batch_gap: 5 }
    }

    pub(crate) fn len(&self) -> usize {
        self.batch * self.rows * self.cols
    }

    pub(crate) fn row_stride(&self) -> usize {
        self.cols + self.row_gap
    }

    pub(crate) fn batch_stride(&self) -> usize {
        self.rows * self.row_stride() + self.batch_gap
    }

    /// Index among the elements without gaps.
    pub(crate) fn at(&self, p: usize, i: usize, j: usize) -> usize {
        (p * self.rows + i) * self.cols + j
    }

    fn place(&self, index: usize) -> usize {
        let (p, rest) = (index / (self.rows * self.cols), index % (self.rows * self.cols));
        p * self.batch_stride() + rest / self.cols * self.row_stride() + rest % self.cols
    }
}

/// A batch of matrices in device memory, and what it held at first.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) address: u64,
    pub(crate) shape: Shape,
    pub(crate) values: Vec<f64>,
}

/// One kernel file, parsed, with memory of its own.
pub(crate) struct Bench<'a> {
    module: &'a Module,
    precision: Precision,
    options: Options,
    memory: Memory,
    inputs: Vec<View>,
    pub(crate) progress: &'a mut Progress,
}

/// What the launches of a kernel's cases did so far.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// Most instructions of one launch.
    pub most_steps: u64,
    /// For every entry, lines and whether some case executed them.
    pub executed: BTreeMap<String, Vec<(u32, bool)>>,
}

/// A launch being put together.
pub(crate) struct Call<'b, 'a> {
    bench: &'b mut Bench<'a>,
    entry: String,
    arguments: Vec<Argument>,
}

impl<'a> Bench<'a> {
    pub(crate) fn new(
        module: &'a Module,
        precision: Precision,
        options: Options,
        progress: &'a mut Progress,
    ) -> Self {
        Self { module, precision, options, memory: Memory::new(), inputs: Vec::new(), progress }
    }

    /// Distance from 1 to the next number.
    pub(crate) fn epsilon(&self) -> f64 {
        match self.precision {
            Precision::Single => f64::from(f32::EPSILON),
            Precision::Double => f64::EPSILON,
        }
    }

    /// The smallest normal number.
    pub(crate) fn least(&self) -> f64 {
        match self.precision {
            Precision::Single => f64::from(f32::MIN_POSITIVE),
            Precision::Double => f64::MIN_POSITIVE,
        }
    }

    /// Bytes of an element.
    pub(crate) fn size(&self) -> usize {
        match self.precision {
            Precision::Single => 4,
            Precision::Double => 8,
        }
    }

    /// A number as the kernel gets it.
    pub(crate) fn round(&self, x: f64) -> f64 {
        match self.precision {
            Precision::Single => f64::from(x as f32),
            Precision::Double => x,
        }
    }

    fn bytes(&self, x: f64) -> Vec<u8> {
        match self.precision {
            Precision::Single => (x as f32).to_le_bytes().to_vec(),
            Precision::Double => x.to_le_bytes().to_vec(),
        }
    }

    /// Memory for a view, nothing of it written.
    pub(crate) fn output(&mut self, shape: Shape) -> View {
        let last = if shape.len() == 0 { 0 } else { shape.place(shape.len() - 1) + 1 };
        // Some elements before and behind, which `read` finds written if an address is off.
        let size = self.size() as u64;
        let address = self.memory.allocate((last as u64 + 2 * SLACK) * size) + SLACK * size;
        View { address, shape, values: Vec::new() }
    }

    /// A view with values that the kernel may change.
    pub(crate) fn inout(&mut self, shape: Shape, values: &[f64]) -> View {
        let mut view = self.output(shape);
        view.values = values.iter().map(|&x| self.round(x)).collect();
        for index in 0..shape.len() {
            let address = view.address + (shape.place(index) * self.size()) as u64;
            let bytes = self.bytes(view.values[index]);
            // The view lies inside of its allocation.
            let _ = self.memory.write(address, &bytes);
        }
        view
    }

    /// A view that the kernel must leave as it is.
    pub(crate) fn input(&mut self, shape: Shape, values: &[f64]) -> View {
        let view = self.inout(shape, values);
        self.inputs.push(view.clone());
        view
    }

    /// 32-bit words.
    pub(crate) fn words(&mut self, words: &[u32]) -> u64 {
        self.memory.upload(&words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>())
    }

    /// Memory for `count` 64-bit words, nothing of it written.
    pub(crate) fn long_output(&mut self, count: usize) -> u64 {
        self.memory.allocate(8 * count as u64)
    }

    /// 64-bit words that a kernel wrote.
    pub(crate) fn longs(&self, address: u64, count: usize) -> Result<Vec<u64>, String> {
        let mut bytes = vec![0; 8 * count];
        if !self.memory.is_initialized(address, bytes.len() as u64).map_err(|e| e.to_string())? {
            return Err("an address was not written".into());
        }
        self.memory.read(address, &mut bytes).map_err(|e| e.to_string())?;
        let word = |chunk: &[u8]| chunk.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte));
        Ok(bytes.chunks_exact(8).map(word).collect())
    }

    /// Values of a view, which must all be there, and of its gaps nothing.
    pub(crate) fn read(&self, what: &str, view: &View) -> Result<Vec<f64>, String> {
        let (shape, size) = (view.shape, self.size() as u64);
        let written = |element: usize| {
            self.memory.is_initialized(view.address + element as u64 * size, size).map_err(|e| e.to_string())
        };
        let mut values = Vec::with_capacity(shape.len());
        for slack in 1..=SLACK {
            let last = if shape.len() == 0 { 0 } else { shape.place(shape.len() - 1) };
            let before = view.address - slack * size;
            let outside = |e: MemoryError| e.to_string();
            if self.memory.is_initialized(before, size).map_err(outside)? || written(last + slack as usize)? {
                return Err(format!("{what}: an element outside of the view was written"));
            }
        }
        let mut next = 0;
        for index in 0..shape.len() {
            let place = shape.place(index);
            for gap in next..place {
                if written(gap)? {
                    return Err(format!("{what}: the gap at element {gap} was written"));
                }
            }
            if !written(place)? {
                return Err(format!("{what}: element {index} was not written"));
            }
            let mut bytes = [0; 8];
            let address = view.address + place as u64 * size;
            self.memory.read(address, &mut bytes[..size as usize]).map_err(|e| e.to_string())?;
            let bits = u64::from_le_bytes(bytes);
            values.push(match self.precision {
                Precision::Single => f64::from(f32::from_bits(bits as u32)),
                Precision::Double => f64::from_bits(bits),
            });
            next = place + 1;
        }
        Ok(values)
    }

    /// Compares a view with `expected`: each element is off by at most `bound` times its scale, NaN is NaN, and
    /// what is infinite or of bound zero is equal. `expected(p, i, j)` returns value and scale.
    pub(crate) fn compare(
        &self,
        what: &str,
        view: &View,
        bound: f64,
        expected: impl Fn(usize, usize, usize) -> (f64, f64),
    ) -> Check {
        let found = self.read(what, view)?;
        let shape = view.shape;
        for p in 0..shape.batch {
            for i in 0..shape.rows {
                for j in 0..shape.cols {
                    let x = found[shape.at(p, i, j)];
                    let (wanted, scale) = expected(p, i, j);
                    let close = x == wanted || (x - wanted).abs() <= bound * scale;
                    if !(close || (x.is_nan() && wanted.is_nan())) {
                        return Err(format!("{what}: element ({p}, {i}, {j}) is {x:e}, not {wanted:e}"));
                    }
                }
            }
        }
        Ok(())
    }

    /// Checks that every input is what it was.
    pub(crate) fn inputs_unchanged(&self) -> Check {
        for view in &self.inputs {
            self.compare("an input", view, 0.0, |p, i, j| (view.values[view.shape.at(p, i, j)], 0.0))?;
        }
        Ok(())
    }

    /// Begins a launch of an entry, named as in the template.
    pub(crate) fn call<'b>(&'b mut self, entry: &str) -> Call<'b, 'a> {
        let entry = lr_kernels::ptx::expand(entry, self.precision);
        Call { bench: self, entry, arguments: Vec::new() }
    }
}

impl Call<'_, '_> {
    /// A `.u32`.
    pub(crate) fn size(mut self, size: usize) -> Self {
        self.arguments.push(Argument::from(size as u32));
        self
    }

    /// A `.u64`.
    pub(crate) fn word(mut self, word: u64) -> Self {
        self.arguments.push(Argument::from(word));
        self
    }

    /// A `.real`.
    pub(crate) fn real(mut self, x: f64) -> Self {
        let bytes = self.bench.bytes(x);
        self.arguments.push(Argument(bytes));
        self
    }

    /// A `.f32`.
    pub(crate) fn single(mut self, x: f32) -> Self {
        self.arguments.push(Argument::from(x));
        self
    }

    /// Address, elements from matrix to matrix, elements from row to row.
    pub(crate) fn matrix(self, view: &View) -> Self {
        self.word(view.address).size(view.shape.batch_stride()).size(view.shape.row_stride())
    }

    /// The same, and how many problems of the output's `batch` read one matrix.
    pub(crate) fn input(self, view: &View, batch: usize) -> Self {
        let group = batch / view.shape.batch;
        self.matrix(view).size(group)
    }

    /// Address of the first scalar, elements from one to the next.
    pub(crate) fn scalar(self, view: &View) -> Self {
        self.word(view.address).size(view.shape.batch_stride())
    }

    /// Launches blocks of 256 threads.
    pub(crate) fn run(self, blocks: usize, dynamic_shared: usize) -> Check {
        let Self { bench, entry, arguments } = self;
        let shape = LaunchShape {
            grid: [blocks as u32, 1, 1],
            block: [256, 1, 1],
            dynamic_shared: dynamic_shared as u32,
        };
        let done = launch(bench.module, &entry, shape, &arguments, &mut bench.memory, bench.options);
        let report = done.map_err(|fault| fault.to_string())?;
        let progress = &mut bench.progress;
        progress.most_steps = progress.most_steps.max(report.warp_instructions);
        let known = progress.executed.entry(entry).or_insert_with(|| report.executed.clone());
        for (line, now) in known.iter_mut().zip(report.executed) {
            line.1 |= now.1;
        }
        Ok(())
    }
}

/// Numbers between -1 and 1 that depend on a seed.
pub(crate) fn numbers(count: usize, seed: u64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..count)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
        })
        .collect()
}

//! Column-major matrices in device memory, as f64 on the host.

use lr_ptx::Memory;

/// Width of the elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Precision {
    Single,
    Double,
}

impl Precision {
    pub(crate) fn size(self) -> u64 {
        match self {
            Self::Single => 4,
            Self::Double => 8,
        }
    }
}

/// Which part of a square matrix is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    All,
    Lower,
    Upper,
}

impl Part {
    /// From a `cublasFillMode_t`.
    pub(crate) fn parse(fill: u32) -> Option<Self> {
        match fill {
            0 => Some(Self::Lower),
            1 => Some(Self::Upper),
            _ => None,
        }
    }

    /// The rows of a column that are stored.
    fn rows(self, column: usize, rows: usize) -> std::ops::Range<usize> {
        match self {
            Self::All => 0..rows,
            Self::Lower => column.min(rows)..rows,
            Self::Upper => 0..(column + 1).min(rows),
        }
    }
}

/// Where a batch of matrices lies.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Batch {
    /// First matrix, and elements from one to the next.
    Strided { address: u64, stride: i64 },
    /// Address of the array of the matrices' addresses.
    Pointers { array: u64 },
}

impl Batch {
    /// Addresses of all matrices.
    pub(crate) fn addresses(
        self,
        count: usize,
        precision: Precision,
        memory: &Memory,
    ) -> Result<Vec<u64>, String> {
        match self {
            Self::Strided { address, stride } => {
                let step = stride.wrapping_mul(precision.size() as i64);
                Ok((0..count as i64).map(|i| address.wrapping_add_signed(i.wrapping_mul(step))).collect())
            }
            Self::Pointers { array } => {
                let mut bytes = vec![0; 8 * count];
                let describe = |e| format!("array of addresses: {e}");
                if !memory.is_initialized(array, bytes.len() as u64).map_err(describe)? {
                    return Err(format!("the array of addresses at {array:#x} was never written"));
                }
                memory.read(array, &mut bytes).map_err(describe)?;
                let address =
                    |chunk: &[u8]| chunk.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte));
                Ok(bytes.chunks_exact(8).map(address).collect())
            }
        }
    }
}

/// Extents and spacing of a matrix.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extents {
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    pub(crate) leading: usize,
    pub(crate) precision: Precision,
}

impl Extents {
    fn column(&self, address: u64, column: usize, first: usize) -> u64 {
        address.wrapping_add((column * self.leading + first) as u64 * self.precision.size())
    }

    /// The stored part of a matrix, packed column after column; the rest is zero.
    pub(crate) fn gather(
        &self,
        memory: &Memory,
        what: &str,
        address: u64,
        part: Part,
    ) -> Result<Vec<f64>, String> {
        let size = self.precision.size() as usize;
        if !address.is_multiple_of(size as u64) {
            return Err(format!("{what}: {address:#x} is misaligned"));
        }
        let mut values = vec![0.0; self.rows * self.cols];
        let mut bytes = Vec::new();
        for column in 0..self.cols {
            let rows = part.rows(column, self.rows);
            if rows.is_empty() {
                continue;
            }
            let start = self.column(address, column, rows.start);
            bytes.resize(rows.len() * size, 0);
            let describe = |e| format!("{what}, column {column}: {e}");
            if !memory.is_initialized(start, bytes.len() as u64).map_err(describe)? {
                return Err(format!("{what}, column {column}: not all of it was written"));
            }
            memory.read(start, &mut bytes).map_err(describe)?;
            let target = &mut values[column * self.rows..][rows];
            for (value, chunk) in target.iter_mut().zip(bytes.chunks_exact(size)) {
                let bits = chunk.iter().rev().fold(0, |bits, &byte| bits << 8 | u64::from(byte));
                *value = match self.precision {
                    Precision::Single => f32::from_bits(bits as u32).into(),
                    Precision::Double => f64::from_bits(bits),
                };
            }
        }
        Ok(values)
    }

    /// Writes a packed matrix back.
    pub(crate) fn scatter(
        &self,
        memory: &mut Memory,
        what: &str,
        address: u64,
        values: &[f64],
    ) -> Result<(), String> {
        let mut bytes = Vec::new();
        for (column, values) in values.chunks(self.rows.max(1)).enumerate().take(self.cols) {
            bytes.clear();
            for &value in values {
                match self.precision {
                    Precision::Single => bytes.extend((value as f32).to_le_bytes()),
                    Precision::Double => bytes.extend(value.to_le_bytes()),
                }
            }
            let start = self.column(address, column, 0);
            memory.write(start, &bytes).map_err(|e| format!("{what}, column {column}: {e}"))?;
        }
        Ok(())
    }
}

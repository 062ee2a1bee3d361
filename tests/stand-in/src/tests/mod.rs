//! The stand-in by itself: queues, faults and graphs through its state, the routines through device memory, and
//! one walk through the entry points.

mod coverage;
mod driver;
mod entry_points;
mod routines;

use lr_ptx::Memory;

/// Bytes of f64 values.
fn bytes(values: &[f64]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// f64 values of device memory.
fn values(memory: &Memory, address: u64, count: usize) -> Vec<f64> {
    let mut bytes = vec![0; 8 * count];
    memory.read(address, &mut bytes).unwrap();
    bytes.chunks_exact(8).map(|chunk| f64::from_le_bytes(chunk.try_into().unwrap())).collect()
}

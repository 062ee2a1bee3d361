//! The conformance suite over every backend, geometry, retraction and transport of the registry.

#[cfg(any(feature = "cuda", feature = "wgpu"))]
#[path = "../../crates/lr-linalg/tests/common/devices.rs"]
mod devices;

use lr_linalg::{Cpu, Linalg, Reference};
use lr_manifolds::Grid;
use lr_tests::{
    conformance::{Suite, Verdict},
    registry,
};

fn shapes() -> Vec<Grid> {
    vec![
        Grid::singleton(7, 5, 3),
        Grid::singleton(6, 9, 1),
        // As many columns as rows, and more than half: the complement of U is empty or thin.
        Grid::singleton(4, 6, 4),
        Grid::singleton(5, 5, 4),
        Grid::new(&[4, 4], &[5, 5, 5], 2),
        Grid::new(&[5, 3], &[4, 6, 3], 3),
        Grid::new(&[3, 3, 3], &[4], 2),
    ]
}

fn check<B: Linalg>(b: &B, backend: &'static str, tolerance: f64) {
    let mut suite = Suite { b, backend, tolerance, findings: Vec::new() };
    for grid in shapes() {
        registry::visit_all(&grid, &mut suite);
    }
    let failed: Vec<_> = suite.findings.iter().filter(|f| f.verdict == Verdict::Failed).collect();
    println!("conformance on {backend}: {} checks, {} failed", suite.findings.len(), failed.len());
    let lines: Vec<_> = failed
        .iter()
        .map(|f| format!("{}: {}: {:.3e} against {:.1e}", f.combination, f.check, f.value, f.bound))
        .collect();
    assert!(failed.is_empty(), "\n{}", lines.join("\n"));
}

#[test]
fn reference_f64() {
    check(&Reference::<f64>::new(), "reference f64", 1e-11);
}

#[test]
fn cpu_f64() {
    check(&Cpu::<f64>::new(), "cpu f64", 1e-11);
}

#[test]
fn cpu_f32() {
    check(&Cpu::<f32>::new(), "cpu f32", 3e-4);
}

#[cfg(feature = "openblas")]
#[test]
fn openblas_f64() {
    check(&Cpu::<f64, lr_linalg::OpenBlas>::new(), "openblas f64", 1e-11);
}

#[cfg(feature = "openblas")]
#[test]
fn openblas_f32() {
    check(&Cpu::<f32, lr_linalg::OpenBlas>::new(), "openblas f32", 3e-4);
}

#[cfg(feature = "wgpu")]
#[test]
fn wgpu_f32() {
    if let Some(b) = devices::wgpu() {
        check(b, "wgpu f32", 3e-4);
    }
}

#[cfg(feature = "cuda")]
#[test]
fn cuda_f64() {
    if let Some(b) = devices::cuda() {
        check::<lr_linalg::Cuda<f64>>(&b, "cuda f64", 1e-11);
    }
}

#[cfg(feature = "cuda")]
#[test]
fn cuda_f32() {
    if let Some(b) = devices::cuda() {
        check::<lr_linalg::Cuda<f32>>(&b, "cuda f32", 3e-4);
    }
}

//! Products, triangular solves and eigenproblems, against loops over their definitions.

use lr_ptx::Memory;

use super::{bytes, values};
use crate::blas::{Gemm, Trsm};
use crate::matrix::{Batch, Part, Precision};
use crate::solver::{Syevj, eigen};

/// Numbers that are neither zero nor alike.
fn numbers(count: usize, seed: usize) -> Vec<f64> {
    (0..count).map(|i| ((i * 37 + seed * 11) % 19) as f64 / 8.0 - 1.0625).collect()
}

fn strided(address: u64, stride: i64) -> Batch {
    Batch::Strided { address, stride }
}

#[test]
fn products_of_every_form() {
    let (m, n, k, count) = (3, 4, 5, 2);
    for (at, bt) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut memory = Memory::new();
        let (a, b, c) = (numbers(2 * 36, 1), numbers(2 * 36, 2), numbers(2 * 36, 3));
        let (pa, pb, pc) = (memory.upload(&bytes(&a)), memory.upload(&bytes(&b)), memory.upload(&bytes(&c)));
        let arrays = [pc, pc + 8 * 36].iter().flat_map(|address| address.to_le_bytes()).collect::<Vec<u8>>();
        let array = memory.upload(&arrays);
        let gemm = Gemm {
            precision: Precision::Double,
            transposed: [at, bt],
            extents: [m, n, k],
            factors: [2.0, -0.5],
            // All with gaps: leading dimension 6, 36 elements from one to the next; B is shared.
            operands: [(strided(pa, 36), 6), (strided(pb, 0), 6), (Batch::Pointers { array }, 6)],
            count,
        };
        gemm.run(&mut memory).unwrap();
        let mut expected = c.clone();
        for (p, i, j) in (0..count).flat_map(|p| (0..m).flat_map(move |i| (0..n).map(move |j| (p, i, j)))) {
            let left = |l: usize| a[36 * p + if at { i * 6 + l } else { l * 6 + i }];
            let right = |l: usize| b[if bt { l * 6 + j } else { j * 6 + l }];
            let sum: f64 = (0..k).map(|l| left(l) * right(l)).sum();
            expected[36 * p + j * 6 + i] = 2.0 * sum - 0.5 * c[36 * p + j * 6 + i];
        }
        let found = values(&memory, pc, 2 * 36);
        assert!(found.iter().zip(&expected).all(|(x, y)| (x - y).abs() < 1e-14), "{at} {bt}");
    }
}

#[test]
fn products_read_only_what_they_need() {
    let mut memory = Memory::new();
    let a = memory.upload(&bytes(&numbers(4, 1)));
    let c = memory.allocate(32);
    let mut gemm = Gemm {
        precision: Precision::Double,
        transposed: [false; 2],
        extents: [2, 2, 2],
        factors: [1.0, 0.0],
        operands: [(strided(a, 0), 2), (strided(a, 0), 2), (strided(c, 4), 2)],
        count: 1,
    };
    gemm.factors[1] = 1.0;
    assert!(gemm.run(&mut memory).unwrap_err().contains("gemm C"));
    gemm.factors[1] = 0.0;
    gemm.run(&mut memory).unwrap();
    gemm.count = 2;
    assert!(gemm.run(&mut memory).unwrap_err().contains("outside"));
    gemm.operands[2].0 = strided(c, 0);
    assert!(gemm.run(&mut memory).unwrap_err().contains("two problems"));
}

#[test]
fn solves_of_every_form() {
    let (m, n) = (4, 3);
    for form in 0..16 {
        let [right, lower, transposed, unit] = [0, 1, 2, 3].map(|bit| form >> bit & 1 == 1);
        let order = if right { n } else { m };
        let mut memory = Memory::new();
        let mut triangle = numbers(order * 5, 4);
        (0..order).for_each(|i| triangle[i * 5 + i] = 3.0 + i as f64);
        let b = numbers(5 * n, 5);
        // What is not stored must not be read.
        let a = memory.allocate(8 * triangle.len() as u64);
        for (i, j) in (0..order).flat_map(|j| (0..order).map(move |i| (i, j))) {
            if if lower { i >= j } else { i <= j } {
                memory.write(a + 8 * (j * 5 + i) as u64, &triangle[j * 5 + i].to_le_bytes()).unwrap();
            }
        }
        let x = memory.upload(&bytes(&b));
        let solve = Trsm {
            precision: Precision::Double,
            right,
            part: if lower { Part::Lower } else { Part::Upper },
            transposed,
            unit,
            extents: [m, n],
            alpha: 2.0,
            operands: [(strided(a, 0), 5), (strided(x, 0), 5)],
            count: 1,
        };
        solve.run(&mut memory).unwrap();
        let x = values(&memory, x, 5 * n);
        let at = |i: usize, j: usize| {
            let (i, j) = if transposed { (j, i) } else { (i, j) };
            match i.cmp(&j) {
                std::cmp::Ordering::Equal if unit => 1.0,
                std::cmp::Ordering::Less if lower => 0.0,
                std::cmp::Ordering::Greater if !lower => 0.0,
                _ => triangle[j * 5 + i],
            }
        };
        for (i, j) in (0..m).flat_map(|i| (0..n).map(move |j| (i, j))) {
            let product: f64 = if right {
                (0..n).map(|l| x[l * 5 + i] * at(l, j)).sum()
            } else {
                (0..m).map(|l| at(i, l) * x[j * 5 + l]).sum()
            };
            assert!((product - 2.0 * b[j * 5 + i]).abs() < 1e-12, "form {form}: {product}");
        }
    }
}

#[test]
fn eigenproblems_of_one_triangle() {
    let (n, count) = (5, 2);
    for part in [Part::Lower, Part::Upper] {
        let mut memory = Memory::new();
        let half = numbers(count * n * n, 6);
        let matrices = memory.upload(&bytes(&half));
        let found = [memory.allocate(8 * 10), memory.allocate(64), memory.allocate(8)];
        let problem = Syevj {
            precision: Precision::Double,
            vectors: true,
            part,
            n,
            leading: n,
            matrices,
            values: found[0],
            work: (found[1], 8),
            info: found[2],
            sort: true,
            count,
        };
        problem.run(&mut memory).unwrap();
        let (w, v) = (values(&memory, found[0], 10), values(&memory, matrices, count * n * n));
        let mut info = [9; 8];
        memory.read(found[2], &mut info).unwrap();
        assert_eq!(info, [0; 8]);
        for p in 0..count {
            let a = |i: usize, j: usize| {
                let (i, j) = if (part == Part::Lower) == (i >= j) { (i, j) } else { (j, i) };
                half[p * n * n + j * n + i]
            };
            assert!(w[p * n..][..n].is_sorted());
            for (i, j) in (0..n).flat_map(|i| (0..n).map(move |j| (i, j))) {
                let vector = &v[p * n * n + j * n..][..n];
                let left: f64 = (0..n).map(|l| a(i, l) * vector[l]).sum();
                assert!((left - w[p * n + j] * vector[i]).abs() < 1e-13);
                let other = &v[p * n * n + i * n..][..n];
                let dot: f64 = vector.iter().zip(other).map(|(x, y)| x * y).sum();
                assert!((dot - f64::from(u8::from(i == j))).abs() < 1e-13);
            }
        }
    }
    assert!(eigen(vec![1.0, f64::NAN, f64::NAN, 1.0], 2).is_none());
}

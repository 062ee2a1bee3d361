//! Neural operations of the CPU backend, and of the GPUs that there are, against the reference backend on odd sizes
//! and hard inputs.

#[cfg(any(feature = "cuda", feature = "wgpu"))]
#[path = "../../lr-linalg/tests/common/devices.rs"]
mod devices;

use lr_linalg::{Backend, Cpu, Dims, Mats, Reference, Scalar};
use lr_train::neural::{
    Accumulation, Attended, IGNORE, Neural, ProjectionGradients, Projections, Rotation, rotary_angles,
};

/// Pseudo-random numbers in `[-size, size]`.
fn numbers(dims: Dims, size: f64, seed: usize) -> Vec<f64> {
    (0..dims.len()).map(|i| size * ((i + 1) as f64 * 12.9898 + seed as f64 * 78.233).sin()).collect()
}

fn mats<B: Backend>(b: &B, dims: Dims, values: &[f64]) -> Mats<B> {
    let values: Vec<B::Elem> = values.iter().map(|&x| B::Elem::from_f64(x)).collect();
    Mats::from_slice(b, dims, &values).expect("host memory")
}

fn random<B: Backend>(b: &B, dims: Dims, size: f64, seed: usize) -> Mats<B> {
    mats(b, dims, &numbers(dims, size, seed))
}

fn read<B: Backend>(b: &B, mats: &Mats<B>) -> Vec<f64> {
    mats.to_vec(b).expect("host memory").into_iter().map(Scalar::to_f64).collect()
}

/// Compares results relative to the largest element of each expected one or to 1.
#[track_caller]
fn agree<const N: usize>(backend: &str, tolerance: f64, expected: &[Vec<f64>; N], actual: &[Vec<f64>; N]) {
    for (k, (expected, actual)) in expected.iter().zip(actual).enumerate() {
        assert_eq!(expected.len(), actual.len());
        let largest = expected.iter().fold(1.0f64, |m, x| m.max(x.abs()));
        for (i, (e, a)) in expected.iter().zip(actual).enumerate() {
            let close = (e - a).abs() <= tolerance * largest;
            assert!(close, "{backend}: result {k}, element {i}: {a} instead of {e}");
        }
    }
}

/// What `work` returns on every backend with elements of that type, compared with the reference.
macro_rules! compare {
    ($elem:ident, $tolerance:expr, |$b:ident| $work:expr) => {{
        let expected = {
            let $b = &Reference::<$elem>::new();
            $work
        };
        let $b = &Cpu::<$elem>::new();
        agree("cpu", $tolerance, &expected, &$work);
        on_gpus!($elem, |backend, $b| agree(backend, $tolerance, &expected, &$work));
    }};
}

/// `work` on the GPUs, which compute in `f32` here.
macro_rules! on_gpus {
    (f64, $($work:tt)*) => {};
    (f32, |$backend:ident, $b:ident| $work:expr) => {
        #[cfg(feature = "cuda")]
        if let Some($b) = &devices::cuda::<f32>() {
            let $backend = "cuda";
            $work;
        }
        #[cfg(feature = "wgpu")]
        if let Some($b) = devices::wgpu() {
            let $backend = "wgpu";
            $work;
        }
    };
}

fn attention<B: Neural>(b: &B, dims: Dims, size: f64, shared: Accumulation) -> [Vec<f64>; 5] {
    let (q, k, v) = (random(b, dims, size, 1), random(b, dims, size, 2), random(b, dims, 1.0, 3));
    let d_o = random(b, dims, 1.0, 4);
    let mut o = random(b, dims, 9.0, 5);
    let mut lse = random(b, Dims { cols: 1, ..dims }, 9.0, 6);
    let mut workspace = b.attention_workspace(dims.batch, dims.rows).expect("host memory");
    let x = Projections { q: q.as_ref(), k: k.as_ref(), v: v.as_ref() };
    b.causal_attention(x, o.as_mut(), lse.as_mut(), &mut workspace);
    let (mut dq, mut dk, mut dv) =
        (random(b, dims, 9.0, 7), random(b, dims, 0.1, 8), random(b, dims, 0.1, 9));
    let gradients = ProjectionGradients { q: dq.as_mut(), k: dk.as_mut(), v: dv.as_mut(), shared };
    let attended = Attended { o: o.as_ref(), lse: lse.as_ref() };
    b.causal_attention_backward(x, attended, d_o.as_ref(), gradients, &mut workspace);
    [&o, &lse, &dq, &dk, &dv].map(|m| read(b, m))
}

#[test]
fn attention_matches_on_odd_sizes_and_block_boundaries() {
    for sequence in [1, 5, 127, 128, 129, 300] {
        for head_dim in [3, 8, 64] {
            let dims = Dims::new(3, sequence, head_dim);
            for shared in [Accumulation::Overwrite, Accumulation::Add] {
                compare!(f32, 2e-5, |b| attention(b, dims, 1.5, shared));
                compare!(f64, 1e-13, |b| attention(b, dims, 1.5, shared));
            }
        }
    }
}

#[test]
fn attention_survives_large_scores() {
    let dims = Dims::new(2, 129, 8);
    // Scores near 1e6: differences of neighbours are far beyond the range of exp.
    let shared = Accumulation::Overwrite;
    compare!(f64, 1e-7, |b| attention(b, dims, 1e3, shared));
    let finite = |results: [Vec<f64>; 5]| assert!(results.iter().flatten().all(|x| x.is_finite()));
    finite(attention(&Cpu::<f32>::new(), dims, 1e3, shared));
    on_gpus!(f32, |_backend, b| finite(attention(b, dims, 1e3, shared)));
}

fn cross_entropy<B: Neural>(b: &B, vocabulary: usize, size: f64) -> [Vec<f64>; 3] {
    let (rows, first) = (5, 2);
    let dims = Dims::new(1, rows, vocabulary);
    let mut logits = random(b, dims, size, 1);
    let last = vocabulary as u32 - 1;
    let source = [9, 9, 0, IGNORE, last, last / 2, 0, 9];
    let mut targets = b.alloc_tokens(source.len()).expect("host memory");
    b.upload_tokens(&source, &mut targets);
    let mut losses = random(b, Dims::new(1, rows, 1), 9.0, 2);
    let mut only = random(b, Dims::new(1, rows, 1), 9.0, 3);
    b.cross_entropy(&targets, first, logits.as_ref(), only.as_mut());
    b.cross_entropy_backward(0.25, &targets, first, logits.as_mut(), losses.as_mut());
    [&only, &losses, &logits].map(|m| read(b, m))
}

#[test]
fn cross_entropy_matches() {
    for vocabulary in [1, 2, 63, 64, 65, 1000] {
        for size in [1.0, 30.0, 1e4] {
            compare!(f32, 3e-6, |b| cross_entropy(b, vocabulary, size));
            compare!(f64, 1e-15 * size.max(10.0), |b| cross_entropy(b, vocabulary, size));
        }
    }
}

fn rows<B: Neural>(b: &B, rows: usize, width: usize) -> [Vec<f64>; 6] {
    let dims = Dims::new(1, rows, width);
    let (x, dy) = (random(b, dims, 2.0, 1), random(b, dims, 1.0, 2));
    let (mut y, mut s) = (random(b, dims, 9.0, 3), random(b, Dims::new(1, rows, 1), 9.0, 4));
    b.rms_norm(1e-3, x.as_ref(), y.as_mut(), s.as_mut());
    let (mut over, mut added) = (random(b, dims, 9.0, 5), random(b, dims, 1.0, 6));
    b.rms_norm_backward(y.as_ref(), s.as_ref(), dy.as_ref(), Accumulation::Overwrite, over.as_mut());
    b.rms_norm_backward(y.as_ref(), s.as_ref(), dy.as_ref(), Accumulation::Add, added.as_mut());
    let (mut h, mut d) = (random(b, dims, 2.0, 7), random(b, dims, 1.0, 8));
    b.squared_relu(h.as_mut());
    b.squared_relu_backward(h.as_ref(), d.as_mut());
    [&y, &s, &over, &added, &h, &d].map(|m| read(b, m))
}

#[test]
fn norms_and_activations_match() {
    for (count, width) in [(1, 1), (3, 5), (7, 64), (5, 129), (70, 512)] {
        compare!(f32, 2e-6, |b| rows(b, count, width));
        compare!(f64, 1e-14, |b| rows(b, count, width));
    }
}

fn rotated<B: Neural>(b: &B, dims: Dims) -> [Vec<f64>; 3] {
    let angles = rotary_angles(b, dims.rows, dims.cols).expect("host memory");
    let turned = |rotation| {
        let mut x = random(b, dims, 2.0, 1);
        b.rotate(rotation, angles.as_ref(), x.as_mut());
        x
    };
    [&angles, &turned(Rotation::Forward), &turned(Rotation::Inverse)].map(|m| read(b, m))
}

#[test]
fn rotations_match() {
    for (problems, sequence, head_dim) in [(1, 1, 2), (3, 7, 6), (2, 130, 64), (40, 33, 10)] {
        let dims = Dims::new(problems, sequence, head_dim);
        compare!(f32, 1e-6, |b| rotated(b, dims));
        compare!(f64, 1e-14, |b| rotated(b, dims));
    }
}

/// Rows of equal queries and keys: after the rotation their product depends on the distance of their positions
/// and on nothing else, and the inverse brings back the rows.
#[test]
fn rotations_are_orthogonal_and_products_depend_on_distance_alone() {
    let (b, dims) = (Cpu::<f64>::new(), Dims::new(2, 23, 8));
    let angles = rotary_angles(&b, dims.rows, dims.cols).expect("host memory");
    let rows: Vec<f64> =
        [1, 2].iter().flat_map(|&s| numbers(Dims::new(1, 1, 8), 1.0, s).repeat(23)).collect();
    let mut x = mats(&b, dims, &rows);
    b.rotate(Rotation::Forward, angles.as_ref(), x.as_mut());
    let turned = read(&b, &x);
    let row = |p: usize, i: usize| &turned[(p * 23 + i) * 8..][..8];
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    let product = |i, j| dot(row(0, i), row(1, j));
    for distance in 0..23 {
        for j in 0..23 - distance {
            let change = product(j + distance, j) - product(distance, 0);
            assert!(change.abs() < 1e-13, "distance {distance} at {j}: {change:e}");
        }
    }
    assert!((product(5, 0) - product(0, 0)).abs() > 0.1, "positions make no difference");
    assert!((product(0, 5) - product(5, 0)).abs() > 0.1, "past and future look alike");
    for i in 0..23 {
        assert!((dot(row(0, i), row(0, i)) - dot(row(0, 0), row(0, 0))).abs() < 1e-14, "length of row {i}");
    }
    b.rotate(Rotation::Inverse, angles.as_ref(), x.as_mut());
    assert!(read(&b, &x).iter().zip(&rows).all(|(back, x)| (back - x).abs() < 1e-15));
}

#[test]
#[should_panic(expected = "head_dim = 3 is odd")]
fn an_odd_width_cannot_be_rotated() {
    let _ = rotary_angles(&Cpu::<f32>::new(), 4, 3);
}

fn embedding<B: Neural>(b: &B, vocabulary: usize, width: usize) -> [Vec<f64>; 2] {
    let source: Vec<u32> = (0..37).map(|t| (t * t) % vocabulary as u32).collect();
    let mut tokens = b.alloc_tokens(source.len()).expect("host memory");
    b.upload_tokens(&source, &mut tokens);
    let (table, rows) = (Dims::new(1, vocabulary, width), Dims::new(1, source.len(), width));
    let mut out = random(b, rows, 9.0, 1);
    b.embed(random(b, table, 1.0, 2).as_ref(), &tokens, out.as_mut());
    let mut gradient = random(b, table, 9.0, 3);
    b.embed_backward(&tokens, random(b, rows, 1.0, 4).as_ref(), gradient.as_mut());
    [&out, &gradient].map(|m| read(b, m))
}

#[test]
fn embeddings_match() {
    for (vocabulary, width) in [(1, 1), (2, 3), (50, 64), (333, 7)] {
        compare!(f32, 2e-6, |b| embedding(b, vocabulary, width));
    }
}

fn a_nan_comes_through<B: Neural>(b: &B) {
    let dims = Dims::new(1, 2, 70);
    let mut values = numbers(dims, 1.0, 1);
    values[80] = f64::NAN;
    let mut x = mats(b, dims, &values);
    let (mut y, mut s) = (random(b, dims, 1.0, 2), random(b, Dims::new(1, 2, 1), 1.0, 3));
    b.rms_norm(1e-6, x.as_ref(), y.as_mut(), s.as_mut());
    let y = read(b, &y);
    assert!(y[..70].iter().all(|v| v.is_finite()) && y[70..].iter().all(|v| v.is_nan()));
    let mut targets = b.alloc_tokens(2).expect("host memory");
    b.upload_tokens(&[1, 1], &mut targets);
    b.cross_entropy(&targets, 0, x.as_ref(), s.as_mut());
    let losses = read(b, &s);
    assert!(losses[0].is_finite() && losses[1].is_nan());
    b.squared_relu(x.as_mut());
    assert!(read(b, &x)[80].is_nan());
}

#[test]
fn a_nan_comes_through_every_operation() {
    a_nan_comes_through(&Cpu::<f32>::new());
    on_gpus!(f32, |_backend, b| a_nan_comes_through(b));
}

#[test]
#[should_panic(expected = "attention: keys")]
fn a_wrong_shape_is_refused() {
    let b = Cpu::<f32>::new();
    let (long, short) = (Dims::new(1, 6, 4), Dims::new(1, 5, 4));
    let (q, k) = (random(&b, long, 1.0, 1), random(&b, short, 1.0, 2));
    let (mut o, mut lse) = (random(&b, long, 1.0, 3), random(&b, Dims::new(1, 6, 1), 1.0, 4));
    let mut workspace = b.attention_workspace(1, 6).expect("host memory");
    let x = Projections { q: q.as_ref(), k: k.as_ref(), v: q.as_ref() };
    b.causal_attention(x, o.as_mut(), lse.as_mut(), &mut workspace);
}

//! The wgpu backend: batches beyond what is bound at once, sizes beyond one launch, memory around the data, failures
//! and counters.
#![cfg(feature = "wgpu")]

mod common;

use common::{close, devices, download, random, upload};
use lr_linalg::{
    Backend, Blas, Coef, DeviceError, Dims, Epilogue, Factor, Linalg, Map, Mats, Part, PivotGuard,
    PolarMethod, Reference, Scratch, Side, Triangle, Wgpu,
    wgpu::{Argument, BindingLimit, Kernel, Launch},
};

const EPS: f64 = f32::EPSILON as f64;

/// Some of every kind of operation, on batches of `d` and with broadcasting.
fn operations<B: Linalg>(b: &B, d: Dims) -> Vec<f64> {
    let mut x = random(b, 1, d);
    let (y, one) = (random(b, 2, d), random(b, 3, Dims { batch: d.batch / 4, ..d }));
    let mut gram = Mats::zeros(b, Dims::square(d.batch, d.cols)).unwrap();
    let scalars = Dims::scalars(d.batch);
    let (mut norms, mut status) = (Mats::zeros(b, scalars).unwrap(), Mats::zeros(b, scalars).unwrap());
    b.axpby(Coef::Host(0.5), y.as_ref(), 1.0, x.as_mut());
    b.axpby(Coef::Host(0.25), one.as_ref(), 1.0, x.as_mut());
    b.map(Map::Floor(-0.9), x.as_mut());
    b.dot(1.0, x.as_ref(), one.as_ref(), 0.0, norms.as_mut());
    b.axpby(Coef::Device(norms.as_ref()), one.as_ref(), 1.0, x.as_mut());
    b.max_abs(y.as_ref(), norms.as_mut());
    b.gemm(1.0, x.as_ref().t(), x.as_ref().n(), Epilogue::Overwrite, gram.as_mut());
    b.gemm(1.0, one.as_ref().t(), y.as_ref().n(), Epilogue::Scale(1.0), gram.as_mut());
    b.take_part(Part::Sym, gram.as_mut());
    b.add_diagonal(100.0, gram.as_mut());
    b.cholesky(PivotGuard::Report, gram.as_mut(), status.as_mut());
    b.trsm(Side::Right, Triangle::Lower, gram.as_ref().t(), x.as_mut());
    b.copy_where(status.as_ref(), one.as_ref(), x.as_mut());
    [&x, &gram, &norms, &status].into_iter().flat_map(|m| download(b, m.as_ref())).collect()
}

#[test]
fn batches_beyond_the_binding_limit_are_cut() {
    if devices::wgpu().is_none() {
        return;
    }
    let d = Dims::new(48, 20, 9);
    // Bound at once: seven of the largest matrices, wherever they start.
    let b = Wgpu::with_binding_limit(None, BindingLimit::Bytes(7 * 20 * 9 * 4 + 256)).unwrap();
    let expected = operations(&Reference::<f64>::new(), d);
    close("in parts", &operations(&b, d), &expected, 200.0 * EPS);
    let whole = Wgpu::new(None).unwrap();
    operations(&whole, d);
    let (parts, whole) = (b.counters().launches, whole.counters().launches);
    assert!(parts > 5 * whole, "{parts} launches in parts, {whole} whole");
    // Rows of single matrices are cut for element-wise operations.
    let d = Dims::new(1, 300, 20);
    let mut x = random(&b, 1, d);
    b.axpby(Coef::Host(2.0), random(&b, 2, d).as_ref(), 1.0, x.as_mut());
    let mut y = random(&Reference::<f64>::new(), 1, d);
    let r = Reference::<f64>::new();
    r.axpby(Coef::Host(2.0), random(&r, 2, d).as_ref(), 1.0, y.as_mut());
    close("rows", &download(&b, x.as_ref()), &download(&r, y.as_ref()), 8.0 * EPS);
}

#[test]
fn a_matrix_beyond_the_binding_limit_is_an_error() {
    if devices::wgpu().is_none() {
        return;
    }
    let b = Wgpu::with_binding_limit(None, BindingLimit::Bytes(4096)).unwrap();
    let mut x = random(&b, 1, Dims::square(1, 64));
    b.take_part(Part::Sym, x.as_mut());
    let error = b.sync().unwrap_err();
    assert!(error.to_string().contains("take_part: one matrix exceeds the 4096 bytes"), "{error}");
    assert_eq!(b.download(x.as_ref()), Err(error));
}

/// Results lie between NaN that nothing may touch and nothing may read.
#[test]
fn what_surrounds_the_data_stays() {
    let Some(b) = devices::wgpu() else { return };
    let (d, margin) = (Dims::new(6, 17, 9), 5);
    let outer = Dims::new(d.batch, d.rows + 2 * margin, d.cols + 2 * margin);
    let framed = |seed: u64, d: Dims| {
        let outer = Dims::new(d.batch, d.rows + 2 * margin, d.cols + 2 * margin);
        let mut x = upload(b, outer, &vec![f64::NAN; outer.len()]);
        let values = random(b, seed, d);
        b.copy(values.as_ref().n(), x.as_mut().block(margin..margin + d.rows, margin..margin + d.cols));
        x
    };
    let inside = |dims: Dims| (margin..margin + dims.rows, margin..margin + dims.cols);
    let square = Dims::square(d.batch, d.cols);
    let (mut x, mut y, mut q) = (framed(1, d), framed(2, d), framed(3, d));
    let (mut gram, mut r, mut v) = (framed(4, square), framed(5, square), framed(6, square));
    let row = Dims::new(d.batch, 1, d.cols);
    let (mut s, mut status) = (framed(7, row), Mats::zeros(b, Dims::scalars(d.batch)).unwrap());
    macro_rules! view {
        ($mats:ident, $dims:expr) => {{
            let (rows, cols) = inside($dims);
            $mats.as_mut().block(rows, cols)
        }};
        (&$mats:ident, $dims:expr) => {{
            let (rows, cols) = inside($dims);
            $mats.as_ref().block(rows, cols)
        }};
    }
    b.gemm(1.0, view!(&x, d).t(), view!(&x, d).n(), Epilogue::Overwrite, view!(gram, square));
    b.add_diagonal(1.0, view!(gram, square));
    b.cholesky(PivotGuard::Report, view!(gram, square), status.as_mut());
    b.trsm(Side::Right, Triangle::Lower, view!(&gram, square).t(), view!(x, d));
    b.multiply(view!(&x, d), view!(y, d));
    b.scale_columns(view!(&s, row), view!(y, d));
    b.qr(view!(q, d), view!(r, square), status.as_mut());
    b.svd(view!(y, d), view!(s, row), view!(v, square), status.as_mut());
    b.eigh(view!(gram, square), view!(s, row), status.as_mut());
    b.invert(view!(v, square), status.as_mut());
    assert_eq!(download(b, status.as_ref()), vec![0.0; d.batch]);
    for (mats, dims) in [(&x, d), (&y, d), (&q, d), (&gram, square), (&r, square), (&v, square), (&s, row)] {
        let full = Dims::new(outer.batch, dims.rows + 2 * margin, dims.cols + 2 * margin);
        for (k, value) in download(b, mats.as_ref()).into_iter().enumerate() {
            let (i, j) = (k / full.cols % full.rows, k % full.cols);
            let (rows, cols) = inside(dims);
            let within = rows.contains(&i) && cols.contains(&j);
            assert_eq!(value.is_nan(), !within, "{dims:?}: ({i}, {j}) is {value}");
        }
    }
}

/// Beyond what one launch does: long sums, large triangles, many steps.
#[test]
fn large_problems() {
    let Some(b) = devices::wgpu() else { return };
    let r = Reference::<f64>::new();
    fn product<B: Linalg>(b: &B) -> Vec<f64> {
        let (x, y) = (random(b, 1, Dims::new(1, 3, 40_000)), random(b, 2, Dims::new(1, 5, 40_000)));
        let mut c = random(b, 3, Dims::new(1, 3, 5));
        b.gemm(0.5, x.as_ref().n(), y.as_ref().t(), Epilogue::Scale(2.0), c.as_mut());
        download(b, c.as_ref())
    }
    close("long sums", &product(b), &product(&r), 40_000f64.sqrt() * 4.0 * EPS);
    fn solved<B: Linalg>(b: &B, side: Side, triangle: Triangle) -> Vec<f64> {
        let n = 300;
        let (mut t, mut x) = (random(b, 1, Dims::square(1, n)), random(b, 2, Dims::square(2, n)));
        b.map(Map::Scale(1.0 / 300.0), t.as_mut());
        b.add_diagonal(2.0, t.as_mut());
        b.trsm(side, triangle, t.as_ref().t(), x.as_mut());
        b.trsm(side, triangle, t.as_ref().n(), x.as_mut());
        download(b, x.as_ref())
    }
    for side in [Side::Left, Side::Right] {
        for triangle in [Triangle::Lower, Triangle::Upper] {
            let what = format!("{side:?} {triangle:?}");
            close(&what, &solved(b, side, triangle), &solved(&r, side, triangle), 100.0 * EPS);
        }
    }
    let d = Dims::new(1, 1500, 40);
    let mut q = random(b, 1, d);
    let (mut upper, mut status) =
        (Mats::zeros(b, Dims::square(1, 40)).unwrap(), Mats::zeros(b, Dims::scalars(1)).unwrap());
    b.qr(q.as_mut(), upper.as_mut(), status.as_mut());
    let mut gram = Mats::zeros(b, Dims::square(1, 40)).unwrap();
    b.gemm(1.0, q.as_ref().t(), q.as_ref().n(), Epilogue::Overwrite, gram.as_mut());
    b.add_diagonal(-1.0, gram.as_mut());
    assert!(download(b, gram.as_ref()).iter().all(|defect| defect.abs() < 100.0 * EPS));
    // Q R against the matrix.
    let mut product = random(b, 1, d);
    b.gemm(1.0, q.as_ref().n(), upper.as_ref().n(), Epilogue::Scale(-1.0), product.as_mut());
    assert!(download(b, product.as_ref()).iter().all(|error| error.abs() < 100.0 * EPS));
    assert_eq!(download(b, status.as_ref()), [0.0]);
}

/// A shift that takes many attempts, in workgroup memory and beyond; and a matrix that no shift helps.
#[test]
fn many_shifts() {
    let Some(b) = devices::wgpu() else { return };
    for n in [4, 88, 89, 200] {
        let hopeless: Vec<f64> = (0..n * n).map(|k| if k == n { f64::NAN } else { 1.0 }).collect();
        // Eigenvalues 1 - c and 1 + (n - 1) c: indefinite for c = 2, by 1.
        let indefinite = (0..n * n).map(|k| if k / n == k % n { 1.0 } else { 2.0 }).collect::<Vec<_>>();
        let mut a = upload(b, Dims::square(2, n), &[indefinite, hopeless].concat());
        let mut status = Mats::zeros(b, Dims::scalars(2)).unwrap();
        b.cholesky(PivotGuard::Shift { relative: 1.5 / 1024.0 }, a.as_mut(), status.as_mut());
        assert_eq!(download(b, status.as_ref()), [11.0, -1.0]);
        let l = download(b, a.as_ref());
        for (i, j) in (0..n).flat_map(|i| (0..=i).map(move |j| (i, j))) {
            let sum: f64 = (0..=j).map(|k| l[i * n + k] * l[j * n + k]).sum();
            let expected = if i == j { 2.5 } else { 2.0 };
            assert!((sum - expected).abs() < 10.0 * n as f64 * EPS, "{n}: ({i}, {j}) is {sum}");
            assert_eq!(l[n * n + i * n + j], f64::from(u8::from(i == j)));
        }
    }
}

#[test]
fn out_of_memory_is_an_error() {
    let Some(b) = devices::wgpu() else { return };
    let huge = Dims::new(1 << 20, 1 << 10, 1 << 10);
    let error = Mats::zeros(b, huge).unwrap_err();
    assert_eq!(error, DeviceError::OutOfMemory { device: "wgpu", bytes: 1 << 42 });
    // Nothing else has suffered.
    b.sync().unwrap();
}

#[test]
fn a_lost_device_is_an_error_everywhere() {
    if devices::wgpu().is_none() {
        return;
    }
    let b = Wgpu::new(None).unwrap();
    let mut x = random(&b, 1, Dims::new(3, 9, 4));
    b.destroy();
    b.fill(1.0, x.as_mut());
    b.upload(&[0.0; 108], x.as_mut());
    for error in [b.sync().unwrap_err(), b.download(x.as_ref()).unwrap_err(), b.alloc(5).unwrap_err()] {
        assert!(matches!(error, DeviceError::Lost { device: "wgpu", .. }), "{error}");
    }
}

/// Scratch has nobody to report to: the work goes on, and the next wait tells.
#[test]
fn scratch_that_cannot_be_had_is_an_error_at_the_next_wait() {
    if devices::wgpu().is_none() {
        return;
    }
    let b = Wgpu::new(None).unwrap();
    Scratch::new(&b).unwrap().scope(|s| b.fill(1.0, s.take(Dims::new(1 << 10, 1 << 15, 1 << 10))));
    let expected = DeviceError::OutOfMemory { device: "wgpu", bytes: 1 << 37 };
    assert_eq!(b.sync(), Err(expected.clone()));
    assert_eq!(b.sync(), Err(expected));
}

#[test]
fn an_adapter_that_is_not_there_is_an_error() {
    let error = Wgpu::new(Some(1000)).unwrap_err();
    assert!(matches!(error, DeviceError::Unavailable { device: "wgpu", .. }), "{error}");
}

/// A polar factor and a Cholesky-QR, again and again: all memory is there after the second time.
#[test]
fn nothing_is_allocated_or_downloaded_after_warm_up() {
    if devices::wgpu().is_none() {
        return;
    }
    let b = Wgpu::new(None).unwrap();
    let d = Dims::new(5, 40, 7);
    let mut z = random(&b, 1, d);
    let (mut r, mut status) =
        (Mats::zeros(&b, Dims::square(5, 7)).unwrap(), Mats::zeros(&b, Dims::scalars(5)).unwrap());
    let mut scratch = Scratch::new(&b).unwrap();
    let mut counted = b.counters();
    for step in 0..5 {
        scratch.scope(|s| {
            for method in [PolarMethod::Svd, PolarMethod::Polynomial] {
                b.polar(method, z.as_mut(), status.as_mut(), s);
            }
            b.cholesky_qr(z.as_mut(), r.as_mut(), status.as_mut(), s);
        });
        let now = b.counters();
        assert!(now.launches > counted.launches);
        let quiet = (now.allocations, now.downloads) == (counted.allocations, counted.downloads);
        assert!(step < 2 || quiet, "step {step}: {counted:?}, then {now:?}");
        counted = now;
    }
    b.sync().unwrap();
}

/// A kernel of another crate: gathers rows by indices.
#[test]
fn kernels_from_outside() {
    let Some(b) = devices::wgpu() else { return };
    const SOURCE: &str = "
        struct Params { grid: vec4<u32>, x: vec4<u32>, index: vec4<u32>, y: vec4<u32>, cols: u32 }
        @group(1) @binding(0) var<uniform> params: Params;
        @group(0) @binding(0) var<storage, read_write> x: array<f32>;
        @group(0) @binding(1) var<storage, read_write> index: array<u32>;
        @group(0) @binding(2) var<storage, read_write> y: array<f32>;
        @compute @workgroup_size(1)
        fn gather(@builtin(workgroup_id) g: vec3<u32>) {
            for (var j = 0u; j < params.cols; j++) {
                y[params.y.x + g.x * params.y.z + j] = x[params.x.x + index[params.index.x + g.x] * params.x.z + j];
            }
        }";
    let x = upload(b, Dims::new(1, 3, 2), &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let mut y = Mats::zeros(b, Dims::new(1, 4, 2)).unwrap();
    let mut indices = b.indices(4).unwrap();
    b.upload_indices(&[2, 0, 0, 1], &mut indices);
    let target = y.as_mut();
    b.launch(&Launch {
        kernel: Kernel { name: "gather", source: SOURCE, entry: "gather" },
        arguments: &[x.as_ref().into(), Argument::whole(&indices), (&target).into()],
        problems: 1,
        groups: 4,
        words: &[2],
    });
    assert_eq!(download(b, y.as_ref()), [5.0, 6.0, 1.0, 2.0, 1.0, 2.0, 3.0, 4.0]);
}

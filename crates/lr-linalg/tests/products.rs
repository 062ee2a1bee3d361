//! Products and triangular solves of every backend against the naive loops in `f64`, over shapes,
//! transpositions, strides, broadcasting and epilogues.

mod common;

use common::{close, download, eps, random, upload, values};
use lr_linalg::{Blas, Dims, Epilogue, Linalg, Mats, MatsRef, Op, Operand, Reference, Side, Triangle};

on_every_backend!(
    products_of_all_shapes,
    epilogues,
    products_of_strided_blocks,
    broadcast_products,
    large_products_are_cut,
    empty_products,
    gram_matrices_are_symmetric,
    triangular_solves,
    triangular_solves_of_strided_blocks,
);

const SIZES: [usize; 5] = [1, 3, 17, 64, 65];
const OPS: [Op; 2] = [Op::None, Op::Transpose];

fn operand<'a, B: Linalg>(view: MatsRef<'a, B>, op: Op) -> Operand<'a, B> {
    match op {
        Op::None => view.n(),
        Op::Transpose => view.t(),
    }
}

fn stored(op: Op, dims: Dims) -> Dims {
    match op {
        Op::None => dims,
        Op::Transpose => dims.transposed(),
    }
}

#[derive(Clone, Copy, Debug)]
struct Shape {
    batch: usize,
    m: usize,
    n: usize,
    k: usize,
    ops: [Op; 2],
}

fn product<B: Linalg>(b: &B, s: Shape) -> Vec<f64> {
    let x = random(b, 1, stored(s.ops[0], Dims::new(s.batch, s.m, s.k)));
    let y = random(b, 2, stored(s.ops[1], Dims::new(s.batch, s.k, s.n)));
    let dims = Dims::new(s.batch, s.m, s.n);
    let mut c = upload(b, dims, &vec![f64::NAN; dims.len()]);
    b.gemm(
        -1.5,
        operand(x.as_ref(), s.ops[0]),
        operand(y.as_ref(), s.ops[1]),
        Epilogue::Overwrite,
        c.as_mut(),
    );
    download(b, c.as_ref())
}

fn products_of_all_shapes<B: Linalg>(b: &B) {
    let mut batch = [1, 5].into_iter().cycle();
    for m in SIZES {
        for n in SIZES {
            for k in SIZES {
                for opa in OPS {
                    for opb in OPS {
                        let shape = Shape { batch: batch.next().unwrap(), m, n, k, ops: [opa, opb] };
                        let expected = product(&Reference::<f64>::new(), shape);
                        let bound = 2.0 * (k as f64 + 8.0) * eps::<B>();
                        close(&format!("{shape:?}"), &product(b, shape), &expected, bound);
                    }
                }
            }
        }
    }
}

fn epilogues<B: Linalg>(b: &B) {
    fn run<B: Linalg>(b: &B, kind: usize) -> Vec<f64> {
        let dims = Dims::new(3, 17, 5);
        let (x, y) = (random(b, 1, Dims::new(3, 17, 9)), random(b, 2, Dims::new(3, 9, 5)));
        let other = random(b, 3, Dims::new(1, 17, 5));
        let nan = vec![f64::NAN; dims.len()];
        let mut c = if kind < 3 { upload(b, dims, &nan) } else { random(b, 4, dims) };
        let epilogue = match kind {
            0 => Epilogue::Overwrite,
            1 => Epilogue::Scale(0.0),
            2 => Epilogue::Add(-2.0, other.as_ref()),
            3 => Epilogue::Scale(1.0),
            _ => Epilogue::Scale(0.25),
        };
        b.gemm(0.5, x.as_ref().n(), y.as_ref().n(), epilogue, c.as_mut());
        download(b, c.as_ref())
    }
    for kind in 0..5 {
        close(
            &format!("epilogue {kind}"),
            &run(b, kind),
            &run(&Reference::<f64>::new(), kind),
            20.0 * eps::<B>(),
        );
    }
}

fn products_of_strided_blocks<B: Linalg>(b: &B) {
    // All three are blocks inside larger matrices; what surrounds the result must stay.
    fn run<B: Linalg>(b: &B) -> Vec<f64> {
        let (x, y) = (random(b, 1, Dims::new(5, 40, 50)), random(b, 2, Dims::new(5, 70, 60)));
        let mut c = random(b, 3, Dims::new(5, 30, 33));
        let (x, y) = (x.as_ref().block(3..20, 7..30), y.as_ref().block(10..33, 5..18));
        let target = c.as_mut().block(2..19, 4..17).problems(1..4);
        b.gemm(2.0, x.problems(1..4).n(), y.problems(2..5).n(), Epilogue::Scale(-1.0), target);
        download(b, c.as_ref())
    }
    close("blocks", &run(b), &run(&Reference::<f64>::new()), 60.0 * eps::<B>());
}

fn broadcast_products<B: Linalg>(b: &B) {
    fn run<B: Linalg>(b: &B, left: usize, right: usize) -> Vec<f64> {
        let (x, y) = (random(b, 1, Dims::new(left, 4, 6)), random(b, 2, Dims::new(right, 6, 3)));
        let mut c = Mats::zeros(b, Dims::new(48, 4, 3)).unwrap();
        b.gemm(1.0, x.as_ref().n(), y.as_ref().n(), Epilogue::Overwrite, c.as_mut());
        download(b, c.as_ref())
    }
    for (left, right) in [(1, 48), (48, 1), (8, 48), (48, 6), (4, 3)] {
        let expected = run(&Reference::<f64>::new(), left, right);
        close(&format!("{left} by {right}"), &run(b, left, right), &expected, 20.0 * eps::<B>());
    }
    // Consecutive problems share an input, in this order.
    let x = upload(b, Dims::scalars(2), &[2.0, 3.0]);
    let y = upload(b, Dims::scalars(4), &[1.0, 10.0, 100.0, 1000.0]);
    let mut c = Mats::zeros(b, Dims::scalars(4)).unwrap();
    b.gemm(1.0, x.as_ref().n(), y.as_ref().n(), Epilogue::Overwrite, c.as_mut());
    assert_eq!(download(b, c.as_ref()), [2.0, 20.0, 300.0, 3000.0]);
}

/// Large enough for the CPU backend to cut in both directions; checked against sums of rows, since the
/// naive loops would take too long.
fn large_products_are_cut<B: Linalg>(b: &B) {
    if B::NAME == "reference" {
        return;
    }
    for (m, n, k, op) in
        [(1000, 130, 300, Op::None), (130, 1000, 300, Op::Transpose), (700, 700, 100, Op::None)]
    {
        let (x, y) = (values(1, m * k), values(2, k * n));
        let a = upload(b, Dims::new(1, m, k), &x);
        let mut packed = upload(b, Dims::new(1, k, n), &y);
        if op == Op::Transpose {
            let mut turned = Mats::zeros(b, Dims::new(1, n, k)).unwrap();
            b.copy(packed.as_ref().t(), turned.as_mut());
            packed = turned;
        }
        let d = values(3, m * n);
        let other = upload(b, Dims::new(1, m, n), &d);
        let mut c = Mats::zeros(b, Dims::new(1, m, n)).unwrap();
        let epilogue = Epilogue::Add(2.0, other.as_ref());
        b.gemm(1.0, a.as_ref().n(), operand(packed.as_ref(), op), epilogue, c.as_mut());
        let got = download(b, c.as_ref());
        for i in (0..m).step_by(7) {
            let expected: Vec<f64> = (0..n)
                .map(|j| (0..k).map(|l| x[i * k + l] * y[l * n + j]).sum::<f64>() + 2.0 * d[i * n + j])
                .collect();
            close(&format!("row {i}"), &got[i * n..(i + 1) * n], &expected, 300.0 * eps::<B>());
        }
    }
}

/// `x^T x` and `x x^T` of one view, small ones and those that are cut.
fn gram_matrices_are_symmetric<B: Linalg>(b: &B) {
    for (m, n) in [(5, 3), (20, 9), (200, 64), (129, 130), (1000, 200)] {
        if B::NAME == "reference" && m == 1000 {
            continue;
        }
        for op in OPS {
            let x = random(b, 1, Dims::new(2, m, n));
            let (left, right) = match op {
                Op::None => (x.as_ref().n(), x.as_ref().t()),
                Op::Transpose => (x.as_ref().t(), x.as_ref().n()),
            };
            let order = if op == Op::None { m } else { n };
            let dims = Dims::square(2, order);
            let mut gram = upload(b, dims, &vec![f64::NAN; dims.len()]);
            b.gemm(2.0, left, right, Epilogue::Overwrite, gram.as_mut());
            let got = download(b, gram.as_ref());
            let mut turned = Mats::zeros(b, dims).unwrap();
            b.copy(gram.as_ref().t(), turned.as_mut());
            assert_eq!(got, download(b, turned.as_ref()));
            // A copy is another matrix: the general product.
            let mut copy = Mats::zeros(b, Dims::new(2, m, n)).unwrap();
            b.copy(x.as_ref().n(), copy.as_mut());
            b.gemm(2.0, left, operand(copy.as_ref(), right.op), Epilogue::Overwrite, gram.as_mut());
            close(&format!("{m} x {n} {op:?}"), &got, &download(b, gram.as_ref()), 40.0 * eps::<B>());
        }
    }
}

fn empty_products<B: Linalg>(b: &B) {
    for (batch, m, n, k) in [(0, 3, 3, 3), (2, 0, 3, 3), (2, 3, 0, 3)] {
        let shape = Shape { batch, m, n, k, ops: [Op::None; 2] };
        assert!(product(b, shape).is_empty());
    }
    // An empty sum is zero, and the epilogue still holds.
    let shape = Shape { batch: 2, m: 2, n: 2, k: 0, ops: [Op::None; 2] };
    assert_eq!(product(b, shape), [0.0; 8]);
}

const SIDES: [Side; 2] = [Side::Left, Side::Right];
const TRIANGLES: [Triangle; 2] = [Triangle::Lower, Triangle::Upper];

/// Well-conditioned triangles with NaN where nothing may be read.
fn triangles(batch: usize, n: usize, triangle: Triangle) -> Vec<f64> {
    let mut t = values(7, batch * n * n);
    for (index, x) in t.iter_mut().enumerate() {
        let (i, j) = (index / n % n, index % n);
        let inside = match triangle {
            Triangle::Lower => i > j,
            Triangle::Upper => i < j,
        };
        *x = if i == j {
            2.0 + *x
        } else if inside {
            *x / n as f64
        } else {
            f64::NAN
        };
    }
    t
}

fn solve<B: Linalg>(b: &B, order: usize, vectors: usize, side: Side, triangle: Triangle, op: Op) -> Vec<f64> {
    let t = upload(b, Dims::square(2, order), &triangles(2, order, triangle));
    let dims = match side {
        Side::Left => Dims::new(4, order, vectors),
        Side::Right => Dims::new(4, vectors, order),
    };
    let mut x = random(b, 8, dims);
    b.trsm(side, triangle, operand(t.as_ref(), op), x.as_mut());
    download(b, x.as_ref())
}

fn triangular_solves<B: Linalg>(b: &B) {
    for order in SIZES {
        for vectors in [1, 5, 70] {
            for (side, triangle) in SIDES.into_iter().flat_map(|s| TRIANGLES.map(|t| (s, t))) {
                for op in OPS {
                    let run = (order, vectors, side, triangle, op);
                    let got = solve(b, order, vectors, side, triangle, op);
                    let expected = solve(&Reference::<f64>::new(), order, vectors, side, triangle, op);
                    close(&format!("{run:?}"), &got, &expected, 4.0 * (order as f64 + 8.0) * eps::<B>());
                }
            }
        }
    }
}

fn triangular_solves_of_strided_blocks<B: Linalg>(b: &B) {
    fn run<B: Linalg>(b: &B, side: Side) -> Vec<f64> {
        let mut big = upload(b, Dims::square(1, 30), &triangles(1, 30, Triangle::Lower));
        let mut x = random(b, 3, Dims::new(3, 25, 25));
        b.fill(0.5, big.as_mut().block(20..21, 3..20));
        let t = big.as_ref().block(4..21, 4..21);
        let target = x.as_mut().block(2..19, 1..18);
        b.trsm(side, Triangle::Lower, t.t(), target);
        download(b, x.as_ref())
    }
    for side in SIDES {
        close("blocks", &run(b, side), &run(&Reference::<f64>::new(), side), 100.0 * eps::<B>());
    }
}

#[test]
#[should_panic(expected = "gemm: (3 x 4) (5 x 2) is not 3 x 2")]
fn shapes_that_do_not_fit_are_refused() {
    let b = lr_linalg::Cpu::<f32>::new();
    let (x, y) = (random(&b, 1, Dims::new(1, 3, 4)), random(&b, 1, Dims::new(1, 5, 2)));
    let mut c = random(&b, 1, Dims::new(1, 3, 2));
    b.gemm(1.0, x.as_ref().n(), y.as_ref().n(), Epilogue::Overwrite, c.as_mut());
}

//! What only the `cuda` backend has: errors for everything that a machine may lack or lose, recorded steps,
//! counters, and the limits of grids and library calls.
#![cfg(feature = "cuda")]

mod common;

use common::{close, devices, download, random, upload, values};
use lr_linalg::{
    Backend, Blas, Coef, Cuda, DeviceError, Dims, Epilogue, Factor, Linalg, Map, Mats, PolarMethod,
    Reference, Scratch, Side, Triangle,
};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// What a child process is to do; see [`child`].
const TASK: &str = "LR_TEST_TASK";

/// A test of its own in a child process, whose environment the others set: libraries are found, and a stand-in
/// driver is configured, once a process.
#[test]
fn child() {
    match env::var(TASK).as_deref() {
        Ok("open") => match Cuda::<f32>::new(0) {
            Ok(_) => println!("opened"),
            Err(e) => println!("error: {e}"),
        },
        Ok("list") => println!("devices: {:?}", Cuda::<f32>::devices().map(|d| d.len())),
        Ok("fill memory") => fill_memory(),
        Ok("scratch") => scratch(),
        Ok("lose") => lose(),
        _ => {}
    }
}

/// Standard output of [`child`] in an environment.
fn in_child(task: &str, variables: &[(&str, &str)]) -> String {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "child", "--nocapture"]).env(TASK, task);
    command.envs(variables.iter().copied());
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{task}: {text}{errors}");
    text
}

/// Whether the first device is the stand-in driver's, which can be made to fail.
fn on_stand_in() -> bool {
    devices::cuda::<f32>().is_some_and(|b| b.info().name.contains("stand-in"))
}

/// A folder with links to some of the stand-in's libraries.
fn folder_with(names: &[&str]) -> PathBuf {
    let folder = env::temp_dir().join(format!("lr-cuda-{}-{}", std::process::id(), names.len()));
    fs::create_dir_all(&folder).unwrap();
    let path = env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    for name in names {
        let found = env::split_paths(&path).map(|p| p.join(name)).find(|p| p.exists()).unwrap();
        let link = folder.join(name);
        if !link.exists() {
            fs::copy(found, link).unwrap();
        }
    }
    folder
}

fn in_folder(task: &str, folder: &Path) -> String {
    in_child(task, &[("LD_LIBRARY_PATH", folder.to_str().unwrap())])
}

#[test]
fn missing_libraries_are_named_with_their_remedy() {
    if !on_stand_in() {
        return;
    }
    let none = folder_with(&[]);
    let text = in_folder("open", &none);
    assert!(text.contains("libcuda") && text.contains("install the NVIDIA driver"), "{text}");
    let text = in_folder("list", &none);
    assert!(text.contains("install the NVIDIA driver"), "{text}");
    let driver = folder_with(&["libcuda.so.1"]);
    let text = in_folder("open", &driver);
    assert!(text.contains("cublas") && text.contains("LD_LIBRARY_PATH"), "{text}");
    assert!(in_folder("list", &driver).contains("Ok(1)"));
    let driver_and_blas = folder_with(&["libcuda.so.1", "libcublas.so"]);
    let text = in_folder("open", &driver_and_blas);
    assert!(text.contains("cusolver") && !text.contains("cublas"), "{text}");
    [none, driver, driver_and_blas].iter().for_each(|folder| fs::remove_dir_all(folder).unwrap());
}

#[test]
fn a_machine_without_a_device_is_told_so() {
    if !on_stand_in() {
        return;
    }
    let none = [("LR_STAND_IN_DEVICES", "0")];
    let text = in_child("open", &none);
    assert!(text.contains("finds no device") && text.contains("CUDA_VISIBLE_DEVICES"), "{text}");
    assert!(in_child("list", &none).contains("Ok(0)"));
    let e = Cuda::<f32>::new(7).unwrap_err();
    assert!(e.to_string().contains("there is no device 7"), "{e}");
}

#[test]
fn devices_are_described() {
    let Some(b) = devices::cuda::<f64>() else { return };
    let listed = Cuda::<f64>::devices().unwrap();
    assert_eq!(&listed[0], b.info());
    assert!(listed[0].compute_capability >= (8, 0) && listed[0].memory > 0 && !listed[0].name.is_empty());
}

#[test]
fn memory_that_runs_out_is_an_error() {
    if on_stand_in() {
        let little = [("LR_STAND_IN_MEMORY", "64000000")];
        assert!(in_child("fill memory", &little).contains("refused, then served"));
        assert!(in_child("scratch", &little).contains("refused in a step"));
    }
}

fn fill_memory() {
    let b = Cuda::<f32>::new(0).unwrap();
    let error = Mats::zeros(&b, Dims::new(1, 5000, 5000)).unwrap_err();
    assert_eq!(error, DeviceError::OutOfMemory { device: "cuda", bytes: 100_000_000 });
    // Absurd sizes do not overflow.
    assert!(matches!(b.alloc(usize::MAX), Err(DeviceError::OutOfMemory { .. })));
    // The device is as good as before.
    let x = upload(&b, Dims::new(1, 1, 2), &[1.0, 2.0]);
    assert_eq!(download(&b, x.as_ref()), [1.0, 2.0]);
    println!("refused, then served");
}

/// In the middle of a step there is nobody to give an error to: it waits for the next call that can fail.
fn scratch() {
    let b = Cuda::<f32>::new(0).unwrap();
    let mut x = Mats::zeros(&b, Dims::new(1, 2000, 2000)).unwrap();
    Scratch::new(&b).unwrap().scope(|s| {
        let mut y = s.take(Dims::new(8, 2000, 2000));
        b.fill(1.0, y.as_mut());
        b.copy(y.as_ref().problem(0).t(), x.as_mut());
        let mut z = s.take(Dims::new(1, 2000, 2000));
        b.gemm(1.0, x.as_ref().n(), y.as_ref().problem(3).n(), Epilogue::Overwrite, z.as_mut());
        let mut status = s.status(1);
        b.polar(PolarMethod::Svd, z, status.as_mut(), s);
    });
    for _ in 0..2 {
        let error = b.download(x.as_ref()).unwrap_err();
        assert!(matches!(error, DeviceError::OutOfMemory { .. }), "{error}");
    }
    // What the failed handle held serves the next one.
    drop((x, b));
    let b = Cuda::<f32>::new(0).unwrap();
    Mats::zeros(&b, Dims::new(3, 2000, 2000)).unwrap();
    println!("refused in a step");
}

#[test]
fn a_lost_device_stays_lost_and_nothing_panics() {
    if on_stand_in() {
        for after in ["0", "3", "20"] {
            assert!(in_child("lose", &[("LR_STAND_IN_LOST_AFTER", after)]).contains("lost for good"));
        }
    }
}

fn lose() {
    let b = Cuda::<f64>::new(0).unwrap();
    let mut x = upload(&b, Dims::square(3, 8), &values(1, 192));
    let mut status = Mats::zeros(&b, Dims::scalars(3)).unwrap();
    let mut scratch = Scratch::new(&b).unwrap();
    for _ in 0..20 {
        b.map(Map::Scale(0.5), x.as_mut());
        scratch.scope(|s| {
            let mut y = s.take(Dims::square(3, 8));
            b.gemm(1.0, x.as_ref().n(), x.as_ref().t(), Epilogue::Overwrite, y.as_mut());
            b.trsm(Side::Left, Triangle::Lower, y.as_ref().n(), x.as_mut());
            let mut w = s.take(Dims::new(3, 1, 8));
            b.eigh(y.as_mut(), w.as_mut(), status.as_mut());
        });
    }
    let first = b.sync().unwrap_err();
    assert!(matches!(first, DeviceError::Lost { .. }), "{first}");
    assert_eq!(b.sync().unwrap_err(), first);
    assert_eq!(b.download(x.as_ref()).unwrap_err(), first);
    assert_eq!(Mats::zeros(&b, Dims::scalars(1)).unwrap_err(), first);
    assert_eq!(b.capture(|_| ()).unwrap_err(), first);
    b.upload(&values(1, 192), x.as_mut());
    println!("lost for good");
}

/// A step of everything that waits for nothing.
fn step<B: Linalg>(b: &B, x: &mut Mats<B>, status: &mut Mats<B>, scratch: &mut Scratch<B>) {
    let d = x.dims();
    scratch.scope(|s| {
        let mut r = s.take(Dims::square(d.batch, d.cols));
        let mut norm = s.take(Dims::scalars(d.batch));
        b.cholesky_qr(x.as_mut(), r.as_mut(), status.as_mut(), s);
        b.dot(1.0, r.as_ref(), r.as_ref(), 0.0, norm.as_mut());
        b.map(Map::Ratio { numerator: -0.1, floor: 1e-3 }, norm.as_mut());
        let mut y = s.take(d);
        b.gemm(1.0, x.as_ref().n(), r.as_ref().t(), Epilogue::Add(0.5, x.as_ref()), y.as_mut());
        b.axpby(Coef::Device(norm.as_ref()), y.as_ref(), 1.0, x.as_mut());
        b.polar(PolarMethod::GramEigen, y.as_mut(), status.as_mut(), s);
        b.axpby(Coef::Host(0.25), y.as_ref(), 1.0, x.as_mut());
    });
}

#[test]
fn a_warm_step_allocates_nothing_and_looks_at_nothing() {
    let Some(b) = devices::cuda::<f32>() else { return };
    let mut x = random(&b, 1, Dims::new(3, 12, 5));
    let (mut status, mut scratch) = (Mats::zeros(&b, Dims::scalars(3)).unwrap(), Scratch::new(&b).unwrap());
    (0..2).for_each(|_| step(&b, &mut x, &mut status, &mut scratch));
    let before = b.counters();
    (0..3).for_each(|_| step(&b, &mut x, &mut status, &mut scratch));
    let after = b.counters();
    assert!(before.allocations > 0 && after.launches >= before.launches + 3 * 20, "{before:?}, {after:?}");
    assert_eq!(after.allocations, before.allocations);
    assert_eq!((after.downloads, after.uploads), (before.downloads, before.uploads));
    assert!(download(&b, x.as_ref()).iter().all(|x| x.is_finite()));
    assert_eq!(b.counters().downloads, before.downloads + 1);
}

#[test]
fn a_recorded_step_replays_what_it_does() {
    let Some(b) = devices::cuda::<f64>() else { return };
    let d = Dims::new(3, 12, 5);
    let prepare = || {
        let x = random(&b, 1, d);
        (x, Mats::zeros(&b, Dims::scalars(3)).unwrap(), Scratch::new(&b).unwrap())
    };
    let (mut x, mut status, mut scratch) = prepare();
    (0..5).for_each(|_| step(&b, &mut x, &mut status, &mut scratch));
    let expected = download(&b, x.as_ref());

    let (mut x, mut status, mut scratch) = prepare();
    (0..2).for_each(|_| step(&b, &mut x, &mut status, &mut scratch));
    let before = download(&b, x.as_ref());
    let mut graph = b.capture(|b| step(b, &mut x, &mut status, &mut scratch)).unwrap();
    assert_eq!(download(&b, x.as_ref()), before, "recording runs nothing");
    let counters = b.counters();
    for _ in 0..3 {
        // SAFETY: the buffers of the step are alive, and no view is held.
        unsafe { graph.launch() };
    }
    assert_eq!(b.counters().launches, counters.launches + 3);
    assert_eq!(download(&b, x.as_ref()), expected);
}

#[test]
fn what_cannot_be_recorded_is_refused_and_does_no_harm() {
    let Some(b) = devices::cuda::<f32>() else { return };
    let mut x = upload(&b, Dims::new(1, 1, 2), &[1.0, 2.0]);
    let long = random(&b, 1, Dims::new(1, 1, 20_000));
    let mut largest = Mats::zeros(&b, Dims::scalars(1)).unwrap();
    let refused = |what: &str, error: DeviceError| {
        assert!(matches!(error, DeviceError::Unavailable { .. }), "{error}");
        assert!(error.to_string().contains(what), "{error}");
    };
    refused("a download", b.capture(|b| drop(b.download(x.as_ref()))).unwrap_err());
    refused("waiting", b.capture(|b| drop(b.sync())).unwrap_err());
    refused("an allocation", b.capture(|b| drop(b.alloc(3))).unwrap_err());
    refused("an upload", b.capture(|b| b.upload(&[5.0, 6.0], x.as_mut())).unwrap_err());
    let gone = Mats::zeros(&b, Dims::scalars(5)).unwrap();
    refused("giving memory back", b.capture(|_| drop(gone)).unwrap_err());
    // This handle has not used the kernel yet.
    refused("loading a kernel", b.capture(|b| b.fill(3.0, x.as_mut())).unwrap_err());
    refused("an allocation", b.capture(|b| b.max_abs(long.as_ref(), largest.as_mut())).unwrap_err());
    let mut inner = None;
    let outer = b.capture(|b| inner = b.capture(|_| ()).err());
    assert!(outer.is_ok());
    refused("recorded already", inner.unwrap());
    b.fill(4.0, x.as_mut().block(0..1, 0..1));
    assert_eq!(download(&b, x.as_ref()), [4.0, 2.0]);
    // Memory for a step that was never run cannot be made up for.
    let mut scratch = Scratch::new(&b).unwrap();
    let error = b.capture(|b| scratch.scope(|s| b.fill(1.0, s.take(Dims::scalars(100))))).unwrap_err();
    refused("an allocation", error.clone());
    assert_eq!(b.sync().unwrap_err(), error);
}

/// Long rows are cut into pieces, which are reduced in turn.
#[test]
fn reductions_of_few_long_problems() {
    let Some(b) = devices::cuda::<f64>() else { return };
    let (d, r) = (Dims::new(2, 3, 20_011), Reference::<f64>::new());
    let mut numbers = values(3, d.len());
    let wide = Dims::new(2, 3, 20_020);
    for (problem, worst) in [(0, 7.0), (1, f64::NAN)] {
        for at in [0, d.rows * d.cols / 2, d.rows * d.cols - 1] {
            let mut numbers = numbers.clone();
            numbers[problem * d.rows * d.cols + at] = worst;
            let x = upload(&b, d, &numbers);
            let mut largest = upload(&b, Dims::scalars(2), &[0.5, 2.0]);
            b.max_abs(x.as_ref(), largest.as_mut());
            let mut flags = Mats::zeros(&b, Dims::scalars(2)).unwrap();
            b.flag_above(1.0, x.as_ref(), flags.as_mut());
            let largest = download(&b, largest.as_ref());
            let found = largest[problem];
            assert!(found == worst || found.is_nan() && worst.is_nan(), "{largest:?}");
            let rest = &numbers[(1 - problem) * d.rows * d.cols..][..d.rows * d.cols];
            let other = rest.iter().fold([0.5, 2.0][1 - problem], |m: f64, x| m.max(x.abs()));
            assert_eq!(largest[1 - problem], other);
            let flags = download(&b, flags.as_ref());
            assert_eq!((flags[problem], flags[1 - problem]), (1.0, 0.0));
        }
    }
    // Rows with gaps, and one matrix for both problems.
    numbers = values(4, wide.len());
    fn run<B: Linalg>(b: &B, wide: Dims, numbers: &[f64]) -> Vec<f64> {
        let x = upload(b, wide, numbers);
        let x = x.as_ref().block(0..3, 5..20_016);
        let mut out = upload(b, Dims::scalars(2), &[1.0, -1.0]);
        b.dot(3.0, x, x.problem(1), 0.5, out.as_mut());
        download(b, out.as_ref())
    }
    close("dot", &run(&b, wide, &numbers), &run(&r, wide, &numbers), 3e-13);
}

/// More problems than a library call takes, and than a grid has blocks.
#[test]
fn very_many_problems() {
    let Some(b) = devices::cuda::<f32>() else { return };
    let n = 70_002;
    let d = Dims::scalars(n);
    let numbers: Vec<f64> = values(5, n).iter().map(|x| x + 2.0).collect();
    let x = upload(&b, d, &numbers);
    let half = x.as_ref().problems(0..n / 2);
    let (mut product, mut quotient) = (Mats::zeros(&b, d).unwrap(), upload(&b, d, &numbers));
    b.gemm(1.0, x.as_ref().n(), x.as_ref().n(), Epilogue::Overwrite, product.as_mut());
    for (y, x) in download(&b, product.as_ref()).iter().zip(download(&b, x.as_ref())) {
        assert!((y - x * x).abs() <= 1e-6 * x * x);
    }
    // Each matrix serves two problems: addresses instead of strides.
    b.gemm(1.0, half.n(), x.as_ref().n(), Epilogue::Overwrite, product.as_mut());
    b.trsm(Side::Left, Triangle::Lower, half.n(), quotient.as_mut());
    let x = download(&b, x.as_ref());
    let (product, quotient) = (download(&b, product.as_ref()), download(&b, quotient.as_ref()));
    for p in 0..n {
        assert!((product[p] - x[p / 2] * x[p]).abs() <= 1e-5, "problem {p}");
        assert!((quotient[p] - x[p] / x[p / 2]).abs() <= 1e-5, "problem {p}");
    }
    let mut sum = Mats::zeros(&b, d).unwrap();
    b.dot(1.0, upload(&b, d, &x).as_ref(), upload(&b, d, &x).as_ref(), 0.0, sum.as_mut());
    assert!(download(&b, sum.as_ref()).iter().zip(&x).all(|(s, x)| (s - x * x).abs() <= 1e-5));
}

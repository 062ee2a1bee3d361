//! Loss and gradients of tiny models against numbers from PyTorch; `data/make_torch_reference.py` says how
//! they were made.

use lr_linalg::{Backend, Cpu};
use lr_train::{
    model::{Choices, ModelShape, Parameters, Position, QkNorm, Transformer},
    neural::IGNORE,
};
use serde_json::Value;

#[test]
fn loss_and_gradients_match_pytorch() {
    let file: Value = serde_json::from_str(include_str!("data/torch_reference.json")).expect("JSON");
    let cases = file["cases"].as_array().expect("cases");
    assert_eq!(cases.len(), 4);
    for case in cases {
        compare(case);
    }
}

fn close(what: &str, actual: f64, expected: &Value, scale: f64) {
    let expected = expected.as_f64().expect("a number");
    assert!((actual - expected).abs() <= 1e-12 * scale, "{what}: {actual}, PyTorch {expected}");
}

fn compare(case: &Value) {
    let size = |name: &str| case["shape"][name].as_u64().expect("a size") as usize;
    let shape = ModelShape {
        layers: size("layers"),
        heads: size("heads"),
        kv_heads: size("kv_heads"),
        d_model: size("d_model"),
        head_dim: size("head_dim"),
        d_ff: size("d_ff"),
        sequence: size("sequence"),
        batch: size("batch"),
        vocabulary: size("vocabulary"),
    };
    let choices = Choices {
        position: if case["position"] == "rope" { Position::Rope } else { Position::None },
        qk_norm: if case["qk_norm"] == "on" { QkNorm::On } else { QkNorm::Off },
        ..Choices::default()
    };
    let b = Cpu::<f64>::new();
    let mut model = Transformer::new(&b, &shape, &choices).expect("host memory");
    let mut weights = Parameters::zeros(&b, &shape).expect("host memory");
    for (k, tensor) in weights.tensors_mut().into_iter().enumerate() {
        let value = |i: usize| 0.5 * (12.9898 * (i + 1) as f64 + 78.233 * (k + 1) as f64).sin();
        let values: Vec<f64> = (0..tensor.mats.dims().len()).map(value).collect();
        b.upload(&values, tensor.mats);
    }
    let (n, v) = (shape.tokens() as u32, shape.vocabulary as u32);
    let tokens: Vec<u32> = (0..n).map(|t| (7 * t + 3) % v).collect();
    let last = |t: u32| (t as usize + 1).is_multiple_of(shape.sequence);
    let targets: Vec<u32> = (0..n).map(|t| if last(t) { IGNORE } else { (5 * t + 1) % v }).collect();
    let mut gradients = Parameters::zeros(&b, &shape).expect("host memory");
    let loss = model.forward_backward(&b, &weights, &tokens, &targets, &mut gradients);
    close("loss", b.download(loss).expect("host memory")[0], &case["loss"], 1.0);
    for (tensor, expected) in gradients.tensors().iter().zip(case["gradients"].as_array().expect("gradients"))
    {
        assert_eq!(expected["name"], tensor.name);
        let values = b.download(tensor.mats).expect("host memory");
        let squares: f64 = values.iter().map(|g| g * g).sum();
        close(tensor.name, squares, &expected["sum_of_squares"], squares);
        let elements = expected["every_seventh"].as_array().expect("elements");
        assert_eq!(elements.len(), values.len().div_ceil(7));
        for (i, element) in elements.iter().enumerate() {
            close(&format!("{}[{}]", tensor.name, 7 * i), values[7 * i], element, squares.sqrt());
        }
    }
}

//! The object that the cameras look at, a rabbit of ellipsoids in wires, and how cameras see it: a rotation is
//! easier to judge on something with ears than by its angle.

use super::graph::Rotation;
use crate::picture::Stroke;

/// Centre and half axes of the parts: body, head, two ears, tail.
const PARTS: [([f64; 3], [f64; 3]); 5] = [
    ([0.0, -0.25, 0.0], [0.42, 0.48, 0.36]),
    ([0.3, 0.38, 0.0], [0.28, 0.25, 0.22]),
    ([0.2, 0.8, 0.12], [0.08, 0.3, 0.06]),
    ([0.2, 0.8, -0.12], [0.08, 0.3, 0.06]),
    ([-0.45, -0.45, 0.0], [0.12, 0.12, 0.12]),
];

/// Segments of a wire.
const SEGMENTS: usize = 12;

/// Heights of the rings of a part, in half axes; two more wires go through its poles.
const RINGS: [f64; 3] = [-0.6, 0.0, 0.6];

/// The object's wires, segment by segment.
fn wires() -> Vec<[[f64; 3]; 2]> {
    let angle = |k: usize| std::f64::consts::TAU * k as f64 / SEGMENTS as f64;
    let mut wires = Vec::new();
    for (centre, axes) in PARTS {
        let place = |unit: [f64; 3]| std::array::from_fn(|k| centre[k] + axes[k] * unit[k]);
        let mut wire = |point: &dyn Fn(f64) -> [f64; 3]| {
            wires.extend((0..SEGMENTS).map(|k| [place(point(angle(k))), place(point(angle(k + 1)))]));
        };
        for height in RINGS {
            let radius = f64::sqrt(1.0 - height * height);
            wire(&|t| [radius * t.cos(), height, radius * t.sin()]);
        }
        wire(&|t| [t.cos(), t.sin(), 0.0]);
        wire(&|t| [0.0, t.sin(), t.cos()]);
    }
    wires
}

/// The object as the camera with rotation `r` sees it from far away: right and up are the first two rows. The views of
/// several cameras stand side by side; `place` is this one's number.
pub fn view(r: &Rotation, place: usize, colour: usize) -> Vec<Stroke> {
    const APART: f64 = 2.6;
    let seen = |p: [f64; 3]| -> [f64; 2] {
        let along = |row: usize| (0..3).map(|k| r[row][k] * p[k]).sum::<f64>();
        [APART * place as f64 + along(0), along(1)]
    };
    wires().into_iter().map(|ends| Stroke { ends: ends.map(seen), colour }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turned_camera_sees_a_turned_object() {
        let upright = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
        // A quarter turn about the viewing direction: right becomes up.
        let turned = [[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]];
        let (straight, lying) = (view(&upright, 0, 0), view(&turned, 0, 0));
        let ears = straight.iter().flat_map(|s| s.ends).fold(0.0, |high: f64, p| high.max(p[1]));
        assert!((ears - 1.1).abs() < 1e-12, "{ears}");
        for (a, b) in straight.iter().zip(&lying) {
            assert!(
                a.ends.iter().zip(b.ends).all(|(a, b)| (b[0] - a[1]).abs() + (b[1] + a[0]).abs() < 1e-12)
            );
        }
    }
}

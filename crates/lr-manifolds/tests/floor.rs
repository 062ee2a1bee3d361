//! The SVD retraction keeps rank r where the step would lose it.

use lr_linalg::{Coef, Cpu, Dims, Linalg, Mats, Reference, Scratch};
use lr_manifolds::{
    Base, Factors, FixedRankEmbedded, Grid, Health, Manifold, Ray, Retraction, SvdRetraction,
};

/// Lengths of the two factors after the step from `W = e1 e2^T` along `-W`, which ends at zero.
fn lengths_after_the_step<B: Linalg<Elem = f64>>(b: &B, floor: f64) -> [f64; 2] {
    let grid = Grid::singleton(3, 2, 1);
    let m = FixedRankEmbedded::new(grid.clone()).unwrap();
    let mats = |rows: usize, values: &[f64]| Mats::from_slice(b, Dims::new(1, rows, 1), values).unwrap();
    let x = Factors { left: mats(3, &[1.0, 0.0, 0.0]), right: mats(2, &[0.0, 1.0]) };
    // C = Xi V and D = Xi^T U.
    let v = Factors { left: mats(3, &[-1.0, 0.0, 0.0]), right: mats(2, &[0.0, -1.0]) };
    let mut y = Factors::zeros(b, &grid, 1).unwrap();
    let mut health = Health::new(b, 1).unwrap();
    let (mut frame, mut next_frame) = (m.new_frame(b, 1).unwrap(), m.new_frame(b, 1).unwrap());
    let mut direction = m.new_direction(b, 1).unwrap();
    Scratch::new(b).unwrap().scope(|scope| {
        m.factor(b, x.as_ref(), &mut frame, health.as_mut(), scope);
        let at = Base { x: x.as_ref(), frame: &frame };
        m.aim(b, at, v.as_ref(), &mut direction, health.as_mut(), scope);
        let ray = Ray { at, tangent: v.as_ref(), direction: &direction };
        let step = Coef::Host(1.0);
        SvdRetraction { floor }.retract(
            b,
            &m,
            ray,
            step,
            y.as_mut(),
            &mut next_frame,
            health.as_mut(),
            scope,
        );
    });
    assert_eq!(health.breakdown.to_vec(b).unwrap(), [0.0]);
    [y.left, y.right].map(|side| side.to_vec(b).unwrap().iter().map(|x| x * x).sum::<f64>().sqrt())
}

#[test]
fn singular_values_stay_at_the_floor() {
    for floor in [SvdRetraction::default().floor, 1e-3] {
        for lengths in [
            lengths_after_the_step(&Reference::<f64>::new(), floor),
            lengths_after_the_step(&Cpu::<f64>::new(), floor),
        ] {
            for length in lengths {
                assert!((length / floor.sqrt() - 1.0).abs() < 1e-12, "{length} at a floor of {floor}");
            }
        }
    }
}

//! [`Neural`] on the reference backend: naive loops over host memory in plain f64, the oracle.

use super::{Accumulation, Attended, IGNORE, Neural, ProjectionGradients, Projections, Rotation, shapes};
use lr_linalg::{DeviceError, Mats, MatsMut, MatsRef, Panel, Reference, Scalar};

impl<T: Scalar> Neural for Reference<T> {
    type Tokens = Vec<u32>;

    fn alloc_tokens(&self, len: usize) -> Result<Vec<u32>, DeviceError> {
        Ok(vec![0; len])
    }

    #[track_caller]
    fn upload_tokens(&self, source: &[u32], target: &mut Vec<u32>) {
        target.copy_from_slice(source);
    }

    #[track_caller]
    fn embed(&self, table: MatsRef<'_, Self>, tokens: &Vec<u32>, mut out: MatsMut<'_, Self>) {
        shapes::embedding(table.dims(), tokens.len(), out.dims());
        let (table, mut out) = (table.panel(0), out.panel_mut(0));
        for (t, &w) in tokens.iter().enumerate() {
            out.row_mut(t).copy_from_slice(table.row(w as usize));
        }
    }

    #[track_caller]
    fn embed_backward(&self, tokens: &Vec<u32>, gradient: MatsRef<'_, Self>, mut table: MatsMut<'_, Self>) {
        shapes::embedding(table.dims(), tokens.len(), gradient.dims());
        let (gradient, mut table) = (gradient.panel(0), table.panel_mut(0));
        for w in 0..table.rows() {
            for j in 0..table.cols() {
                let occurrences = tokens.iter().enumerate().filter(|&(_, &token)| token as usize == w);
                let sum: f64 = occurrences.map(|(t, _)| at(gradient, t, j)).sum();
                table.row_mut(w)[j] = T::from_f64(sum);
            }
        }
    }

    #[track_caller]
    fn rms_norm(
        &self,
        epsilon: f64,
        x: MatsRef<'_, Self>,
        mut y: MatsMut<'_, Self>,
        mut inverse_rms: MatsMut<'_, Self>,
    ) {
        shapes::rms_norm([x.dims(), y.dims()], inverse_rms.dims());
        let (x, mut y, mut inverse_rms) = (x.panel(0), y.panel_mut(0), inverse_rms.panel_mut(0));
        for i in 0..x.rows() {
            let mean: f64 = x.row(i).iter().map(|v| v.to_f64().powi(2)).sum::<f64>() / x.cols() as f64;
            let s = 1.0 / (mean + epsilon).sqrt();
            inverse_rms.row_mut(i)[0] = T::from_f64(s);
            for j in 0..x.cols() {
                y.row_mut(i)[j] = T::from_f64(at(x, i, j) * s);
            }
        }
    }

    #[track_caller]
    fn rms_norm_backward(
        &self,
        y: MatsRef<'_, Self>,
        inverse_rms: MatsRef<'_, Self>,
        dy: MatsRef<'_, Self>,
        accumulation: Accumulation,
        mut dx: MatsMut<'_, Self>,
    ) {
        shapes::rms_norm([y.dims(), dy.dims(), dx.dims()], inverse_rms.dims());
        let (y, s, dy, mut dx) = (y.panel(0), inverse_rms.panel(0), dy.panel(0), dx.panel_mut(0));
        for i in 0..y.rows() {
            let mean: f64 = (0..y.cols()).map(|j| at(y, i, j) * at(dy, i, j)).sum::<f64>() / y.cols() as f64;
            for j in 0..y.cols() {
                let old = match accumulation {
                    Accumulation::Overwrite => 0.0,
                    Accumulation::Add => at(dx.as_panel(), i, j),
                };
                dx.row_mut(i)[j] = T::from_f64(old + at(s, i, 0) * (at(dy, i, j) - at(y, i, j) * mean));
            }
        }
    }

    fn squared_relu(&self, x: MatsMut<'_, Self>) {
        for x in x.into_slice() {
            // A NaN stays one, so that the loss tells of it.
            *x = if *x < T::ZERO { T::ZERO } else { T::from_f64(x.to_f64().powi(2)) };
        }
    }

    #[track_caller]
    fn squared_relu_backward(&self, h: MatsRef<'_, Self>, d: MatsMut<'_, Self>) {
        shapes::same("squared_relu_backward", h.dims(), d.dims());
        for (h, d) in h.as_slice().iter().zip(d.into_slice()) {
            *d = T::from_f64(2.0 * h.to_f64().sqrt() * d.to_f64());
        }
    }

    #[track_caller]
    fn rotate(&self, rotation: Rotation, angles: MatsRef<'_, Self>, mut x: MatsMut<'_, Self>) {
        shapes::rotate(angles.dims(), x.dims());
        let (angles, half) = (angles.panel(0), x.dims().cols / 2);
        for p in 0..x.dims().batch {
            let mut x = x.panel_mut(p);
            for i in 0..x.rows() {
                for c in 0..half {
                    let (a, b) = (at(x.as_panel(), i, c), at(x.as_panel(), i, c + half));
                    let (cos, sin) = match rotation {
                        Rotation::Forward => (at(angles, i, c), at(angles, i, c + half)),
                        Rotation::Inverse => (at(angles, i, c), -at(angles, i, c + half)),
                    };
                    x.row_mut(i)[c] = T::from_f64(a * cos - b * sin);
                    x.row_mut(i)[c + half] = T::from_f64(b * cos + a * sin);
                }
            }
        }
    }

    fn attention_workspace(
        &self,
        _problems: usize,
        _sequence: usize,
    ) -> Result<Vec<Mats<Self>>, DeviceError> {
        Ok(Vec::new())
    }

    #[track_caller]
    fn causal_attention(
        &self,
        x: Projections<'_, Self>,
        mut o: MatsMut<'_, Self>,
        mut lse: MatsMut<'_, Self>,
        _workspace: &mut [Mats<Self>],
    ) {
        shapes::attention(&x, o.dims(), lse.dims());
        for p in 0..x.q.dims().batch {
            let (q, k, v) = (x.q.panel(p), x.k.panel(p), x.v.panel(p));
            let (mut o, mut lse) = (o.panel_mut(p), lse.panel_mut(p));
            for i in 0..q.rows() {
                let scores = scores(q, k, i);
                let total = log_sum_exp(&scores);
                lse.row_mut(i)[0] = T::from_f64(total);
                for c in 0..v.cols() {
                    let sum: f64 =
                        scores.iter().enumerate().map(|(j, s)| (s - total).exp() * at(v, j, c)).sum();
                    o.row_mut(i)[c] = T::from_f64(sum);
                }
            }
        }
    }

    #[track_caller]
    fn causal_attention_backward(
        &self,
        x: Projections<'_, Self>,
        attended: Attended<'_, Self>,
        d_o: MatsRef<'_, Self>,
        mut gradients: ProjectionGradients<'_, Self>,
        _workspace: &mut [Mats<Self>],
    ) {
        shapes::attention(&x, attended.o.dims(), attended.lse.dims());
        shapes::attention_backward(x.q.dims(), d_o.dims(), &gradients);
        let width = x.q.dims().cols;
        let scale = 1.0 / (width as f64).sqrt();
        for p in 0..x.q.dims().batch {
            let (q, k, v, o, d_o) =
                (x.q.panel(p), x.k.panel(p), x.v.panel(p), attended.o.panel(p), d_o.panel(p));
            let mut dq = gradients.q.panel_mut(p);
            let (mut dk, mut dv) = (vec![0.0; k.rows() * width], vec![0.0; k.rows() * width]);
            for i in 0..q.rows() {
                let scores = scores(q, k, i);
                let total = at(attended.lse.panel(p), i, 0);
                let delta: f64 = (0..width).map(|c| at(d_o, i, c) * at(o, i, c)).sum();
                let mut row = vec![0.0; width];
                for (j, s) in scores.iter().enumerate() {
                    let probability = (s - total).exp();
                    let d_p: f64 = (0..width).map(|c| at(d_o, i, c) * at(v, j, c)).sum();
                    let d_s = probability * (d_p - delta) * scale;
                    for c in 0..width {
                        row[c] += d_s * at(k, j, c);
                        dk[j * width + c] += d_s * at(q, i, c);
                        dv[j * width + c] += probability * at(d_o, i, c);
                    }
                }
                for (target, value) in dq.row_mut(i).iter_mut().zip(row) {
                    *target = T::from_f64(value);
                }
            }
            for (target, values) in [(&mut gradients.k, dk), (&mut gradients.v, dv)] {
                let mut target = target.panel_mut(p);
                for (i, values) in values.chunks(width).enumerate() {
                    for (target, value) in target.row_mut(i).iter_mut().zip(values) {
                        let old = match gradients.shared {
                            Accumulation::Overwrite => 0.0,
                            Accumulation::Add => target.to_f64(),
                        };
                        *target = T::from_f64(old + value);
                    }
                }
            }
        }
    }

    #[track_caller]
    fn cross_entropy(
        &self,
        targets: &Vec<u32>,
        first: usize,
        logits: MatsRef<'_, Self>,
        mut losses: MatsMut<'_, Self>,
    ) {
        shapes::cross_entropy(targets.len(), first, logits.dims(), losses.dims());
        let (logits, mut losses) = (logits.panel(0), losses.panel_mut(0));
        for i in 0..logits.rows() {
            losses.row_mut(i)[0] = match targets[first + i] {
                IGNORE => T::ZERO,
                y => {
                    let row: Vec<f64> = logits.row(i).iter().map(|x| x.to_f64()).collect();
                    T::from_f64(log_sum_exp(&row) - row[y as usize])
                }
            };
        }
    }

    #[track_caller]
    fn cross_entropy_backward(
        &self,
        weight: f64,
        targets: &Vec<u32>,
        first: usize,
        mut logits: MatsMut<'_, Self>,
        losses: MatsMut<'_, Self>,
    ) {
        shapes::cross_entropy(targets.len(), first, logits.dims(), losses.dims());
        self.cross_entropy(targets, first, logits.as_ref(), losses);
        let mut logits = logits.panel_mut(0);
        for i in 0..logits.rows() {
            let row: Vec<f64> = logits.row(i).iter().map(|x| x.to_f64()).collect();
            let total = log_sum_exp(&row);
            for (w, (target, x)) in logits.row_mut(i).iter_mut().zip(row).enumerate() {
                *target = match targets[first + i] {
                    IGNORE => T::ZERO,
                    y => T::from_f64(weight * ((x - total).exp() - f64::from(w == y as usize))),
                };
            }
        }
    }
}

fn at<T: Scalar>(panel: Panel<'_, T>, i: usize, j: usize) -> f64 {
    panel.row(i)[j].to_f64()
}

/// `q_i k_j / sqrt(head_dim)` for the keys `j <= i`.
fn scores<T: Scalar>(q: Panel<'_, T>, k: Panel<'_, T>, i: usize) -> Vec<f64> {
    let scale = 1.0 / (q.cols() as f64).sqrt();
    (0..=i).map(|j| (0..q.cols()).map(|c| at(q, i, c) * at(k, j, c)).sum::<f64>() * scale).collect()
}

fn log_sum_exp(values: &[f64]) -> f64 {
    let greatest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    greatest + values.iter().map(|v| (v - greatest).exp()).sum::<f64>().ln()
}

// One AdamW update: m = b1 m + (1-b1) g, v = b2 v + (1-b2) g^2,
// x = x (1 - lr wd) - lr (m / c1) / (sqrt(v / c2) + eps).
// Launch: 256 invocations a workgroup, each problem's elements in chunks of 1024.

struct Params {
    grid: Grid,
    g_view: View,
    m_view: View,
    v_view: View,
    x_view: View,
    rows: u32,
    cols: u32,
    beta1: f32,
    one_minus_beta1: f32,
    beta2: f32,
    one_minus_beta2: f32,
    keep: f32,
    lr: f32,
    inverse_correction1: f32,
    inverse_correction2: f32,
    epsilon: f32,
}
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read_write> g: array<f32>;
@group(0) @binding(1) var<storage, read_write> m: array<f32>;
@group(0) @binding(2) var<storage, read_write> v: array<f32>;
@group(0) @binding(3) var<storage, read_write> x: array<f32>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) t: u32,
) {
    let group = group_index(workgroup, workgroups);
    if (group >= params.grid.groups) {
        return;
    }
    let problem = params.grid.first + group / params.grid.per_problem;
    let start = (group % params.grid.per_problem) * CHUNK + t;
    let end = min(params.rows * params.cols, (group % params.grid.per_problem + 1u) * CHUNK);
    for (var e = start; e < end; e += 256u) {
        let i = e / params.cols;
        let j = e % params.cols;
        let slope = g[base(params.g_view, problem) + i * params.g_view.row_stride + j];
        let m_at = base(params.m_view, problem) + i * params.m_view.row_stride + j;
        let v_at = base(params.v_view, problem) + i * params.v_view.row_stride + j;
        let x_at = base(params.x_view, problem) + i * params.x_view.row_stride + j;
        let first = fma(params.beta1, m[m_at], params.one_minus_beta1 * slope);
        let second = fma(params.beta2, v[v_at], params.one_minus_beta2 * slope * slope);
        m[m_at] = first;
        v[v_at] = second;
        let step = first * params.inverse_correction1
            / (sqrt(second * params.inverse_correction2) + params.epsilon);
        x[x_at] = fma(params.keep, x[x_at], -params.lr * step);
    }
}

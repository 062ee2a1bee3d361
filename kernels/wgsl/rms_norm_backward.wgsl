// dx_ij = s_i (dy_ij - y_ij mean_k(y_ik dy_ik)), added to the old dx_ij where add is 1: backward of rms_norm from
// its output y.
//
// Launch: 256 invocations a workgroup, one workgroup a row.

struct Params {
    grid: Grid,
    y_view: View,
    s_view: View,
    dy_view: View,
    dx_view: View,
    cols: u32,
    add: u32,
}
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read_write> y: array<f32>;
@group(0) @binding(1) var<storage, read_write> s: array<f32>;
@group(0) @binding(2) var<storage, read_write> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> dx: array<f32>;

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
    let i = group % params.grid.per_problem;
    let y_at = base(params.y_view, problem) + i * params.y_view.row_stride;
    let dy_at = base(params.dy_view, problem) + i * params.dy_view.row_stride;
    let dx_at = base(params.dx_view, problem) + i * params.dx_view.row_stride;
    var product = 0.0;
    for (var j = t; j < params.cols; j += 256u) {
        product = fma(y[y_at + j], dy[dy_at + j], product);
    }
    let mean = sum_lanes(t, product) / f32(params.cols);
    let scale = s[base(params.s_view, problem) + i * params.s_view.row_stride];
    for (var j = t; j < params.cols; j += 256u) {
        var value = scale * fma(-y[y_at + j], mean, dy[dy_at + j]);
        if (params.add == 1u) {
            value += dx[dx_at + j];
        }
        dx[dx_at + j] = value;
    }
}

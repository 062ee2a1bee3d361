// d = 2 sqrt(h) d: backward of squared_relu from its output h, since sqrt(h) = max(x, 0).
//
// Launch: 256 invocations a workgroup, each problem's elements in chunks of 1024.

struct Params {
    grid: Grid,
    h_view: View,
    d_view: View,
    rows: u32,
    cols: u32,
}
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read_write> h: array<f32>;
@group(0) @binding(1) var<storage, read_write> d: array<f32>;

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
        d[base(params.d_view, problem) + i * params.d_view.row_stride + j] *=
            2.0 * sqrt(h[base(params.h_view, problem) + i * params.h_view.row_stride + j]);
    }
}

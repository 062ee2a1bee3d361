// Row i of every problem is turned by the angles of row i of a table of cosines and sines: with (a, b) the entries
// in columns c and c + cols,
//     a <- a cos_ic - b side sin_ic,   b <- b cos_ic + a side sin_ic,
// side = -1 turning back. cols is half the width.
//
// Launch: 256 invocations a workgroup, each problem's elements in chunks of 1024.

struct Params {
    grid: Grid,
    angles_view: View,
    x_view: View,
    rows: u32,
    cols: u32,
    side: f32,
}
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read_write> angles: array<f32>;
@group(0) @binding(1) var<storage, read_write> x: array<f32>;

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
        let at = base(params.x_view, problem) + i * params.x_view.row_stride + j;
        let angle = base(params.angles_view, problem) + i * params.angles_view.row_stride + j;
        let a = x[at];
        let b = x[at + params.cols];
        let cosine = angles[angle];
        let sine = params.side * angles[angle + params.cols];
        x[at] = fma(a, cosine, -b * sine);
        x[at + params.cols] = fma(b, cosine, a * sine);
    }
}

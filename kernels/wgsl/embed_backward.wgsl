// table_wj = sum of gradient_tj over the positions t of token w, in the order of t: the first position of every
// token adds up its row, so the sum is the same in every run. Rows of tokens that do not occur are not touched:
// the table is zero before.
//
// Launch: 256 invocations a workgroup, one workgroup a position.

struct Params {
    grid: Grid,
    tokens_view: View,
    gradient_view: View,
    table_view: View,
    count: u32,
    cols: u32,
}
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read_write> tokens: array<u32>;
@group(0) @binding(1) var<storage, read_write> gradient: array<f32>;
@group(0) @binding(2) var<storage, read_write> table: array<f32>;

var<workgroup> earlier: atomic<u32>;

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
    let position = group % params.grid.per_problem;
    let tokens_at = base(params.tokens_view, problem);
    let token = tokens[tokens_at + position];
    if (t == 0u) {
        atomicStore(&earlier, 0u);
    }
    workgroupBarrier();
    for (var i = t; i < position; i += 256u) {
        if (tokens[tokens_at + i] == token) {
            atomicStore(&earlier, 1u);
        }
    }
    workgroupBarrier();
    if (atomicLoad(&earlier) != 0u) {
        return;
    }
    let row = base(params.table_view, problem) + token * params.table_view.row_stride;
    for (var i = position; i < params.count; i++) {
        if (tokens[tokens_at + i] == token) {
            let gradient_row = base(params.gradient_view, problem) + i * params.gradient_view.row_stride;
            for (var j = t; j < params.cols; j += 256u) {
                table[row + j] += gradient[gradient_row + j];
            }
        }
    }
}

// The losses of cross_entropy, and the logits become their gradient
//     x_ij <- weight (exp(x_ij - log sum_k exp(x_ik)) - [j = y]),
// zero in rows whose target is IGNORE.
//
// Launch: 256 invocations a workgroup, one workgroup a row.

struct Params {
    grid: Grid,
    targets_view: View,
    logits_view: View,
    losses_view: View,
    cols: u32,
    first: u32,
    weight: f32,
}
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read_write> targets: array<u32>;
@group(0) @binding(1) var<storage, read_write> logits: array<f32>;
@group(0) @binding(2) var<storage, read_write> losses: array<f32>;

const IGNORE: u32 = 0xffffffffu;

// Greatest logit of a row and the sum of exp(x - greatest); a NaN makes the sum one.
fn exponentials(x_at: u32, t: u32) -> vec2<f32> {
    var greatest = -3.4028235e38;
    for (var j = t; j < params.cols; j += 256u) {
        greatest = max(greatest, logits[x_at + j]);
    }
    greatest = greatest_lanes(t, greatest);
    var sum = 0.0;
    for (var j = t; j < params.cols; j += 256u) {
        sum += exp(logits[x_at + j] - greatest);
    }
    return vec2<f32>(greatest, sum_lanes(t, sum));
}

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
    let row = group % params.grid.per_problem;
    let x_at = base(params.logits_view, problem) + row * params.logits_view.row_stride;
    let losses_at = base(params.losses_view, problem) + row * params.losses_view.row_stride;
    let target_token = targets[base(params.targets_view, problem) + params.first + row];
    if (target_token == IGNORE) {
        if (t == 0u) {
            losses[losses_at] = 0.0;
        }
        for (var j = t; j < params.cols; j += 256u) {
            logits[x_at + j] = 0.0;
        }
        return;
    }
    let total = exponentials(x_at, t);
    if (t == 0u) {
        losses[losses_at] = log(total.y) + (total.x - logits[x_at + target_token]);
    }
    storageBarrier();
    workgroupBarrier();
    for (var j = t; j < params.cols; j += 256u) {
        let probability = exp(logits[x_at + j] - total.x) / total.y;
        logits[x_at + j] = params.weight * (probability - select(0.0, 1.0, j == target_token));
    }
}

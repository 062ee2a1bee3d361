// a = L L^T of symmetric matrices given by their lower triangles, column by column:
//     L_jj = sqrt(d_j), d_j = a_jj + shift - sum_k<j L_jk^2,   L_ij = (a_ij - sum_k<j L_ik L_jk) / L_jj.
// A pivot d_j that is not positive and finite ends the attempt. Attempt 0 has no shift; with relative = 0 (report) it
// is the only one, and its failure makes the status j + 1. Otherwise attempt t has shift = relative 2^(t-1)
// mean(diag a), and the status of a matrix that needed it becomes t, or -1 where none succeeds. A failed problem
// becomes the identity. The status of one that needed no shift stays.
//
// A launch makes the attempts from `begin` to `end` of `attempts`; `state` is one for a problem that waits for more.
//
// Launch: 128 invocations a workgroup, one workgroup a problem. `small`, order <= 88: the factor lies in workgroup
// memory (16 KiB), columns packed one after the other. `large`: it lies, transposed, in the upper triangle of a.

struct Params {
    grid: Grid,
    a_view: View,
    status_view: View,
    state_view: View,
    order: u32,
    begin: u32,
    end: u32,
    relative: f32,
    attempts: u32,
}
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read_write> a: array<f32>;
@group(0) @binding(1) var<storage, read_write> status: array<f32>;
@group(0) @binding(2) var<storage, read_write> state: array<f32>;

const WIDTH: u32 = 128u;

// Columns of the factor before the division by L_jj: entry (i, k) at k order - k (k + 1)/2 + i.
var<workgroup> packed: array<f32, 3916>;
var<workgroup> pivot: f32;

fn bad(d: f32) -> bool {
    return !is_finite(d) || d <= 0.0;
}

fn mean_diagonal(at: u32) -> f32 {
    var sum = 0.0;
    for (var i = 0u; i < params.order; i++) {
        sum += a[at + i * (params.a_view.row_stride + 1u)];
    }
    return sum / f32(params.order);
}

// One attempt in workgroup memory: 0, or the number of the bad pivot counted from 1.
fn attempt_small(at: u32, shift: f32, t: u32) -> u32 {
    let n = params.order;
    for (var j = 0u; j < n; j++) {
        let column = j * n - j * (j + 1u) / 2u;
        for (var i = j + t; i < n; i += WIDTH) {
            var rest = a[at + i * params.a_view.row_stride + j];
            if (i == j) {
                rest += shift;
            }
            // Column k starts at row - k; the next one n - k - 1 behind. Four at a time.
            var row = 0u;
            var k = 0u;
            for (; k + 4u <= j; k += 4u) {
                let next = row + n - k - 1u;
                let third = next + n - k - 2u;
                let fourth = third + n - k - 3u;
                rest = fma(-packed[row + i], packed[row + j], rest);
                rest = fma(-packed[next + i], packed[next + j], rest);
                rest = fma(-packed[third + i], packed[third + j], rest);
                rest = fma(-packed[fourth + i], packed[fourth + j], rest);
                row = fourth + n - k - 4u;
            }
            for (; k < j; k++) {
                rest = fma(-packed[row + i], packed[row + j], rest);
                row += n - k - 1u;
            }
            packed[column + i] = rest;
        }
        workgroupBarrier();
        let d = packed[column + j];
        if (bad(d)) {
            workgroupBarrier();
            return j + 1u;
        }
        let root = sqrt(d);
        for (var i = j + 1u + t; i < n; i += WIDTH) {
            packed[column + i] /= root;
        }
        workgroupBarrier();
    }
    return 0u;
}

// rest - sum_k<j L_ik L_jk from the upper triangle of a, four terms at a time.
fn reduced(at: u32, i: u32, j: u32, start: f32) -> f32 {
    let stride = params.a_view.row_stride;
    var rest = start;
    var row = at;
    var k = 0u;
    for (; k + 4u <= j; k += 4u) {
        rest = fma(-a[row + i], a[row + j], rest);
        rest = fma(-a[row + stride + i], a[row + stride + j], rest);
        rest = fma(-a[row + 2u * stride + i], a[row + 2u * stride + j], rest);
        rest = fma(-a[row + 3u * stride + i], a[row + 3u * stride + j], rest);
        row += 4u * stride;
    }
    for (; k < j; k++) {
        rest = fma(-a[row + i], a[row + j], rest);
        row += stride;
    }
    return rest;
}

// The same in storage: L_ik for i > k at (k, i) of a.
fn attempt_large(at: u32, shift: f32, t: u32) -> u32 {
    let n = params.order;
    let stride = params.a_view.row_stride;
    for (var j = 0u; j < n; j++) {
        for (var i = j + t; i < n; i += WIDTH) {
            var rest = a[at + i * stride + j];
            if (i == j) {
                rest += shift;
            }
            rest = reduced(at, i, j, rest);
            if (i == j) {
                pivot = rest;
            } else {
                a[at + j * stride + i] = rest;
            }
        }
        workgroupBarrier();
        let d = pivot;
        workgroupBarrier();
        if (bad(d)) {
            return j + 1u;
        }
        let root = sqrt(d);
        for (var i = j + 1u + t; i < n; i += WIDTH) {
            a[at + j * stride + i] /= root;
        }
        storageBarrier();
        workgroupBarrier();
    }
    return 0u;
}

fn write_identity(at: u32, t: u32) {
    storageBarrier();
    workgroupBarrier();
    for (var e = t; e < params.order * params.order; e += WIDTH) {
        let i = e / params.order;
        let j = e % params.order;
        a[at + i * params.a_view.row_stride + j] = select(0.0, 1.0, i == j);
    }
}

// The shift of attempt 1; zero where shifts make no sense.
fn first_shift(at: u32) -> f32 {
    if (params.relative == 0.0) {
        return 0.0;
    }
    let mean = mean_diagonal(at);
    if (!is_finite(mean) || mean <= 0.0) {
        return 0.0;
    }
    return params.relative * mean;
}

// The shift of an attempt, exactly the first one times a power of two.
fn shift_of(first: f32, attempt: u32) -> f32 {
    if (attempt == 0u) {
        return 0.0;
    }
    return first * bitcast<f32>((126u + attempt) << 23u);
}

// Whether the problem still waits for a factor.
fn waits(problem: u32) -> bool {
    let before = state[base(params.state_view, problem)];
    workgroupBarrier();
    return params.begin == 0u || before != 0.0;
}

// What the attempts of this launch came to: the bad pivot of the last one, or 0, and the attempt that succeeded.
fn conclude(problem: u32, at: u32, failed: u32, attempt: u32, t: u32) {
    let last = params.end == params.attempts;
    if (failed != 0u && last) {
        write_identity(at, t);
    }
    if (t == 0u) {
        state[base(params.state_view, problem)] = select(0.0, 1.0, failed != 0u && !last);
        if (failed == 0u && attempt > 0u) {
            status[base(params.status_view, problem)] = f32(attempt);
        } else if (failed != 0u && last) {
            status[base(params.status_view, problem)] = select(-1.0, f32(failed), params.relative == 0.0);
        }
    }
}

@compute @workgroup_size(128)
fn small(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) t: u32,
) {
    let group = group_index(workgroup, workgroups);
    if (group >= params.grid.groups) {
        return;
    }
    let problem = params.grid.first + group;
    if (!waits(problem)) {
        return;
    }
    let at = base(params.a_view, problem);
    let n = params.order;
    let first = first_shift(at);
    var failed = 1u;
    var attempt = params.begin;
    for (; attempt < params.end && (attempt == 0u || first > 0.0); attempt++) {
        failed = attempt_small(at, shift_of(first, attempt), t);
        if (failed == 0u) {
            break;
        }
    }
    // Nobody reads a any more.
    workgroupBarrier();
    conclude(problem, at, failed, attempt, t);
    if (failed != 0u) {
        return;
    }
    for (var e = t; e < n * n; e += WIDTH) {
        let i = e / n;
        let j = e % n;
        var value = 0.0;
        if (i >= j) {
            value = packed[j * n - j * (j + 1u) / 2u + i];
        }
        a[at + i * params.a_view.row_stride + j] = select(value, sqrt(value), i == j);
    }
}

@compute @workgroup_size(128)
fn large(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) t: u32,
) {
    let group = group_index(workgroup, workgroups);
    if (group >= params.grid.groups) {
        return;
    }
    let problem = params.grid.first + group;
    if (!waits(problem)) {
        return;
    }
    let at = base(params.a_view, problem);
    let n = params.order;
    let stride = params.a_view.row_stride;
    let first = first_shift(at);
    var failed = 1u;
    var attempt = params.begin;
    for (; attempt < params.end && (attempt == 0u || first > 0.0); attempt++) {
        failed = attempt_large(at, shift_of(first, attempt), t);
        if (failed == 0u) {
            break;
        }
    }
    storageBarrier();
    workgroupBarrier();
    conclude(problem, at, failed, attempt, t);
    if (failed != 0u) {
        return;
    }
    // The pivots again, in the same order of operations, then the triangle to its place.
    for (var j = t; j < n; j += WIDTH) {
        let d = reduced(at, j, j, a[at + j * stride + j] + shift_of(first, attempt));
        a[at + j * stride + j] = sqrt(d);
    }
    storageBarrier();
    workgroupBarrier();
    for (var e = t; e < n * n; e += WIDTH) {
        let i = e / n;
        let j = e % n;
        if (i > j) {
            a[at + i * stride + j] = a[at + j * stride + i];
            a[at + j * stride + i] = 0.0;
        }
    }
}

// a = L L^T of symmetric matrices given by their lower triangles, column by column:
//     L_jj = sqrt(d_j), d_j = a_jj + shift - sum_k<j L_jk^2,   L_ij = (a_ij - sum_k<j L_ik L_jk) / L_jj.
// A pivot d_j that is not positive and finite ends the attempt. With relative = 0 (report) the status becomes j + 1;
// otherwise shift = relative 2^t mean(diag a) is tried for t = 0, 1, ..., 99, and the status becomes t + 1, or -1
// where nothing succeeds. A failed problem becomes the identity. The status of a good one stays.
//
// Launch: 128 invocations a workgroup, one workgroup a problem. `small`, order <= 88: the factor lies in workgroup
// memory (16 KiB), columns packed one after the other. `large`: it lies, transposed, in the upper triangle of a.

struct Params {
    grid: Grid,
    a_view: View,
    status_view: View,
    order: u32,
    relative: f32,
}
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read_write> a: array<f32>;
@group(0) @binding(1) var<storage, read_write> status: array<f32>;

const WIDTH: u32 = 128u;
const ATTEMPTS: u32 = 100u;

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

// The first shift for which a next attempt is worthwhile; zero where none is.
fn first_shift(at: u32) -> f32 {
    let mean = mean_diagonal(at);
    if (params.relative == 0.0 || !is_finite(mean) || mean <= 0.0) {
        return 0.0;
    }
    return params.relative * mean;
}

fn report(problem: u32, t: u32, code: f32) {
    if (t == 0u) {
        status[base(params.status_view, problem)] = code;
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
    let at = base(params.a_view, problem);
    let n = params.order;
    var failed = attempt_small(at, 0.0, t);
    if (failed != 0u) {
        var code = select(-1.0, f32(failed), params.relative == 0.0);
        var shift = first_shift(at);
        for (var attempt = 0u; shift > 0.0 && attempt < ATTEMPTS && failed != 0u; attempt++) {
            failed = attempt_small(at, shift, t);
            if (failed == 0u) {
                code = f32(attempt + 1u);
            }
            shift *= 2.0;
        }
        report(problem, t, code);
    }
    if (failed != 0u) {
        write_identity(at, t);
        return;
    }
    // Nobody reads a any more.
    workgroupBarrier();
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
    let at = base(params.a_view, problem);
    let n = params.order;
    let stride = params.a_view.row_stride;
    var used = 0.0;
    var failed = attempt_large(at, used, t);
    if (failed != 0u) {
        var code = select(-1.0, f32(failed), params.relative == 0.0);
        var shift = first_shift(at);
        for (var attempt = 0u; shift > 0.0 && attempt < ATTEMPTS && failed != 0u; attempt++) {
            failed = attempt_large(at, shift, t);
            if (failed == 0u) {
                code = f32(attempt + 1u);
                used = shift;
            }
            shift *= 2.0;
        }
        report(problem, t, code);
    }
    if (failed != 0u) {
        write_identity(at, t);
        return;
    }
    // The pivots again, in the same order of operations, then the triangle to its place.
    for (var j = t; j < n; j += WIDTH) {
        var d = a[at + j * stride + j] + used;
        d = reduced(at, j, j, d);
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

// Inverse of general square matrices by Gauss-Jordan elimination with partial pivoting: in step k the row with the
// largest |a_ik|, i >= k, changes places with row k and is divided by its pivot, and its multiples a_ik are
// subtracted from all other rows of a and of x, which starts as the identity and ends as the inverse. Where an
// entry is not finite, a pivot is zero, or the inverse overflows, a becomes the identity and the status 1.
//
// Steps: 0 checks, 1 to n eliminate columns 0 to n - 1, n + 1 delivers. A launch runs the steps from `begin` to `end`;
// `state` keeps a one for a problem that is still good.
//
// Launch: 256 invocations a workgroup, one workgroup a problem. `work` has room for x.

struct Params {
    grid: Grid,
    a_view: View,
    status_view: View,
    state_view: View,
    work_view: View,
    n: u32,
    begin: u32,
    end: u32,
}
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read_write> a: array<f32>;
@group(0) @binding(1) var<storage, read_write> status: array<f32>;
@group(0) @binding(2) var<storage, read_write> state: array<f32>;
@group(0) @binding(3) var<storage, read_write> work: array<f32>;

var<workgroup> candidates: array<vec2<u32>, 256>;

fn settle() {
    storageBarrier();
    workgroupBarrier();
}

// Row from k on with the largest |a_ik|, NaN above all; of equal ones the first.
fn pivot_row(at: u32, k: u32, t: u32) -> u32 {
    var best = vec2<u32>(0u, 0xffffffffu);
    for (var i = k + t; i < params.n; i += 256u) {
        let bits = magnitude_bits(a[at + i * params.a_view.row_stride + k]);
        if (best.y == 0xffffffffu || bits > best.x) {
            best = vec2<u32>(bits, i);
        }
    }
    candidates[t] = best;
    workgroupBarrier();
    for (var half = 128u; half > 0u; half >>= 1u) {
        if (t < half) {
            let mine = candidates[t];
            let other = candidates[t + half];
            if (other.x > mine.x || (other.x == mine.x && other.y < mine.y)) {
                candidates[t] = other;
            }
        }
        workgroupBarrier();
    }
    let row = candidates[0].y;
    workgroupBarrier();
    return row;
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
    let problem = params.grid.first + group;
    let at = base(params.a_view, problem);
    let x_at = base(params.work_view, problem);
    let n = params.n;
    let stride = params.a_view.row_stride;
    let state_at = base(params.state_view, problem);
    var good = state[state_at] != 0.0;
    workgroupBarrier();
    var step = params.begin;
    var largest = 0u;
    if (step == 0u) {
        for (var e = t; e < n * n; e += 256u) {
            largest = max(largest, magnitude_bits(a[at + e / n * stride + e % n]));
            work[x_at + e] = select(0.0, 1.0, e / n == e % n);
        }
        good = max_lanes(t, largest) < 0x7f800000u;
        settle();
        step = 1u;
    }
    for (; step < min(params.end, n + 1u) && good; step++) {
        let k = step - 1u;
        let row = pivot_row(at, k, t);
        let pivot = a[at + row * stride + k];
        good = !is_nan(pivot) && magnitude_bits(pivot) != 0u;
        workgroupBarrier();
        if (good) {
            for (var e = t; e < 2u * n; e += 256u) {
                if (e < n) {
                    if (e >= k) {
                        let x = a[at + k * stride + e];
                        a[at + k * stride + e] = a[at + row * stride + e] / pivot;
                        if (row != k) {
                            a[at + row * stride + e] = x;
                        }
                    }
                } else {
                    let j = e - n;
                    let x = work[x_at + k * n + j];
                    work[x_at + k * n + j] = work[x_at + row * n + j] / pivot;
                    if (row != k) {
                        work[x_at + row * n + j] = x;
                    }
                }
            }
            settle();
            for (var e = t; e < n * 2u * n; e += 256u) {
                let i = e / (2u * n);
                let j = e % (2u * n);
                if (i != k) {
                    // Column k itself is not read again.
                    let factor = a[at + i * stride + k];
                    if (j >= n) {
                        work[x_at + i * n + j - n] = fma(-factor, work[x_at + k * n + j - n], work[x_at + i * n + j - n]);
                    } else if (j > k) {
                        a[at + i * stride + j] = fma(-factor, a[at + k * stride + j], a[at + i * stride + j]);
                    }
                }
            }
            settle();
        }
    }
    if (t == 0u) {
        state[state_at] = select(0.0, 1.0, good);
    }
    if (params.end <= n + 1u) {
        return;
    }
    largest = 0u;
    for (var e = t; e < n * n; e += 256u) {
        largest = max(largest, magnitude_bits(work[x_at + e]));
    }
    good = max_lanes(t, largest) < 0x7f800000u && good;
    for (var e = t; e < n * n; e += 256u) {
        a[at + e / n * stride + e % n] = select(select(0.0, 1.0, e / n == e % n), work[x_at + e], good);
    }
    if (t == 0u && !good) {
        status[base(params.status_view, problem)] = 1.0;
    }
}

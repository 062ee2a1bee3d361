// Thin Householder QR of tall matrices (m >= n): a becomes Q with orthonormal columns, r upper triangular with a
// non-negative diagonal. Reflector j is I - v v^T with |v|^2 = 2, from the remaining column x: v ~ x +
// sign(x_j) |x| e_j. A column that has vanished gets no reflector, so Q is orthonormal for any rank. The matrix
// is divided by a power of two near its largest entry first: squares neither overflow nor vanish. Where an entry
// is not finite, a and r become identities and the status 1.
//
// Steps: 0 checks and scales, 1 to n make and apply reflectors 0 to n - 1, n + 1 to 2 n turn them into Q from the
// last on. A launch runs the steps from `begin` to `end`; `state` keeps the power of two between launches, or a
// zero for a failed problem.
//
// Launch: 256 invocations a workgroup, one workgroup a problem; they see a as 16 columns x 16 residues of rows.

struct Params {
    grid: Grid,
    a_view: View,
    r_view: View,
    status_view: View,
    state_view: View,
    m: u32,
    n: u32,
    begin: u32,
    end: u32,
}
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read_write> a: array<f32>;
@group(0) @binding(1) var<storage, read_write> r: array<f32>;
@group(0) @binding(2) var<storage, read_write> status: array<f32>;
@group(0) @binding(3) var<storage, read_write> state: array<f32>;

// Beside a largest entry near 1, what remains of a column below this is no column.
const VANISHED: f32 = 1e-15;

fn settle() {
    storageBarrier();
    workgroupBarrier();
}

// Applies the reflector in column j, from row j on, to the columns from `first` on.
fn reflect(at: u32, j: u32, first: u32, t: u32) {
    let stride = params.a_view.row_stride;
    let lane = t & 15u;
    let start = j + (t >> 4u);
    for (var block = first; block < params.n; block += 16u) {
        let c = block + lane;
        var sum = 0.0;
        if (c < params.n) {
            for (var i = start; i < params.m; i += 16u) {
                sum = fma(a[at + i * stride + j], a[at + i * stride + c], sum);
            }
        }
        lanes[t] = sum;
        workgroupBarrier();
        var total = 0.0;
        for (var q = lane; q < 256u; q += 16u) {
            total += lanes[q];
        }
        if (c < params.n) {
            for (var i = start; i < params.m; i += 16u) {
                a[at + i * stride + c] = fma(-total, a[at + i * stride + j], a[at + i * stride + c]);
            }
        }
        settle();
    }
}

// Checks and scales: the power of two, or zero where an entry is not finite.
fn start(problem: u32, t: u32) -> f32 {
    let at = base(params.a_view, problem);
    let r_at = base(params.r_view, problem);
    let m = params.m;
    let n = params.n;
    let stride = params.a_view.row_stride;
    var largest = 0u;
    for (var e = t; e < m * n; e += 256u) {
        largest = max(largest, magnitude_bits(a[at + e / n * stride + e % n]));
    }
    largest = max_lanes(t, largest);
    let finite = largest < 0x7f800000u;
    let power = power_below(largest);
    for (var e = t; e < m * n; e += 256u) {
        let place = at + e / n * stride + e % n;
        a[place] = select(select(0.0, 1.0, e / n == e % n), a[place] * inverse_power(power), finite);
    }
    if (!finite) {
        for (var e = t; e < n * n; e += 256u) {
            r[r_at + e / n * params.r_view.row_stride + e % n] = select(0.0, 1.0, e / n == e % n);
        }
        if (t == 0u) {
            status[base(params.status_view, problem)] = 1.0;
        }
    }
    settle();
    return select(0.0, power, finite);
}

// Makes reflector j, applies it and writes row j of R.
fn forward(problem: u32, j: u32, power: f32, t: u32) {
    let at = base(params.a_view, problem);
    let r_at = base(params.r_view, problem) + j * params.r_view.row_stride;
    let stride = params.a_view.row_stride;
    var square = 0.0;
    for (var i = j + t; i < params.m; i += 256u) {
        let x = a[at + i * stride + j];
        square = fma(x, x, square);
    }
    let norm = sqrt(sum_lanes(t, square));
    let head = a[at + j * stride + j];
    workgroupBarrier();
    let sign = select(1.0, -1.0, head < 0.0);
    let vanished = norm < VANISHED;
    let inverse = select(1.0 / sqrt(norm * (norm + abs(head))), 0.0, vanished);
    for (var i = j + t; i < params.m; i += 256u) {
        let x = a[at + i * stride + j];
        a[at + i * stride + j] = inverse * select(x, x + sign * norm, i == j);
    }
    settle();
    if (!vanished) {
        reflect(at, j, j + 1u, t);
    }
    // The reflector turns the column into -sign |x| e_j; row j of R is turned to make that positive.
    let turn = select(-sign, 1.0, vanished);
    for (var c = t; c < params.n; c += 256u) {
        var value = 0.0;
        if (c == j && !vanished) {
            value = power * norm;
        } else if (c > j) {
            value = power * turn * a[at + j * stride + c];
        }
        r[r_at + c] = value;
    }
    settle();
}

// Q = H_0 ... H_{n-1} [I; 0]: column j takes the place of its reflector, once the columns behind it are there.
fn backward(problem: u32, j: u32, t: u32) {
    let at = base(params.a_view, problem);
    let stride = params.a_view.row_stride;
    let head = a[at + j * stride + j];
    reflect(at, j, j + 1u, t);
    workgroupBarrier();
    let turn = select(1.0, -1.0, head > 0.0);
    for (var i = t; i < params.m; i += 256u) {
        var value = 0.0;
        if (i >= j) {
            value = fma(-head, a[at + i * stride + j], select(0.0, 1.0, i == j));
        }
        a[at + i * stride + j] = turn * value;
    }
    settle();
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
    let state_at = base(params.state_view, problem);
    var step = params.begin;
    var power = state[state_at];
    workgroupBarrier();
    if (step == 0u) {
        power = start(problem, t);
        if (t == 0u) {
            state[state_at] = power;
        }
        step = 1u;
    }
    if (power == 0.0) {
        return;
    }
    for (; step < params.end; step++) {
        if (step <= params.n) {
            forward(problem, step - 1u, power, t);
        } else {
            backward(problem, 2u * params.n - step, t);
        }
    }
}

// Thin Householder QR of tall matrices (m >= n): a becomes Q with orthonormal columns, r upper triangular with a
// non-negative diagonal. Reflector j is I - v v^T with |v|^2 = 2, from the remaining column x: v ~ x +
// sign(x_j) |x| e_j. A column that has vanished gets no reflector, so Q is orthonormal for any rank. The matrix
// is divided by a power of two near its largest entry first: squares neither overflow nor vanish. Where an entry
// is not finite, a and r become identities and the status 1.
//
// Launch: 256 invocations a workgroup, one workgroup a problem; they see a as 16 columns x 16 residues of rows.

struct Params {
    grid: Grid,
    a_view: View,
    r_view: View,
    status_view: View,
    m: u32,
    n: u32,
}
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read_write> a: array<f32>;
@group(0) @binding(1) var<storage, read_write> r: array<f32>;
@group(0) @binding(2) var<storage, read_write> status: array<f32>;

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
    let r_at = base(params.r_view, problem);
    let m = params.m;
    let n = params.n;
    let stride = params.a_view.row_stride;
    var largest = 0u;
    for (var e = t; e < m * n; e += 256u) {
        largest = max(largest, magnitude_bits(a[at + e / n * stride + e % n]));
    }
    largest = max_lanes(t, largest);
    if (largest >= 0x7f800000u) {
        for (var e = t; e < m * n; e += 256u) {
            a[at + e / n * stride + e % n] = select(0.0, 1.0, e / n == e % n);
        }
        for (var e = t; e < n * n; e += 256u) {
            r[r_at + e / n * params.r_view.row_stride + e % n] = select(0.0, 1.0, e / n == e % n);
        }
        if (t == 0u) {
            status[base(params.status_view, problem)] = 1.0;
        }
        return;
    }
    let power = power_below(largest);
    for (var e = t; e < m * n; e += 256u) {
        a[at + e / n * stride + e % n] *= inverse_power(power);
    }
    settle();
    for (var j = 0u; j < n; j++) {
        var square = 0.0;
        for (var i = j + t; i < m; i += 256u) {
            let x = a[at + i * stride + j];
            square = fma(x, x, square);
        }
        let norm = sqrt(sum_lanes(t, square));
        let head = a[at + j * stride + j];
        workgroupBarrier();
        let sign = select(1.0, -1.0, head < 0.0);
        let vanished = norm < VANISHED;
        let inverse = select(1.0 / sqrt(norm * (norm + abs(head))), 0.0, vanished);
        for (var i = j + t; i < m; i += 256u) {
            let x = a[at + i * stride + j];
            a[at + i * stride + j] = inverse * select(x, x + sign * norm, i == j);
        }
        settle();
        if (!vanished) {
            reflect(at, j, j + 1u, t);
        }
        // The reflector turns the column into -sign |x| e_j; row j of R is turned to make that positive.
        let turn = select(-sign, 1.0, vanished);
        for (var c = t; c < n; c += 256u) {
            var value = 0.0;
            if (c == j && !vanished) {
                value = power * norm;
            } else if (c > j) {
                value = power * turn * a[at + j * stride + c];
            }
            r[r_at + j * params.r_view.row_stride + c] = value;
        }
    }
    settle();
    // Q = H_0 ... H_{n-1} [I; 0], its columns from the last on, each in the place of its reflector.
    for (var back = 0u; back < n; back++) {
        let j = n - 1u - back;
        let head = a[at + j * stride + j];
        reflect(at, j, j + 1u, t);
        workgroupBarrier();
        let turn = select(1.0, -1.0, head > 0.0);
        for (var i = t; i < m; i += 256u) {
            var value = 0.0;
            if (i >= j) {
                value = fma(-head, a[at + i * stride + j], select(0.0, 1.0, i == j));
            }
            a[at + i * stride + j] = turn * value;
        }
        settle();
    }
}

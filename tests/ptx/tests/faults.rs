//! A sample of planted faults: the kernels' checks and cases must notice nine in ten, and what they do not notice must
//! be in the reviewed list. `cargo xtask kernels --mutants` plants all.

use lr_kernels::ptx::Kernel;
use lr_ptx::mutation::{self, Reviewed, Selection};

#[test]
fn planted_faults_are_noticed() {
    let reviewed = mutation::reviewed().unwrap();
    let summary = mutation::check(Selection::OneIn(40), &reviewed, |_| {}).unwrap();
    println!("{} of {} planted faults noticed", summary.killed, summary.planted);
    assert!(summary.planted > 100, "only {} faults planted", summary.planted);
    assert!(summary.wrong.is_empty(), "\n{}", summary.wrong.join("\n"));
}

#[test]
fn the_list_needs_reasons_and_real_faults() {
    let list = |reason: &str, line: &str| {
        let text = "[[survivor]]\nkernels = [\"fill\"]\nline = \"LINE\"\nfaults = [\"deleted\"]\nreason = \"REASON\"";
        Reviewed::parse(&text.replace("LINE", line).replace("REASON", reason))
    };
    list("", "bra NEXT;").unwrap_err();
    let planted = [("fill", mutation::plant("a:\nbra NEXT;\n"))];
    let known = list("because", "bra NEXT;").unwrap();
    assert!(known.holds("fill", &planted[0].1[0]) && !known.holds("map", &planted[0].1[0]));
    assert!(known.stale(&planted).is_empty());
    assert_eq!(list("because", "bra END;").unwrap().stale(&planted).len(), 1);
}

#[test]
fn a_kernel_that_fails_without_a_fault_is_an_error() {
    let broken = Kernel { source: "nonsense", ..*lr_kernels::ptx::ALL.first().unwrap() };
    assert!(mutation::hunt(&broken, Selection::All).unwrap_err().contains("without a fault"));
}

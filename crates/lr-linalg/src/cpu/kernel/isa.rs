//! [`Isa`]: the instruction sets that the kernels are compiled for, and which one this process uses.

use std::sync::OnceLock;

/// Environment variable that overrides the detection: `portable`, `avx2` or `avx512`.
const VARIABLE: &str = "LR_ISA";

/// An instruction set that the kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Isa {
    /// What every processor of the target has.
    Portable,
    /// 256 bits with fused multiply-add.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// 512 bits.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Isa {
    /// What this processor has, the best last.
    pub(super) fn available() -> impl DoubleEndedIterator<Item = Self> {
        let all = [
            (Self::Portable, true),
            #[cfg(target_arch = "x86_64")]
            (Self::Avx2, is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")),
            #[cfg(target_arch = "x86_64")]
            (Self::Avx512, is_x86_feature_detected!("avx512f")),
        ];
        all.into_iter().filter_map(|(isa, detected)| detected.then_some(isa))
    }

    /// As the environment variable spells it.
    fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => "avx512",
        }
    }

    /// The one asked for, or the best; the complaint if it cannot be had.
    fn choose(asked: Option<&str>) -> (Self, Option<String>) {
        let best = Self::available().next_back().unwrap_or(Self::Portable);
        let Some(asked) = asked.filter(|asked| !asked.is_empty()) else { return (best, None) };
        if let Some(isa) = Self::available().find(|isa| isa.name() == asked) {
            return (isa, None);
        }
        let names: Vec<&str> = Self::available().map(Self::name).collect();
        let complaint = format!(
            "{VARIABLE}={asked} is not an instruction set of this processor; using {} (known here: {})",
            best.name(),
            names.join(", ")
        );
        (best, Some(complaint))
    }

    /// The one that this process computes with, chosen at the first call.
    #[inline]
    pub(crate) fn current() -> Self {
        static CURRENT: OnceLock<Isa> = OnceLock::new();
        *CURRENT.get_or_init(|| {
            let (isa, complaint) = Self::choose(std::env::var(VARIABLE).ok().as_deref());
            if let Some(complaint) = complaint {
                tracing::warn!("{complaint}");
            }
            isa
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_is_chosen_unless_another_is_asked_for() {
        let best = Isa::available().next_back().unwrap();
        assert_eq!(Isa::choose(None), (best, None));
        assert_eq!(Isa::choose(Some("")), (best, None));
        for isa in Isa::available() {
            assert_eq!(Isa::choose(Some(isa.name())), (isa, None));
        }
    }

    #[test]
    fn an_unknown_one_is_named_with_what_there_is() {
        let (isa, complaint) = Isa::choose(Some("mmx"));
        assert_eq!(Some(isa), Isa::available().next_back());
        let complaint = complaint.unwrap();
        assert!(complaint.contains("LR_ISA=mmx") && complaint.contains("portable"), "{complaint}");
    }
}

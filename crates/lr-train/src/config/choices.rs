//! The named choices of a configuration: each an enum whose spelling in TOML, on the command line and in
//! reports is one and the same string.

use serde::{Deserialize, Serialize};

/// A name that is none of a choice's spellings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown {field} \"{given}\"; expected one of {}", .expected.join(", "))]
pub struct UnknownName {
    /// The configuration key that the name was meant for.
    pub field: &'static str,
    /// What was given.
    pub given: String,
    /// The spellings that exist.
    pub expected: &'static [&'static str],
}

/// Declares an enum together with its spelling, so that serde, `FromStr` and `Display` cannot disagree.
macro_rules! named_choice {
    ($(#[$meta:meta])* $field:literal, $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$variant_meta])* #[serde(rename = $text)] $variant),+
        }

        impl $name {
            /// Every value, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];
            /// The spelling of every value, in the same order.
            pub const NAMES: &'static [&'static str] = &[$($text),+];

            /// The spelling used in TOML, on the command line and in the output files.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = UnknownName;

            fn from_str(text: &str) -> Result<Self, UnknownName> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    _ => Err(UnknownName { field: $field, given: text.to_owned(), expected: Self::NAMES }),
                }
            }
        }
    };
}

pub(crate) use named_choice;

named_choice! {
    /// A set of defaults: model dimensions, steps and cadences.
    "preset", Preset {
        /// The paper's model: 6 layers, 8 heads, width 512, sequences of 512 tokens in batches of 8.
        Paper = "paper",
        /// Two layers of width 128: all six runs in minutes on two cores.
        Small = "small",
        /// A few steps of a tiny model, for tests.
        Smoke = "smoke",
    }
}

named_choice! {
    /// What updates the attention pairs; every other parameter is AdamW's.
    "optimizers", OptimizerName {
        /// AdamW on the factors, the baseline.
        Adamw = "adamw",
        /// Fixed-rank matrices with the embedded metric.
        FixedEmbedded = "fixed-embedded",
        /// Fixed-rank matrices with the quotient metric.
        FixedQuotient = "fixed-quotient",
        /// Partial isometries with the embedded metric.
        PartialEmbedded = "partial-embedded",
        /// Partial isometries with the quotient metric.
        PartialQuotient = "partial-quotient",
        /// Partial isometries with the canonical metric.
        PartialCanonical = "partial-canonical",
        /// Grids of fixed-rank matrices with the embedded metric.
        GridFixedEmbedded = "grid-fixed-embedded",
        /// Grids of fixed-rank matrices with the quotient metric.
        GridFixedQuotient = "grid-fixed-quotient",
        /// Grids of partial isometries with the embedded metric.
        GridPartialEmbedded = "grid-partial-embedded",
        /// Grids of partial isometries with the quotient metric.
        GridPartialQuotient = "grid-partial-quotient",
        /// Grids of partial isometries with the canonical metric.
        GridPartialCanonical = "grid-partial-canonical",
        /// Muon on the factors: momentum orthogonalized head by head.
        Muon = "muon",
        /// AdamW on factors whose gradients are preconditioned by the other factor's Gram matrix.
        PreconditionedAdamw = "preconditioned-adamw",
    }
}

impl OptimizerName {
    /// What the paper compares on multi-head attention: AdamW and the geometries of single pairs.
    pub const MHA: &'static [Self] = &[
        Self::Adamw,
        Self::FixedEmbedded,
        Self::FixedQuotient,
        Self::PartialEmbedded,
        Self::PartialQuotient,
        Self::PartialCanonical,
    ];

    /// The same on grouped-query attention: AdamW and the geometries of grids.
    pub const GQA: &'static [Self] = &[
        Self::Adamw,
        Self::GridFixedEmbedded,
        Self::GridFixedQuotient,
        Self::GridPartialEmbedded,
        Self::GridPartialQuotient,
        Self::GridPartialCanonical,
    ];

    /// Whether it descends on a manifold, so that orthogonality and coherence mean something.
    pub fn is_geometry(self) -> bool {
        !matches!(self, Self::Adamw | Self::Muon | Self::PreconditionedAdamw)
    }

    /// Whether it can meet matrices that it has to mend: the geometries, and the preconditioner's Gram matrices.
    pub fn counts_repairs(self) -> bool {
        self.is_geometry() || self == Self::PreconditionedAdamw
    }

    /// Whether it is a geometry of grids, which needs fewer key-value heads than heads.
    pub fn is_grid(self) -> bool {
        Self::GQA[1..].contains(&self)
    }

    /// Learning rate of the attention pairs when the configuration gives none: 2^-12 for AdamW with or
    /// without preconditioning, 2^-8 for all else.
    pub fn default_lr_qkvo(self) -> f64 {
        match self {
            Self::Adamw | Self::PreconditionedAdamw => 2f64.powi(-12),
            _ => 2f64.powi(-8),
        }
    }

    /// Whether the choice exists for this optimizer. Only the embedded geometries have a spectral norm, and
    /// only fixed rank with the embedded metric has normed descent; what is no geometry normalizes nothing, so
    /// that any choice is accepted and ignored.
    pub fn supports(self, normalize: Normalize) -> bool {
        let fixed = matches!(self, Self::FixedEmbedded | Self::GridFixedEmbedded);
        let partial = matches!(self, Self::PartialEmbedded | Self::GridPartialEmbedded);
        match normalize {
            Normalize::None | Normalize::Metric => true,
            Normalize::Spectral => fixed || partial || !self.is_geometry(),
            Normalize::Schatten1 | Normalize::SchattenInfinity => fixed || !self.is_geometry(),
        }
    }

    /// [`OptimizerName::supports`] spectral normalization.
    pub fn supports_spectral_norm(self) -> bool {
        self.supports(Normalize::Spectral)
    }

    /// Whether [`super::ExperimentConfig::weight_decay`] exists for this optimizer: multiples of a matrix of
    /// fixed rank have the same rank, those of a partial isometry are none. What is no geometry ignores it.
    pub fn supports_weight_decay(self) -> bool {
        use OptimizerName::{FixedEmbedded, FixedQuotient, GridFixedEmbedded, GridFixedQuotient};
        let fixed = matches!(self, FixedEmbedded | FixedQuotient | GridFixedEmbedded | GridFixedQuotient);
        fixed || !self.is_geometry()
    }
}

named_choice! {
    /// The learning rate's course after the warm-up.
    "schedule", Schedule {
        /// The peak rate to the end.
        Constant = "constant",
        /// Half a cosine down to zero at the last step.
        Cosine = "cosine",
        /// A straight line down to zero at the last step.
        Linear = "linear",
    }
}

named_choice! {
    /// What the step direction is divided by before the learning rate is applied.
    "normalize", Normalize {
        /// Nothing.
        None = "none",
        /// The geometry's own norm.
        Metric = "metric",
        /// The largest singular value; embedded geometries only.
        Spectral = "spectral",
        /// Normed descent: the step is the one of length 1 in the nuclear norm that descends fastest, of
        /// rank 1; fixed rank with the embedded metric only.
        Schatten1 = "schatten-1",
        /// Normed descent in the spectral norm: all directions move alike; fixed rank with the embedded metric
        /// only.
        SchattenInfinity = "schatten-infinity",
    }
}

named_choice! {
    /// How gradients add up to a momentum, without bias correction.
    "averaging", Averaging {
        /// `M <- nu M + (1 - nu) G`, as in the paper.
        Exponential = "exponential",
        /// `M <- nu M + G`.
        HeavyBall = "heavy-ball",
    }
}

named_choice! {
    /// The retraction of partial isometries where there is a choice: quotient and canonical, and all grids.
    "retraction", Retraction {
        /// The polar factor; invariant under a change of gauge.
        Polar = "polar",
        /// QR with non-negative diagonal; depends on the gauge.
        Qr = "qr",
        /// The Cayley transform; invariant under a change of gauge, of second order in the canonical metric.
        Cayley = "cayley",
    }
}

named_choice! {
    /// The retraction of fixed rank with the embedded metric.
    "fixed_retraction", FixedRetraction {
        /// The truncated singular value decomposition, as in the paper.
        Svd = "svd",
        /// The orthographic retraction, which takes no decomposition of singular values.
        Orthographic = "orthographic",
    }
}

named_choice! {
    /// A root-mean-square norm before the unembedding. The paper names only the blocks' inputs.
    "final_norm", FinalNorm {
        /// Normalize before the unembedding.
        On = "on",
        /// Feed the last block's output to the unembedding as it is.
        Off = "off",
    }
}

named_choice! {
    /// How attention knows the positions of its tokens.
    "model.position", Position {
        /// Through the causal mask alone, as in the paper.
        None = "none",
        /// Rotary embedding of queries and keys; `head_dim` must be even.
        Rope = "rope",
    }
}

named_choice! {
    /// Whether the rows of queries and keys are normalized before the scores, and before a rotation.
    "model.qk_norm", QkNorm {
        /// Not, as in the paper.
        Off = "off",
        /// By a root-mean-square norm without parameters.
        On = "on",
    }
}

named_choice! {
    /// What forward and backward compute with.
    "precision", Precision {
        /// f32 everywhere.
        F32 = "f32",
        /// bf16 parameters with f32 master copies; on the device `cpu` large products round their operands to bf16
        /// and sum in f32, where the processor has the instruction (`avx512bf16`).
        Bf16 = "bf16",
    }
}

named_choice! {
    /// The order of the training windows, drawn anew every epoch.
    "data_order", DataOrder {
        /// Documents are shuffled, and a document's windows follow one another: the paper's order.
        Documents = "documents",
        /// Windows are shuffled, so that a batch mixes documents much longer than a window.
        Windows = "windows",
    }
}

//! The reviewed list: faults that no test can or need see, each with the reason why.

use serde::Deserialize;

use super::plant::Planted;

/// One entry of the list. Without `after` it holds for every place of its kernels at which the line stands.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Survivor {
    /// Kernels, by the names of their files.
    pub kernels: Vec<String>,
    /// The line as it is.
    pub line: String,
    /// The instruction or label before it, where the reason holds for that place only.
    pub after: Option<String>,
    /// The line with the fault, or `deleted`; several where the reason is the same.
    pub faults: Vec<String>,
    /// Why the fault is equivalent or harmless.
    pub reason: String,
}

impl Survivor {
    /// Whether this is the place.
    fn fits(&self, planted: &Planted) -> bool {
        self.line == planted.original && self.after.as_ref().is_none_or(|after| *after == planted.after)
    }
}

/// The list.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Reviewed {
    /// Its entries.
    #[serde(default)]
    pub survivor: Vec<Survivor>,
}

impl Reviewed {
    /// Reads the list.
    ///
    /// # Errors
    /// What is wrong with the text, or an entry without a reason.
    pub fn parse(text: &str) -> Result<Self, String> {
        let reviewed: Self = toml::from_str(text).map_err(|e| e.to_string())?;
        match reviewed.survivor.iter().find(|entry| entry.reason.trim().is_empty() || entry.faults.is_empty())
        {
            Some(entry) => Err(format!("the entry for `{}` has no reason or no faults", entry.line)),
            None => Ok(reviewed),
        }
    }

    /// Whether a fault of a kernel is in the list.
    pub fn holds(&self, kernel: &str, planted: &Planted) -> bool {
        self.survivor.iter().any(|entry| {
            entry.fits(planted)
                && entry.kernels.iter().any(|name| name == kernel)
                && entry.faults.contains(&planted.fault)
        })
    }

    /// Entries of a list that name a line or a fault that no kernel has: `(kernel, line, fault)`.
    pub fn stale(&self, planted: &[(&str, Vec<Planted>)]) -> Vec<String> {
        let mut stale = Vec::new();
        for entry in &self.survivor {
            for (kernel, fault) in entry.kernels.iter().flat_map(|k| entry.faults.iter().map(move |f| (k, f)))
            {
                let known = planted.iter().any(|(name, faults)| {
                    name == kernel && faults.iter().any(|p| entry.fits(p) && p.fault == *fault)
                });
                if !known {
                    stale.push(format!("{kernel}: `{}` -> `{fault}`", entry.line));
                }
            }
        }
        stale
    }
}

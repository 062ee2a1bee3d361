//! What the environment asks for.

use std::env;

/// See the crate's documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) devices: i32,
    pub(crate) memory: u64,
    pub(crate) schedule: Option<u64>,
    pub(crate) lost_after: Option<u64>,
    pub(crate) lazy: Option<u64>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { devices: 1, memory: 4 << 30, schedule: None, lost_after: None, lazy: None }
    }
}

impl Settings {
    /// Reads the environment; what cannot be read is reported and ignored.
    pub(crate) fn from_environment() -> Self {
        let number = |name: &str| {
            let text = env::var(name).ok()?;
            let value = text.parse::<u64>().ok();
            if value.is_none() {
                eprintln!("lr-stand-in: {name}={text} is not a number; it is ignored");
            }
            value
        };
        let default = Self::default();
        Self {
            devices: number("LR_STAND_IN_DEVICES").map_or(default.devices, |n| n.min(1) as i32),
            memory: number("LR_STAND_IN_MEMORY").unwrap_or(default.memory),
            schedule: number("LR_STAND_IN_SCHEDULE"),
            lost_after: number("LR_STAND_IN_LOST_AFTER"),
            lazy: number("LR_STAND_IN_LAZY"),
        }
    }
}

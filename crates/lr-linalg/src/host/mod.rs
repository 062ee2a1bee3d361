//! Host memory, shared by the backends that compute on the CPU: an aligned buffer and row-wise access
//! to the views on it. All of this crate's reasoning about aliasing stands here.

mod buffer;
mod panel;
mod transfer;

pub use buffer::HostBuffer;
pub use panel::{Panel, PanelMut};
pub(crate) use transfer::{download, largest, upload};

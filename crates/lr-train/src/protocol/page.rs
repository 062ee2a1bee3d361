//! stub
use super::ProtocolError;
/// stub
pub const INDEX_FILE: &str = "index.html";
/// stub
pub const MARKDOWN_FILE: &str = "report.md";
/// stub
pub fn holds_protocol(_f: &std::path::Path) -> bool {
    false
}
/// stub
pub fn write_pages(_f: &std::path::Path) -> Result<(), ProtocolError> {
    Ok(())
}

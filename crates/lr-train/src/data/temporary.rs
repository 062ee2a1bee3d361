//! A file that gets its name only when it is complete, and vanishes when it never is.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::DataError;

/// A file under a temporary name in the folder of its final one; removed when dropped without
/// [`TemporaryFile::persist`].
pub(super) struct TemporaryFile {
    temporary: PathBuf,
    target: PathBuf,
}

impl TemporaryFile {
    /// Creates the folder of `target` where it is missing, and in it a new file open for writing.
    pub(super) fn create(target: &Path) -> Result<(Self, File), DataError> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let folder = target.parent().unwrap_or(Path::new(""));
        fs::create_dir_all(folder).map_err(|source| DataError::Write { path: folder.to_owned(), source })?;
        let mut name = std::ffi::OsString::from(".");
        name.push(target.file_name().unwrap_or_default());
        // Two processes, or two threads of one, may build the same file at once.
        let serial = COUNTER.fetch_add(1, Ordering::Relaxed);
        name.push(format!(".{}.{serial}.tmp", std::process::id()));
        let temporary = folder.join(name);
        let file = File::create(&temporary)
            .map_err(|source| DataError::Write { path: target.to_owned(), source })?;
        Ok((Self { temporary, target: target.to_owned() }, file))
    }

    /// The error for a failed write to this file.
    pub(super) fn write_error(&self, source: std::io::Error) -> DataError {
        DataError::Write { path: self.target.clone(), source }
    }

    /// Gives the file its final name, replacing what had it.
    pub(super) fn persist(self) -> Result<(), DataError> {
        fs::rename(&self.temporary, &self.target).map_err(|source| self.write_error(source))
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        // After `persist` there is nothing to remove, and a failure leaves at worst a stray temporary file.
        let _ = fs::remove_file(&self.temporary);
    }
}

//! Files of an output folder: written whole or not at all, with errors that name file and remedy.

use std::{
    fs::{self, File},
    hash::{BuildHasher, RandomState},
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::Serialize;

/// A file or folder of the output that cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The system refused.
    #[error("cannot {action} {}: {source}{}", path.display(), remedy(source))]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not what its name says.
    #[error("{} is not a valid {kind}: {message}; run the experiment again or restore the file", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What it should have been.
        kind: &'static str,
        /// Where and how it is wrong.
        message: String,
    },
}

impl OutputError {
    /// Wraps a system error with what was tried on which path.
    pub fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { action, path: path.to_owned(), source }
    }
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; free some space or choose another folder with --out"
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "; make it writable or choose another folder with --out"
        }
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            "; a part of this path is a file: choose another folder with --out"
        }
        _ => "",
    }
}

/// Creates the output folder with its parents; an existing folder is fine.
///
/// # Errors
/// [`OutputError::Io`] naming the folder.
pub fn create_folder(path: &Path) -> Result<(), OutputError> {
    fs::create_dir_all(path).map_err(|source| OutputError::io("create the folder", path, source))
}

/// Writes a file under a temporary name in the same folder, synchronizes it with the disk and renames it, so
/// that `path` holds either its old content or all of the new one.
///
/// # Errors
/// [`OutputError::Io`] naming `path`; the temporary file is then gone and `path` untouched.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), OutputError> {
    let fail = |source| OutputError::io("write", path, source);
    let name = path
        .file_name()
        .ok_or_else(|| fail(io::Error::new(io::ErrorKind::InvalidInput, "the path names no file")))?;
    let mut temporary_name = std::ffi::OsString::from(".");
    temporary_name.push(name);
    // Machines that share a folder may share process numbers too.
    let unique = RandomState::new().hash_one(std::process::id());
    temporary_name.push(format!(".{unique:016x}.tmp"));
    let temporary = path.with_file_name(temporary_name);

    let written = File::create(&temporary).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    if let Err(source) = written.and_then(|()| fs::rename(&temporary, path)) {
        // The first error is the one to report; a temporary file that cannot be removed changes nothing.
        let _ = fs::remove_file(&temporary);
        return Err(fail(source));
    }
    sync_folder_of(path);
    Ok(())
}

/// Makes the rename itself durable where folders can be synchronized. The content is safe without it, so
/// that a file system that refuses is no error.
fn sync_folder_of(path: &Path) {
    if cfg!(unix) {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let _ = File::open(parent).and_then(|folder| folder.sync_all());
    }
}

/// Writes a value as JSON, atomically.
///
/// # Errors
/// [`OutputError::Io`] naming the file.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), OutputError> {
    let mut bytes = serde_json::to_vec_pretty(value)
        .map_err(|error| OutputError::io("write", path, io::Error::other(error)))?;
    bytes.push(b'\n');
    write_atomically(path, &bytes)
}

/// Parses what a file holds.
///
/// # Errors
/// [`OutputError::Malformed`] naming the file, what it should be, and the line.
pub fn parse_json<T: serde::de::DeserializeOwned>(
    path: &Path,
    kind: &'static str,
    bytes: &[u8],
) -> Result<T, OutputError> {
    serde_json::from_slice(bytes).map_err(|error| OutputError::Malformed {
        path: path.to_owned(),
        kind,
        message: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_atomic_write_replaces_all_and_leaves_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        write_atomically(&path, b"a long first content").unwrap();
        write_atomically(&path, b"second").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_that_is_a_file_is_named_with_a_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("runs");
        fs::write(&file, "").unwrap();
        for message in [
            create_folder(&file).unwrap_err().to_string(),
            create_folder(&file.join("mha")).unwrap_err().to_string(),
            write_atomically(&file.join("summary.json"), b"x").unwrap_err().to_string(),
        ] {
            assert!(message.contains("runs") && message.contains("--out"), "{message}");
        }
    }

    #[test]
    fn a_failed_rename_removes_the_temporary_file_and_keeps_the_target() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("taken");
        fs::create_dir_all(target.join("inside")).unwrap();
        let message = write_atomically(&target, b"x").unwrap_err().to_string();
        assert!(message.contains("taken"), "{message}");
        assert!(target.join("inside").is_dir());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}

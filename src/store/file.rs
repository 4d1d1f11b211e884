//! Files that are whole or not there.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

use super::io;
use crate::error::{Error, Result};

/// Symbolic links that lead to each other, as many as the system follows.
const MOST_LINKS: usize = 40;

/// A new file under a temporary name in the folder of its final one. Until [`AtomicFile::commit`] whatever
/// has the final name stays as it is; without it the temporary file is removed.
#[derive(Debug)]
pub struct AtomicFile {
    file: File,
    temporary: PathBuf,
    target: PathBuf,
    /// What the file gets if there is no old one when it is committed.
    permissions: Permissions,
    committed: bool,
}

impl AtomicFile {
    /// Creates the temporary file for `path`. Nobody else may read it before it is the file: the old one may have been
    /// private.
    pub fn create(path: &Path) -> Result<Self> {
        let old = replaced(path)?;
        let target = resolve(path)?;
        let permissions = old.map_or_else(|| permissions_of_new(&target), Ok)?;
        Self::begin(target, permissions)
    }

    /// A second temporary file in the same folder, for what is kept only until this one is whole.
    pub(crate) fn beside(&self) -> Result<Self> {
        Self::begin(self.target.clone(), self.permissions.clone())
    }

    fn begin(target: PathBuf, permissions: Permissions) -> Result<Self> {
        let (file, temporary) = create_beside(&target, 0o600)?;
        Ok(Self { file, temporary, target, permissions, committed: false })
    }

    /// Writes at an offset.
    pub fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        self.file
            .write_all_at(bytes, offset)
            .map_err(|error| io("cannot write", &self.target, &error))
    }

    /// Reads back what was written.
    pub(crate) fn read_at(&self, bytes: &mut [u8], offset: u64) -> Result<()> {
        self.file
            .read_exact_at(bytes, offset)
            .map_err(|error| io("cannot read back", &self.target, &error))
    }

    /// Puts the complete file on the disk and then in the place of the old one.
    pub fn commit(mut self, bytes: u64) -> Result<()> {
        let failed = |error| io("cannot write", &self.target, &error);
        // What a tensor that was given up has left behind the end.
        self.file.set_len(bytes).map_err(failed)?;
        // The old file's are those of now, should they have changed meanwhile.
        let permissions = replaced(&self.target)?.unwrap_or_else(|| self.permissions.clone());
        self.file.set_permissions(permissions).map_err(failed)?;
        // Before the rename: after a crash the name must not lead to a file whose bytes were never written.
        self.file.sync_all().map_err(failed)?;
        fs::rename(&self.temporary, &self.target)
            .map_err(|error| io("cannot rename to", &self.target, &error))?;
        self.committed = true;
        // The rename itself is on the disk once the folder is. Some file systems cannot sync a folder;
        // then a crash may bring the old file back, whole.
        if let Ok(folder) = File::open(folder_of(&self.target)) {
            let _ = folder.sync_all();
        }
        Ok(())
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if !self.committed {
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// A new file in the folder of `target`, and its path. The mode is subject to the umask.
fn create_beside(target: &Path, mode: u32) -> Result<(File, PathBuf)> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true).mode(mode);
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        // Without the name of the file, which may be as long as a name can be.
        let path = target.with_file_name(format!(".flash_llm-{}-{number}.tmp", process::id()));
        match options.open(&path) {
            Ok(file) => return Ok((file, path)),
            // Left by a process of the same number that was killed.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(io("cannot create a temporary file for", target, &error)),
        }
    }
}

/// The permissions that a new file gets in the folder of `target`. The umask can be read only by setting it, for all
/// threads, and it is not all that counts: a folder may have an access list for what is created in it. So an empty file
/// is created to see, in which nobody can read anything.
fn permissions_of_new(target: &Path) -> Result<Permissions> {
    let (file, path) = create_beside(target, 0o666)?;
    let found = file.metadata();
    let _ = fs::remove_file(path);
    Ok(found.map_err(|error| io("cannot create", target, &error))?.permissions())
}

/// Where `path` leads, also when nothing is there yet: a rename would replace a symbolic link instead of the file that
/// it leads to. It is absolute, so that it leads there from any working directory.
fn resolve(path: &Path) -> Result<PathBuf> {
    let mut target = path.to_owned();
    for _ in 0..MOST_LINKS {
        let Ok(link) = fs::read_link(&target) else { break };
        // Relative to the folder that the link is in.
        target.pop();
        target.push(link);
    }
    // file_name() looks past a slash at the end, behind which there would have to be a folder.
    let text = target.as_os_str().as_bytes();
    let slash = text.ends_with(b"/") || text.ends_with(b"/.");
    let Some(name) = target.file_name().filter(|_| !slash) else {
        return Err(Error::invalid(format!("path = {} names no file", path.display())));
    };
    // A working directory may lie where this process must not look: then there is only the path as it was given.
    let folder = fs::canonicalize(folder_of(&target)).ok().filter(|folder| folder.is_dir());
    Ok(folder.map_or_else(|| target.clone(), |folder| folder.join(name)))
}

/// The folder that a file is in.
fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The permissions of the file that a rename to `path` replaces, if there is one. A rename replaces anything but a
/// folder, and who writes to a device or a pipe does not want to lose it.
fn replaced(path: &Path) -> Result<Option<Permissions>> {
    let found = match fs::metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io("cannot write", path, &error)),
    };
    let kind = found.file_type();
    let what = match kind {
        _ if kind.is_file() => return Ok(Some(found.permissions())),
        _ if kind.is_dir() => "folder",
        _ if kind.is_fifo() => "pipe",
        _ if kind.is_socket() => "socket",
        _ if kind.is_char_device() || kind.is_block_device() => "device",
        _ => "special file",
    };
    Err(Error::invalid(format!(
        "path = {} is a {what}, needs a regular file or a name that is free",
        path.display()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    fn folder(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("flash_llm-{name}-{}", process::id()));
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn the_old_file_stays_until_the_new_one_is_whole() {
        let dir = folder("atomic");
        let path = dir.join("weights");
        fs::write(&path, b"old").unwrap();
        let given_up = AtomicFile::create(&path).unwrap();
        given_up.write_at(b"half of", 0).unwrap();
        assert_eq!(names(&dir).len(), 2);
        drop(given_up);
        assert_eq!(
            (names(&dir), fs::read(&path).unwrap()),
            (vec!["weights".into()], b"old".into())
        );

        let new = AtomicFile::create(&path).unwrap();
        new.write_at(b"newer file and rubbish", 0).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        new.commit(10).unwrap();
        assert_eq!(
            (names(&dir), fs::read(&path).unwrap()),
            (vec!["weights".into()], b"newer file".into())
        );
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn permissions_and_links_survive() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let dir = folder("links");
        let (path, link) = (dir.join("weights"), dir.join("link"));
        fs::write(&path, b"old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        symlink("weights", &link).unwrap();
        let new = AtomicFile::create(&link).unwrap();
        new.write_at(b"new", 0).unwrap();
        new.commit(3).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        assert!(fs::symlink_metadata(&link).unwrap().file_type().is_symlink());
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_path_that_cannot_be_written_is_named() {
        let error = AtomicFile::create(Path::new("/no such folder/weights")).unwrap_err();
        assert_eq!(error.kind(), Kind::Io);
        assert!(error.message().contains("/no such folder/"), "{error}");
        for path in ["/", "", ".."] {
            let error = AtomicFile::create(Path::new(path)).unwrap_err();
            assert_eq!(error.kind(), Kind::InvalidValue, "{path:?}: {error}");
        }
    }
}

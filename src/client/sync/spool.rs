//! Lines in a temporary file that has no name: what is planned does not fit into memory. Never reads before all is written.

use std::env;
use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, BufRead, BufReader, BufWriter, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;

#[cfg(any(target_os = "linux", target_os = "android"))]
use rustix::fs::{Mode, OFlags};

/// Bytes that are written and read at once.
const BUFFER_BYTES: usize = 64 << 10;

/// Lines that are written, and then read in their order. The file is made with the first line.
#[derive(Debug, Default)]
pub(super) struct Spool(Option<BufWriter<File>>);

impl Spool {
    pub(super) fn push(&mut self, line: &str) -> io::Result<()> {
        if self.0.is_none() {
            self.0 = Some(BufWriter::with_capacity(BUFFER_BYTES, temporary()?));
        }
        let Some(file) = &mut self.0 else { return Ok(()) };
        file.write_all(line.as_bytes())?;
        file.write_all(b"\n")
    }

    /// The lines from the first on.
    pub(super) fn lines(&mut self) -> io::Result<impl Iterator<Item = io::Result<String>> + use<'_>> {
        let file = match &mut self.0 {
            None => None,
            Some(writer) => {
                writer.flush()?;
                let file = writer.get_mut();
                file.rewind()?;
                Some(BufReader::with_capacity(BUFFER_BYTES, file))
            }
        };
        Ok(file.into_iter().flat_map(BufRead::lines))
    }
}

/// A file in the directory for temporary files, without a name; where the file system cannot do that, the name is removed
/// at once.
fn temporary() -> io::Result<File> {
    let dir = env::temp_dir();
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if let Ok(file) = rustix::fs::open(&dir, OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR)
    {
        return Ok(file.into());
    }
    loop {
        let path = dir.join(format!("filewharf-{:016x}", RandomState::new().hash_one(0u8)));
        match OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path) {
            Ok(file) => {
                fs::remove_file(&path)?;
                return Ok(file);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(io::Error::new(error.kind(), format!("{}: {error}", dir.display()))),
        }
    }
}

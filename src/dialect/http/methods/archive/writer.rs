//! The bytes of an archive, as chunks: each file is one, together with its header and all that is before that.

use crate::dialect::http::methods::archive::places::{ENTRIES_BYTES_MAX, PART_BYTES};
use crate::dialect::http::response::ResponseMeta;
use crate::dialect::protocol::{Context, Hash};
use crate::wire::http::archive_query::Format;
use crate::wire::{tar, zip};

/// An archive that is written.
#[derive(Debug)]
pub(super) struct Writer {
    /// Not sent yet, and not in a chunk.
    pending: Vec<u8>,
    /// Bytes of the archive so far, those included.
    offset: u64,
    /// A chunk was sent, and its end was not.
    owes_end: bool,
    body: Body,
}

#[derive(Debug)]
enum Body {
    Tar,
    Zip {
        directory: Vec<u8>,
        entries: u64,
        /// The file that is sent.
        open: Option<zip::Entry>,
        /// Bytes of the directory that were sent.
        sent: usize,
    },
}

/// The entries of a zip are more than it may keep.
#[derive(Debug)]
pub(super) struct TooMany;

impl Writer {
    /// `entries`: bytes of them in a zip, as far as was counted before.
    pub(super) fn new(format: Format, entries: usize) -> Self {
        let body = match format {
            Format::Tar => Body::Tar,
            Format::Zip => Body::Zip { directory: Vec::with_capacity(entries), entries: 0, open: None, sent: 0 },
        };
        Self { pending: Vec::new(), offset: 0, owes_end: false, body }
    }

    /// Bytes of an entry that a zip keeps.
    pub(super) const fn entry_bytes(path: &str) -> usize {
        // With a `/` for a directory.
        zip::ENTRY_BYTES + path.len() + 1
    }

    pub(super) const fn hash(&self) -> Hash {
        if let Body::Zip { .. } = self.body { Hash::Crc32 } else { Hash::None }
    }

    pub(super) fn dir(&mut self, path: &str, mtime: i64) -> Result<(), TooMany> {
        let path = format!("{path}/");
        match &mut self.body {
            Body::Tar => self.write(|out| tar::dir(&path, mtime, out)),
            Body::Zip { .. } => {
                let entry = zip::Entry { path: path.into(), len: 0, mtime, offset: self.offset };
                self.write(|out| entry.header(out));
                self.list(&entry, 0)?;
            }
        }
        Ok(())
    }

    /// Writes what is before the content of a file, and begins the chunk of it.
    pub(super) fn file(
        &mut self,
        path: &str,
        len: u64,
        mtime: i64,
        response: &ResponseMeta,
        context: &mut Context<'_>,
    ) {
        if let Body::Zip { open, .. } = &mut self.body {
            let entry = zip::Entry { path: path.into(), len, mtime, offset: self.offset };
            *open = Some(entry.clone());
            self.write(|out| entry.header(out));
        } else {
            self.write(|out| tar::file(path, len, mtime, out));
        }
        self.flush(len, response, context);
        self.offset += len;
    }

    /// The content of the file was sent.
    pub(super) fn file_sent(&mut self, digest: Option<[u8; 32]>) -> Result<(), TooMany> {
        match &mut self.body {
            Body::Tar => {
                let padding = tar::padding(self.offset);
                self.write(|out| out.resize(out.len() + padding, 0));
            }
            Body::Zip { open, .. } => {
                let digest = digest.unwrap_or_default();
                let crc = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
                if let Some(entry) = open.take() {
                    self.write(|out| entry.descriptor(crc, out));
                    self.list(&entry, crc)?;
                }
            }
        }
        Ok(())
    }

    /// True if a part is due.
    pub(super) const fn is_full(&self) -> bool {
        self.pending.len() >= PART_BYTES
    }

    /// Sends what is pending as one chunk, which `len` bytes of a file belong to as well.
    pub(super) fn flush(&mut self, len: u64, response: &ResponseMeta, context: &mut Context<'_>) {
        if self.owes_end {
            response.chunk_end(context);
        }
        response.chunk_head(self.pending.len() as u64 + len, context);
        context.out.append(&mut self.pending);
        self.owes_end = true;
    }

    /// Sends the next part of the end. True if that was the last one.
    pub(super) fn end(&mut self, response: &ResponseMeta, context: &mut Context<'_>) -> bool {
        let is_over = match &mut self.body {
            Body::Tar => {
                self.pending.extend_from_slice(&tar::END);
                true
            }
            Body::Zip { directory, entries, sent, .. } => {
                let part = &directory[*sent..];
                let part = &part[..part.len().min(PART_BYTES)];
                self.pending.extend_from_slice(part);
                *sent += part.len();
                let is_over = *sent == directory.len();
                if is_over {
                    let (entries, len) = (*entries, directory.len() as u64);
                    zip::Directory { entries, offset: self.offset, len }.end(&mut self.pending);
                }
                is_over
            }
        };
        self.flush(0, response, context);
        if is_over {
            response.chunk_end(context);
            response.last_chunk(context);
        }
        is_over
    }

    fn write(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let before = self.pending.len();
        write(&mut self.pending);
        self.offset += (self.pending.len() - before) as u64;
    }

    fn list(&mut self, entry: &zip::Entry, crc: u32) -> Result<(), TooMany> {
        if let Body::Zip { directory, entries, .. } = &mut self.body {
            if directory.len() + zip::ENTRY_BYTES + entry.path.len() > ENTRIES_BYTES_MAX {
                return Err(TooMany);
            }
            // No more than it needs: a vector that grows by doubling may take twice that.
            if directory.capacity() - directory.len() < zip::ENTRY_BYTES + entry.path.len() {
                directory.reserve_exact(PART_BYTES.min(ENTRIES_BYTES_MAX - directory.len()));
            }
            entry.listed(crc, directory);
            *entries += 1;
        }
        Ok(())
    }
}

//! The reply lines: `OK …`, `ERR …` and the lines of a listing. Writing to a `Vec` cannot fail.

use std::io::Write as _;
use std::ops::Range;

use crate::dialect::protocol::{Action, Context};
use crate::error::Failure;
use crate::object::{Entry, Key, Listing, Meta, Node, Stored, Usage};
use crate::upload::{UploadStage, UploadState};
use crate::wire::line;
use crate::wire::listing_sum::ListingSum;
use crate::wire::range::write_decimal;
use crate::wire::status::{code, retry_after_s};

/// Says `ERR …` and hands back what is to be done then.
pub fn refuse(failure: Failure, key: Option<&Key>, context: &mut Context<'_>, then: Action) -> Action {
    context.refused = Some(failure);
    let seconds = context.retry_after_s.or(retry_after_s(failure));
    let retry = seconds.map_or_else(String::new, |seconds| format!("retry={seconds} "));
    let _ = match key.filter(|key| !key.is_root()) {
        Some(key) => writeln!(context.out, "ERR {} {retry}{}: {key}", code(failure), failure.words()),
        None => writeln!(context.out, "ERR {} {retry}{}", code(failure), failure.words()),
    };
    then
}

/// Room for the longest line about an open file, so that its text is made in one piece.
const OPENED_LEN_MAX: usize = 264;

/// `digest` is that of the whole file, where it is to be sent.
pub(super) fn say_opened(
    range: &Range<u64>,
    asked: Option<&Range<u64>>,
    meta: &Meta,
    digest: Option<&[u8; 32]>,
    out: &mut Vec<u8>,
) {
    out.reserve(OPENED_LEN_MAX);
    out.extend_from_slice(b"OK ");
    write_decimal(range.end - range.start, out);
    out.extend_from_slice(b" etag=");
    out.extend_from_slice(&meta.etag.digits());
    out.extend_from_slice(b" mtime=");
    if meta.mtime < 0 {
        out.push(b'-');
    }
    write_decimal(meta.mtime.unsigned_abs(), out);
    if let Some(range) = asked {
        let _ = write!(out, " range={}-{}/{}", range.start, range.end - 1, meta.len);
    }
    say_digest(digest, out);
    out.push(b'\n');
}

fn say_digest(digest: Option<&[u8; 32]>, out: &mut Vec<u8>) {
    if let Some(digest) = digest {
        let _ = write!(out, " sha256={}", line::hex(digest));
    }
}

pub(super) fn say_stored(stored: &Stored, out: &mut Vec<u8>) {
    let _ = writeln!(out, "OK 0 etag={} stored={}", stored.meta.etag, stored.durability.word());
}

pub(super) fn say_dir_made(is_new: bool, out: &mut Vec<u8>) {
    let _ = writeln!(out, "OK 0 created={}", u8::from(is_new));
}

pub(super) fn say_etag(meta: &Meta, out: &mut Vec<u8>) {
    let _ = writeln!(out, "OK 0 etag={}", meta.etag);
}

pub(super) fn say_space(free: u64, quota: Option<Usage>, out: &mut Vec<u8>) {
    let _ = write!(out, "OK 0 free={free}");
    if let Some(Usage { max, used }) = quota {
        let _ = write!(out, " quota={max} used={used}");
    }
    out.push(b'\n');
}

pub(super) fn say_go(offset: u64, out: &mut Vec<u8>) {
    let _ = writeln!(out, "GO {offset}");
}

/// After `GO` for an upload that was complete already.
pub(super) fn say_complete(stored: Option<&Stored>, out: &mut Vec<u8>) {
    match stored {
        Some(stored) => say_stored(stored, out),
        None => out.extend_from_slice(b"OK 0\n"),
    }
}

pub(super) fn say_upload(upload: &UploadState, out: &mut Vec<u8>) {
    let _ = write!(out, "OK 0 offset={}", upload.offset);
    if let Some(len) = upload.put.len {
        let _ = write!(out, " size={len}");
    }
    if let UploadStage::Complete(stored) = upload.stage {
        out.extend_from_slice(b" complete=1");
        if let Some(stored) = stored {
            let _ = write!(out, " etag={} stored={}", stored.meta.etag, stored.durability.word());
        }
    }
    out.push(b'\n');
}

pub(super) fn say_node(node: Node, tells_digest: bool, out: &mut Vec<u8>) {
    match node {
        Node::File(meta) => {
            let _ = write!(out, "OK 0 size={} mtime={} etag={}", meta.len, meta.mtime, meta.etag);
            say_digest(meta.sha256.filter(|_| tells_digest).as_ref(), out);
            if meta.is_executable {
                out.extend_from_slice(b" exec=1");
            }
        }
        Node::Dir { mtime } => {
            let _ = write!(out, "OK 0 folder=1 mtime={mtime}");
        }
    }
    out.push(b'\n');
}

/// With `digests`, and with `exec`, each line has one more word before the name.
pub(super) fn say_listing(listing: &Listing, (digests, exec): (bool, bool), out: &mut Vec<u8>) {
    let mut body = Vec::new();
    for entry in &listing.entries {
        let digest = match entry.node {
            Some(Node::File(meta)) => {
                let _ = write!(body, "{} {} {} ", meta.len, meta.mtime, meta.etag);
                meta.sha256
            }
            Some(Node::Dir { mtime }) => {
                let _ = write!(body, "- {mtime} - ");
                None
            }
            None => {
                body.extend_from_slice(b"- - - ");
                None
            }
        };
        let slash = if entry.is_dir { "/" } else { "" };
        if digests {
            let _ = write!(body, "{} ", digest.map_or_else(|| "-".into(), |digest| line::hex(&digest)));
        }
        if exec {
            body.extend_from_slice(if is_executable(entry) { b"x " } else { b"- " });
        }
        let _ = writeln!(body, "{}{slash}", entry.name);
    }
    let _ = write!(out, "OK {}", body.len());
    say_rest(listing, out);
    // The reply lives on the account of the transfer slot, so it takes no more than it must.
    out.reserve_exact(body.len());
    out.append(&mut body);
}

/// What [`say_listing`] says, as one digest.
pub(super) fn say_sum(listing: &Listing, exec: bool, out: &mut Vec<u8>) {
    let mut sum = ListingSum::new(exec);
    for entry in &listing.entries {
        match entry.node {
            Some(Node::File(meta)) => sum.file(&entry.name, (meta.len, meta.mtime), meta.is_executable),
            Some(Node::Dir { .. }) => sum.dir(&entry.name),
            None => sum.unknown(&entry.name),
        }
    }
    let _ = write!(out, "OK 0 names={} sum={}", listing.entries.len(), sum.finish());
    say_rest(listing, out);
}

fn say_rest(listing: &Listing, out: &mut Vec<u8>) {
    if listing.more {
        out.extend_from_slice(b" more=1");
    }
    if listing.unlisted > 0 {
        let _ = write!(out, " unlisted={}", listing.unlisted);
    }
    out.push(b'\n');
}

fn is_executable(entry: &Entry) -> bool {
    matches!(entry.node, Some(Node::File(meta)) if meta.is_executable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::Etag;

    #[test]
    fn a_listing_tells_what_it_does_not_know_and_how_many_names_it_left_out() {
        let unseen = |name: &str, is_dir| Entry { name: name.into(), is_dir, node: None, rank: 0, properties: None };
        let entries = vec![unseen("a", false), unseen("b", true), Entry::new("c", Node::Dir { mtime: 5 })];
        let listing = Listing { entries, more: true, unlisted: 2, total: None };
        for (digests, reply) in [
            (false, "OK 32 more=1 unlisted=2\n- - - a\n- - - b/\n- 5 - c/\n"),
            (true, "OK 38 more=1 unlisted=2\n- - - - a\n- - - - b/\n- 5 - - c/\n"),
        ] {
            let mut out = Vec::new();
            say_listing(&listing, (digests, false), &mut out);
            let body = reply.split_once('\n').expect("a line").1.len();
            let reply = reply.replace("OK 32", &format!("OK {body}")).replace("OK 38", &format!("OK {body}"));
            assert_eq!(String::from_utf8_lossy(&out), reply);
        }
    }

    #[test]
    fn space_is_free_and_what_a_quota_has_of_it() {
        for (quota, reply) in
            [(None, "OK 0 free=7\n"), (Some(Usage { max: 5, used: 2 }), "OK 0 free=7 quota=5 used=2\n")]
        {
            let mut out = Vec::new();
            say_space(7, quota, &mut out);
            assert_eq!(String::from_utf8_lossy(&out), reply);
        }
    }

    #[test]
    fn an_open_file_is_described_in_plain_numbers_also_one_from_before_1970() {
        for (mtime, len) in [(0, 0), (1_700_000_000, 4096), (-1, 1), (i64::MIN, u64::MAX)] {
            let meta = Meta { len, mtime, etag: Etag([0xab; 16]), sha256: None, is_executable: false };
            let mut out = Vec::new();
            say_opened(&(0..len), None, &meta, None, &mut out);
            assert_eq!(String::from_utf8_lossy(&out), format!("OK {len} etag={} mtime={mtime}\n", "ab".repeat(16)));
        }
    }
}

//! What a head asks for in draft-ietf-httpbis-resumable-upload.

use crate::command::{Append, Ends, Put};
use crate::config::Limits;
use crate::dialect::http::incoming::check_coding;
use crate::dialect::http::response::Refusal;
use crate::dialect::http::resumable::interop::completes;
use crate::dialect::http::resumable::model::{Face, Resumable};
use crate::dialect::http::resumable::part_digest::PartDigest;
use crate::error::Failure;
use crate::object::ExpectedKind;
use crate::upload::{NewUpload, UploadRef, UploadState};
use crate::wire::http::conditional::Preconditions;
use crate::wire::http::head::{Framing, Head, UploadFields};
use crate::wire::http::tus::Checksum;
use crate::wire::http::{digest, structured};

const CONTENT_TYPE: &str = "application/partial-upload";
/// In front of what this face keeps with an upload.
const MARK: &str = "draft ";

pub(super) fn completed(_face: Face) -> Refusal<'static> {
    Failure::Conflict("the upload is complete").into()
}

/// The digest of the whole, as announced when the upload was made.
pub(super) fn digest_of(upload: &UploadState) -> Option<[u8; 32]> {
    digest::sha256(&[upload.metadata.strip_prefix(MARK)?]).ok().flatten()
}

fn ends(interop_completes: bool) -> Ends {
    if interop_completes { Ends::WithThisPart } else { Ends::Later }
}

pub(super) fn create(
    this: &mut Resumable,
    head: &Head<'_>,
    fields: &UploadFields<'_>,
    limits: &Limits,
) -> Result<Append, Refusal<'static>> {
    let path = this.path.as_ref().ok_or(Failure::Internal)?;
    if path.expected_kind == ExpectedKind::Dir {
        return Err(Failure::Malformed("an upload stores a file, so its path must not end in /").into());
    }
    if head.fields.content_range.is_some() {
        return Err(Failure::Malformed("a part is sent with Upload-Offset, without Content-Range").into());
    }
    check_coding(head)?;
    let completes = completes(fields).unwrap_or(false);
    let len = fields.upload_length.and_then(structured::count);
    let len = match (head.framing, len) {
        (Framing::Length(part), Some(len)) if completes && part != len => {
            return Err(Failure::Malformed("the body is not as long as Upload-Length says").into());
        }
        (Framing::Length(part), None) if completes => Some(part),
        (_, len) => len,
    };
    if len.is_some_and(|len| len > limits.request_bytes_max) {
        return Err(Failure::TooLarge.into());
    }
    read_part_digest(this, head)?;
    let whole = digest::sha256(head.fields.repr_digest.lines())?;
    let metadata = whole.map_or_else(|| MARK.to_owned(), |whole| format!("{MARK}{}", digest::format(&whole)));
    let key = this.path.as_ref().ok_or(Failure::Internal)?.key.clone();
    let precondition = Preconditions::parse(&head.fields)?.for_change();
    let put = Put { precondition, hash: whole.is_some(), ..Put::new(key, len) };
    let upload = UploadRef::New(Box::new(NewUpload { id: None, put, metadata: metadata.into() }));
    Ok(Append { upload, len, ends: ends(completes), is_verified: this.part.is_wanted() })
}

pub(super) fn append(
    this: &mut Resumable,
    head: &Head<'_>,
    fields: &UploadFields<'_>,
) -> Result<(Option<u64>, Ends), Refusal<'static>> {
    if !fields.content_type.is_some_and(|text| text.eq_ignore_ascii_case(CONTENT_TYPE)) {
        let failure = Failure::NotImplemented("the Content-Type of a part is application/partial-upload");
        return Err(Refusal { status: 415, failure, field: None });
    }
    let completes = completes(fields).ok_or(Failure::Malformed("Upload-Complete is missing"))?;
    check_coding(head)?;
    read_part_digest(this, head)?;
    let offset = fields.upload_offset.and_then(structured::count);
    let len = match (fields.upload_length.and_then(structured::count), head.framing, offset) {
        (None, Framing::Length(part), Some(offset)) if completes => Some(offset.saturating_add(part)),
        (None, Framing::None, Some(offset)) if completes => Some(offset),
        (len, _, _) => len,
    };
    Ok((len, ends(completes)))
}

/// `Content-Digest` is that of what one request brings.
fn read_part_digest(this: &mut Resumable, head: &Head<'_>) -> Result<(), Failure> {
    if let Some(digest) = digest::sha256(head.fields.content_digest.lines())? {
        this.part = PartDigest::of(Checksum::Sha256(digest));
    }
    Ok(())
}

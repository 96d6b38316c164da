//! What a head asks for in draft-ietf-httpbis-resumable-upload.

use crate::command::{Append, Ends, Put};
use crate::config::Limits;
use crate::dialect::http::incoming::check_coding;
use crate::dialect::http::methods::resumable::interop::Interop;
use crate::dialect::http::methods::resumable::model::{COMPLETE, OTHER_OFFSET, Resumable};
use crate::dialect::http::methods::resumable::part_digest::PartDigest;
use crate::dialect::http::response::Refusal;
use crate::error::Failure;
use crate::object::ExpectedKind;
use crate::upload::{LONGER_ALREADY, NewUpload, OTHER_LENGTH, Role, UploadRef, UploadState};
use crate::wire::http::conditional::Preconditions;
use crate::wire::http::head::{Framing, Head, UploadFields};
use crate::wire::http::tus::Checksum;
use crate::wire::http::{digest, structured};

const CONTENT_TYPE: &str = "application/partial-upload";
/// In front of what this variant keeps with an upload.
const MARK: &str = "draft ";

/// What comes is not as long as it is said to be.
pub(super) const WRONG_LENGTH: Failure = Failure::Malformed("the content is not as long as the upload is said to be");

/// The registered type of a problem that clients act on.
pub(super) fn problem(failure: Failure) -> Option<&'static str> {
    match failure {
        OTHER_OFFSET => Some("mismatching-upload-offset"),
        COMPLETE => Some("completed-upload"),
        WRONG_LENGTH | OTHER_LENGTH | LONGER_ALREADY => Some("inconsistent-upload-length"),
        _ => None,
    }
}

/// The digest of the whole, as announced when the upload was made.
pub(super) fn digest_of(upload: &UploadState) -> Option<[u8; 32]> {
    digest::sha256(&[upload.metadata.strip_prefix(MARK)?]).ok().flatten()
}

pub(super) fn create(
    this: &mut Resumable,
    interop: Interop,
    head: &Head<'_>,
    fields: &UploadFields<'_>,
    limits: &Limits,
) -> Result<Append, Refusal<'static>> {
    let path = this.path.as_ref().ok_or(Failure::Internal)?;
    let key = path.key.clone();
    if path.expected_kind == ExpectedKind::Dir {
        return Err(Failure::Malformed("an upload stores a file, so its path must not end in /").into());
    }
    if head.fields.content_range.is_some() {
        return Err(Failure::Malformed("a part is sent with Upload-Offset, without Content-Range").into());
    }
    check_coding(head)?;
    let part = this.incoming.len();
    if part.is_none() && head.framing == Framing::None {
        let failure = Failure::Malformed("PUT needs a Content-Length or chunks");
        return Err(Refusal { status: 411, failure, field: None });
    }
    let told = fields.upload_length.and_then(structured::count);
    let len = told.or(part.filter(|_| interop.completes_now()));
    if len.or(part).is_some_and(|len| len > limits.live.request_bytes_max) {
        return Err(Failure::TooLarge.into());
    }
    if !fits(interop, part, len) {
        return Err(WRONG_LENGTH.into());
    }
    read_part_digest(this, head)?;
    let whole = digest::sha256(head.fields.repr_digest.lines())?;
    let metadata = whole.map_or_else(|| MARK.to_owned(), |whole| format!("{MARK}{}", digest::format(&whole)));
    let precondition = Preconditions::parse(&head.fields)?.for_change();
    let put = Put { precondition, hash: whole.is_some(), ..Put::new(key, len) };
    let upload = UploadRef::New(Box::new(NewUpload { id: None, put, metadata: metadata.into(), role: Role::Whole }));
    Ok(Append { upload, len, ends: ends(interop), is_verified: this.part.is_wanted() })
}

/// The length of the whole where this request tells it, and what follows the part.
pub(super) fn append(
    this: &mut Resumable,
    interop: Interop,
    head: &Head<'_>,
    fields: &UploadFields<'_>,
) -> Result<(Option<u64>, Ends), Refusal<'static>> {
    if !fields.content_type.is_some_and(|text| text.eq_ignore_ascii_case(CONTENT_TYPE)) {
        let failure = Failure::NotImplemented("the Content-Type of a part is application/partial-upload");
        return Err(Refusal { status: 415, failure, field: Some(("Accept-Patch", &CONTENT_TYPE)) });
    }
    if interop.completes.is_none() {
        return Err(Failure::Malformed("Upload-Complete is neither ?0 nor ?1").into());
    }
    check_coding(head)?;
    read_part_digest(this, head)?;
    Ok((fields.upload_length.and_then(structured::count), ends(interop)))
}

/// A question about an upload brings none of its fields.
pub(super) fn check_question(fields: &UploadFields<'_>) -> Result<(), Failure> {
    let brought = [fields.upload_offset, fields.upload_complete, fields.upload_incomplete, fields.upload_length];
    if brought.iter().all(Option::is_none) {
        return Ok(());
    }
    Err(Failure::Malformed("a request that asks how far an upload is does not say it"))
}

/// True if this many bytes, or an unknown number, may be what is left.
pub(super) fn fits(interop: Interop, part: Option<u64>, left: Option<u64>) -> bool {
    match (part, left) {
        (Some(part), Some(left)) if interop.completes_now() => part == left,
        (Some(part), Some(left)) => part <= left,
        _ => true,
    }
}

/// A client that has sent the length it announced believes it is done, also one that never says so: what it is answered
/// is stored must be there. One that says so afterwards, with an empty part, is answered the same again.
fn ends(interop: Interop) -> Ends {
    if interop.completes_now() { Ends::WithThisPart } else { Ends::AtItsLength }
}

/// `Content-Digest` is that of what one request brings.
fn read_part_digest(this: &mut Resumable, head: &Head<'_>) -> Result<(), Failure> {
    if let Some(digest) = digest::sha256(head.fields.content_digest.lines())? {
        this.part = PartDigest::of(Checksum::Sha256(digest));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_fits_if_it_completes_the_upload_exactly_or_leaves_it_short() {
        let of = |complete| Interop::of(&UploadFields { upload_complete: Some(complete), ..UploadFields::default() });
        for (complete, part, left, fit) in [
            ("?1", Some(3), Some(3), true),
            ("?1", Some(2), Some(3), false),
            ("?1", Some(4), Some(3), false),
            ("?0", Some(2), Some(3), true),
            ("?0", Some(3), Some(3), true),
            ("?0", Some(4), Some(3), false),
            ("?1", None, Some(3), true),
            ("?1", Some(3), None, true),
        ] {
            assert_eq!(fits(of(complete), part, left), fit, "{complete} {part:?} {left:?}");
        }
    }
}

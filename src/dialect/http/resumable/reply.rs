//! What is said of an upload that can be resumed.

use std::fmt::Display;

use crate::config::Limits;
use crate::dialect::http::response::{Field, Refusal, ResponseMeta, field, validators};
use crate::dialect::http::resumable::model::{Face, PART_MISMATCH, Resumable, Wish};
use crate::dialect::http::resumable::tus;
use crate::dialect::protocol::{Action, Context};
use crate::error::{CloseReason, Failure};
use crate::object::Stored;
use crate::upload::{UploadStage, UploadState};
use crate::wire::http::date;
use crate::wire::http::tus::Checksum;
use crate::wire::status;

/// A response that is being written.
pub(super) struct Reply<'a> {
    pub(super) this: &'a Resumable,
    pub(super) response: &'a ResponseMeta,
}

impl Reply<'_> {
    /// The upload was made, or a part of it has come; it is not complete.
    pub(super) fn saved(&self, context: &mut Context<'_>) -> Action {
        if self.this.wish == Wish::Create {
            self.begin(201, context);
            self.location(context);
        } else {
            self.begin(204, context);
        }
        self.completeness(false, context);
        self.offset(context);
        self.expires(context);
        self.limit(context);
        self.end(self.this.wish == Wish::Create, context)
    }

    /// The upload is complete under its final name.
    pub(super) fn stored(&self, stored: &Stored, context: &mut Context<'_>) -> Action {
        let is_new = self.this.wish == Wish::Create;
        self.begin(if is_new { 201 } else { 204 }, context);
        if is_new {
            self.location(context);
        }
        self.completeness(true, context);
        self.offset(context);
        validators(&stored.meta, context);
        self.end(is_new, context)
    }

    /// The client goes on with what is complete, and has nothing more to send: it missed the reply.
    pub(super) fn complete_already(&self, stored: Option<&Stored>, context: &mut Context<'_>) -> Action {
        self.begin(204, context);
        self.completeness(true, context);
        self.offset(context);
        if let Some(stored) = stored {
            validators(&stored.meta, context);
        }
        self.end(false, context)
    }

    /// How far it is.
    pub(super) fn found(&self, upload: &UploadState, context: &mut Context<'_>) -> Action {
        let is_complete = upload.stage != UploadStage::Unfinished;
        let has_content = self.this.face == Face::Tus;
        self.begin(if has_content { 200 } else { 204 }, context);
        self.completeness(is_complete, context);
        self.offset(context);
        match upload.put.len {
            Some(len) => field("Upload-Length", &len, context.out),
            None if has_content => field("Upload-Defer-Length", &1, context.out),
            None => {}
        }
        if let Some(metadata) = tus::metadata_of(upload).filter(|_| has_content) {
            field("Upload-Metadata", &metadata, context.out);
        }
        if !is_complete {
            self.expires(context);
        }
        self.limit(context);
        field("Cache-Control", &"no-store", context.out);
        self.end(has_content, context)
    }

    pub(super) fn cancelled(&self, context: &mut Context<'_>) -> Action {
        self.begin(204, context);
        self.end(false, context)
    }

    /// Before the body comes: where the upload is, in case the connection breaks.
    pub(super) fn interim_created(&self, _context: &mut Context<'_>) {}

    /// So many bytes are safe.
    pub(super) fn interim_offset(&self, _context: &mut Context<'_>) {}

    fn begin(&self, code: u16, context: &mut Context<'_>) {
        self.response.head(code, context);
        if self.this.face == Face::Tus {
            field("Tus-Resumable", &tus::VERSION, context.out);
        }
    }

    fn end(&self, has_content: bool, context: &mut Context<'_>) -> Action {
        context.out.extend_from_slice(if has_content { b"Content-Length: 0\r\n\r\n" } else { b"\r\n" });
        self.response.next_action()
    }

    /// Relative to the target: a proxy may have removed a prefix of the path.
    fn location(&self, context: &mut Context<'_>) {
        let Some(known) = &self.this.known else { return };
        let up = "../".repeat(self.this.depth);
        field("Location", &format_args!("{up}.filewharf/uploads/{}", known.id), context.out);
    }

    fn completeness(&self, is_complete: bool, context: &mut Context<'_>) {
        if let Face::Draft(_) = self.this.face {
            field("Upload-Complete", &if is_complete { "?1" } else { "?0" }, context.out);
        }
    }

    fn offset(&self, context: &mut Context<'_>) {
        if let Some(known) = &self.this.known {
            field("Upload-Offset", &known.offset, context.out);
        }
    }

    fn expires(&self, context: &mut Context<'_>) {
        if let (Face::Tus, Some(known)) = (self.this.face, &self.this.known) {
            context.out.extend_from_slice(b"Upload-Expires: ");
            date::write(i64::try_from(known.expires_s).unwrap_or(i64::MAX), context.out);
            context.out.extend_from_slice(b"\r\n");
        }
    }

    fn limit(&self, context: &mut Context<'_>) {
        if let (Face::Draft(_), Some(known)) = (self.this.face, &self.this.known) {
            let age_s = known.expires_s.saturating_sub(context.wall_clock_s);
            let size = size_max(context.limits);
            field("Upload-Limit", &format_args!("max-size={size}, max-age={age_s}"), context.out);
        }
    }
}

impl Resumable {
    /// Says why the request was not served.
    pub(crate) fn refuse(
        &self,
        refusal: impl Into<Refusal<'static>>,
        response: &mut ResponseMeta,
        context: &mut Context<'_>,
    ) -> Action {
        let refusal = refusal.into();
        let failure = refusal.failure;
        if self.wish == Wish::Ask && is_passing(failure) {
            context.refused = Some(failure);
            return Action::Close(CloseReason::Refused);
        }
        let then = self.incoming.after_refusal(failure, response, context);
        let name = self.path.as_ref().map(|path| path as &dyn Display);
        let offset = self.known.filter(|_| self.wish == Wish::Append).map(|known| known.offset);
        let mut fields: Vec<Field<'_>> = Vec::new();
        match self.face {
            Face::Tus => fields.push(("Tus-Resumable", &tus::VERSION)),
            Face::Draft(_) if offset.is_some() => fields.push(("Upload-Complete", &"?0")),
            Face::Draft(_) => {}
        }
        fields.extend(offset.as_ref().map(|offset| -> Field<'_> { ("Upload-Offset", offset) }));
        response.refuse_with(refusal, name, &fields, context);
        then
    }

    /// The client goes on from another offset than the upload has.
    pub(super) fn refuse_offset(&self, response: &mut ResponseMeta, context: &mut Context<'_>) -> Action {
        self.refuse(Failure::Conflict("the upload goes on from another offset"), response, context)
    }

    /// The store refused, or the body broke off.
    pub(crate) fn failed(&self, failure: Failure, response: &mut ResponseMeta, context: &mut Context<'_>) -> Action {
        let status = match (failure, self.wish) {
            (PART_MISMATCH, _) if self.face == Face::Tus => 460,
            (PART_MISMATCH, _) => status::code(Failure::DigestMismatch),
            // Clients give up what they are told 429 of.
            (Failure::Busy, Wish::Append) => status::code(Failure::Locked),
            _ => status::code(failure),
        };
        if failure == Failure::TimedOut {
            response.set_close();
        }
        match self.refuse(Refusal { status, failure, field: None }, response, context) {
            Action::Close(_) if failure == Failure::TimedOut => Action::Close(CloseReason::TooSlow),
            then => then,
        }
    }
}

/// True for a failure that says nothing about the upload. A client that is told so of an upload it asks about takes
/// it for lost, and sends everything again; of a connection that closed it tries once more.
const fn is_passing(failure: Failure) -> bool {
    matches!(
        failure,
        Failure::Busy
            | Failure::Draining
            | Failure::Internal
            | Failure::TimedOut
            | Failure::Unauthorized
            | Failure::Unavailable
    )
}

/// What OPTIONS says of uploads that can be resumed.
pub(crate) fn announce(limits: &Limits, out: &mut Vec<u8>) {
    let size = size_max(limits);
    field("Tus-Resumable", &tus::VERSION, out);
    field("Tus-Version", &tus::VERSION, out);
    field("Tus-Max-Size", &limits.request_bytes_max, out);
    field("Tus-Extension", &tus::EXTENSIONS, out);
    field("Tus-Checksum-Algorithm", &Checksum::ALGORITHMS, out);
    field("Accept-Patch", &"application/offset+octet-stream, application/partial-upload", out);
    field("Upload-Limit", &format_args!("max-size={size}, max-age={}", limits.upload_expiry.as_secs()), out);
}

/// As a structured field can say it: with 15 digits.
fn size_max(limits: &Limits) -> u64 {
    limits.request_bytes_max.min(999_999_999_999_999)
}

//! What is said of an upload that can be resumed.

use std::fmt::Display;

use crate::config::Limits;
use crate::dialect::http::methods::resumable::interop::Interop;
use crate::dialect::http::methods::resumable::model::{COMPLETE, Intent, OTHER_OFFSET, Resumable, Variant};
use crate::dialect::http::methods::resumable::{draft, tus};
use crate::dialect::http::response::{Field, Refusal, ResponseMeta, field, repr_digest, validators};
use crate::dialect::protocol::{Action, Context};
use crate::error::{CloseReason, Failure};
use crate::object::{Key, Placed, Stored};
use crate::upload::{Role, UploadStage, UploadState};
use crate::wire::http::tus::Checksum;
use crate::wire::http::{date, target};

/// A response that is being written.
pub(super) struct Reply<'a> {
    pub(super) this: &'a Resumable,
    pub(super) response: &'a ResponseMeta,
}

impl Reply<'_> {
    /// The upload was made, or a part of it has come; it is not complete.
    pub(super) fn saved(&self, context: &mut Context<'_>) -> Action {
        if self.this.intent == Intent::Create {
            self.begin(201, context);
            self.location(context);
        } else {
            self.begin(204, context);
        }
        self.completeness(false, context);
        self.offset(context);
        self.expires(context);
        self.limit(context);
        self.end(self.this.intent == Intent::Create, context)
    }

    /// The upload is complete under its final name.
    pub(super) fn stored(&self, stored: &Stored, context: &mut Context<'_>) -> Action {
        let is_made = self.this.intent == Intent::Create;
        let code = match (self.this.variant, stored.placed) {
            _ if !is_made => 204,
            (Variant::Draft(_), Placed::Replaced) => 200,
            _ => 201,
        };
        self.begin(code, context);
        if is_made {
            self.location(context);
        }
        self.completeness(true, context);
        self.offset(context);
        self.name(context.key, context);
        validators(&stored.meta, context);
        // A client of tus asks for it only where an upload is joined.
        if matches!(self.this.variant, Variant::Draft(_)) || self.this.whole.is_some() {
            repr_digest(stored.meta.sha256.as_ref(), context.out);
        }
        self.end(is_made, context)
    }

    /// The client continues with what is complete, and has nothing more to send: it missed the reply.
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
        let has_content = self.this.variant == Variant::Tus;
        self.begin(if has_content { 200 } else { 204 }, context);
        self.completeness(is_complete, context);
        // What is still being joined has no offset.
        if is_complete || !matches!(upload.role, Role::Final(_)) {
            self.offset(context);
        }
        if let Some(concat) = tus::concat_of(upload).filter(|_| has_content) {
            field("Upload-Concat", &concat, context.out);
        }
        match self.this.known.and_then(|known| known.len) {
            Some(len) => field("Upload-Length", &len, context.out),
            None if has_content => field("Upload-Defer-Length", &1, context.out),
            None => {}
        }
        if let Some(metadata) = tus::metadata_of(upload).filter(|_| has_content) {
            field("Upload-Metadata", &metadata, context.out);
        }
        if is_complete {
            self.name(Some(&upload.put.key), context);
        } else {
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
    pub(super) fn interim_created(&self, context: &mut Context<'_>) {
        if self.this.intent == Intent::Create && self.begin_interim(context) {
            self.location(context);
            self.limit(context);
            context.out.extend_from_slice(b"\r\n");
        }
    }

    /// This many bytes are safe. A client that has not read the last of these is sent no more, as the upload may be
    /// long.
    pub(super) fn interim_offset(&self, context: &mut Context<'_>) {
        if context.out.is_empty() && self.begin_interim(context) {
            self.offset(context);
            context.out.extend_from_slice(b"\r\n");
        }
    }

    /// False where the client would not understand it.
    fn begin_interim(&self, context: &mut Context<'_>) -> bool {
        let Variant::Draft(Interop { version: Some(version), .. }) = self.this.variant else { return false };
        if !self.response.may_be_interim() {
            return false;
        }
        context.out.extend_from_slice(b"HTTP/1.1 104 Upload Resumption Supported\r\n");
        field("Upload-Draft-Interop-Version", &version.number, context.out);
        true
    }

    fn begin(&self, code: u16, context: &mut Context<'_>) {
        self.response.head(code, context);
        if self.this.variant == Variant::Tus {
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

    /// The name of what is complete, where it may be another than was asked for: in a drop box.
    fn name(&self, key: Option<&Key>, context: &mut Context<'_>) {
        let Some(key) = key.filter(|_| context.access.rules().is_some()) else { return };
        let mut path = Vec::new();
        target::encode_path(key, &mut path);
        // Relative, as `Location` is.
        let path = String::from_utf8_lossy(&path);
        let up = if self.this.depth == 0 { "./".to_owned() } else { "../".repeat(self.this.depth) };
        field("Content-Location", &format_args!("{up}{}", path.trim_start_matches('/')), context.out);
    }

    fn completeness(&self, is_complete: bool, context: &mut Context<'_>) {
        if let Variant::Draft(interop) = self.this.variant {
            let (name, value) = interop.completeness(is_complete);
            field(name, &value, context.out);
        }
    }

    fn offset(&self, context: &mut Context<'_>) {
        if let Some(known) = &self.this.known {
            field("Upload-Offset", &known.offset, context.out);
        }
    }

    fn expires(&self, context: &mut Context<'_>) {
        if let (Variant::Tus, Some(known)) = (self.this.variant, &self.this.known) {
            context.out.extend_from_slice(b"Upload-Expires: ");
            date::write(i64::try_from(known.expires_s).unwrap_or(i64::MAX), context.out);
            context.out.extend_from_slice(b"\r\n");
        }
    }

    fn limit(&self, context: &mut Context<'_>) {
        if let (Variant::Draft(interop), Some(known)) = (self.this.variant, &self.this.known) {
            let left_s = known.expires_s.saturating_sub(context.wall_clock_s);
            field("Upload-Limit", &limit(interop.age(), left_s, context.limits), context.out);
        }
    }
}

fn limit(age: &str, left_s: u64, limits: &Limits) -> String {
    // As a structured field can say it: with 15 digits.
    let size = limits.live.request_bytes_max.min(999_999_999_999_999);
    format!("max-size={size}, {age}={left_s}")
}

impl Resumable {
    /// Says why the request was not served.
    pub(super) fn say_refusal(
        &self,
        refusal: Refusal<'static>,
        response: &mut ResponseMeta,
        context: &mut Context<'_>,
    ) -> Action {
        let failure = refusal.failure;
        if self.intent == Intent::Ask && is_passing(failure) {
            context.refused = Some(failure);
            return Action::Close(CloseReason::Refused);
        }
        let then = self.incoming.after_refusal(failure, response, context);
        let offset = self.known.filter(|_| self.intent == Intent::Append).map(|known| known.offset);
        let limit = limit("max-age", context.limits.fixed.upload_expiry.as_secs(), context.limits);
        let completeness;
        let mut fields: Vec<Field<'_>> = Vec::new();
        match self.variant {
            Variant::Tus => fields.push(("Tus-Resumable", &tus::VERSION)),
            Variant::Draft(interop) => {
                completeness = interop.completeness(failure == COMPLETE);
                if matches!(self.intent, Intent::Create | Intent::Append | Intent::Invalidate) {
                    fields.push((completeness.0, &completeness.1));
                }
                if failure == Failure::TooLarge {
                    fields.push(("Upload-Limit", &limit));
                }
            }
        }
        fields.extend(offset.as_ref().map(|offset| -> Field<'_> { ("Upload-Offset", offset) }));
        match draft::problem(failure).filter(|_| self.variant != Variant::Tus) {
            Some(problem) => self.say_problem((problem, refusal), &fields, response, context),
            None => {
                let name = self.path.as_ref().map(|path| path as &dyn Display);
                response.refuse_with(refusal, name, &fields, context);
            }
        }
        then
    }

    /// RFC 9457.
    fn say_problem(
        &self,
        (problem, refusal): (&str, Refusal<'static>),
        fields: &[Field<'_>],
        response: &ResponseMeta,
        context: &mut Context<'_>,
    ) {
        let Refusal { status, failure, .. } = refusal;
        context.refused = Some(failure);
        // Completeness is a conflict for one variant, and a bad request for the other.
        response.head(if failure == COMPLETE { 400 } else { status }, context);
        for (name, value) in fields {
            field(name, value, context.out);
        }
        let registry = "https://iana.org/assignments/http-problem-types";
        let title = failure.words();
        let offsets = match self.known.filter(|_| failure == OTHER_OFFSET) {
            Some(known) => format!(",\"expected-offset\":{},\"provided-offset\":{}", known.offset, self.at),
            None => String::new(),
        };
        let text = format!("{{\"type\":\"{registry}#{problem}\",\"title\":\"{title}\"{offsets}}}\n");
        response.content("application/problem+json", text.as_bytes(), context);
    }
}

/// True for a failure that says nothing about the upload. A client that gets it for an upload it asks about takes
/// it for lost, and sends everything again; of a connection that closed it tries once more.
const fn is_passing(failure: Failure) -> bool {
    matches!(
        failure,
        Failure::Busy
            | Failure::ClientLimit
            | Failure::Draining
            | Failure::Internal
            | Failure::TimedOut
            | Failure::Unauthorized
            | Failure::WrongSecret
            | Failure::Unavailable
            | Failure::Counting
    )
}

/// What OPTIONS says of uploads that can be resumed.
pub(crate) fn announce(limits: &Limits, out: &mut Vec<u8>) {
    field("Tus-Resumable", &tus::VERSION, out);
    field("Tus-Version", &tus::VERSION, out);
    field("Tus-Max-Size", &limits.live.request_bytes_max, out);
    field("Tus-Extension", &tus::EXTENSIONS, out);
    field("Tus-Checksum-Algorithm", &Checksum::ALGORITHMS, out);
    field("Accept-Patch", &"application/offset+octet-stream, application/partial-upload", out);
    field("Upload-Limit", &limit("max-age", limits.fixed.upload_expiry.as_secs(), limits), out);
}

//! Uploads that can be resumed: tus 1.0.0 and draft-ietf-httpbis-resumable-upload, two faces of the same uploads.
//!
//! ```text
//! C  POST /photos/ HTTP/1.1                     C  PATCH /.filewharf/uploads/ID HTTP/1.1
//! C  Tus-Resumable: 1.0.0                       C  Tus-Resumable: 1.0.0, Upload-Offset: 0
//! C  Upload-Length: 6                           C  Content-Type: application/offset+octet-stream
//! C  Upload-Metadata: filename YS50eHQ=         C  Content-Length: 6
//! C                                             C
//! S  HTTP/1.1 201 Created                       C  hello
//! S  Location: ../.filewharf/uploads/ID         S  HTTP/1.1 204 No Content
//! S                                             S  Upload-Offset: 6
//! ```
//!
//! `tus` and `draft` decide what a head asks for, this file what follows the answers of the store, and `reply` what is
//! said. No offset is said that the store has not named: those bytes are safe.

mod draft;
mod interop;
mod model;
pub(super) mod part_digest;
mod reply;
mod tus;

use crate::access::DENIED;
use crate::command::{Answer, Append, Command, Ends};
use crate::config::Limits;
use crate::dialect::http::handler::Handler;
use crate::dialect::http::incoming::Incoming;
use crate::dialect::http::response::{Refusal, ResponseMeta};
use crate::dialect::protocol::{Action, BodyPart, Context, Finish};
use crate::error::{CloseReason, Failure};
use crate::object::{ExpectedKind, Stored};
use crate::upload::{Inquiry, NAME_IS_DIR, Role, UploadId, UploadRef, UploadStage, UploadState};
use crate::wire::http::head::{Head, Method, UploadFields};
use crate::wire::http::{structured, target};
use crate::wire::key::Path;
use crate::wire::range::decimal;
use crate::wire::status;
use interop::Interop;
pub(crate) use model::Resumable;
use model::{COMPLETE, Intent, Known, METHODS, OTHER_OFFSET, PART_MISMATCH, UPLOADS, Variant};
use part_digest::PartDigest;
use reply::Reply;
pub(super) use reply::announce;

/// True if the target is an upload.
pub(crate) fn is_upload(head: &Head<'_>) -> bool {
    head.path.starts_with(UPLOADS)
}

/// True if the head asks to make, continue or give up an upload that can be resumed, or where it continues.
pub(crate) fn concerns(head: &Head<'_>) -> bool {
    if is_upload(head) {
        return true;
    }
    let Some(fields) = head.upload.as_deref() else { return false };
    match head.method {
        Method::Post if fields.tus_resumable.is_some() => true,
        Method::Post | Method::Put | Method::Other("PATCH") => Interop::of(fields).completes.is_some(),
        _ => false,
    }
}

impl Resumable {
    pub(crate) fn new(head: &Head<'_>) -> Self {
        let fields = fields(head);
        let variant = if fields.tus_resumable.is_some() { Variant::Tus } else { Variant::Draft(Interop::of(&fields)) };
        Self {
            variant,
            intent: Intent::of(head, &fields),
            incoming: Incoming::new(head),
            at: 0,
            depth: head.path.bytes().filter(|byte| *byte == b'/').count().saturating_sub(1),
            path: None,
            in_dir: None,
            known: None,
            part: PartDigest::NONE,
            whole: None,
        }
    }

    fn read(
        &mut self,
        head: &Head<'_>,
        response: &mut ResponseMeta,
        limits: &Limits,
    ) -> Result<Command, Refusal<'static>> {
        let fields = fields(head);
        if self.variant == Variant::Tus {
            tus::check_version(&fields)?;
        }
        let Some(id) = head.path.strip_prefix(UPLOADS) else {
            self.path = Some(target::path(head.path)?);
            let append = match self.variant {
                Variant::Tus => tus::create(self, head, &fields, limits),
                Variant::Draft(interop) => draft::create(self, interop, head, &fields, limits),
            }?;
            return Ok(Command::Append(Box::new(append)));
        };
        // What follows could be a body or a request.
        if matches!(self.intent, Intent::Ask | Intent::Look | Intent::Cancel) && !self.incoming.is_over() {
            response.set_close();
            return Err(Failure::Malformed("this request has no body").into());
        }
        let parsed = UploadId::parse(id).ok_or(Failure::NotFound);
        match self.intent {
            Intent::Ask => {
                if let Variant::Draft(_) = self.variant {
                    draft::check_question(&fields)?;
                }
                Ok(Command::StatUpload { id: parsed?, inquiry: Inquiry::Final, key: None })
            }
            Intent::Look => Ok(Command::StatUpload { id: parsed?, inquiry: Inquiry::Aside, key: None }),
            Intent::Cancel => Ok(Command::CancelUpload { id: parsed? }),
            Intent::Append => {
                self.at = offset(self.variant, &fields)?;
                self.append(parsed?, head, &fields, limits)
            }
            Intent::Create | Intent::Invalidate | Intent::Other => {
                let failure = Failure::NotImplemented("this method is not offered");
                Err(Refusal { status: 405, failure, field: Some(("Allow", &METHODS)) })
            }
        }
    }

    fn append(
        &mut self,
        id: UploadId,
        head: &Head<'_>,
        fields: &UploadFields<'_>,
        limits: &Limits,
    ) -> Result<Command, Refusal<'static>> {
        let (len, ends) = match self.variant {
            Variant::Tus => (tus::append(self, head, fields)?, Ends::AtItsLength),
            Variant::Draft(interop) => draft::append(self, interop, head, fields)?,
        };
        if len.is_some_and(|len| len > limits.live.request_bytes_max) {
            return Err(Failure::TooLarge.into());
        }
        let append = Append { upload: UploadRef::Existing(id), len, ends, is_verified: self.part.is_wanted() };
        Ok(Command::Append(Box::new(append)))
    }

    fn learn(&mut self, upload: &UploadState) {
        let UploadState { id, offset, expires_s, .. } = *upload;
        self.known = Some(Known { id, offset, len: upload.put.len, expires_s });
        if let UploadStage::Complete(Some(stored)) = &upload.stage {
            self.is_stored(stored);
        }
    }

    fn is_stored(&mut self, stored: &Stored) {
        if let Some(known) = &mut self.known {
            (known.offset, known.len) = (stored.meta.len, Some(stored.meta.len));
        }
    }

    /// The upload is open, and attached to this connection if it is not complete.
    fn resumed(&mut self, upload: &UploadState, response: &mut ResponseMeta, context: &mut Context<'_>) -> Action {
        self.learn(upload);
        self.whole = draft::digest_of(upload).or(self.whole);
        let offset = self.known.map_or(0, |known| known.offset);
        match (self.intent, upload.stage) {
            (Intent::Append, _) if self.at != offset => self.refuse(OTHER_OFFSET.into(), response, context),
            (Intent::Append, UploadStage::Complete(stored)) if self.incoming.is_over() => {
                Reply { this: self, response }.complete_already(stored.as_ref(), context)
            }
            (_, UploadStage::Complete(_)) => self.refuse(COMPLETE.into(), response, context),
            (_, UploadStage::Unfinished) => self.unfinished(upload, response, context),
        }
    }

    fn unfinished(&mut self, upload: &UploadState, response: &mut ResponseMeta, context: &mut Context<'_>) -> Action {
        let left = upload.put.len.map(|len| len.saturating_sub(upload.offset));
        let part = self.incoming.len();
        match self.variant {
            Variant::Tus if part.zip(left).is_some_and(|(part, left)| part > left) => {
                return self.refuse(Failure::TooLarge.into(), response, context);
            }
            Variant::Draft(_) if part.zip(left).is_some_and(|(part, left)| part > left) => {
                self.intent = Intent::Invalidate;
                return Action::Run(Command::CancelUpload { id: upload.id });
            }
            Variant::Draft(interop) if !draft::fits(interop, part, left) => {
                return self.refuse(draft::WRONG_LENGTH.into(), response, context);
            }
            Variant::Tus | Variant::Draft(_) => {}
        }
        let is_whole = match (&upload.role, self.variant) {
            (Role::Partial, _) => false,
            (Role::Final(_), _) => true,
            (Role::Whole, Variant::Tus) => left == Some(0),
            (Role::Whole, Variant::Draft(interop)) => interop.completes_now(),
        };
        if self.intent == Intent::Create && self.incoming.is_over() && !is_whole {
            return Reply { this: self, response }.saved(context);
        }
        Reply { this: self, response }.interim_created(context);
        self.incoming.receive(context)
    }
}

impl Handler for Resumable {
    fn command(
        &mut self,
        head: &Head<'_>,
        response: &mut ResponseMeta,
        context: &mut Context<'_>,
    ) -> Result<Action, Refusal<'static>> {
        self.read(head, response, context.limits).map(Action::Run)
    }

    fn answered(&mut self, answer: Answer, response: &mut ResponseMeta, context: &mut Context<'_>) -> Action {
        match answer {
            Answer::Resumed(upload) => self.resumed(&upload, response, context),
            Answer::Saved(upload) => {
                self.learn(&upload);
                Reply { this: self, response }.saved(context)
            }
            Answer::Stored(stored) => {
                self.is_stored(&stored);
                Reply { this: self, response }.stored(&stored, context)
            }
            Answer::UploadFound(upload) => {
                self.learn(&upload);
                Reply { this: self, response }.found(&upload, context)
            }
            Answer::Done if self.intent == Intent::Invalidate => {
                self.refuse(draft::WRONG_LENGTH.into(), response, context)
            }
            Answer::Done => Reply { this: self, response }.cancelled(context),
            _ => Action::Reset(CloseReason::Internal),
        }
    }

    fn failed(&mut self, failure: Failure, response: &mut ResponseMeta, context: &mut Context<'_>) -> Action {
        // What may not be stored itself may be a directory in which something may be.
        if matches!(failure, NAME_IS_DIR | DENIED | Failure::Unauthorized)
            && self.known.is_none()
            && let Some(append) = self.in_dir.take()
        {
            let command = Command::Append(append);
            self.path = command.key().map(|key| Path { key: key.clone(), expected_kind: ExpectedKind::Either });
            return Action::Run(command);
        }
        let status = match (failure, self.intent) {
            (PART_MISMATCH, _) if self.variant == Variant::Tus => 460,
            (PART_MISMATCH, _) => 400,
            // Clients give up what they get 429 for, or another error where they ask.
            (Failure::Busy | Failure::ClientLimit, Intent::Append) | (Failure::Conflict(_), Intent::Ask) => {
                status::code(Failure::Locked)
            }
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

    fn timed_out(&mut self, response: &mut ResponseMeta, context: &mut Context<'_>) -> Action {
        self.failed(Failure::TimedOut, response, context)
    }

    fn refuse(&mut self, refusal: Refusal<'static>, response: &mut ResponseMeta, context: &mut Context<'_>) -> Action {
        self.say_refusal(refusal, response, context)
    }

    fn incoming(&mut self) -> Option<&mut Incoming> {
        Some(&mut self.incoming)
    }

    fn body_left(&self) -> u64 {
        self.incoming.left()
    }

    fn saved(&mut self, offset: u64, response: &ResponseMeta, context: &mut Context<'_>) {
        if let Some(known) = &mut self.known {
            known.offset = known.offset.max(offset);
        }
        Reply { this: self, response }.interim_offset(context);
    }

    fn body(&mut self, raw: &[u8], payload_max: usize) -> Result<BodyPart, Failure> {
        let part = self.incoming.body(raw, payload_max)?;
        self.part.update(&raw[part.skip..part.skip + part.payload]);
        Ok(part)
    }

    fn finish(&mut self, digest: Option<[u8; 32]>) -> Result<Finish, Failure> {
        if !self.part.agrees() {
            return Err(PART_MISMATCH);
        }
        match (self.whole, digest) {
            (Some(whole), Some(digest)) if whole != digest => Err(Failure::DigestMismatch),
            _ => Ok(Finish::default()),
        }
    }
}

/// The fields that only these requests have.
fn fields<'a>(head: &Head<'a>) -> UploadFields<'a> {
    head.upload.as_deref().copied().unwrap_or_default()
}

fn offset(variant: Variant, fields: &UploadFields<'_>) -> Result<u64, Failure> {
    let read = if variant == Variant::Tus { decimal } else { structured::count };
    fields.upload_offset.and_then(read).ok_or(Failure::Malformed("Upload-Offset is not a number"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Access;
    use crate::dialect::protocol::Phase;
    use crate::dialect::testing::call_protocol;
    use crate::wire::http::head;

    fn appending(version: &str) -> (Resumable, ResponseMeta) {
        let text = format!(
            "PATCH {UPLOADS}{} HTTP/1.1\r\nHost: x\r\n{version}Upload-Complete: ?0\r\nContent-Length: 9\r\n\r\n",
            UploadId([1; 16])
        );
        let head = head::parse(text.as_bytes()).expect("a head");
        let mut resumable = Resumable::new(&head);
        resumable.known = Some(Known { id: UploadId([1; 16]), offset: 0, len: None, expires_s: 0 });
        (resumable, ResponseMeta::new(&head, &crate::dialect::http::policy::Policy::default()))
    }

    #[test]
    fn a_client_that_does_not_read_is_sent_one_offset() {
        let (mut resumable, response) = appending("Upload-Draft-Interop-Version: 9\r\n");
        let heard = call_protocol(Phase::Serving, &Access::default(), |context| {
            for offset in [3, 6] {
                resumable.saved(offset, &response, context);
            }
        });
        let said = String::from_utf8_lossy(&heard.said).into_owned();
        assert_eq!(
            said,
            "HTTP/1.1 104 Upload Resumption Supported\r\nUpload-Draft-Interop-Version: 9\r\nUpload-Offset: 3\r\n\r\n"
        );
        assert_eq!(resumable.known.map(|known| known.offset), Some(6));
    }

    #[test]
    fn a_client_that_named_no_version_is_sent_no_offset() {
        let (mut resumable, response) = appending("");
        let heard = call_protocol(Phase::Serving, &Access::default(), |context| {
            resumable.saved(3, &response, context);
        });
        assert_eq!(heard.said, b"");
    }
}

//! POST of a form with files (`multipart/form-data`) to a directory, for browsers without a script. Each file is an upload
//! of its own, as by PUT with `If-None-Match: *`: it is received and committed before the next one begins.
//!
//! ```text
//! command ▸ Proceed ▸ head of a file ▸ Run(Put) ▸ content ▸ commit ▸ Proceed ▸ … ▸ the last boundary ▸ answer
//! ```

use std::fmt::Display;
use std::net::IpAddr;

use crate::access::Caller;
use crate::command::{Answer, Command, Put};
use crate::dialect::http::gate;
use crate::dialect::http::handler::Handler;
use crate::dialect::http::incoming::{Incoming, check_coding};
use crate::dialect::http::methods::listing;
use crate::dialect::http::response::{Refusal, ResponseMeta};
use crate::dialect::protocol::{Action, BodyPart, Context, Finish, Then};
use crate::error::{CloseReason, Failure};
use crate::object::{ExpectedKind, Key, Precondition};
use crate::wire::http::head::{Framing, Head, Method};
use crate::wire::http::multipart::{self, Multipart, Piece};
use crate::wire::http::target;
use crate::wire::key::{self, Path};

/// Bytes of fields that are no files, in one form.
const FIELDS_LEN_MAX: usize = 64 * 1024;
/// Bytes of names that a receipt has.
const NAMES_LEN_MAX: usize = 4 * 1024;

const CUT_SHORT: Failure = Failure::Malformed("the form ends before its last boundary");

/// A form.
#[derive(Debug)]
pub(super) struct Form {
    incoming: Incoming,
    at: At,
    files: Option<Files>,
    stored: Stored,
}

/// Where the body is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Before it, or after its last boundary, or what is left is not wanted.
    Outside,
    Boundary,
    Field,
    File,
}

/// What all files of a form have in common.
#[derive(Debug)]
struct Files {
    body: Multipart,
    dir: Key,
    /// For the address of the directory: the signed link by which it may be used, with its `?`.
    query: Box<str>,
    caller: Caller,
    client: IpAddr,
    /// Bytes that may be read at once, so that no more is held after the end of a file than a head may have.
    read_max: u64,
    /// Bytes of fields that may still come.
    fields_left: usize,
}

#[derive(Debug, Default)]
struct Stored {
    count: usize,
    /// The names, each with a line end, as far as there is space for them.
    names: String,
    /// The file that comes now; or, in a refusal, that and what became of those before it.
    present: Option<String>,
}

/// True for a form that is sent to a directory.
pub(super) fn concerns(head: &Head<'_>) -> bool {
    head.method == Method::Post && head.path.ends_with('/') && multipart::is_form(content_type(head))
}

fn content_type<'a>(head: &Head<'a>) -> &'a str {
    head.upload.as_ref().and_then(|fields| fields.content_type).unwrap_or_default()
}

impl Form {
    pub(super) fn new(head: &Head<'_>) -> Self {
        Self { incoming: Incoming::new(head), at: At::Outside, files: None, stored: Stored::default() }
    }

    /// As many of these bytes as belong to the body; true if it ends with them.
    fn of_body<'b>(&self, shown: &'b [u8]) -> (&'b [u8], bool) {
        let left = usize::try_from(self.incoming.left()).unwrap_or(usize::MAX);
        (&shown[..shown.len().min(left)], shown.len() >= left)
    }

    /// Reads up to the content of the next file, or to the end.
    fn read(
        &mut self,
        input: &[u8],
        response: &mut ResponseMeta,
        context: &mut Context<'_>,
    ) -> Result<(usize, Action), Failure> {
        let mut used = 0;
        loop {
            let (shown, is_all) = self.of_body(&input[used..]);
            let files = self.files.as_mut().ok_or(Failure::Internal)?;
            let (read, piece) = match self.at {
                At::Boundary => files.body.next(shown)?,
                _ => {
                    let part = files.body.content(shown, usize::MAX);
                    files.fields_left = files.fields_left.checked_sub(part.payload).ok_or(Failure::TooLarge)?;
                    (part.payload, if part.then == Then::End { Piece::Field } else { Piece::Unknown })
                }
            };
            self.incoming.body(&shown[..read], read)?;
            used += read;
            match (piece, self.at) {
                (Piece::Unknown, _) if is_all => return Err(CUT_SHORT),
                (Piece::Unknown, _) => return Ok((used, if used > 0 { Action::Proceed } else { Action::More })),
                (Piece::Field, At::Boundary) => {
                    files.fields_left = files.fields_left.checked_sub(read).ok_or(Failure::TooLarge)?;
                    self.at = At::Field;
                }
                (Piece::Field, _) => self.at = At::Boundary,
                (Piece::File(name), _) => return Ok((used, self.begin_file(&name, context)?)),
                (Piece::End, _) => return Ok((used, self.complete(response, context)?)),
            }
        }
    }

    fn begin_file(&mut self, name: &str, context: &Context<'_>) -> Result<Action, Failure> {
        let files = self.files.as_ref().ok_or(Failure::Internal)?;
        self.stored.present = Some(name.to_owned());
        context.check_serving()?;
        let slash = if files.dir.is_root() { "" } else { "/" };
        let Path { key, expected_kind } = key::absolute(&format!("{slash}{}/{name}", files.dir.as_str()))?;
        if expected_kind == ExpectedKind::Dir {
            return Err(Failure::Malformed("the name of a file must not end in /"));
        }
        self.at = At::File;
        Ok(Action::Run(Command::Put(Put { precondition: Precondition::Absent, ..Put::new(key, None) })))
    }

    /// All files are stored. What follows the last boundary means nothing.
    fn complete(&mut self, response: &mut ResponseMeta, context: &mut Context<'_>) -> Result<Action, Failure> {
        let files = self.files.as_ref().ok_or(Failure::Internal)?;
        self.at = At::Outside;
        if self.stored.count == 0 {
            return Err(Failure::Malformed("no file was chosen"));
        }
        let then = self.incoming.after_response(response, context);
        let rules = context.access.rules();
        if rules.is_none_or(|rules| rules.may_list(&context.caller, context.client, &files.dir)) {
            let location = format!("./{}", files.query);
            response.text(303, &[("Location", &location), ("Cache-Control", &"no-store")], "", context);
        } else {
            let others = self.stored.count - self.stored.names.lines().count();
            response.receipt((&self.stored.names, others), &files.query, context);
        }
        Ok(then)
    }
}

impl Handler for Form {
    fn command(
        &mut self,
        head: &Head<'_>,
        _response: &mut ResponseMeta,
        context: &mut Context<'_>,
    ) -> Result<Action, Refusal<'static>> {
        // A page of another site can send such a form without asking.
        if !gate::is_of_this_site(&head.fields) {
            let words = "a form is taken from a page of this server only: else store a file with PUT (curl -T FILE)";
            return Err(Failure::Denied(words).into());
        }
        check_coding(head)?;
        let Framing::Length(_) = head.framing else {
            let failure = Failure::Malformed("a form needs a Content-Length");
            return Err(Refusal { status: 411, failure, field: None });
        };
        let dir = target::path(head.path)?.key;
        self.files = Some(Files {
            body: Multipart::new(content_type(head))?,
            query: listing::carried(head, &dir, context)?.unwrap_or_default(),
            dir,
            caller: context.caller.clone(),
            client: context.client,
            read_max: (context.limits.fixed.head_len_max / 2).saturating_sub(1) as u64,
            fields_left: FIELDS_LEN_MAX,
        });
        self.at = At::Boundary;
        self.incoming.receive(context);
        Ok(Action::Proceed)
    }

    fn proceed(
        &mut self,
        input: &[u8],
        response: &mut ResponseMeta,
        context: &mut Context<'_>,
    ) -> Option<(usize, Action)> {
        let files = self.files.as_ref().filter(|_| matches!(self.at, At::Boundary | At::Field))?;
        (context.caller, context.client) = (files.caller.clone(), files.client);
        let read = self.read(input, response, context);
        Some(read.unwrap_or_else(|failure| (0, self.failed(failure, response, context))))
    }

    fn answered(&mut self, answer: Answer, _response: &mut ResponseMeta, context: &mut Context<'_>) -> Action {
        match answer {
            Answer::Created => Action::Receive,
            Answer::Stored(_) => {
                let Stored { count, names, present } = &mut self.stored;
                *count += 1;
                // A drop box gives it another one.
                let name = present.take().unwrap_or_default();
                let name = context.key.map_or(&*name, Key::name);
                if names.len() + name.len() < NAMES_LEN_MAX {
                    names.push_str(name);
                    names.push('\n');
                }
                self.at = At::Boundary;
                Action::Proceed
            }
            _ => Action::Reset(CloseReason::Internal),
        }
    }

    fn failed(&mut self, failure: Failure, response: &mut ResponseMeta, context: &mut Context<'_>) -> Action {
        self.at = At::Outside;
        let before = match self.stored.count {
            0 => "",
            1 => " (the file before it in the form is stored)",
            _ => " (the files before it in the form are stored)",
        };
        self.stored.present = match self.stored.present.take() {
            Some(name) => Some(name + before),
            None if before.is_empty() => None,
            None => Some(format!("the rest of the form{before}")),
        };
        let refusal = match failure {
            Failure::PreconditionFailed => {
                Refusal { status: 412, failure: Failure::Conflict("something has that name"), field: None }
            }
            failure => failure.into(),
        };
        self.refuse(refusal, response, context)
    }

    fn name(&self) -> Option<&dyn Display> {
        self.stored.present.as_ref().map(|name| name as &dyn Display)
    }

    fn incoming(&mut self) -> Option<&mut Incoming> {
        Some(&mut self.incoming)
    }

    fn body_left(&self) -> u64 {
        let read_max = self.files.as_ref().filter(|_| self.at == At::File).map(|files| files.read_max);
        self.incoming.left().min(read_max.unwrap_or(u64::MAX))
    }

    fn body(&mut self, raw: &[u8], payload_max: usize) -> Result<BodyPart, Failure> {
        let Some(files) = self.files.as_ref().filter(|_| self.at == At::File) else {
            return self.incoming.body(raw, payload_max);
        };
        let (shown, is_all) = self.of_body(raw);
        let part = files.body.content(shown, payload_max);
        if is_all && part.then == Then::Wait {
            return Err(CUT_SHORT);
        }
        self.incoming.body(&shown[..part.payload], part.payload)?;
        Ok(part)
    }

    fn finish(&mut self, _digest: Option<[u8; 32]>) -> Result<Finish, Failure> {
        Ok(Finish::default())
    }
}

//! What each verb of the protocol asks of the store: its options and path, made into a command.

use sha2::{Digest as _, Sha256};

use super::get::{GetExchange, Trailer};
use super::options::{OnlyIf, Options};
use super::upload::{Framing, PutExchange};
use super::{Exchange, Line, ListingForm, StatVerb, refuse};
use crate::command::{Append, Command, Copying, DirCopy, Ends, Put, Whole};
use crate::dialect::protocol::{Action, Context};
use crate::error::{CloseReason, Failure};
use crate::object::{Details, ExpectedKind, Key, MissingParents};
use crate::order::Order;
use crate::upload::{GoAhead, Inquiry, NewUpload, Role, UploadId, UploadRef};
use crate::wire::key::{self, Path};
use crate::wire::line::Request;
use crate::wire::range::decimal;

impl Line {
    /// A PUT that is refused still has a body on its way; where its end is certain it is thrown
    /// away and the conversation continues.
    pub(super) fn put(&mut self, request: &Request<'_>, context: &mut Context<'_>) -> Action {
        let framing = match request.word {
            Some("*") => Framing::ChunkLine,
            size => match size.and_then(decimal) {
                Some(left) => Framing::Counted(left),
                None => {
                    let failure = Failure::Malformed("PUT needs a size or *");
                    return refuse(failure, None, context, Action::Close(CloseReason::Malformed));
                }
            },
        };
        let has_trailer = request.options.contains(&("trailer", "sha256"));
        // With these the client sends nothing before it gets GO.
        let waits = request.options.iter().any(|(name, _)| matches!(*name, "resume" | "if-differs"));
        let framing = match framing {
            Framing::Counted(len) if waits => Framing::NotBegun(Some(len)),
            _ if waits => Framing::NotBegun(None),
            framing => framing,
        };
        let key = key::absolute(request.path).map_or_else(|_| Key::root(), |path| path.key);
        self.exchange = Exchange::Put(Box::new(PutExchange::new(key, framing, has_trailer)));
        match self.put_command(request, context) {
            Ok(command) => Action::Run(command),
            Err(Failure::Draining) => refuse(Failure::Draining, None, context, Action::Close(CloseReason::Drained)),
            Err(failure) => refuse(failure, None, context, if waits { Action::Next } else { Action::Discard }),
        }
    }

    pub(super) fn put_command(&mut self, request: &Request<'_>, context: &Context<'_>) -> Result<Command, Failure> {
        if !self.admitted(context) {
            return Err(Failure::Unauthorized);
        }
        context.check_serving()?;
        let options = Options::parse(request, &["exec", "if", "if-differs", "mtime", "resume", "sha256", "trailer"])?;
        let path = path_of(request.path)?;
        if path.expected_kind == ExpectedKind::Dir {
            return Err(Failure::Malformed("the path of a PUT must not end in /"));
        }
        let len = request.word.and_then(decimal);
        if len.is_some_and(|len| len > context.limits.live.request_bytes_max) {
            return Err(Failure::TooLarge);
        }
        let Exchange::Put(exchange) = &mut self.exchange else { return Err(Failure::Internal) };
        exchange.announced = options.sha256;
        let hash = options.trailer || options.sha256.is_some();
        let precondition = OnlyIf::precondition(options.only)?;
        if options.if_differs && (len.is_none() || options.sha256.is_none()) {
            return Err(Failure::Malformed("if-differs=1 needs a size and sha256="));
        }
        let waits = options.if_differs || options.resume.is_some();
        let sha256 = options.sha256.filter(|_| waits && len.is_some()).map(Box::new);
        let go_ahead = if options.if_differs { GoAhead::Awaited } else { GoAhead::NotAwaited };
        let put = Put { precondition, mtime: options.mtime, hash, sha256, go_ahead, ..Put::new(path.key, len) };
        let put = Put { is_executable: options.exec, ..put };
        let Some(token) = options.resume else { return Ok(Command::Put(put)) };
        let id = Some(upload_id(&token, &put.key));
        let upload = UploadRef::New(Box::new(NewUpload { id, put, metadata: "".into(), role: Role::Whole }));
        Ok(Command::Append(Box::new(Append { upload, len: None, ends: Ends::WithThisPart, is_verified: false })))
    }

    pub(super) fn get(&mut self, request: &Request<'_>) -> Result<Action, Failure> {
        let (options, Path { key, expected_kind }) = pieces(request, &["digest", "if", "range", "trailer"])?;
        if expected_kind == ExpectedKind::Dir {
            self.exchange = Exchange::Stat { key: key.clone(), verb: StatVerb::Get, tells_digest: false };
            return Ok(Action::Run(Command::Run(Whole::Stat { key })));
        }
        if options.only == Some(OnlyIf::Absent) {
            return Err(Failure::Malformed("if=absent makes no sense for GET"));
        }
        let Options { range, only, trailer, digest: tells_digest, .. } = options;
        let trailer = if trailer { Trailer::Computed } else { Trailer::None };
        let exchange = GetExchange { key: key.clone(), range, only, tells_digest, trailer };
        self.exchange = Exchange::Get(Box::new(exchange));
        Ok(Action::Run(Command::Get { key }))
    }

    pub(super) fn list(&mut self, request: &Request<'_>, context: &Context<'_>) -> Result<Action, Failure> {
        let (options, Path { key, .. }) = pieces(request, &["after", "digest", "exec", "limit", "recursive", "sum"])?;
        let form = match (options.sum, options.digest) {
            (true, true) => return Err(Failure::Malformed("sum=1 tells no digests of files")),
            (true, false) => ListingForm::Sum { exec: options.exec },
            (false, digests) => ListingForm::Names { digests, exec: options.exec },
        };
        self.exchange = Exchange::List { key: key.clone(), form };
        let names_max = context.limits.fixed.list_names_max;
        let limit = options.limit.map_or(names_max, |limit| limit.min(names_max));
        let Options { recursive, after, digest: digests, .. } = options;
        let details = Details { digests, ..Details::default() };
        Ok(Action::Run(Command::List { key, recursive, after, limit, details, order: Order::default() }))
    }

    pub(super) fn stat(&mut self, request: &Request<'_>) -> Result<Action, Failure> {
        let (options, Path { key, expected_kind }) = pieces(request, &["digest", "resume"])?;
        if let Some(token) = options.resume {
            let id = upload_id(&token, &key);
            self.exchange = Exchange::Plain(key.clone());
            return Ok(Action::Run(Command::StatUpload { id, inquiry: Inquiry::Aside, key: Some(key) }));
        }
        let verb = match expected_kind {
            ExpectedKind::Dir => StatVerb::StatDir,
            ExpectedKind::Either => StatVerb::Stat,
        };
        self.exchange = Exchange::Stat { key: key.clone(), verb, tells_digest: options.digest };
        Ok(Action::Run(Command::Run(Whole::Stat { key })))
    }

    pub(super) fn delete(&mut self, request: &Request<'_>) -> Result<Action, Failure> {
        let (options, Path { key, expected_kind }) = pieces(request, &["if", "recursive"])?;
        if key.is_root() {
            return Err(Failure::Denied("the served folder itself cannot be deleted"));
        }
        if options.only == Some(OnlyIf::Absent) {
            return Err(Failure::Malformed("if=absent makes no sense for DELETE"));
        }
        let precondition = OnlyIf::precondition(options.only)?;
        self.exchange = Exchange::Plain(key.clone());
        Ok(Action::Run(Command::Run(Whole::Delete {
            key,
            is_recursive: options.recursive,
            expected_kind,
            precondition,
        })))
    }

    pub(super) fn make_dir(&mut self, request: &Request<'_>) -> Result<Action, Failure> {
        let (options, Path { key, .. }) = pieces(request, &["parents"])?;
        self.exchange = if options.parents { Exchange::MakeDir(key.clone()) } else { Exchange::Plain(key.clone()) };
        Ok(Action::Run(Command::Run(Whole::MakeDir { key, parents: MissingParents::Make })))
    }

    pub(super) fn space(&mut self, request: &Request<'_>) -> Result<Action, Failure> {
        let (_, Path { key, .. }) = pieces(request, &[])?;
        self.exchange = Exchange::Plain(key.clone());
        Ok(Action::Run(Command::Run(Whole::Space { key, is_strict: true })))
    }

    pub(super) fn time(&mut self, request: &Request<'_>) -> Result<Action, Failure> {
        let (options, Path { key, .. }) = pieces(request, &["mtime"])?;
        let mtime = options.mtime.ok_or(Failure::Malformed("TIME needs mtime=SECONDS"))?;
        self.exchange = Exchange::Plain(key.clone());
        Ok(Action::Run(Command::Run(Whole::SetTime { key, mtime })))
    }

    pub(super) fn rename(&mut self, request: &Request<'_>) -> Result<Action, Failure> {
        let (options, from, to) =
            two_names(request, &["if", "parents", "replace"], "RENAME needs the old path, a tab and the new path")?;
        if from.is_root() || to.is_root() {
            return Err(Failure::Denied("the served folder itself cannot be renamed"));
        }
        let precondition = OnlyIf::precondition(options.only)?;
        self.exchange = Exchange::Plain(from.clone());
        // Missing parents are made without the option, too.
        let parents = MissingParents::Make;
        let replaces_dir = options.replace;
        Ok(Action::Run(Command::Run(Whole::Rename { from, to, precondition, parents, replaces_dir, len_max: None })))
    }

    pub(super) fn copy(&mut self, request: &Request<'_>) -> Result<Action, Failure> {
        let (options, from, to) =
            two_names(request, &["if", "parents", "recursive"], "COPY needs the path, a tab and that of the copy")?;
        let precondition = OnlyIf::precondition(options.only)?;
        self.exchange = Exchange::Plain(from.clone());
        let dir = if options.recursive { DirCopy::Whole } else { DirCopy::Refused(NOT_RECURSIVE) };
        let parents = MissingParents::Make;
        let copying = Copying { from, to, precondition, parents, dir, replaces_dir: false, len_max: None };
        Ok(Action::Run(Command::Copy(Box::new(copying))))
    }
}

const NOT_RECURSIVE: Failure = Failure::Conflict("that is a folder: to copy it, say recursive=1");

/// The upload that the token of a client names: the same token may stand for several names.
fn upload_id(token: &str, key: &Key) -> UploadId {
    let digest = Sha256::new().chain_update("line ").chain_update(token).chain_update(key.to_string()).finalize();
    let mut id = [0; 16];
    id.copy_from_slice(&digest[..16]);
    UploadId(id)
}

fn path_of(text: &str) -> Result<Path, Failure> {
    if text.is_empty() {
        return Err(Failure::Malformed("the request has no path"));
    }
    key::absolute(text)
}

fn no_word(request: &Request<'_>) -> Result<(), Failure> {
    match request.word {
        Some(_) => Err(Failure::Malformed("a word stands where an option or the path is meant")),
        None => Ok(()),
    }
}

/// The options and the two paths of a request.
fn two_names(request: &Request<'_>, allowed: &[&str], missing: &'static str) -> Result<(Options, Key, Key), Failure> {
    no_word(request)?;
    let options = Options::parse(request, allowed)?;
    let paths = request.path.split_once('\t');
    let (from, to) = paths.ok_or(Failure::Malformed(missing))?;
    Ok((options, path_of(from)?.key, path_of(to)?.key))
}

/// The options and the path of a request that has no other words.
fn pieces(request: &Request<'_>, allowed: &[&str]) -> Result<(Options, Path), Failure> {
    no_word(request)?;
    Ok((Options::parse(request, allowed)?, path_of(request.path)?))
}

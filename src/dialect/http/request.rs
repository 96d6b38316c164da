//! From the head of a request to a command for the store, or to a response at once.

use std::sync::Arc;

use crate::access::link::{self, LinkError};
use crate::access::password::PasswordCheck;
use crate::access::{Admission, Caller};
use crate::command::Command;
use crate::dialect::http::methods::file::Get;
use crate::dialect::http::methods::listing::List;
use crate::dialect::http::methods::put::Upload;
use crate::dialect::http::methods::resumable::Resumable;
use crate::dialect::http::methods::{options, resumable};
use crate::dialect::http::policy::Policy;
use crate::dialect::http::response::{Refusal, ResponseMeta};
use crate::dialect::http::{login, monitoring, sharing};
use crate::dialect::protocol::{Action, Context, PASSWORD_IN_PLAIN, Phase};
use crate::error::{CloseReason, Failure};
use crate::object::{ExpectedKind, Key};
use crate::wire::http::conditional::Preconditions;
use crate::wire::http::head::{Expect, Fields, Framing, Head, Method};
use crate::wire::http::{basic, target};
use crate::wire::key::Path;

/// The request that is being answered.
#[derive(Clone, Debug)]
pub(super) struct Exchange {
    pub(super) response: ResponseMeta,
    pub(super) request: Request,
}

#[derive(Clone, Debug)]
pub(super) enum Request {
    Delete(Key),
    Get(Get),
    List(List),
    /// PUT, and methods that are not offered: their body is discarded.
    Upload(Upload),
    Resumable(Box<Resumable>),
}

/// Decides what a head asks for. There is no exchange where the response is complete and no body follows. With
/// [`Action::Verify`], nothing is decided: the head is to be shown again.
pub(super) fn begin(head: &Head<'_>, policy: &Policy, context: &mut Context<'_>) -> (Option<Arc<Exchange>>, Action) {
    let mut response = ResponseMeta::new(head, policy);
    let (request, action) = match head.method {
        Method::Put | Method::Post | Method::Delete | Method::Head | Method::Other(_) if resumable::concerns(head) => {
            let (resumable, action) = of_resumable(head, policy, &mut response, context);
            (Some(Request::Resumable(resumable)), action)
        }
        Method::Put | Method::Post | Method::Other(_) => {
            let (upload, action) = with_body(head, policy, &mut response, context);
            (Some(Request::Upload(upload)), action)
        }
        _ => match without_body(head, policy, &mut response, context) {
            Ok((request, command)) => (Some(request), Action::Run(command)),
            Err(responded) => (None, responded),
        },
    };
    (request.map(|request| Arc::new(Exchange { response, request })), action)
}

/// The request and its command, or what follows a response that is complete.
fn without_body(
    head: &Head<'_>,
    policy: &Policy,
    response: &mut ResponseMeta,
    context: &mut Context<'_>,
) -> Result<(Request, Command), Action> {
    // RFC 9110 §9.3.1: a body of these methods has no meaning, and serves request smuggling: it is not discarded.
    if !matches!(head.framing, Framing::None | Framing::Length(0)) {
        let failure = Failure::Malformed("only PUT has a body here");
        return Err(response.refuse_and_close(failure, CloseReason::Refused, context));
    }
    if head.expect == Expect::Unknown {
        return Err(options::refuse_expectation(response, context));
    }
    if let Some(action) = monitoring::health(head, response, context) {
        return Err(action);
    }
    match permit(head, policy, response, context) {
        Ok(()) => {}
        Err(Unpermitted::Unchecked(check)) => return Err(Action::Verify(check)),
        Err(Unpermitted::Refused(failure)) => return Err(response.refuse(failure, None, context)),
    }
    if head.method == Method::Options {
        return Err(options::respond(head, response, context));
    }
    for respond in [monitoring::metrics, login::respond] {
        match respond(head, response, context) {
            Ok(None) => {}
            Ok(Some(action)) => return Err(action),
            Err(failure) => return Err(response.refuse(failure, None, context)),
        }
    }
    if context.phase == Phase::Draining {
        return Err(response.refuse_and_close(Failure::Draining, CloseReason::Drained, context));
    }
    command(head, response.serve_active, context).map_err(|failure| response.refuse(failure, None, context))
}

/// GET, HEAD and DELETE.
fn command(head: &Head<'_>, serves_pages: bool, context: &Context<'_>) -> Result<(Request, Command), Failure> {
    let Path { key, expected_kind } = match target::path(head.path) {
        Ok(path) => path,
        // As HEAD of it, which other methods come to without a path.
        Err(_) if resumable::is_upload(head) => return upload_state(head, context),
        Err(failure) => return Err(failure),
    };
    if head.method == Method::Delete {
        if key.is_root() {
            return Err(Failure::Denied("the served folder itself cannot be deleted"));
        }
        let precondition = Preconditions::parse(&head.fields)?.for_change();
        return Ok((Request::Delete(key.clone()), Command::Delete { key, expected_kind, precondition }));
    }
    if expected_kind == ExpectedKind::Dir {
        let (list, command) = List::new(head, key.clone(), context)?;
        if !(serves_pages && list.may_be_replaced()) {
            return Ok((Request::List(list), command));
        }
        let get = Get::index(head, &key, (list, command))?;
        let command = get.command();
        return Ok((Request::Get(get), command));
    }
    let get = Get::new(head, key)?;
    let command = get.command();
    Ok((Request::Get(get), command))
}

/// GET of an upload that can be resumed: how far it is.
fn upload_state(head: &Head<'_>, context: &Context<'_>) -> Result<(Request, Command), Failure> {
    let mut resumable = Box::new(Resumable::new(head));
    let mut response = ResponseMeta::default();
    let command = resumable.command(head, &mut response, context.limits).map_err(|refusal| refusal.failure)?;
    Ok((Request::Resumable(resumable), command))
}

/// PUT, and methods that are not offered: where these are refused, a body may still be on its way.
fn with_body(
    head: &Head<'_>,
    policy: &Policy,
    response: &mut ResponseMeta,
    context: &mut Context<'_>,
) -> (Upload, Action) {
    let mut upload = Upload::new(head);
    let mut permitted = match permit(head, policy, response, context) {
        Err(Unpermitted::Unchecked(check)) => return (upload, Action::Verify(check)),
        Err(Unpermitted::Refused(failure)) => Err(failure),
        Ok(()) => Ok(()),
    };
    if permitted.is_ok() && context.phase == Phase::Draining {
        permitted = Err(Failure::Draining);
    }
    if permitted.is_ok() && head.expect == Expect::Unknown {
        response.set_close();
        let action = options::refuse_expectation(response, context);
        return (upload, action);
    }
    let command = match permitted {
        Ok(()) if sharing::concerns(head) => match sharing::link(head, &upload.incoming, context) {
            Ok(link) => return (upload, sharing::respond(&link, response, context)),
            Err(failure) => Err(failure.into()),
        },
        Ok(()) if head.method != Method::Put => {
            let action = upload.refuse_method(head.method, response, context);
            return (upload, action);
        }
        Ok(()) => {
            target::path(head.path).map_err(Refusal::from).and_then(|path| upload.command(head, path, context.limits))
        }
        Err(failure) => Err(failure.into()),
    };
    let action = match command {
        Ok(command) => Action::Run(command),
        Err(refusal) => upload.refuse(refusal, response, context),
    };
    (upload, action)
}

/// Uploads that can be resumed: they are made, gone on with, asked about and given up.
fn of_resumable(
    head: &Head<'_>,
    policy: &Policy,
    response: &mut ResponseMeta,
    context: &mut Context<'_>,
) -> (Box<Resumable>, Action) {
    let mut resumable = Box::new(Resumable::new(head));
    let mut permitted = match permit(head, policy, response, context) {
        Err(Unpermitted::Unchecked(check)) => return (resumable, Action::Verify(check)),
        Err(Unpermitted::Refused(failure)) => Err(failure),
        Ok(()) => Ok(()),
    };
    if permitted.is_ok() && context.phase == Phase::Draining {
        permitted = Err(Failure::Draining);
    }
    let command = match permitted {
        Ok(()) if head.expect == Expect::Unknown => {
            response.set_close();
            Err(options::unmet_expectation())
        }
        Ok(()) => resumable.command(head, response, context.limits),
        Err(failure) => Err(failure.into()),
    };
    let action = match command {
        Ok(command) => Action::Run(command),
        Err(refusal) => resumable.refuse(refusal, response, context),
    };
    (resumable, action)
}

/// Why a request does not begin.
enum Unpermitted {
    Refused(Failure),
    /// A password is to be checked first.
    Unchecked(Box<PasswordCheck>),
}

impl From<Failure> for Unpermitted {
    fn from(failure: Failure) -> Self {
        Self::Refused(failure)
    }
}

/// Why the caller is not known.
enum Unknown {
    Refused(Failure),
    /// The secret is wrong.
    Wrong,
    Unchecked(Box<PasswordCheck>),
    /// The client may try again after so many seconds.
    Later(Failure, Option<u32>),
}

impl From<Failure> for Unknown {
    fn from(failure: Failure) -> Self {
        Self::Refused(failure)
    }
}

/// The holder of the link in the query, if there is one.
fn linked(head: &Head<'_>, context: &Context<'_>) -> Result<Option<Caller>, Failure> {
    let (Some(rules), Some(query)) = (context.access.rules(), head.query) else { return Ok(None) };
    let Some(link) = target::parameter(query, link::PARAMETER)? else { return Ok(None) };
    rules.link(&link, context.wall_clock_s).map(Some).map_err(|error| match error {
        LinkError::Wrong => Failure::Denied("this link is not valid"),
        LinkError::Expired => Failure::Gone,
    })
}

/// The caller; `None` where no credentials are needed and none are shown. Wrong ones are refused also there.
fn identify(head: &Head<'_>, policy: &Policy, context: &Context<'_>) -> Result<Option<Caller>, Unknown> {
    let (access, now_s) = (context.access, context.wall_clock_s);
    if !access.takes_credentials() {
        return Ok(None);
    }
    let Some(value) = head.fields.authorization else {
        return if access.needs_secret() { Err(Failure::Unauthorized.into()) } else { Ok(None) };
    };
    let shown = basic::credentials(value).ok_or(Failure::Unauthorized)?;
    if let Some(caller) = access.admit(shown.secret(), now_s) {
        return Ok(Some(caller));
    }
    let rules = access.rules().filter(|rules| !rules.passwords().is_empty());
    let Some((rules, user)) = rules.zip(shown.user()) else { return Err(Unknown::Wrong) };
    if policy.refuses_passwords() {
        return Err(PASSWORD_IN_PLAIN.into());
    }
    match rules.password(user, shown.secret(), context.verdict.as_deref(), now_s) {
        Admission::Caller(caller) => Ok(Some(caller)),
        Admission::Wrong => Err(Unknown::Wrong),
        Admission::Check(check) => Err(Unknown::Unchecked(check)),
        Admission::Busy => Err(Unknown::Later(Failure::Busy, None)),
        Admission::TooManyGuesses(seconds) => Err(Unknown::Later(Failure::GuessLimit, Some(seconds))),
    }
}

/// Sets the caller.
fn authenticate(head: &Head<'_>, policy: &Policy, context: &mut Context<'_>) -> Result<(), Unpermitted> {
    let named = context.proxy.as_mut().and_then(|proxy| proxy.user.take());
    // Where there is a link, nothing else counts.
    if let Some(caller) = linked(head, context)? {
        context.caller = caller;
        return Ok(());
    }
    if let Some(user) = named {
        context.caller = user?;
        // It has seen the credentials, and may have passed them on.
        return Ok(());
    }
    let identified = identify(head, policy, context);
    // Passwords that have to be checked have a bound of their own.
    let is_bounded = context.verdict.is_some() || matches!(identified, Err(Unknown::Unchecked(_)));
    if context.access.takes_credentials() && head.fields.authorization.is_some() && !is_bounded {
        context.check_guesses()?;
    }
    match identified {
        Ok(Some(caller)) => context.caller = caller,
        Ok(None) => {}
        Err(Unknown::Refused(failure)) => return Err(failure.into()),
        Err(Unknown::Wrong) => {
            context.wrong_secret = true;
            return Err(Failure::WrongSecret.into());
        }
        Err(Unknown::Later(failure, seconds)) => {
            context.retry_after_s = seconds;
            return Err(failure.into());
        }
        Err(Unknown::Unchecked(check)) => return Err(Unpermitted::Unchecked(check)),
    }
    Ok(())
}

/// True for a request that a page of another site may have sent under a name of its own, where nothing else would
/// tell. The rules are asked last: most requests come under a name that is known.
fn is_misdirected(head: &Head<'_>, policy: &Policy, context: &Context<'_>) -> bool {
    !policy.answers_for(head.fields.host) && context.access.serves_anybody()
}

/// True for a request that a page of another site has sent. Browsers tell that in `Sec-Fetch-Site` where the address is
/// secure; older ones, and all of them elsewhere, name the site of the page.
fn is_cross_site(fields: &Fields<'_>) -> bool {
    match (fields.sec_fetch_site, fields.origin) {
        (Some(site), _) => site == "cross-site",
        (None, Some(origin)) => {
            let of_page = origin.split_once("://").map(|(_, authority)| host_name(authority));
            let own = fields.host.map(host_name);
            !of_page.zip(own).is_some_and(|(page, own)| !page.is_empty() && page.eq_ignore_ascii_case(own))
        }
        (None, None) => false,
    }
}

/// Without the port: it is no part of what a site is.
fn host_name(authority: &str) -> &str {
    let end = match authority.starts_with('[') {
        true => authority.find(']').map_or(authority.len(), |end| end + 1),
        false => authority.find(':').unwrap_or(authority.len()),
    };
    &authority[..end]
}

/// What must hold of every request.
fn permit(
    head: &Head<'_>,
    policy: &Policy,
    response: &ResponseMeta,
    context: &mut Context<'_>,
) -> Result<(), Unpermitted> {
    if is_misdirected(head, policy, context) {
        return Err(Failure::WrongHost.into());
    }
    // A preflight request carries no credentials (the Fetch standard).
    if head.method == Method::Options {
        return Ok(());
    }
    authenticate(head, policy, context)?;
    let is_read = matches!(head.method, Method::Get | Method::Head);
    if !is_read && is_cross_site(&head.fields) && !response.permits_origin() {
        return Err(Failure::Denied("a page of another site may change nothing here, unless --cors permits it").into());
    }
    Ok(())
}

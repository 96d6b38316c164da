//! What must hold of every request before its method asks the store for anything, in this order: the body that a method
//! without one must not have ▸ the caller ▸ what the caller may do from here ▸ the phase of the server ▸ the
//! expectation. An expectation of a method without a body is refused first. Which methods there are is decided in
//! `methods`.

use crate::access::link::{self, LinkError};
use crate::access::password::PasswordCheck;
use crate::access::{Admission, Caller};
use crate::dialect::http::handler::{Exchange, Handler};
use crate::dialect::http::monitoring;
use crate::dialect::http::policy::Policy;
use crate::dialect::http::response::{Refusal, ResponseMeta};
use crate::dialect::protocol::{Action, Context, PASSWORD_IN_PLAIN, Phase};
use crate::error::{CloseReason, Failure};
use crate::wire::http::head::{Expect, Fields, Framing, Head, Method};
use crate::wire::http::{basic, target};

/// Decides what a head asks for. With [`Action::Verify`], nothing is decided: the head is to be shown again.
pub(super) fn begin(head: &Head<'_>, policy: &Policy, exchange: &mut Exchange, context: &mut Context<'_>) -> Action {
    let Exchange { response, handler } = exchange;
    match pass(head, policy, handler.as_mut(), response, context) {
        Ok(action) => action,
        Err(Stop::Unchecked(check)) => Action::Verify(check),
        Err(Stop::Refused(refusal)) => handler.refuse(refusal, response, context),
    }
}

fn pass(
    head: &Head<'_>,
    policy: &Policy,
    handler: &mut dyn Handler,
    response: &mut ResponseMeta,
    context: &mut Context<'_>,
) -> Result<Action, Stop> {
    let may_have_body = handler.incoming().is_some();
    if context.phase == Phase::HandingOver {
        response.set_close();
    }
    if !may_have_body {
        // RFC 9110 §9.3.1: a body of these methods has no meaning, and serves request smuggling: it is not discarded.
        if !matches!(head.framing, Framing::None | Framing::Length(0)) {
            let failure = Failure::Malformed("only PUT has a body here");
            return Ok(response.refuse_and_close(failure, CloseReason::Refused, context));
        }
        check_expectation(head)?;
        if !policy.is_admin
            && let Some(action) = monitoring::health(head, response, context)
        {
            return Ok(action);
        }
    }
    #[cfg(feature = "admin")]
    if policy.is_admin {
        return Ok(monitoring::admin(head, policy, handler, response, context)?);
    }
    permit(head, policy, response, context)?;
    if let Some(action) = handler.respond(head, response, context)? {
        return Ok(action);
    }
    if context.phase == Phase::Draining && !may_have_body {
        return Ok(response.refuse_and_close(Failure::Draining, CloseReason::Drained, context));
    }
    context.check_serving()?;
    if let Err(unmet) = check_expectation(head) {
        response.set_close();
        return Err(unmet.into());
    }
    Ok(handler.command(head, response, context)?)
}

/// RFC 9110 §10.1.1.
fn check_expectation(head: &Head<'_>) -> Result<(), Refusal<'static>> {
    if head.expect != Expect::Unknown {
        return Ok(());
    }
    let failure = Failure::Malformed("the only expectation that can be met is 100-continue");
    Err(Refusal { status: 417, failure, field: None })
}

/// The caller is known, and a page of another site sends nothing in the name of a visitor.
fn permit(head: &Head<'_>, policy: &Policy, response: &ResponseMeta, context: &mut Context<'_>) -> Result<(), Stop> {
    if is_misdirected(head, policy, context) {
        return Err(Failure::WrongHost.into());
    }
    // A preflight request carries no credentials (the Fetch standard).
    if head.method == Method::Options {
        return Ok(());
    }
    identify(head, policy, context)?;
    let is_read = matches!(head.method, Method::Get | Method::Head);
    if !is_read && is_cross_site(&head.fields) && !response.permits_origin() {
        return Err(Failure::Denied("a page of another site may change nothing here, unless --cors permits it").into());
    }
    Ok(())
}

/// Why a request does not begin.
enum Stop {
    Refused(Refusal<'static>),
    /// A password is to be checked first.
    Unchecked(Box<PasswordCheck>),
}

impl<R: Into<Refusal<'static>>> From<R> for Stop {
    fn from(refusal: R) -> Self {
        Self::Refused(refusal.into())
    }
}

/// Why the caller is not known.
enum Unknown {
    Refused(Failure),
    /// The secret is wrong.
    Wrong,
    Unchecked(Box<PasswordCheck>),
    /// The client may try again after this many seconds.
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
fn credentials(head: &Head<'_>, policy: &Policy, context: &Context<'_>) -> Result<Option<Caller>, Unknown> {
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
fn identify(head: &Head<'_>, policy: &Policy, context: &mut Context<'_>) -> Result<(), Stop> {
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
    let identified = credentials(head, policy, context);
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
        Err(Unknown::Unchecked(check)) => return Err(Stop::Unchecked(check)),
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

/// True for a request of which a browser says that a page of this server has sent it.
#[cfg(feature = "page")]
pub(super) fn is_of_this_site(fields: &Fields<'_>) -> bool {
    match fields.sec_fetch_site {
        Some(site) => site == "same-origin",
        None => fields.origin.is_some() && !is_cross_site(fields),
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

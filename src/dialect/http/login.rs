//! The login from a page that anybody may see: GET of the served directory with `?login=PATH` asks for credentials, and
//! then leads to the page of that directory. At the root, so that browsers send the credentials with every path.

use crate::access::Caller;
use crate::dialect::http::html;
use crate::dialect::http::response::ResponseMeta;
use crate::dialect::protocol::{Action, Context};
use crate::error::Failure;
use crate::object::Key;
use crate::wire::http::head::{Head, Method};
use crate::wire::http::target;
use crate::wire::key;

/// The name of the query parameter.
pub(super) const PARAMETER: &str = html::LOGIN;

/// What the page of a directory says of its visitor.
#[derive(Debug)]
pub(super) enum Visitor {
    /// Nothing: there are no users, or a signed link opened the page.
    Unnamed,
    /// It may log in.
    Anybody,
    /// The name that it proved.
    Named(Caller),
}

impl Visitor {
    pub(super) fn new(context: &Context<'_>) -> Self {
        match &context.caller {
            _ if context.access.rules().is_none() => Self::Unnamed,
            caller if caller.is_anybody() => Self::Anybody,
            caller if caller.name().is_some() => Self::Named(caller.clone()),
            _ => Self::Unnamed,
        }
    }
}

/// The address of the login, relative to the page of a directory, to which it returns.
pub(super) fn address(dir: &Key) -> String {
    let depth = dir.as_str().split('/').filter(|part| !part.is_empty()).count();
    let up = if depth == 0 { "./".to_owned() } else { "../".repeat(depth) };
    up + &html::login_query(dir)
}

/// The answer to a login; `None` for all other requests.
pub(super) fn respond(
    head: &Head<'_>,
    response: &ResponseMeta,
    context: &mut Context<'_>,
) -> Result<Option<Action>, Failure> {
    if head.path != "/" || !matches!(head.method, Method::Get | Method::Head) || context.access.rules().is_none() {
        return Ok(None);
    }
    let Some(dir) = head.query.map_or(Ok(None), |query| target::parameter(query, PARAMETER))? else { return Ok(None) };
    let dir = key::absolute(&dir)?.key;
    if context.caller.is_anybody() {
        return Err(Failure::Unauthorized);
    }
    // Never to another site: the path is parsed, encoded again, and relative.
    let mut location = b".".to_vec();
    target::encode_path(&dir, &mut location);
    if !dir.is_root() {
        location.push(b'/');
    }
    let location = String::from_utf8_lossy(&location);
    response.text(303, &[("Location", &location), ("Cache-Control", &"no-store")], "", context);
    Ok(Some(response.next_action()))
}

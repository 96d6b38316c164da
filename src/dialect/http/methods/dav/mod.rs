//! The methods that only WebDAV has (RFC 4918).

pub(crate) mod body;
pub(crate) mod condition;
mod live;
mod lock;
mod propfind;
mod proppatch;

use std::sync::Arc;

use crate::dialect::http::handler::Exchange;
use crate::dialect::http::methods::dav::body::Body;
use crate::dialect::http::methods::dav::lock::Lock;
use crate::dialect::http::methods::dav::propfind::PropFind;
use crate::dialect::http::methods::dav::proppatch::PropPatch;
use crate::dialect::http::methods::unoffered::Unoffered;
use crate::dialect::http::policy::Policy;
use crate::dialect::http::response::ResponseMeta;
use crate::wire::http::head::{Head, Method};

/// True for a method of this directory, where that is offered.
pub(crate) fn concerns(head: &Head<'_>, policy: &Policy) -> bool {
    policy.offers_webdav() && matches!(head.method, Method::Lock | Method::PropFind | Method::PropPatch)
}

/// The exchange that a head begins with its body.
pub(crate) fn exchange(head: &Head<'_>, body: Body, response: ResponseMeta) -> Arc<Exchange> {
    match head.method {
        Method::Lock => Exchange::new(response, Lock::new(body)),
        Method::PropFind => Exchange::new(response, PropFind::new(body)),
        Method::PropPatch => Exchange::new(response, PropPatch::new(body)),
        _ => Exchange::new(response, Unoffered::new(head)),
    }
}

pub(crate) fn unlock() -> lock::Unlock {
    lock::Unlock::default()
}

//! What each method does: a file for each, after [`Handler`](crate::dialect::http::handler::Handler), and a row in the
//! table here.

#[cfg(feature = "archives")]
pub(super) mod archive;
#[cfg(feature = "webdav")]
pub(super) mod dav;
pub(super) mod delete;
#[cfg(feature = "page")]
pub(super) mod form;
pub(super) mod get;
pub(super) mod listing;
pub(super) mod mkcol;
pub(super) mod options;
pub(super) mod post;
pub(super) mod progress;
pub(super) mod put;
pub(super) mod relocate;
pub(super) mod resumable;
pub(super) mod unoffered;

use std::sync::Arc;

use crate::dialect::http::handler::Exchange;
use crate::dialect::http::methods::delete::Delete;
use crate::dialect::http::methods::get::Get;
use crate::dialect::http::methods::mkcol::MkCol;
use crate::dialect::http::methods::options::Options;
use crate::dialect::http::methods::post::Post;
use crate::dialect::http::methods::progress::Progress;
use crate::dialect::http::methods::put::Upload;
use crate::dialect::http::methods::relocate::Relocate;
use crate::dialect::http::methods::resumable::Resumable;
use crate::dialect::http::methods::unoffered::Unoffered;
use crate::dialect::http::response::ResponseMeta;
use crate::wire::http::head::{Head, Method};

/// The exchange that a head begins.
pub(super) fn exchange(head: &Head<'_>, response: ResponseMeta) -> Arc<Exchange> {
    match head.method {
        Method::Get if progress::concerns(head) => Exchange::new(response, Progress::new(head)),
        Method::Get => Exchange::new(response, Get::Unread),
        Method::Options => Exchange::new(response, Options),
        _ if resumable::concerns(head) => Exchange::new(response, Resumable::new(head)),
        Method::Head => Exchange::new(response, Get::Unread),
        Method::Delete => Exchange::new(response, Delete::default()),
        Method::MkCol => Exchange::new(response, MkCol::new(head)),
        Method::Copy => Exchange::new(response, Relocate::copy()),
        Method::Move => Exchange::new(response, Relocate::moving()),
        Method::Put => Exchange::new(response, Upload::new(head)),
        #[cfg(feature = "page")]
        Method::Post if form::concerns(head) => Exchange::new(response, form::Form::new(head)),
        Method::Post => Exchange::new(response, Post::new(head)),
        #[cfg(feature = "webdav")]
        Method::Unlock if response.offers_webdav => Exchange::new(response, dav::unlock()),
        Method::Lock | Method::Unlock | Method::PropFind | Method::PropPatch | Method::Other(_) => {
            Exchange::new(response, Unoffered::new(head))
        }
    }
}

//! The response with a status for each property (RFC 4918 §13): its pieces, in their order.

use std::fmt::Write as _;

use crate::object::Key;
use crate::properties::Name;
use crate::wire::dav::{DAV, xml};
use crate::wire::http::target;
use crate::wire::status;

pub const MEDIA_TYPE: &str = "application/xml; charset=utf-8";
/// Declares the prefixes of what is written here.
pub const BEGIN: &str = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<D:multistatus xmlns:D=\"DAV:\">\n";
pub const END: &str = "</D:multistatus>\n";

/// Begins what is said about one file or directory, of the server that is under the path `mount`.
pub fn begin_response((mount, key): (&str, &Key), is_dir: bool, out: &mut String) {
    let _ = write!(out, "<D:response><D:href>{mount}/{}", target::escaped(key));
    // The root has one already.
    out.push_str(if is_dir && !key.is_root() { "/</D:href>" } else { "</D:href>" });
}

pub fn end_response(out: &mut String) {
    out.push_str("</D:response>\n");
}

/// Properties, each an element, with one status.
pub fn propstat(properties: &str, code: u16, out: &mut String) {
    let reason = status::reason(code);
    let _ = write!(
        out,
        "<D:propstat><D:prop>{properties}</D:prop><D:status>HTTP/1.1 {code} {reason}</D:status></D:propstat>"
    );
}

/// A property without its value.
pub fn empty(name: &Name, out: &mut String) {
    let Name { namespace, local } = name;
    if &**namespace == DAV {
        let _ = write!(out, "<D:{local}/>");
    } else if namespace.is_empty() {
        let _ = write!(out, "<{local}/>");
    } else {
        let _ = write!(out, "<x:{local} xmlns:x=\"");
        xml::escape(namespace, out);
        out.push_str("\"/>");
    }
}

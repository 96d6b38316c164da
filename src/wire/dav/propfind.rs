//! The body of PROPFIND (RFC 4918 §9.1): which properties are asked for.

use roxmltree::Node;

use crate::error::Failure;
use crate::properties::Name;
use crate::wire::dav::xml::{self, Count, is_dav};

/// The properties that are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// All usual ones, and these.
    All(Vec<Name>),
    /// The names of all.
    Names,
    These(Vec<Name>),
}

const NOT_ASKED: Failure = Failure::Malformed("the body of PROPFIND asks for neither prop, propname nor allprop");

/// Without a body, all are asked for. Elements that are not known are ignored (RFC 4918 §17).
pub fn parse(body: &str) -> Result<Selection, Failure> {
    if body.is_empty() {
        return Ok(Selection::All(Vec::new()));
    }
    let document = xml::parse(body)?;
    let root = document.root_element();
    let child = |local| root.children().find(|node| is_dav(*node, local));
    if !is_dav(root, "propfind") {
        return Err(NOT_ASKED);
    }
    match (child("prop"), child("allprop"), child("propname")) {
        (Some(these), None, None) => Ok(Selection::These(names(these)?)),
        (None, Some(_), None) => Ok(Selection::All(child("include").map(names).transpose()?.unwrap_or_default())),
        (None, None, Some(_)) => Ok(Selection::Names),
        _ => Err(NOT_ASKED),
    }
}

/// Each name once.
fn names(element: Node<'_, '_>) -> Result<Vec<Name>, Failure> {
    let (mut names, mut count) = (Vec::new(), Count::default());
    for name in element.children().filter(Node::is_element).map(xml::name) {
        count.add(name.namespace.len() + name.local.len())?;
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

//! The body of PROPPATCH (RFC 4918 §9.2): properties that are set and removed, in the order of the document.

use crate::error::Failure;
use crate::properties::{Change, Name};
use crate::wire::dav::xml::{self, Count, is_dav};

/// One property that is set or removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    pub change: Change,
    /// The text of the value.
    pub text: String,
}

impl Instruction {
    pub const fn name(&self) -> &Name {
        let (Change::Remove(name) | Change::Set(name, _)) = &self.change;
        name
    }
}

const NO_CHANGE: Failure =
    Failure::Malformed("the body of PROPPATCH is no propertyupdate that sets or removes something");

/// At least one.
pub fn parse(body: &str) -> Result<Vec<Instruction>, Failure> {
    let document = xml::parse(body)?;
    let root = document.root_element();
    if !is_dav(root, "propertyupdate") {
        return Err(NO_CHANGE);
    }
    let (mut instructions, mut count) = (Vec::new(), Count::default());
    for part in root.children() {
        let is_set = is_dav(part, "set");
        if !is_set && !is_dav(part, "remove") {
            continue;
        }
        let lists = part.children().filter(|node| is_dav(*node, "prop"));
        for property in lists.flat_map(|list| list.children()).filter(roxmltree::Node::is_element) {
            let name = xml::name(property);
            let value = if is_set { Some(xml::alone(property)) } else { None };
            count.add(name.namespace.len() + name.local.len() + value.as_ref().map_or(0, |value| value.len()))?;
            let change = match value {
                Some(value) => Change::Set(name, value),
                None => Change::Remove(name),
            };
            instructions.push(Instruction { change, text: xml::text(property) });
        }
    }
    if instructions.is_empty() { Err(NO_CHANGE) } else { Ok(instructions) }
}

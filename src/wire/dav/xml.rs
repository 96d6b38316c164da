//! XML of a request. It has no document type, so no entities but the five of XML; and depth, attributes and nodes are
//! bounded before and while it is parsed: the parser compares the attributes of an element with each other, and the
//! namespaces of an element with those around it.

use roxmltree::{Document, Node, ParsingOptions};

use crate::error::Failure;
use crate::properties::Name;
use crate::wire::dav::DAV;

/// Elements in each other.
const DEPTH_MAX: usize = 32;
/// Attributes of all elements together, declarations of namespaces among them.
const ATTRIBUTES_MAX: usize = 128;
/// Elements, texts and comments.
const NODES_MAX: u32 = 2048;
/// Properties that are asked for or changed.
const PROPERTIES_MAX: usize = 128;
/// Bytes of their names, and of what they are set to.
const PROPERTY_BYTES_MAX: usize = 16 * 1024;

const MALFORMED: Failure = Failure::Malformed("the body is not well-formed XML");
const TOO_MUCH: Failure = Failure::Malformed("the XML of the body has too many elements, attributes or levels");
const HAS_DTD: Failure = Failure::Malformed("the XML of the body must not have a document type");

/// Parses a body.
pub fn parse(text: &str) -> Result<Document<'_>, Failure> {
    check_bounds(text)?;
    let options = ParsingOptions { allow_dtd: false, nodes_limit: NODES_MAX, ..ParsingOptions::default() };
    let document = Document::parse_with_options(text, options).map_err(|error| match error {
        roxmltree::Error::NodesLimitReached => TOO_MUCH,
        roxmltree::Error::DtdDetected => HAS_DTD,
        _ => MALFORMED,
    })?;
    // Namespaces in XML 1.0 §5: a prefix cannot be undeclared. The parser permits it.
    let undeclares = |node: Node<'_, '_>| node.namespaces().any(|one| one.name().is_some() && one.uri().is_empty());
    if document.descendants().any(undeclares) { Err(MALFORMED) } else { Ok(document) }
}

/// Goes through the tags without the parser. What is not well-formed is left to that.
fn check_bounds(text: &str) -> Result<(), Failure> {
    let (mut depth, mut attributes, mut rest) = (0_usize, 0, text);
    while let Some(at) = memchr::memchr(b'<', rest.as_bytes()) {
        rest = &rest[at..];
        let len = if rest.starts_with("<!--") {
            after(rest, "-->")
        } else if rest.starts_with("<![CDATA[") {
            after(rest, "]]>")
        } else if rest.starts_with("<?") {
            after(rest, "?>")
        } else if rest.starts_with("<!") {
            return Err(HAS_DTD);
        } else if rest.starts_with("</") {
            depth = depth.saturating_sub(1);
            after(rest, ">")
        } else {
            let tag = StartTag::new(rest).ok_or(MALFORMED)?;
            attributes += tag.attributes().count();
            depth += usize::from(!tag.0.ends_with("/>"));
            Some(tag.0.len())
        };
        if depth > DEPTH_MAX || attributes > ATTRIBUTES_MAX {
            return Err(TOO_MUCH);
        }
        rest = &rest[len.ok_or(MALFORMED)?..];
    }
    Ok(())
}

/// Bytes up to the end of this mark.
fn after(text: &str, mark: &str) -> Option<usize> {
    text.find(mark).map(|at| at + mark.len())
}

/// `<name a="…" b='…'>` or with `/>`.
struct StartTag<'a>(&'a str);

impl<'a> StartTag<'a> {
    /// The one that the text begins with; `None` if it has no end.
    fn new(text: &'a str) -> Option<Self> {
        let mut quote = None;
        let end = text.bytes().position(|byte| {
            match (quote, byte) {
                (Some(open), _) if open == byte => quote = None,
                (None, b'"' | b'\'') => quote = Some(byte),
                _ => {}
            }
            quote.is_none() && byte == b'>'
        });
        end.map(|end| Self(&text[..=end]))
    }

    /// Length of `<name`.
    fn name_len(&self) -> usize {
        self.0.find(|c: char| c.is_ascii_whitespace() || matches!(c, '/' | '>')).unwrap_or(self.0.len())
    }

    /// Names of the attributes.
    fn attributes(&self) -> impl Iterator<Item = &'a str> {
        let mut rest = &self.0[self.name_len()..];
        std::iter::from_fn(move || {
            let (name, value) = rest.split_once('=')?;
            let value = value.trim_ascii_start();
            let quote = value.chars().next()?;
            rest = value[quote.len_utf8()..].split_once(quote)?.1;
            Some(name.trim_ascii())
        })
    }
}

/// Counts the properties of a body. Each has its namespace in full, which the body may declare once for all of them.
#[derive(Debug, Default)]
pub struct Count {
    properties: usize,
    bytes: usize,
}

impl Count {
    /// Counts one that takes this many bytes.
    pub const fn add(&mut self, bytes: usize) -> Result<(), Failure> {
        self.properties += 1;
        self.bytes += bytes;
        if self.properties > PROPERTIES_MAX || self.bytes > PROPERTY_BYTES_MAX { Err(TOO_MUCH) } else { Ok(()) }
    }
}

/// True for this element of RFC 4918.
pub fn is_dav(node: Node<'_, '_>, local: &str) -> bool {
    node.is_element() && node.tag_name().namespace() == Some(DAV) && node.tag_name().name() == local
}

pub fn name(element: Node<'_, '_>) -> Name {
    let name = element.tag_name();
    Name { namespace: name.namespace().unwrap_or_default().into(), local: name.name().into() }
}

/// The text directly in an element.
pub fn text(element: Node<'_, '_>) -> String {
    element.children().filter(Node::is_text).filter_map(|node| node.text()).collect()
}

/// An element as it was written, which stands on its own: what it uses of the namespaces around it is declared in it.
pub fn alone(element: Node<'_, '_>) -> Box<str> {
    let source = &element.document().input_text()[element.range()];
    let Some(tag) = StartTag::new(source) else { return source.into() };
    let declared: Vec<_> = tag.attributes().collect();
    let (start, rest) = source.split_at(tag.name_len());
    let mut alone = start.to_owned();
    for namespace in element.namespaces() {
        let (attribute, is_used) = match namespace.name() {
            Some(prefix) => (format!("xmlns:{prefix}"), source.contains(&format!("{prefix}:"))),
            None => ("xmlns".to_owned(), true),
        };
        if is_used && !declared.contains(&&*attribute) {
            alone.push_str(&format!(" {attribute}=\""));
            escape(namespace.uri(), &mut alone);
            alone.push('"');
        }
    }
    alone.push_str(rest);
    alone.into()
}

/// Writes a text between tags, or between double quotes. What XML cannot express is replaced.
pub fn escape(text: &str, out: &mut String) {
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // An attribute would be read with spaces for these.
            '\t' => out.push_str("&#9;"),
            '\n' => out.push_str("&#10;"),
            '\r' => out.push_str("&#13;"),
            '\0'..='\x1f' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            letter => out.push(letter),
        }
    }
}

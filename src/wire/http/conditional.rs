//! Conditional requests (RFC 9110 §13): entity tags, the order in which conditions count, and
//! what they become for a change.
//!
//! Here it is only read what was asked; that a change depends on it is judged where the change
//! becomes visible. Our tags are strong. A tag that is not ours is well-formed all the same and
//! matches nothing.

#[cfg(test)]
mod tests;

use crate::error::Failure;
use crate::object::{Etag, Meta, Precondition};
use crate::wire::http::date;
use crate::wire::http::head::Fields;
use crate::wire::http::trimmed;

/// Most tags of one field.
pub const TAGS_MAX: usize = 64;

/// One entity tag of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag {
    /// As we give them.
    Strong(Etag),
    /// `W/` before one of ours.
    Weak(Etag),
    /// Not one of ours.
    Foreign,
}

/// The value of `If-Match` or `If-None-Match`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tags {
    /// `*`.
    Any,
    /// A list.
    List(Box<[Tag]>),
}

impl Tags {
    /// Reads the lines of the field; `None` where there are none.
    pub fn parse(lines: &[&str]) -> Result<Option<Self>, Failure> {
        match lines {
            [] => return Ok(None),
            [line] if trimmed(line) == "*" => return Ok(Some(Self::Any)),
            _ => {}
        }
        let mut tags = Vec::new();
        for line in lines {
            read_tags(line, &mut tags)?;
        }
        if tags.is_empty() {
            return Err(Failure::Malformed("a list of entity tags is empty"));
        }
        Ok(Some(Self::List(tags.into())))
    }

    /// Strong comparison (RFC 9110 §8.8.3.2).
    fn has_strong(&self, etag: Etag) -> bool {
        match self {
            Self::Any => true,
            Self::List(tags) => tags.contains(&Tag::Strong(etag)),
        }
    }

    /// Weak comparison.
    fn has_weak(&self, etag: Etag) -> bool {
        match self {
            Self::Any => true,
            Self::List(tags) => tags.iter().any(|tag| matches!(tag, Tag::Strong(own) | Tag::Weak(own) if *own == etag)),
        }
    }
}

/// The conditions of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// `If-Match`.
    pub matches: Option<Tags>,
    /// `If-None-Match`.
    pub none_match: Option<Tags>,
    /// `If-Modified-Since`, in seconds since 1970.
    pub modified_since: Option<i64>,
    /// `If-Unmodified-Since`, in seconds since 1970.
    pub unmodified_since: Option<i64>,
}

/// What the conditions of a request for reading say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Proceed,
    /// 304: the client has it.
    NotModified,
    /// 412.
    Failed,
}

impl Conditions {
    /// Reads the fields. A date that is none is ignored, as the RFC wants it; a tag that is none
    /// is an error, because a change might depend on it.
    pub fn parse(fields: &Fields<'_>) -> Result<Self, Failure> {
        Ok(Self {
            matches: Tags::parse(fields.if_match.lines())?,
            none_match: Tags::parse(fields.if_none_match.lines())?,
            modified_since: fields.if_modified_since.and_then(date::parse),
            unmodified_since: fields.if_unmodified_since.and_then(date::parse),
        })
    }

    /// What becomes of GET and HEAD of this version, in the order of RFC 9110 §13.2.2. With
    /// `None` there is no file: the answer is another one than 200, and the conditions do not
    /// count (§13.2.1).
    pub fn read(&self, meta: Option<&Meta>) -> Verdict {
        let Some(meta) = meta else { return Verdict::Proceed };
        let current = match (&self.matches, self.unmodified_since) {
            (Some(tags), _) => tags.has_strong(meta.etag),
            (None, Some(date)) => meta.mtime <= date,
            (None, None) => true,
        };
        let known = match (&self.none_match, self.modified_since) {
            (Some(tags), _) => tags.has_weak(meta.etag),
            (None, Some(date)) => meta.mtime <= date,
            (None, None) => false,
        };
        match (current, known) {
            (false, _) => Verdict::Failed,
            (true, true) => Verdict::NotModified,
            (true, false) => Verdict::Proceed,
        }
    }

    /// What must hold when a change becomes visible; `If-Modified-Since` does not count.
    pub fn write(&self) -> Precondition {
        let first = match (&self.matches, self.unmodified_since) {
            (Some(Tags::Any), _) => Precondition::Present,
            (Some(Tags::List(tags)), _) => Precondition::AnyOf(tags.iter().filter_map(|tag| tag.strong()).collect()),
            (None, Some(date)) => Precondition::UnmodifiedSince(date),
            (None, None) => Precondition::None,
        };
        let second = match &self.none_match {
            Some(Tags::Any) => Precondition::Absent,
            Some(Tags::List(tags)) => Precondition::NoneOf(tags.iter().filter_map(|tag| tag.weak()).collect()),
            None => Precondition::None,
        };
        match (first, second) {
            (only, Precondition::None) | (Precondition::None, only) => only,
            (first, second) => Precondition::All([first, second].into()),
        }
    }
}

impl Tag {
    /// What it is in a strong comparison.
    const fn strong(self) -> Option<Etag> {
        match self {
            Self::Strong(etag) => Some(etag),
            Self::Weak(_) | Self::Foreign => None,
        }
    }

    /// What it is in a weak comparison.
    const fn weak(self) -> Option<Etag> {
        match self {
            Self::Strong(etag) | Self::Weak(etag) => Some(etag),
            Self::Foreign => None,
        }
    }
}

/// `If-Range`: does the range count for this version? A tag is compared strongly. A date never
/// counts: it cannot tell two versions of one second apart, and uploads may set it, so none of ours
/// is the strong validator it would have to be (RFC 9110 §13.1.5, §8.8.2.2). Where the condition
/// does not hold the whole file is sent, which is never wrong.
pub fn range_counts(if_range: Option<&str>, meta: &Meta) -> bool {
    let Some(value) = if_range else { return true };
    matches!(cut_tag(value), Some((tag, "")) if tag == Tag::Strong(meta.etag))
}

/// Reads one line of a list of tags; empty elements are ignored (RFC 9110 §5.6.1).
fn read_tags(line: &str, tags: &mut Vec<Tag>) -> Result<(), Failure> {
    let mut rest = trimmed(line);
    while !rest.is_empty() {
        if let Some(tail) = rest.strip_prefix(',') {
            rest = trimmed(tail);
            continue;
        }
        let bad = Failure::Malformed("an entity tag is not text in double quotes");
        let (tag, tail) = cut_tag(rest).ok_or(bad)?;
        rest = trimmed(tail);
        if !rest.is_empty() && !rest.starts_with(',') {
            return Err(bad);
        }
        if tags.len() == TAGS_MAX {
            return Err(Failure::Malformed("there are more than 64 entity tags"));
        }
        tags.push(tag);
    }
    Ok(())
}

/// Cuts the tag off at the start of a text.
fn cut_tag(text: &str) -> Option<(Tag, &str)> {
    let (weak, quoted) = match text.strip_prefix("W/") {
        Some(quoted) => (true, quoted),
        None => (false, text),
    };
    let (opaque, rest) = quoted.strip_prefix('"')?.split_once('"')?;
    if opaque.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        return None;
    }
    let tag = match (Etag::parse(opaque), weak) {
        (Some(etag), false) => Tag::Strong(etag),
        (Some(etag), true) => Tag::Weak(etag),
        (None, _) => Tag::Foreign,
    };
    Some((tag, rest))
}

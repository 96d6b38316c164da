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
pub enum EntityTag {
    /// As we give them.
    Strong(Etag),
    /// `W/` before one of ours.
    Weak(Etag),
    /// Not one of ours.
    Foreign,
}

/// The value of `If-Match` or `If-None-Match`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntityTags {
    /// `*`.
    Any,
    /// A list.
    List(Box<[EntityTag]>),
}

impl EntityTags {
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
            Self::List(tags) => tags.contains(&EntityTag::Strong(etag)),
        }
    }

    /// Weak comparison.
    fn has_weak(&self, etag: Etag) -> bool {
        match self {
            Self::Any => true,
            Self::List(tags) => {
                tags.iter().any(|tag| matches!(tag, EntityTag::Strong(own) | EntityTag::Weak(own) if *own == etag))
            }
        }
    }
}

/// The conditions of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preconditions {
    /// `If-Match`.
    pub matches: Option<EntityTags>,
    /// `If-None-Match`.
    pub none_match: Option<EntityTags>,
    /// `If-Modified-Since`, in seconds since 1970.
    pub modified_since: Option<i64>,
    /// `If-Unmodified-Since`, in seconds since 1970.
    pub unmodified_since: Option<i64>,
}

/// What the conditions of a request for reading say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evaluation {
    /// Go on.
    Proceed,
    /// 304: the client has it.
    NotModified,
    /// 412.
    Failed,
}

impl Preconditions {
    /// Reads the fields. A date that is none is ignored, as the RFC wants it; a tag that is none
    /// is an error, because a change might depend on it.
    pub fn parse(fields: &Fields<'_>) -> Result<Self, Failure> {
        Ok(Self {
            matches: EntityTags::parse(fields.if_match.lines())?,
            none_match: EntityTags::parse(fields.if_none_match.lines())?,
            modified_since: fields.if_modified_since.and_then(date::parse),
            unmodified_since: fields.if_unmodified_since.and_then(date::parse),
        })
    }

    /// What becomes of GET and HEAD of this version, in the order of RFC 9110 §13.2.2. With
    /// `None` there is no file: the answer is another one than 200, and the conditions do not
    /// count (§13.2.1).
    pub fn evaluate(&self, meta: Option<&Meta>) -> Evaluation {
        let Some(meta) = meta else { return Evaluation::Proceed };
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
            (false, _) => Evaluation::Failed,
            (true, true) => Evaluation::NotModified,
            (true, false) => Evaluation::Proceed,
        }
    }

    /// What must hold when a change becomes visible; `If-Modified-Since` does not count.
    pub fn for_change(&self) -> Precondition {
        let first = match (&self.matches, self.unmodified_since) {
            (Some(EntityTags::Any), _) => Precondition::Present,
            (Some(EntityTags::List(tags)), _) => {
                Precondition::AnyOf(tags.iter().filter_map(|tag| tag.strong()).collect())
            }
            (None, Some(date)) => Precondition::UnmodifiedSince(date),
            (None, None) => Precondition::None,
        };
        let second = match &self.none_match {
            Some(EntityTags::Any) => Precondition::Absent,
            Some(EntityTags::List(tags)) => Precondition::NoneOf(tags.iter().filter_map(|tag| tag.weak()).collect()),
            None => Precondition::None,
        };
        match (first, second) {
            (only, Precondition::None) | (Precondition::None, only) => only,
            (first, second) => Precondition::All([first, second].into()),
        }
    }
}

impl EntityTag {
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
pub fn if_range_holds(if_range: Option<&str>, meta: &Meta) -> bool {
    let Some(value) = if_range else { return true };
    matches!(cut_tag(value), Some((tag, "")) if tag == EntityTag::Strong(meta.etag))
}

/// Reads one line of a list of tags; empty elements are ignored (RFC 9110 §5.6.1).
fn read_tags(line: &str, tags: &mut Vec<EntityTag>) -> Result<(), Failure> {
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
fn cut_tag(text: &str) -> Option<(EntityTag, &str)> {
    let (weak, quoted) = match text.strip_prefix("W/") {
        Some(quoted) => (true, quoted),
        None => (false, text),
    };
    let (opaque, rest) = quoted.strip_prefix('"')?.split_once('"')?;
    if opaque.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        return None;
    }
    let tag = match (Etag::parse(opaque), weak) {
        (Some(etag), false) => EntityTag::Strong(etag),
        (Some(etag), true) => EntityTag::Weak(etag),
        (None, _) => EntityTag::Foreign,
    };
    Some((tag, rest))
}

//! Conditional requests (RFC 9110 §13): entity tags, the order in which preconditions are evaluated, and the
//! precondition of a change, which the store evaluates when the change becomes visible.
//!
//! The tags of this server are strong. Any other well-formed tag is accepted and matches nothing.

#[cfg(test)]
mod tests;

use crate::error::Failure;
use crate::object::{Etag, Meta, Precondition};
use crate::wire::http::date;
use crate::wire::http::head::Fields;
use crate::wire::http::syntax::trimmed;

/// Most tags of one field.
pub const TAGS_MAX: usize = 64;

/// One entity tag of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntityTag {
    Strong(Etag),
    /// `W/` before a tag of this server.
    Weak(Etag),
    /// Not made by this server.
    Foreign,
}

impl EntityTag {
    /// Its value in a strong comparison (RFC 9110 §8.8.3.2).
    const fn strong(self) -> Option<Etag> {
        match self {
            Self::Strong(etag) => Some(etag),
            Self::Weak(_) | Self::Foreign => None,
        }
    }

    /// Its value in a weak comparison.
    const fn weak(self) -> Option<Etag> {
        match self {
            Self::Strong(etag) | Self::Weak(etag) => Some(etag),
            Self::Foreign => None,
        }
    }
}

/// The value of `If-Match` or `If-None-Match`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntityTags {
    /// `*`.
    Any,
    List(Box<[EntityTag]>),
}

impl EntityTags {
    /// Parses the lines of the field; `None` if there are none.
    pub fn parse(lines: &[&str]) -> Result<Option<Self>, Failure> {
        match lines {
            [] => return Ok(None),
            [line] if trimmed(line) == "*" => return Ok(Some(Self::Any)),
            // Joplin sends this with every request, uploads too, to say that nothing matches.
            [line] if trimmed(line).starts_with("JoplinIgnore-") => {
                return Ok(Some(Self::List([EntityTag::Foreign].into())));
            }
            _ => {}
        }
        let mut tags = Vec::new();
        for line in lines {
            parse_tags(line, &mut tags)?;
        }
        if tags.is_empty() {
            return Err(Failure::Malformed("a list of entity tags is empty"));
        }
        Ok(Some(Self::List(tags.into())))
    }

    /// True if a tag matches in the given comparison.
    fn matches(&self, etag: Etag, comparison: fn(EntityTag) -> Option<Etag>) -> bool {
        match self {
            Self::Any => true,
            Self::List(tags) => tags.iter().any(|tag| comparison(*tag) == Some(etag)),
        }
    }
}

/// The preconditions of a request; dates in seconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preconditions {
    pub matches: Option<EntityTags>,
    pub none_match: Option<EntityTags>,
    pub modified_since: Option<i64>,
    pub unmodified_since: Option<i64>,
}

/// The result of the preconditions of GET or HEAD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evaluation {
    Proceed,
    /// 304.
    NotModified,
    /// 412.
    Failed,
}

impl Preconditions {
    /// An invalid date is ignored (RFC 9110 §13.1.3); an invalid tag is an error, because a change might depend on it.
    pub fn parse(fields: &Fields<'_>) -> Result<Self, Failure> {
        Self::with(fields, EntityTags::parse(fields.if_none_match.lines())?)
    }

    /// As [`Self::parse`], for GET and HEAD: an `If-None-Match` with an invalid tag matches nothing, for there are clients
    /// that send any word as one, and content that is sent once too often does no harm.
    pub fn parse_of_read(fields: &Fields<'_>) -> Result<Self, Failure> {
        let none_match = EntityTags::parse(fields.if_none_match.lines());
        Self::with(fields, none_match.unwrap_or_else(|_| Some(EntityTags::List([].into()))))
    }

    fn with(fields: &Fields<'_>, none_match: Option<EntityTags>) -> Result<Self, Failure> {
        Ok(Self {
            matches: EntityTags::parse(fields.if_match.lines())?,
            none_match,
            modified_since: fields.if_modified_since.and_then(date::parse),
            unmodified_since: fields.if_unmodified_since.and_then(date::parse),
        })
    }

    /// Evaluates GET and HEAD of this version, in the order of RFC 9110 §13.2.2. Without a file the status is not
    /// 200, and preconditions are ignored (§13.2.1).
    pub fn evaluate(&self, meta: Option<&Meta>) -> Evaluation {
        let Some(meta) = meta else { return Evaluation::Proceed };
        let holds = match (&self.matches, self.unmodified_since) {
            (Some(tags), _) => tags.matches(meta.etag, EntityTag::strong),
            (None, date) => date.is_none_or(|date| meta.mtime <= date),
        };
        let not_modified = match (&self.none_match, self.modified_since) {
            (Some(tags), _) => tags.matches(meta.etag, EntityTag::weak),
            (None, date) => date.is_some_and(|date| meta.mtime <= date),
        };
        match (holds, not_modified) {
            (false, _) => Evaluation::Failed,
            (true, true) => Evaluation::NotModified,
            (true, false) => Evaluation::Proceed,
        }
    }

    /// What must hold when a change becomes visible; `If-Modified-Since` is ignored (RFC 9110 §13.1.3).
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

/// Evaluates `If-Range`: if it does not hold, the whole file is sent. A tag is compared strongly. A date never holds:
/// it cannot distinguish two versions of one second, and uploads may set it, so it is no strong validator (RFC 9110
/// §13.1.5, §8.8.2.2).
pub fn if_range_holds(if_range: Option<&str>, meta: &Meta) -> bool {
    let Some(value) = if_range else { return true };
    matches!(cut_tag(value), Some((tag, "")) if tag == EntityTag::Strong(meta.etag))
}

/// Parses one line of a list of tags; empty elements are ignored (RFC 9110 §5.6.1).
fn parse_tags(line: &str, tags: &mut Vec<EntityTag>) -> Result<(), Failure> {
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

/// Splits `text` after the tag that it begins with.
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

//! What the options of a request line mean. `wire::line` has cut them out; every value is read
//! here, once, and none is guessed.

use crate::error::Failure;
use crate::object::{Etag, Precondition};
use crate::wire::line::{self, Request};
use crate::wire::range::{ByteRange, decimal, signed_decimal};

/// `if=` as it was given: a tag that is well-formed but none of ours matches nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnlyIf {
    Absent,
    Version(Etag),
    Never,
}

impl OnlyIf {
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        if text == "absent" {
            return Ok(Self::Absent);
        }
        let formed =
            (1..=64).contains(&text.len()) && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f' | b'-'));
        if !formed {
            return Err(Failure::Malformed("if= is neither absent nor an etag"));
        }
        Ok(Etag::parse(text).map_or(Self::Never, Self::Version))
    }

    pub(super) fn precondition(this: Option<Self>) -> Result<Precondition, Failure> {
        match this {
            None => Ok(Precondition::None),
            Some(Self::Absent) => Ok(Precondition::Absent),
            Some(Self::Version(etag)) => Ok(Precondition::Matches(etag)),
            Some(Self::Never) => Err(Failure::PreconditionFailed),
        }
    }
}

/// Every option of every verb, parsed once.
#[derive(Debug, Default)]
pub(super) struct Options {
    pub(super) after: Option<Box<str>>,
    /// Tell the digests that are known.
    pub(super) digest: bool,
    /// The file can be executed; or say of files whether they can.
    pub(super) exec: bool,
    /// The body is sent only if the file is not there as announced.
    pub(super) if_differs: bool,
    pub(super) limit: Option<usize>,
    pub(super) mtime: Option<i64>,
    pub(super) only: Option<OnlyIf>,
    /// Missing directories are made.
    pub(super) parents: bool,
    pub(super) range: Option<ByteRange>,
    /// All that is under the name.
    pub(super) recursive: bool,
    /// A directory is replaced with all that is in it.
    pub(super) replace: bool,
    /// The token of the client.
    pub(super) resume: Option<Box<str>>,
    pub(super) sha256: Option<[u8; 32]>,
    /// Tell what a page says as one digest.
    pub(super) sum: bool,
    pub(super) trailer: bool,
}

impl Options {
    /// `allowed` are the names that the verb knows.
    pub(super) fn parse(request: &Request<'_>, allowed: &[&str]) -> Result<Self, Failure> {
        let mut options = Self::default();
        for (place, (name, value)) in request.options.iter().enumerate() {
            if !allowed.contains(name) {
                return Err(Failure::Malformed("an option is unknown to this verb"));
            }
            if request.options[..place].iter().any(|(earlier, _)| earlier == name) {
                return Err(Failure::Malformed("an option is given twice"));
            }
            options.set(name, &line::unescape(value)?)?;
        }
        Ok(options)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), Failure> {
        match name {
            "after" => self.after = Some(value.into()),
            "digest" if value == "1" => self.digest = true,
            "digest" => return Err(Failure::Malformed("digest= knows only 1")),
            "exec" if value == "1" => self.exec = true,
            "exec" => return Err(Failure::Malformed("exec= knows only 1")),
            "if-differs" if value == "1" => self.if_differs = true,
            "if-differs" => return Err(Failure::Malformed("if-differs= knows only 1")),
            "if" => self.only = Some(OnlyIf::parse(value)?),
            "limit" => {
                let limit = decimal(value).filter(|limit| *limit > 0);
                let limit = limit.ok_or(Failure::Malformed("limit= is not a number from 1"))?;
                self.limit = Some(usize::try_from(limit).unwrap_or(usize::MAX));
            }
            "mtime" => {
                let mtime = signed_decimal(value);
                self.mtime = Some(mtime.ok_or(Failure::Malformed("mtime= is not a number of seconds"))?);
            }
            "parents" if value == "1" => self.parents = true,
            "parents" => return Err(Failure::Malformed("parents= knows only 1")),
            "range" => {
                self.range = Some(ByteRange::parse(value).ok_or(Failure::Malformed("range= is not FIRST-LAST"))?);
            }
            "recursive" if value == "1" => self.recursive = true,
            "recursive" => return Err(Failure::Malformed("recursive= knows only 1")),
            "replace" if value == "1" => self.replace = true,
            "replace" => return Err(Failure::Malformed("replace= knows only 1")),
            "resume" => {
                let is_formed = (1..=64).contains(&value.len())
                    && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
                if !is_formed {
                    return Err(Failure::Malformed("resume= is not 1 to 64 of A-Z, a-z, 0-9, _ and -"));
                }
                self.resume = Some(value.into());
            }
            "sha256" => {
                self.sha256 = Some(line::sha256(value).ok_or(Failure::Malformed("sha256= is not 64 hex digits"))?);
            }
            "sum" if value == "1" => self.sum = true,
            "sum" => return Err(Failure::Malformed("sum= knows only 1")),
            "trailer" if value == "sha256" => self.trailer = true,
            "trailer" => return Err(Failure::Malformed("trailer= knows only sha256")),
            _ => unreachable!("every allowed name is listed above"),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_any_number_of_seconds_before_or_after_1970() {
        let mtime = |value: &str| {
            let mut options = Options::default();
            options.set("mtime", value).map(|()| options.mtime)
        };
        for seconds in [i64::MIN, -1, 0, i64::MAX] {
            assert_eq!(mtime(&seconds.to_string()), Ok(Some(seconds)));
        }
        for bad in ["", "-", "--1", "+1", "1-", "- 1", "9223372036854775808", "-9223372036854775809"] {
            assert!(mtime(bad).is_err(), "{bad}");
        }
    }
}

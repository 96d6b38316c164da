//! The `If` field (RFC 4918 §10.4): lists of conditions on lock tokens and versions, of which one list must hold. What the
//! conditions are true of is not known here.

use crate::error::Failure;

/// Most conditions of one field: a client sends one or two.
const CONDITIONS_MAX: usize = 64;

const BAD: Failure = Failure::Malformed("If is not a list of conditions (RFC 4918 section 10.4)");
const TOO_MANY: Failure = Failure::Malformed("If has more than 64 conditions");

/// The whole field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct If<'a>(Vec<List<'a>>);

/// Conditions that hold together, of one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
struct List<'a> {
    /// The address or path that it is about; that of the request if there is none.
    resource: Option<&'a str>,
    conditions: Vec<Condition<'a>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Condition<'a> {
    is_negated: bool,
    state: State<'a>,
}

/// What of a version must be true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Needs<'a> {
    Nothing,
    /// It is one of these entity tags; without any, nothing helps.
    OneOf(Vec<&'a str>),
}

/// What a condition is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State<'a> {
    /// The resource is locked with this token.
    Token(&'a str),
    /// It has this version: an entity tag with its quotes.
    Version(&'a str),
}

impl<'a> If<'a> {
    /// Reads the field.
    pub fn parse(text: &'a str) -> Result<Self, Failure> {
        let mut rest = text.trim_matches([' ', '\t']);
        let (mut lists, mut resource, mut count, mut is_tagged) = (Vec::new(), None, 0, None);
        while !rest.is_empty() {
            if let Some(tagged) = rest.strip_prefix('<') {
                let (tag, after) = tagged.split_once('>').ok_or(BAD)?;
                // Lists are all tagged or none, and a tag has a list.
                if is_tagged == Some(false) || tag.is_empty() || !after.trim_start().starts_with('(') {
                    return Err(BAD);
                }
                (resource, is_tagged, rest) = (Some(tag), Some(true), after.trim_start());
                continue;
            }
            let inside = rest.strip_prefix('(').ok_or(BAD)?;
            is_tagged = is_tagged.or(Some(false));
            let (conditions, after) = list(inside)?;
            count += conditions.len();
            if count > CONDITIONS_MAX {
                return Err(TOO_MANY);
            }
            lists.push(List { resource, conditions });
            rest = after.trim_start_matches([' ', '\t']);
        }
        if lists.is_empty() { Err(BAD) } else { Ok(Self(lists)) }
    }

    /// What must be true of the version of the requested resource so that a list holds. `has_token`: of the locks of a
    /// resource; `is_own`: it is the requested one. Of the versions of others nothing is known, nor which one a file does not
    /// have: such a list does not hold.
    pub fn needs(
        &self,
        mut has_token: impl FnMut(Option<&'a str>, &'a str) -> bool,
        mut is_own: impl FnMut(Option<&'a str>) -> bool,
    ) -> Needs<'a> {
        let mut versions = Vec::new();
        for List { resource, conditions } in &self.0 {
            let (mut version, mut may_hold) = (None, true);
            for Condition { is_negated, state } in conditions {
                may_hold &= match state {
                    State::Token(token) => has_token(*resource, token) != *is_negated,
                    State::Version(one) => {
                        let is_only = version.replace(*one).is_none_or(|before| before == *one);
                        is_only && !is_negated && is_own(*resource)
                    }
                };
            }
            match version {
                _ if !may_hold => {}
                None => return Needs::Nothing,
                Some(version) => versions.push(version),
            }
        }
        Needs::OneOf(versions)
    }

    /// Every token that is not negated: those that the client has submitted (RFC 4918 §10.4.1).
    pub fn tokens(&self) -> impl Iterator<Item = &'a str> {
        let conditions = self.0.iter().flat_map(|list| &list.conditions).filter(|one| !one.is_negated);
        conditions.filter_map(|one| if let State::Token(token) = one.state { Some(token) } else { None })
    }
}

/// The conditions up to `)`, and what follows that.
fn list(text: &str) -> Result<(Vec<Condition<'_>>, &str), Failure> {
    let (mut conditions, mut rest) = (Vec::new(), text);
    loop {
        rest = rest.trim_start_matches([' ', '\t']);
        if let Some(after) = rest.strip_prefix(')') {
            return if conditions.is_empty() { Err(BAD) } else { Ok((conditions, after)) };
        }
        let is_negated = rest.get(..3).is_some_and(|word| word.eq_ignore_ascii_case("not"));
        if is_negated {
            rest = rest[3..].trim_start_matches([' ', '\t']);
        }
        let (state, after) = state(rest)?;
        if conditions.len() == CONDITIONS_MAX {
            return Err(TOO_MANY);
        }
        conditions.push(Condition { is_negated, state });
        rest = after;
    }
}

fn state(text: &str) -> Result<(State<'_>, &str), Failure> {
    if let Some(token) = text.strip_prefix('<') {
        let (token, after) = token.split_once('>').ok_or(BAD)?;
        return if token.is_empty() { Err(BAD) } else { Ok((State::Token(token), after)) };
    }
    // An entity tag may have any of these brackets between its quotes.
    let tag = text.strip_prefix('[').ok_or(BAD)?;
    let quote = tag.find('"').filter(|at| matches!(&tag[..*at], "" | "W/")).ok_or(BAD)?;
    let end = tag[quote + 1..].find('"').ok_or(BAD)? + quote + 2;
    let after = tag[end..].strip_prefix(']').ok_or(BAD)?;
    Ok((State::Version(&tag[..end]), after))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tokens(text: &str) -> Vec<&str> {
        If::parse(text).expect("a field").tokens().collect()
    }

    /// What the field needs where these tokens are those of every resource.
    fn needs<'a>(text: &'a str, tokens: &[&str]) -> Needs<'a> {
        let is_own = |resource: Option<&str>| resource.is_none_or(|resource| resource == "/own");
        If::parse(text).expect("a field").needs(|_, token| tokens.contains(&token), is_own)
    }

    #[test]
    fn one_list_must_hold_with_all_its_conditions() {
        let never = Needs::OneOf(Vec::new());
        assert_eq!((needs("(<a>)", &["a"]), needs("(<a>)", &[])), (Needs::Nothing, never.clone()));
        assert_eq!(needs("(<a> [\"v\"])", &["a"]), Needs::OneOf(vec!["\"v\""]));
        assert_eq!(needs("(<a> [\"v\"])", &[]), never);
        assert_eq!((needs("(<a>) (Not <b>)", &[]), needs("(<a>) (Not <b>)", &["b"])), (Needs::Nothing, never.clone()));
        assert_eq!(needs("(<a> [\"v\"]) (Not <DAV:no-lock> [\"w\"])", &[]), Needs::OneOf(vec!["\"w\""]));
        assert_eq!(needs("(not<a>)", &[]), Needs::Nothing);
        assert_eq!(needs("([\"v\"] [\"w\"])", &[]), never);
        assert_eq!(needs("( NOT  [W/\"v\"] )", &[]), never);
    }

    #[test]
    fn a_tag_is_for_all_lists_up_to_the_next_one() {
        let text = "</a> (<1>) ([\"x)>]\"]) </own> (<2>) ([\"y\"])";
        let mut asked = Vec::new();
        let field = If::parse(text).expect("a field");
        let found = field.needs(
            |resource, token| {
                asked.push((resource, token));
                false
            },
            |resource| resource == Some("/own"),
        );
        assert_eq!(found, Needs::OneOf(vec!["\"y\""]));
        assert_eq!(asked, [(Some("/a"), "1"), (Some("/own"), "2")]);
    }

    #[test]
    fn what_is_negated_is_not_submitted() {
        assert_eq!(tokens("(<a> Not <b>) (Not <c>) (<d> [\"e\"])"), ["a", "d"]);
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for bad in [
            "",
            " ",
            "()",
            "(",
            "(<a>",
            "<a>",
            "(<a)",
            "(<>)",
            "([a])",
            "([\"a])",
            "([\"a\")",
            "(a)",
            "<a> b",
            "(<a>) x",
            "(<a>) </b> (<c>)",
            "</b> (<c>) </d>",
            "<> (<a>)",
            "(Not)",
            "(<a>))",
            "([\"a\"x])",
        ] {
            assert!(If::parse(bad).is_err(), "{bad}");
        }
        assert!(If::parse(&"(<a>)".repeat(CONDITIONS_MAX)).is_ok());
        assert_eq!(If::parse(&"(<a>)".repeat(CONDITIONS_MAX + 1)), Err(TOO_MANY));
        assert_eq!(If::parse(&format!("({})", "<a>".repeat(CONDITIONS_MAX + 1))), Err(TOO_MANY));
    }

    proptest! {
        #[test]
        fn no_text_breaks_it(text in "([()<>\\[\\]\" ]|Not|W/|[a-z]|\u{fc}){0,24}") {
            if let Ok(field) = If::parse(&text) {
                field.needs(|_, _| false, |_| true);
                prop_assert!(field.tokens().count() <= CONDITIONS_MAX);
            }
        }
    }
}

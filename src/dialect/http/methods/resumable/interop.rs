//! Which version of the draft a client speaks.

use crate::wire::http::head::UploadFields;
use crate::wire::http::structured;

/// What differs between the versions that are offered.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) number: u64,
    /// What `Upload-Limit` calls the seconds that are left.
    pub(super) age: &'static str,
}

static VERSIONS: [Version; 3] = [
    Version { number: 6, age: "expires" },
    Version { number: 8, age: "max-age" },
    Version { number: 9, age: "max-age" },
];

/// How a client speaks the draft.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Interop {
    /// `None` where it named none, or none that is offered: it is sent no interim response.
    pub(super) version: Option<&'static Version>,
    /// True if the upload is complete after this request; `None` where it does not say.
    pub(super) completes: Option<bool>,
    completeness: Completeness,
}

/// How completeness is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Completeness {
    Complete,
    /// As the oldest clients do.
    Incomplete,
}

impl Interop {
    pub(super) fn of(fields: &UploadFields<'_>) -> Self {
        let number = fields.upload_draft_interop_version.and_then(structured::count);
        let version = VERSIONS.iter().find(|version| Some(version.number) == number);
        // A field that is malformed is ignored.
        let complete = fields.upload_complete.and_then(structured::boolean);
        let incomplete = fields.upload_incomplete.and_then(structured::boolean);
        match (complete, incomplete) {
            (None, Some(incomplete)) => {
                Self { version, completes: Some(!incomplete), completeness: Completeness::Incomplete }
            }
            (completes, _) => Self { version, completes, completeness: Completeness::Complete },
        }
    }

    pub(super) fn completes_now(self) -> bool {
        self.completes == Some(true)
    }

    /// The field that says whether an upload is complete.
    pub(super) const fn completeness(self, is_complete: bool) -> (&'static str, &'static str) {
        match (self.completeness, is_complete) {
            (Completeness::Complete, true) => ("Upload-Complete", "?1"),
            (Completeness::Complete, false) => ("Upload-Complete", "?0"),
            (Completeness::Incomplete, true) => ("Upload-Incomplete", "?0"),
            (Completeness::Incomplete, false) => ("Upload-Incomplete", "?1"),
        }
    }

    /// What `Upload-Limit` calls the seconds that are left.
    pub(super) fn age(self) -> &'static str {
        self.version.map_or("max-age", |version| version.age)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(version: Option<&'static str>, complete: Option<&'static str>, incomplete: Option<&'static str>) -> Interop {
        Interop::of(&UploadFields {
            upload_draft_interop_version: version,
            upload_complete: complete,
            upload_incomplete: incomplete,
            ..UploadFields::default()
        })
    }

    #[test]
    fn a_version_is_offered_or_as_if_none_was_named() {
        for (text, number, age) in [
            (Some("6"), Some(6), "expires"),
            (Some("8"), Some(8), "max-age"),
            (Some(" 9;x"), Some(9), "max-age"),
            (Some("3"), None, "max-age"),
            (Some("7"), None, "max-age"),
            (Some("8.0"), None, "max-age"),
            (Some(""), None, "max-age"),
            (None, None, "max-age"),
        ] {
            let interop = of(text, None, None);
            assert_eq!((interop.version.map(|version| version.number), interop.age()), (number, age), "{text:?}");
        }
    }

    #[test]
    fn completeness_is_said_as_the_client_says_it() {
        for (complete, incomplete, completes, said) in [
            (Some("?1"), None, Some(true), ("Upload-Complete", "?0")),
            (Some("?0"), None, Some(false), ("Upload-Complete", "?0")),
            (None, Some("?1"), Some(false), ("Upload-Incomplete", "?1")),
            (None, Some("?0"), Some(true), ("Upload-Incomplete", "?1")),
            (Some("?1"), Some("?1"), Some(true), ("Upload-Complete", "?0")),
            (Some("yes"), None, None, ("Upload-Complete", "?0")),
            (Some("1"), Some(""), None, ("Upload-Complete", "?0")),
            (None, None, None, ("Upload-Complete", "?0")),
        ] {
            let interop = of(None, complete, incomplete);
            assert_eq!(
                (interop.completes, interop.completeness(false)),
                (completes, said),
                "{complete:?} {incomplete:?}"
            );
        }
    }
}

//! Which version of the draft a client speaks.

use crate::wire::http::head::UploadFields;
use crate::wire::http::structured;

/// What differs between the versions that are offered.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) number: u64,
}

static VERSIONS: [Version; 3] = [Version { number: 6 }, Version { number: 8 }, Version { number: 9 }];

/// How a client speaks the draft.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Interop {
    /// `None` where it named none, or none that is offered: it is sent no interim response.
    pub(super) version: Option<&'static Version>,
    /// The upload is complete behind this request.
    pub(super) completes: bool,
}

impl Interop {
    pub(super) fn of(fields: &UploadFields<'_>) -> Self {
        let number = fields.upload_draft_interop_version.and_then(structured::count);
        let version = VERSIONS.iter().find(|version| Some(version.number) == number);
        Self { version, completes: completes(fields).unwrap_or(false) }
    }
}

/// `Upload-Complete`, or `Upload-Incomplete` of the oldest clients. A field that is malformed is ignored.
pub(super) fn completes(fields: &UploadFields<'_>) -> Option<bool> {
    let complete = fields.upload_complete.and_then(structured::boolean);
    complete.or_else(|| fields.upload_incomplete.and_then(structured::boolean).map(|incomplete| !incomplete))
}

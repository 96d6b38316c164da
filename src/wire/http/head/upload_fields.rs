//! The field lines that only requests for changes and for signed links have. Most heads have none of them.

/// As they were received; empty, which is no value of any of them, where one came more than once or is not UTF-8.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UploadFields<'a> {
    pub content_type: Option<&'a str>,
    pub dav_if: Option<&'a str>,
    pub depth: Option<&'a str>,
    pub destination: Option<&'a str>,
    pub filewharf_link: Option<&'a str>,
    pub lock_token: Option<&'a str>,
    pub method_override: Option<&'a str>,
    pub oc_checksum: Option<&'a str>,
    pub overwrite: Option<&'a str>,
    pub timeout: Option<&'a str>,
    pub tus_resumable: Option<&'a str>,
    pub upload_checksum: Option<&'a str>,
    pub upload_complete: Option<&'a str>,
    pub upload_concat: Option<&'a str>,
    pub upload_defer_length: Option<&'a str>,
    pub upload_draft_interop_version: Option<&'a str>,
    pub upload_incomplete: Option<&'a str>,
    pub upload_length: Option<&'a str>,
    pub upload_metadata: Option<&'a str>,
    pub upload_offset: Option<&'a str>,
    pub x_oc_mtime: Option<&'a str>,
}

impl<'a> UploadFields<'a> {
    /// Stores the line if its name, in lower case, is one of these.
    pub(super) fn take(this: &mut Option<Box<Self>>, name: &[u8], value: &'a [u8]) {
        let slot: fn(&mut Self) -> &mut Option<&'a str> = match name {
            b"content-type" => |fields| &mut fields.content_type,
            b"if" => |fields| &mut fields.dav_if,
            b"depth" => |fields| &mut fields.depth,
            b"destination" => |fields| &mut fields.destination,
            b"filewharf-link" => |fields| &mut fields.filewharf_link,
            b"lock-token" => |fields| &mut fields.lock_token,
            b"x-http-method-override" => |fields| &mut fields.method_override,
            b"oc-checksum" => |fields| &mut fields.oc_checksum,
            b"overwrite" => |fields| &mut fields.overwrite,
            b"timeout" => |fields| &mut fields.timeout,
            b"tus-resumable" => |fields| &mut fields.tus_resumable,
            b"upload-checksum" => |fields| &mut fields.upload_checksum,
            b"upload-complete" => |fields| &mut fields.upload_complete,
            b"upload-concat" => |fields| &mut fields.upload_concat,
            b"upload-defer-length" => |fields| &mut fields.upload_defer_length,
            b"upload-draft-interop-version" => |fields| &mut fields.upload_draft_interop_version,
            b"upload-incomplete" => |fields| &mut fields.upload_incomplete,
            b"upload-length" => |fields| &mut fields.upload_length,
            b"upload-metadata" => |fields| &mut fields.upload_metadata,
            b"upload-offset" => |fields| &mut fields.upload_offset,
            b"x-oc-mtime" => |fields| &mut fields.x_oc_mtime,
            _ => return,
        };
        let slot = slot(this.get_or_insert_default());
        let value = str::from_utf8(value).unwrap_or_default();
        *slot = Some(if slot.is_none() { value } else { "" });
    }
}

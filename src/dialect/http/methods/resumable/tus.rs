//! What a head asks for in tus 1.0.0: core, creation, creation-with-upload, creation-defer-length, termination,
//! checksum, expiration and concatenation.

use crate::command::{Append, Ends, Put};
use crate::config::Limits;
use crate::dialect::http::incoming::check_coding;
use crate::dialect::http::methods::resumable::model::Resumable;
use crate::dialect::http::methods::resumable::part_digest::PartDigest;
use crate::dialect::http::response::Refusal;
use crate::error::Failure;
use crate::object::{ExpectedKind, Key, Precondition};
use crate::upload::{NewUpload, Role, UploadId, UploadRef, UploadState};
use crate::wire::http::conditional::Preconditions;
use crate::wire::http::digest;
use crate::wire::http::head::{Head, UploadFields};
use crate::wire::http::tus::{Checksum, Concat, metadata};
use crate::wire::key::{self, Path};
use crate::wire::range::{decimal, seconds};

pub(super) const VERSION: &str = "1.0.0";
pub(super) const EXTENSIONS: &str =
    "creation,creation-with-upload,creation-defer-length,termination,checksum,expiration,concatenation";
const CONTENT_TYPE: &str = "application/offset+octet-stream";
/// In front of what this variant keeps with an upload: `Upload-Metadata`; of one that is concatenated from others,
/// `Upload-Concat` and a tab before that.
const MARK: &str = "tus ";
/// For the log and the rules, a partial upload in a directory is called so.
const PARTIAL: &str = "partial";
/// How the path of every upload ends, without its id. What a proxy has in front of it is not known here.
const PLACE: &str = ".filewharf/uploads";

pub(super) fn check_version(fields: &UploadFields<'_>) -> Result<(), Refusal<'static>> {
    if fields.tus_resumable == Some(VERSION) {
        return Ok(());
    }
    let failure = Failure::Malformed("this server speaks tus 1.0.0");
    Err(Refusal { status: 412, failure, field: Some(("Tus-Version", &VERSION)) })
}

/// `Upload-Metadata`, as the client wrote it.
pub(super) fn metadata_of(upload: &UploadState) -> Option<&str> {
    let kept = upload.metadata.strip_prefix(MARK)?;
    let text = match upload.role {
        Role::Final(_) => kept.split_once('\t')?.1,
        Role::Whole | Role::Partial => kept,
    };
    Some(text).filter(|text| !text.is_empty())
}

/// `Upload-Concat`, as the client wrote it.
pub(super) fn concat_of(upload: &UploadState) -> Option<&str> {
    match upload.role {
        Role::Whole => None,
        Role::Partial => Some("partial"),
        Role::Final(_) => upload.metadata.strip_prefix(MARK)?.split_once('\t').map(|(concat, _)| concat),
    }
}

pub(super) fn create(
    this: &mut Resumable,
    head: &Head<'_>,
    fields: &UploadFields<'_>,
    limits: &Limits,
) -> Result<Append, Refusal<'static>> {
    let concat = fields.upload_concat.map(|text| Concat::parse(text, limits.live.upload_parts_max)).transpose()?;
    let role = match concat {
        Some(Concat::Final(parts)) => return join(this, head, fields, &parts),
        Some(Concat::Partial) => Role::Partial,
        None => Role::Whole,
    };
    let len = match (fields.upload_length, fields.upload_defer_length) {
        (Some(len), None) => Some(decimal(len).ok_or(Failure::Malformed("Upload-Length is not a number"))?),
        (None, Some("1")) => None,
        _ => return Err(Failure::Malformed("either Upload-Length or Upload-Defer-Length: 1 is needed").into()),
    };
    let part = this.incoming.left();
    if len.is_some_and(|len| part > len) || len.unwrap_or(part) > limits.live.request_bytes_max {
        return Err(Failure::TooLarge.into());
    }
    let text = fields.upload_metadata.unwrap_or_default();
    let kept = format!("{MARK}{text}");
    if kept.len() > NewUpload::METADATA_LEN_MAX {
        return Err(Failure::TooLarge.into());
    }
    let path = this.path.as_ref().ok_or(Failure::Internal)?;
    let mut precondition = Precondition::None;
    let mut mtime = None;
    let key = if role == Role::Partial {
        // Its metadata is only kept: it never gets a name. What may be stored there may be a part of it.
        metadata(text, "")?;
        if path.expected_kind == ExpectedKind::Dir { inside(&path.key, PARTIAL)? } else { path.key.clone() }
    } else {
        precondition = Preconditions::parse(&head.fields)?.for_change();
        mtime = mtime_in(text)?;
        final_name(path, text)?
    };
    let target = path.clone();
    this.path = Some(Path { key: key.clone(), expected_kind: ExpectedKind::Either });
    if !this.incoming.is_over() {
        check_content_type(fields)?;
    }
    check_coding(head)?;
    read_checksum(this, fields)?;
    let put = Put { precondition, mtime, ..Put::new(key, len) };
    let upload = UploadRef::New(Box::new(NewUpload { id: None, put, metadata: kept.into(), role }));
    let append = Append { upload, len, ends: Ends::AtItsLength, is_verified: this.part.is_wanted() };
    this.in_dir = in_dir(&target, text, &append);
    Ok(append)
}

/// An upload that is concatenated from others.
fn join(
    this: &mut Resumable,
    head: &Head<'_>,
    fields: &UploadFields<'_>,
    parts: &[&str],
) -> Result<Append, Refusal<'static>> {
    if [fields.upload_length, fields.upload_defer_length, fields.upload_checksum].iter().any(Option::is_some) {
        return Err(
            Failure::Malformed("an upload that is joined has neither a length nor a checksum of its own").into()
        );
    }
    if !this.incoming.is_over() {
        return Err(Failure::Malformed("an upload that is joined has no body").into());
    }
    let parts: Option<Box<[UploadId]>> = parts.iter().map(|url| id_in(url)).collect();
    let parts = parts.ok_or(Failure::Malformed("Upload-Concat names what is no upload of this server"))?;
    // tus does not say what this means; joined, a client could multiply what it sends.
    if parts.iter().enumerate().any(|(at, part)| parts[..at].contains(part)) {
        return Err(Failure::Malformed("Upload-Concat names an upload twice").into());
    }
    let text = fields.upload_metadata.unwrap_or_default();
    let kept = format!("{MARK}{}\t{text}", fields.upload_concat.unwrap_or_default());
    if kept.len() > 3 * NewUpload::METADATA_LEN_MAX {
        return Err(Failure::TooLarge.into());
    }
    let path = this.path.as_ref().ok_or(Failure::Internal)?;
    let key = final_name(path, text)?;
    let target = path.clone();
    this.path = Some(Path { key: key.clone(), expected_kind: ExpectedKind::Either });
    this.whole = digest::sha256(head.fields.repr_digest.lines())?;
    let precondition = Preconditions::parse(&head.fields)?.for_change();
    let put = Put { precondition, mtime: mtime_in(text)?, hash: this.whole.is_some(), ..Put::new(key, None) };
    let upload = NewUpload { id: None, put, metadata: kept.into(), role: Role::Final(parts) };
    let upload = UploadRef::New(Box::new(upload));
    let append = Append { upload, len: None, ends: Ends::Joined, is_verified: false };
    this.in_dir = in_dir(&target, text, &append);
    Ok(append)
}

/// The same upload under its name in the target, if that could be a directory without the slash at its end.
fn in_dir(target: &Path, text: &str, append: &Append) -> Option<Box<Append>> {
    if target.expected_kind == ExpectedKind::Dir {
        return None;
    }
    let dir = Path { expected_kind: ExpectedKind::Dir, ..target.clone() };
    let key = final_name(&dir, text).ok()?;
    let mut append = Box::new(append.clone());
    let UploadRef::New(new) = &mut append.upload else { return None };
    new.put.key = key;
    Some(append)
}

/// The upload at this address, relative or absolute.
fn id_in(url: &str) -> Option<UploadId> {
    let (place, id) = url.rsplit_once('/')?;
    let before = place.strip_suffix(PLACE)?;
    UploadId::parse(id).filter(|_| before.is_empty() || before.ends_with('/'))
}

/// The length of the whole, where this request tells it.
pub(super) fn append(
    this: &mut Resumable,
    head: &Head<'_>,
    fields: &UploadFields<'_>,
) -> Result<Option<u64>, Refusal<'static>> {
    check_content_type(fields)?;
    check_coding(head)?;
    read_checksum(this, fields)?;
    let len = fields.upload_length.map(|len| decimal(len).ok_or(Failure::Malformed("Upload-Length is not a number")));
    Ok(len.transpose()?)
}

fn check_content_type(fields: &UploadFields<'_>) -> Result<(), Refusal<'static>> {
    if fields.content_type.is_some_and(|text| text.eq_ignore_ascii_case(CONTENT_TYPE)) {
        return Ok(());
    }
    let failure = Failure::NotImplemented("the Content-Type of a part is application/offset+octet-stream");
    Err(Refusal { status: 415, failure, field: None })
}

fn read_checksum(this: &mut Resumable, fields: &UploadFields<'_>) -> Result<(), Failure> {
    if let Some(text) = fields.upload_checksum {
        this.part = PartDigest::of(Checksum::parse(text)?);
    }
    Ok(())
}

/// The time in the metadata.
fn mtime_in(text: &str) -> Result<Option<i64>, Failure> {
    let bad = Failure::Malformed("mtime in Upload-Metadata is not a number of seconds since 1970");
    let Some(value) = metadata(text, "mtime")? else { return Ok(None) };
    str::from_utf8(&value).ok().and_then(seconds).map(Some).ok_or(bad)
}

/// The target itself; or the name in the metadata, in the directory that the target is.
fn final_name(target: &Path, text: &str) -> Result<Key, Failure> {
    let value = |name| -> Result<Option<String>, Failure> {
        let Some(value) = metadata(text, name)? else { return Ok(None) };
        let value =
            String::from_utf8(value).map_err(|_| Failure::Malformed("a name in Upload-Metadata is not UTF-8"))?;
        Ok(Some(value).filter(|value| !value.is_empty()))
    };
    let name = value("filename")?.or(value("name")?);
    if target.expected_kind != ExpectedKind::Dir {
        return Ok(target.key.clone());
    }
    // What has no path says so in one of the words of its language.
    let path = value("relativePath")?.filter(|path| !matches!(path.as_str(), "null" | "undefined"));
    let name = match (path, name) {
        (Some(path), _) => path.strip_prefix('/').unwrap_or(&path).to_owned(),
        (None, Some(name)) if name.contains('/') => {
            return Err(Failure::Malformed("the name in Upload-Metadata has a /: a path goes into relativePath"));
        }
        (None, Some(name)) => name,
        (None, None) => return Err(Failure::Malformed("Upload-Metadata has neither filename nor name for the file")),
    };
    inside(&target.key, &name)
}

fn inside(dir: &Key, name: &str) -> Result<Key, Failure> {
    if dir.is_root() { key::relative(name) } else { key::relative(&format!("{}/{name}", dir.as_str())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(target: &str, text: &str) -> Option<String> {
        let target = key::absolute(target).expect("a path");
        final_name(&target, text).ok().map(|key| key.as_str().to_owned())
    }

    #[test]
    fn an_upload_is_known_by_the_end_of_its_address() {
        let id = UploadId([0xAB; 16]);
        for before in ["", "/", "../", "../../", "http://host:1/", "https://host/prefix/a/"] {
            assert_eq!(id_in(&format!("{before}.filewharf/uploads/{id}")), Some(id), "{before}");
        }
        let good = format!("/.filewharf/uploads/{id}");
        for bad in ["", "/", &id.to_string(), &good[..good.len() - 1], &format!("{good}/"), &format!("{good}?a")] {
            assert_eq!(id_in(bad), None, "{bad}");
        }
        assert_eq!(id_in(&format!("/x.filewharf/uploads/{id}")), None);
    }

    #[test]
    fn the_final_name_is_the_target_or_in_it() {
        // a.txt, b.txt, d/a.txt, null, a/b, ../x, .filewharf
        for (target, text, want) in [
            ("/f", "", Some("f")),
            ("/f", "filename YS50eHQ=", Some("f")),
            ("/d/", "filename YS50eHQ=", Some("d/a.txt")),
            ("/", "name Yi50eHQ=", Some("b.txt")),
            ("/", "name Yi50eHQ=,filename YS50eHQ=", Some("a.txt")),
            ("/", "filename ,name Yi50eHQ=", Some("b.txt")),
            ("/e/", "filename YS50eHQ=,relativePath ZC9hLnR4dA==", Some("e/d/a.txt")),
            ("/", "relativePath L2QvYS50eHQ=,filename YS50eHQ=", Some("d/a.txt")),
            ("/", "filename YS50eHQ=,relativePath bnVsbA==", Some("a.txt")),
            ("/", "", None),
            ("/", "filetype YQ==", None),
            ("/", "filename YS9i", None),
            ("/", "relativePath Li4veA==", None),
            ("/", "filename LmZpbGV3aGFyZg==", None),
            ("/", "filename /w==", None),
            ("/f", "filename *", None),
        ] {
            assert_eq!(name(target, text).as_deref(), want, "{target} {text}");
        }
    }
}

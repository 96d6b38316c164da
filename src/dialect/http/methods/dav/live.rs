//! The properties that follow from what is stored (RFC 4918 §15, RFC 4331, those of ownCloud, Apache and Microsoft that
//! clients ask for). None of them is stored itself.

use std::fmt::Write as _;

use crate::dav_locks::DavLocks;
use crate::dialect::http::media_type;
use crate::object::{Entry, Key, Meta, Node};
use crate::properties::Name;
use crate::wire::dav::{DAV, lock, xml};
use crate::wire::http::date;
use crate::wire::line::hex;

/// What Apache says, and other clients know, of a directory.
const DIR_TYPE: &str = "httpd/unix-directory";

pub(super) const OWNCLOUD: &str = "http://owncloud.org/ns";
pub(super) const APACHE: &str = "http://apache.org/dav/props/";
pub(super) const MICROSOFT: &str = "urn:schemas-microsoft-com:";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Live {
    Checksums,
    ContentLength,
    ContentType,
    DisplayName,
    Etag,
    Executable,
    LastModified,
    LockDiscovery,
    QuotaAvailable,
    QuotaUsed,
    ResourceType,
    SupportedLock,
    Win32LastModified,
}

/// Those that are sent to a client that asks for all come first.
const TABLE: [(Live, &str, &str); 13] = [
    (Live::ResourceType, DAV, "resourcetype"),
    (Live::DisplayName, DAV, "displayname"),
    (Live::ContentLength, DAV, "getcontentlength"),
    (Live::ContentType, DAV, "getcontenttype"),
    (Live::Etag, DAV, "getetag"),
    (Live::LastModified, DAV, "getlastmodified"),
    (Live::LockDiscovery, DAV, "lockdiscovery"),
    (Live::SupportedLock, DAV, "supportedlock"),
    (Live::QuotaAvailable, DAV, "quota-available-bytes"),
    (Live::QuotaUsed, DAV, "quota-used-bytes"),
    (Live::Checksums, OWNCLOUD, "checksums"),
    (Live::Executable, APACHE, "executable"),
    (Live::Win32LastModified, MICROSOFT, "Win32LastModifiedTime"),
];
const USUAL: usize = 6;

/// What is known of a file or a directory.
pub(super) struct Facts<'a> {
    pub(super) key: &'a Key,
    pub(super) entry: &'a Entry,
    pub(super) space: Option<Space>,
    pub(super) locks: &'a DavLocks,
    /// The path under which a proxy passes this server on, and the time in seconds since 1970.
    pub(super) at: (&'a str, u64),
}

/// In bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Space {
    pub(super) available: u64,
    pub(super) used: Option<u64>,
}

impl Live {
    pub(super) fn of(name: &Name) -> Option<Self> {
        let is_it = |row: &&(Self, &str, &str)| (row.1, row.2) == (&*name.namespace, &*name.local);
        TABLE.iter().find(is_it).map(|row| row.0)
    }

    pub(super) fn usual() -> impl Iterator<Item = Self> {
        TABLE.iter().take(USUAL).map(|row| row.0)
    }

    pub(super) fn name(self) -> Name {
        let row = TABLE.iter().find(|row| row.0 == self);
        let (namespace, local) = row.map_or((DAV, ""), |row| (row.1, row.2));
        Name { namespace: namespace.into(), local: local.into() }
    }

    /// Writes the property with its value; false if there is none.
    pub(super) fn write(self, facts: &Facts<'_>, out: &mut String) -> bool {
        let Facts { key, entry, space, locks, at } = facts;
        let file = if let Some(Node::File(meta)) = &entry.node { Some(meta) } else { None };
        let _ = match (self, file) {
            (Self::LockDiscovery, _) => {
                lock::write_discovery(locks.covering(key), *at, out);
                Ok(())
            }
            (Self::SupportedLock, _) if locks.are_offered() => write!(out, "{}", lock::SUPPORTED),
            (Self::SupportedLock, _) => write!(out, "<D:supportedlock/>"),
            (Self::ResourceType, _) if entry.is_dir => {
                write!(out, "<D:resourcetype><D:collection/></D:resourcetype>")
            }
            (Self::ResourceType, _) => write!(out, "<D:resourcetype/>"),
            (Self::DisplayName, _) => {
                out.push_str("<D:displayname>");
                xml::escape(if key.is_root() { "/" } else { key.name() }, out);
                write!(out, "</D:displayname>")
            }
            (Self::ContentLength, Some(Meta { len, .. })) => {
                write!(out, "<D:getcontentlength>{len}</D:getcontentlength>")
            }
            (Self::ContentType, _) => {
                let media_type = if entry.is_dir { DIR_TYPE } else { media_type::of(key) };
                write!(out, "<D:getcontenttype>{media_type}</D:getcontenttype>")
            }
            (Self::Etag, Some(Meta { etag, .. })) => write!(out, "<D:getetag>\"{etag}\"</D:getetag>"),
            (Self::LastModified, _) => return date_of(entry, ("<D:getlastmodified>", "</D:getlastmodified>"), out),
            (Self::Win32LastModified, _) => {
                let open = "<Z:Win32LastModifiedTime xmlns:Z=\"urn:schemas-microsoft-com:\">";
                return date_of(entry, (open, "</Z:Win32LastModifiedTime>"), out);
            }
            (Self::Checksums, Some(Meta { sha256: Some(digest), .. })) => {
                let digits = hex(digest);
                write!(
                    out,
                    "<o:checksums xmlns:o=\"{OWNCLOUD}\"><o:checksum>SHA256:{digits}</o:checksum></o:checksums>"
                )
            }
            (Self::Executable, Some(Meta { is_executable, .. })) => {
                let value = if *is_executable { 'T' } else { 'F' };
                write!(out, "<A:executable xmlns:A=\"{APACHE}\">{value}</A:executable>")
            }
            (Self::QuotaAvailable, _) => match space {
                Some(Space { available, .. }) => {
                    write!(out, "<D:quota-available-bytes>{available}</D:quota-available-bytes>")
                }
                None => return false,
            },
            (Self::QuotaUsed, _) => match space {
                Some(Space { used: Some(used), .. }) => {
                    write!(out, "<D:quota-used-bytes>{used}</D:quota-used-bytes>")
                }
                _ => return false,
            },
            (Self::ContentLength | Self::Etag | Self::Checksums | Self::Executable, _) => return false,
        };
        true
    }
}

fn date_of(entry: &Entry, (open, close): (&str, &str), out: &mut String) -> bool {
    let mtime = match entry.node {
        Some(Node::File(meta)) => meta.mtime,
        Some(Node::Dir { mtime }) => mtime,
        None => return false,
    };
    let mut text = Vec::new();
    date::write(mtime, &mut text);
    out.push_str(open);
    out.push_str(&String::from_utf8_lossy(&text));
    out.push_str(close);
    true
}

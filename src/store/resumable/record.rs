//! The files of an upload that can be resumed, and what they mean after a crash at any point.
//!
//! In `.filewharf/uploads/`, where ID are the 32 hex digits of the upload:
//!
//! * `ID.part`: its bytes. Only those before the recorded offset count; it is cut to it when it is opened.
//! * `ID.info`: its record, 16 KiB. At 0 a header of text, filled up with zeroes to 8 KiB, which never changes; at
//!   8 KiB and at 12 KiB one checkpoint of 512 bytes each ([`checkpoint`](super::checkpoint)), which are written in
//!   turn: the one with an odd sequence number at 8 KiB. The whole checkpoint with the highest number counts, so a
//!   write that was torn leaves the one before.
//! * `CLOCK`: empty. Touched to ask the file system for the time, so that all machines that share it agree.
//!
//! The header has one line for each of these, in this order, and zeroes after the last:
//!
//! ```text
//! filewharf-upload 1
//! path PATH
//! length N, or unknown
//! metadata TEXT
//! digest sha256, or none
//! mtime N, or none
//! role partial            or "role final ID..." for one that these are joined to; of most there is no such line
//! precondition WORD...    a line for each that must hold at the commit
//! client HEX              the client group in whose share it counts
//! created N               seconds since 1970
//! checksum HEX            SHA-256 of the id and all lines before
//! ```
//!
//! Every checkpoint is written under flock(2) on `ID.info`, after a look whether the generation is still that of the
//! writer. To open an upload raises the generation, so that what was attached before can record nothing any more.
//!
//! The order of the steps, each of which is durable before the next where the store promises durability:
//!
//! * **made**: part and record, the directory; only then is the id sent.
//! * **saved**: the part; the checkpoint with the offset. Only then is the offset sent.
//! * **commit**: the part; a checkpoint "being committed"; the part is renamed to its final name; that directory. A
//!   checkpoint "complete" follows, for which nothing waits.
//! * **removed**: the record; the part.
//! * **expired**: a checkpoint "expired"; the part is removed; the record, once its time is over as well.
//!
//! So a reader concludes:
//!
//! * part and record: unfinished, whatever the checkpoint says, except that an expired one is still to lose its part;
//! * a record that says "being committed" or "complete", without a part: complete;
//! * any other record without a part: removed or lost;
//! * a part without a record: it was being made or removed. It is swept away.
//!
//! An upload that is concatenated from others is made and committed in one request. Its parts are removed once its
//! final name is durable. Found unfinished, it is removed: its parts are all there. Found complete, it has them
//! removed, if the file is still the one that has its name.
//!
//! A reader in another process than the writer's, or after the writer was killed, may see a checkpoint or a missing part
//! that is in the page cache only. It syncs them before it believes them.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use crate::command::Put;
use crate::ids::ClientAddress;
use crate::object::{Etag, Key, Precondition};
use crate::store::resumable::checkpoint::{CHECKPOINT_LEN, Checkpoint};
use crate::upload::{Role, UploadId};
use crate::wire::key::{has_control, relative};

pub(crate) const HEADER_LEN: usize = 8 * 1024;
pub(crate) const INFO_LEN: usize = 16 * 1024;
const CHECKPOINTS_AT: [usize; 2] = [8 * 1024, 12 * 1024];

const FORMAT: &str = "filewharf-upload 1";
const FORMAT_WORD: &str = "filewharf-upload ";

/// What never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// As it was announced; its length may have been learned since.
    pub(crate) put: Put,
    pub(crate) metadata: Box<str>,
    pub(crate) client: ClientAddress,
    pub(crate) created_s: u64,
    pub(crate) role: Role,
}

/// What an info file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Info {
    Whole(Box<Header>, Box<Checkpoint>),
    /// It was being made when the machine failed, or the disk has lost it.
    Torn,
    /// Of a later version of this program: not to be touched.
    Foreign,
}

/// Where the checkpoint with this sequence number is.
pub(crate) const fn checkpoint_at(sequence: u64) -> u64 {
    CHECKPOINTS_AT[if sequence % 2 == 1 { 0 } else { 1 }] as u64
}

/// The newest checkpoint that is whole.
pub(crate) fn newest(info: &[u8], id: UploadId) -> Option<Checkpoint> {
    let checkpoints = CHECKPOINTS_AT.into_iter().filter_map(|at| {
        let checkpoint = Checkpoint::decode(info.get(at..at + CHECKPOINT_LEN)?.try_into().ok()?, id)?;
        (checkpoint_at(checkpoint.sequence) == at as u64).then_some(checkpoint)
    });
    checkpoints.max_by_key(|checkpoint| checkpoint.sequence)
}

impl Info {
    pub(crate) fn parse(info: &[u8], id: UploadId) -> Self {
        let head = &info[..info.len().min(HEADER_LEN)];
        if head.starts_with(FORMAT_WORD.as_bytes()) && !head.starts_with(format!("{FORMAT}\n").as_bytes()) {
            return Self::Foreign;
        }
        match Header::parse(head, id).zip(newest(info, id)) {
            Some((header, checkpoint)) => Self::Whole(Box::new(header), Box::new(checkpoint)),
            None => Self::Torn,
        }
    }
}

impl Header {
    /// The first content of an info file; `None` if that does not fit.
    pub(crate) fn info(&self, id: UploadId, first: &Checkpoint) -> Option<Vec<u8>> {
        debug_assert_eq!(first.sequence, 1);
        let mut info = self.text(id)?.into_bytes();
        if info.len() > HEADER_LEN {
            return None;
        }
        info.resize(INFO_LEN, 0);
        info[CHECKPOINTS_AT[0]..CHECKPOINTS_AT[0] + CHECKPOINT_LEN].copy_from_slice(&first.encode(id));
        Some(info)
    }

    /// `None` if a value cannot stand on a line.
    fn text(&self, id: UploadId) -> Option<String> {
        let Put { key, len, precondition, mtime, is_executable, hash, sha256: _, go_ahead: _ } = &self.put;
        if self.metadata.contains(['\n', '\0']) {
            return None;
        }
        let or = |value: Option<String>, none: &str| value.unwrap_or_else(|| none.to_owned());
        let mut text = format!(
            "{FORMAT}\npath {}\nlength {}\nmetadata {}\ndigest {}\nmtime {}\n",
            key.as_str(),
            or(len.map(|len| len.to_string()), "unknown"),
            self.metadata,
            if *hash { "sha256" } else { "none" },
            or(mtime.map(|mtime| mtime.to_string()), "none"),
        );
        if *is_executable {
            text.push_str("exec 1\n");
        }
        say_role(&self.role, &mut text);
        say_precondition(precondition, &mut text);
        let _ = writeln!(text, "client {:032x}\ncreated {}", self.client.to_bits(), self.created_s);
        let checksum = hex(&checksum(id, text.as_bytes()));
        let _ = writeln!(text, "checksum {checksum}");
        Some(text)
    }

    fn parse(head: &[u8], id: UploadId) -> Option<Self> {
        let end = head.iter().position(|byte| *byte == 0).unwrap_or(head.len());
        let text = str::from_utf8(&head[..end]).ok()?;
        let (lines, digits) = text.strip_suffix('\n')?.rsplit_once("\nchecksum ")?;
        if digits != hex(&checksum(id, &text.as_bytes()[..lines.len() + 1])) {
            return None;
        }
        let mut lines = lines.split('\n');
        let mut next = |word: &str| lines.next()?.strip_prefix(word)?.strip_prefix(' ');
        next("filewharf-upload")?;
        let key = next("path").and_then(key_of)?;
        let len = optional(next("length")?, "unknown")?;
        let metadata = next("metadata")?.into();
        let hash = next("digest")? == "sha256";
        let mtime = optional(next("mtime")?, "none")?;
        let mut lines = lines.peekable();
        let is_executable = lines.next_if_eq(&"exec 1").is_some();
        let role = lines.next_if(|line| line.starts_with("role ")).map_or(Some(Role::Whole), read_role)?;
        let mut rest = lines.collect::<Vec<_>>();
        let created_s = rest.pop()?.strip_prefix("created ")?.parse().ok()?;
        let client = u128::from_str_radix(rest.pop()?.strip_prefix("client ")?, 16).ok()?;
        let all: Option<Vec<_>> = rest.iter().map(|line| line.strip_prefix("precondition ").and_then(read)).collect();
        let mut all = all?;
        let precondition = match all.len() {
            0 => Precondition::None,
            1 => all.remove(0),
            _ => Precondition::All(all.into()),
        };
        let put = Put { precondition, mtime, is_executable, hash, ..Put::new(key, len) };
        Some(Self { put, metadata, client: ClientAddress::from_bits(client), created_s, role })
    }
}

fn key_of(path: &str) -> Option<Key> {
    if has_control(path) { None } else { relative(path).ok() }
}

/// `None` if it is neither a number nor this word.
fn optional<T: std::str::FromStr>(text: &str, none: &str) -> Option<Option<T>> {
    if text == none { Some(None) } else { text.parse().ok().map(Some) }
}

fn say_role(role: &Role, text: &mut String) {
    match role {
        Role::Whole => {}
        Role::Partial => text.push_str("role partial\n"),
        Role::Final(parts) => {
            text.push_str("role final");
            parts.iter().for_each(|id| {
                let _ = write!(text, " {id}");
            });
            text.push('\n');
        }
    }
}

fn read_role(line: &str) -> Option<Role> {
    let mut words = line.split(' ').skip(1);
    match words.next()? {
        "partial" => Some(Role::Partial),
        "final" => words.map(UploadId::parse).collect::<Option<_>>().map(Role::Final),
        _ => None,
    }
}

fn say_precondition(precondition: &Precondition, text: &mut String) {
    let tags = |tags: &[Etag]| tags.iter().map(|tag| format!(" {tag}")).collect::<String>();
    let line = match precondition {
        Precondition::None => return,
        // Each line must hold: so do those of one list within another.
        Precondition::All(all) => return all.iter().for_each(|one| say_precondition(one, text)),
        Precondition::Absent => "absent".to_owned(),
        Precondition::Present => "present".to_owned(),
        Precondition::Matches(tag) => format!("matches {tag}"),
        Precondition::AnyOf(list) => format!("any{}", tags(list)),
        Precondition::NoneOf(list) => format!("not{}", tags(list)),
        Precondition::UnmodifiedSince(second) => format!("unmodified-since {second}"),
    };
    let _ = writeln!(text, "precondition {line}");
}

fn read(line: &str) -> Option<Precondition> {
    let mut words = line.split(' ');
    let word = words.next()?;
    let mut tags = || words.by_ref().map(Etag::parse).collect::<Option<Box<[_]>>>();
    Some(match word {
        "absent" => Precondition::Absent,
        "present" => Precondition::Present,
        "matches" => Precondition::Matches(*tags()?.first()?),
        "any" => Precondition::AnyOf(tags()?),
        "not" => Precondition::NoneOf(tags()?),
        "unmodified-since" => Precondition::UnmodifiedSince(words.next()?.parse().ok()?),
        _ => return None,
    })
}

fn checksum(id: UploadId, text: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(id.0).chain_update(text).finalize().into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::resumable::checkpoint::tests::checkpoint;

    const ID: UploadId = UploadId([0xAB; 16]);

    fn header(precondition: Precondition) -> Header {
        let key = relative("a/ü b/c.txt").expect("a key");
        let put = Put { precondition, mtime: Some(-5), is_executable: true, hash: true, ..Put::new(key, Some(77)) };
        let metadata = "filename YQ==,empty".into();
        Header { put, metadata, client: ClientAddress::from_bits(9), created_s: 12, role: Role::Whole }
    }

    fn headers() -> Vec<Header> {
        let tags = || Box::new([Etag([1; 16]), Etag([2; 16])]);
        let mut headers: Vec<_> = [
            Precondition::None,
            Precondition::Absent,
            Precondition::Present,
            Precondition::Matches(Etag([3; 16])),
            Precondition::AnyOf(tags()),
            Precondition::AnyOf(Box::new([])),
            Precondition::NoneOf(tags()),
            Precondition::UnmodifiedSince(-7),
            Precondition::All(Box::new([Precondition::Present, Precondition::NoneOf(tags())])),
        ]
        .map(header)
        .into();
        let mut plain = header(Precondition::None);
        plain.put = Put::new(plain.put.key, None);
        for role in [Role::Partial, Role::Final([ID, UploadId([1; 16])].into()), Role::Final([].into())] {
            headers.push(Header { role, ..header(Precondition::Absent) });
        }
        headers.push(Header { metadata: "".into(), ..plain });
        headers
    }

    #[test]
    fn an_info_file_reads_what_it_wrote() {
        for header in headers() {
            let info = header.info(ID, &checkpoint(1, 0)).expect("it fits");
            assert_eq!(info.len(), INFO_LEN);
            assert_eq!(Info::parse(&info, ID), Info::Whole(Box::new(header), Box::new(checkpoint(1, 0))));
            assert_eq!(Info::parse(&info, UploadId([0; 16])), Info::Torn, "the record of another upload");
        }
    }

    #[test]
    fn every_prefix_of_an_info_file_and_every_changed_byte_of_its_header_is_torn() {
        let info = header(Precondition::Absent).info(ID, &checkpoint(1, 0)).expect("it fits");
        for len in (0..CHECKPOINTS_AT[0] + CHECKPOINT_LEN).filter(|len| len % 7 == 0 || *len < 600) {
            let mut torn = info[..len].to_vec();
            let parsed = Info::parse(&torn, ID);
            assert!(matches!(parsed, Info::Torn | Info::Foreign), "{len}");
            torn.resize(INFO_LEN, 0);
            assert!(matches!(Info::parse(&torn, ID), Info::Torn | Info::Foreign), "{len}, the rest zeroes");
        }
        let end = info.iter().position(|byte| *byte == 0).expect("zeroes");
        for at in 0..end {
            let mut changed = info.clone();
            changed[at] ^= 1;
            assert!(matches!(Info::parse(&changed, ID), Info::Torn | Info::Foreign), "{at}");
        }
    }

    #[test]
    fn a_later_version_is_distinguished_from_a_torn_record() {
        let mut info = header(Precondition::None).info(ID, &checkpoint(1, 0)).expect("it fits");
        info["filewharf-upload ".len()] = b'2';
        assert_eq!(Info::parse(&info, ID), Info::Foreign);
    }

    #[test]
    fn the_newest_whole_checkpoint_counts() {
        let mut info = header(Precondition::None).info(ID, &checkpoint(1, 0)).expect("it fits");
        for sequence in 2..6 {
            let at = usize::try_from(checkpoint_at(sequence)).expect("small");
            let bytes = checkpoint(sequence, sequence * 100).encode(ID);
            for cut in 1..CHECKPOINT_LEN {
                let mut torn = info.clone();
                torn[at..at + cut].copy_from_slice(&bytes[..cut]);
                let newest = newest(&torn, ID).expect("one of both is whole");
                assert!(
                    newest.sequence == sequence - 1 || torn[at..at + CHECKPOINT_LEN] == bytes,
                    "{sequence} cut at {cut}"
                );
            }
            info[at..at + CHECKPOINT_LEN].copy_from_slice(&bytes);
            assert_eq!(newest(&info, ID), Some(checkpoint(sequence, sequence * 100)));
        }
    }

    #[test]
    fn what_does_not_fit_is_not_recorded() {
        let tags: Box<[Etag]> = (0..255).map(|n| Etag([n; 16])).collect();
        assert_eq!(header(Precondition::AnyOf(tags)).info(ID, &checkpoint(1, 0)), None);
        let two_lines = Header { metadata: "a\nclient 0".into(), ..header(Precondition::None) };
        assert_eq!(two_lines.info(ID, &checkpoint(1, 0)), None);
    }
}

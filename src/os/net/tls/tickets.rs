//! Keys of tickets that several servers of a directory have in common, so that a client resumes at one what it began at
//! another: `.filewharf/TICKETS`, which only its owner may read.
//!
//! The file has at most two secrets: the one for new tickets, replaced after six hours by the first server that finds it
//! old, and the one before it, the tickets of which are taken as long again. It is replaced whole, by a rename. Where two
//! servers do that at once, the last one wins, and the other finds that at its next look. What cannot be read or written
//! costs clients full handshakes, nothing else: a server then has secrets of its own.
//!
//! Tickets are sealed as those of rustls are: ChaCha20-Poly1305 with a random nonce before the content, and the name of
//! the secret before that. The key is made of the secret and of the authorities that have verified the clients in the
//! tickets: servers with others do not take them.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hmac::{Hmac, KeyInit as _, Mac as _};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use rustls::pki_types::CertificateDer;
use rustls::server::ProducesTickets;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::os::process;

/// A secret seals new tickets for this time.
const PERIOD_S: u64 = 6 * 3600;
const LAYOUT: &[u8; 8] = b"tickets1";
const NAME_LEN: usize = 16;
const SECRET_LEN: usize = 32;
const ENTRY_LEN: usize = 8 + NAME_LEN + SECRET_LEN;
const SECRETS_MAX: usize = 2;
const FILE_LEN_MAX: usize = LAYOUT.len() + SECRETS_MAX * ENTRY_LEN;
/// Bits for all others than the owner of a file.
const OF_OTHERS: u32 = 0o077;

#[derive(Clone)]
struct Secret {
    made_s: u64,
    name: [u8; NAME_LEN],
    bytes: Zeroizing<[u8; SECRET_LEN]>,
}

/// The newest first.
#[derive(Clone)]
struct Secrets(Vec<Secret>);

impl Secret {
    fn new(now_s: u64) -> io::Result<Self> {
        Ok(Self { made_s: now_s, name: process::random()?, bytes: Zeroizing::new(process::random()?) })
    }

    /// Made in this many periods before now. The clock of the server that made it may be ahead of this one by less
    /// than that.
    fn is_of_last(&self, periods: u64, now_s: u64) -> bool {
        self.made_s.abs_diff(now_s) < periods * PERIOD_S
    }
}

impl Secrets {
    fn newest(&self) -> &Secret {
        &self.0[0]
    }

    /// The ones that come after these, if it is time for that.
    fn renewed(&self, now_s: u64) -> io::Result<Self> {
        if self.newest().is_of_last(1, now_s) {
            return Ok(self.clone());
        }
        let before = self.0.first().filter(|secret| secret.is_of_last(2, now_s)).cloned();
        Ok(Self([Secret::new(now_s)?].into_iter().chain(before).collect()))
    }

    fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(FILE_LEN_MAX));
        bytes.extend_from_slice(LAYOUT);
        for secret in &self.0 {
            bytes.extend_from_slice(&secret.made_s.to_le_bytes());
            bytes.extend_from_slice(&secret.name);
            bytes.extend_from_slice(&*secret.bytes);
        }
        bytes
    }

    /// `None` for what is no such file, or a part of one.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let (entries, rest) = bytes.strip_prefix(LAYOUT)?.as_chunks::<ENTRY_LEN>();
        let secrets = entries.iter().map(|entry| {
            let (made_s, entry) = entry.split_first_chunk()?;
            let (name, entry) = entry.split_first_chunk()?;
            let bytes = Zeroizing::new(entry.try_into().ok()?);
            Some(Secret { made_s: u64::from_le_bytes(*made_s), name: *name, bytes })
        });
        let is_whole = rest.is_empty() && (1..=SECRETS_MAX).contains(&entries.len());
        secrets.collect::<Option<_>>().filter(|_| is_whole).map(Self)
    }
}

/// The secrets as a server has them.
pub(super) struct TicketSecrets {
    file: PathBuf,
    /// Locked by the loop to copy one, never while the file is read.
    secrets: Mutex<Secrets>,
}

impl TicketSecrets {
    /// With secrets of its own until the first [`refresh`](Self::refresh).
    pub(super) fn new(file: PathBuf) -> io::Result<Self> {
        // As old as can be: those in the file are preferred.
        let own = Secrets(vec![Secret::new(0)?]);
        Ok(Self { file, secrets: Mutex::new(own) })
    }

    fn secrets(&self) -> MutexGuard<'_, Secrets> {
        self.secrets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the file, and replaces it if it is missing or old. Blocks on the disk.
    pub(super) fn refresh(&self, now_s: u64) -> io::Result<()> {
        let read = self.read();
        let found = read.as_ref().ok().and_then(Option::as_ref);
        let own = self.secrets().clone();
        let age = |secrets: &&Secrets| (secrets.newest().is_of_last(1, now_s), secrets.newest().made_s);
        // Its own are newer where it cannot write.
        let before = [Some(&own), found].into_iter().flatten().max_by_key(age).unwrap_or(&own);
        let renewed = before.renewed(now_s)?;
        let is_as_found = found.is_some_and(|found| found.newest().name == renewed.newest().name);
        *self.secrets() = renewed.clone();
        read?;
        if is_as_found {
            return Ok(());
        }
        let written = self.write(&renewed.encode());
        match self.read()? {
            // Perhaps those of another server, which has written at the same time.
            Some(found) if found.newest().is_of_last(1, now_s) => {
                *self.secrets() = found;
                Ok(())
            }
            _ => written,
        }
    }

    /// `None` if there is no file that could be used: another one takes its place.
    fn read(&self) -> io::Result<Option<Secrets>> {
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
        let file = match OpenOptions::new().read(true).custom_flags(flags).open(&self.file) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let about = file.metadata()?;
        if !about.is_file() || about.mode() & OF_OTHERS != 0 {
            return Ok(None);
        }
        let mut bytes = Zeroizing::new(Vec::with_capacity(FILE_LEN_MAX + 1));
        file.take(FILE_LEN_MAX as u64 + 1).read_to_end(&mut bytes)?;
        Ok(Secrets::decode(&bytes))
    }

    #[allow(clippy::disallowed_methods, reason = "no peer names these files")]
    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let made = self.file.with_extension("new");
        // What a server left there that has ended meanwhile, perhaps with another mode.
        match fs::remove_file(&made) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&made)?;
        file.write_all(bytes)?;
        fs::rename(&made, &self.file)
    }
}

/// Seals tickets with the secrets, for clients that these authorities have verified.
pub(super) struct Ticketer {
    secrets: Arc<TicketSecrets>,
    authorities: Vec<u8>,
}

impl Ticketer {
    pub(super) fn new(secrets: Arc<TicketSecrets>, authorities: &[CertificateDer<'static>]) -> Self {
        Self { secrets, authorities: authorities.iter().flat_map(|one| one.to_vec()).collect() }
    }

    fn key(&self, secret: &Secret) -> Option<LessSafeKey> {
        let mac = Hmac::<Sha256>::new_from_slice(&*secret.bytes).ok()?.chain_update(&self.authorities);
        UnboundKey::new(&CHACHA20_POLY1305, &mac.finalize().into_bytes()).ok().map(LessSafeKey::new)
    }
}

impl ProducesTickets for Ticketer {
    fn enabled(&self) -> bool {
        true
    }

    /// The lifetime that clients are sent: tickets are taken for one period after that in which they were made.
    fn lifetime(&self) -> u32 {
        u32::try_from(2 * PERIOD_S).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let secret = self.secrets.secrets().newest().clone();
        let nonce: [u8; NONCE_LEN] = process::random().ok()?;
        let mut sealed = plain.to_vec();
        let (key, about) = (self.key(&secret)?, Aad::from(secret.name));
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), about, &mut sealed).ok()?;
        Some([&secret.name[..], &nonce, &sealed].concat())
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        let (name, rest) = cipher.split_first_chunk::<NAME_LEN>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let secret = self.secrets.secrets().0.iter().find(|secret| secret.name == *name).cloned()?;
        let mut opened = sealed.to_vec();
        let (key, about) = (self.key(&secret)?, Aad::from(secret.name));
        let len = key.open_in_place(Nonce::assume_unique_for_key(*nonce), about, &mut opened).ok()?.len();
        opened.truncate(len);
        Some(opened)
    }
}

impl fmt::Debug for Ticketer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticketer").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    const NOW_S: u64 = 1_800_000_000;

    /// Servers of one directory, the first of which has looked at the file.
    fn servers() -> (TempDir, [Arc<TicketSecrets>; 2]) {
        let dir = TempDir::new().expect("a temporary folder");
        let servers = [(); 2].map(|()| Arc::new(TicketSecrets::new(dir.path().join("TICKETS")).expect("random bytes")));
        servers[0].refresh(NOW_S).expect("the folder is there");
        (dir, servers)
    }

    fn ticketer(secrets: &Arc<TicketSecrets>) -> Ticketer {
        Ticketer::new(Arc::clone(secrets), &[])
    }

    fn opens(secrets: &Arc<TicketSecrets>, ticket: &[u8]) -> bool {
        ticketer(secrets).decrypt(ticket).is_some_and(|plain| plain == b"a session")
    }

    fn ticket(secrets: &Arc<TicketSecrets>) -> Vec<u8> {
        ticketer(secrets).encrypt(b"a session").expect("it is sealed")
    }

    #[test]
    fn a_ticket_of_one_server_is_taken_by_another_once_that_has_looked() {
        let (_dir, [a, b]) = servers();
        let early = ticket(&a);
        assert!(opens(&a, &early) && !opens(&b, &early));
        b.refresh(NOW_S + 60).expect("the file is there");
        assert!(opens(&b, &early) && opens(&a, &ticket(&b)));
    }

    #[test]
    fn a_secret_is_replaced_after_six_hours_and_its_tickets_are_taken_as_long_again() {
        let (_dir, [a, b]) = servers();
        let old = ticket(&a);
        for (hours, is_taken) in [(5, true), (6, true), (11, true), (12, false)] {
            b.refresh(NOW_S + hours * 3600).expect("the file is there");
            a.refresh(NOW_S + hours * 3600 + 60).expect("the file is there");
            assert_eq!((opens(&a, &old), opens(&b, &old)), (is_taken, is_taken), "after {hours} hours");
            assert!(opens(&b, &ticket(&a)) && opens(&a, &ticket(&b)), "after {hours} hours");
            assert_eq!(ticket(&b)[..NAME_LEN] == old[..NAME_LEN], hours < 6, "after {hours} hours");
        }
        let (_dir, [a, _]) = servers();
        let old = ticket(&a);
        a.refresh(NOW_S + 13 * 3600).expect("the file is there");
        assert!(!opens(&a, &old), "nothing has looked for two periods");
    }

    #[test]
    fn what_is_no_file_of_secrets_or_may_be_read_by_others_is_replaced() {
        use std::os::unix::fs::{PermissionsExt as _, symlink};
        let (dir, [a, b]) = servers();
        let file = dir.path().join("TICKETS");
        let good = fs::read(&file).expect("the file is there");
        assert_eq!(fs::metadata(&file).expect("the file is there").mode() & 0o777, 0o600);
        let two = [&good[..], &good[8..], &good[8..]].concat();
        for wrong in [&good[..good.len() - 1], &good[..8], &[], &[0; 1000], &two, &good] {
            fs::write(&file, wrong).expect("it is ours");
            let mode = if wrong == good { 0o640 } else { 0o600 };
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("it is ours");
            for server in [&a, &b] {
                server.refresh(NOW_S).expect("it is replaced");
            }
            assert!(opens(&b, &ticket(&a)));
            assert_eq!(fs::metadata(&file).expect("the file is there").mode() & 0o777, 0o600);
        }
        fs::remove_file(&file).expect("it is ours");
        symlink("/dev/zero", &file).expect("the folder is there");
        assert!(a.refresh(NOW_S).is_err(), "links are not followed");
        assert!(opens(&a, &ticket(&a)));
    }

    #[test]
    fn a_server_that_cannot_write_has_secrets_of_its_own_and_replaces_them_as_well() {
        let missing = TempDir::new().expect("a temporary folder").path().join("gone/TICKETS");
        let server = Arc::new(TicketSecrets::new(missing).expect("random bytes"));
        assert!(server.refresh(NOW_S).is_err());
        let old = ticket(&server);
        for (hours, is_taken) in [(1, true), (7, true), (8, true), (13, false)] {
            assert!(server.refresh(NOW_S + hours * 3600).is_err());
            assert_eq!(opens(&server, &old), is_taken, "after {hours} hours");
        }
    }

    #[test]
    fn a_ticket_that_was_changed_or_is_of_other_authorities_is_not_taken() {
        let (_dir, [a, _]) = servers();
        let ticket = ticket(&a);
        for byte in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[byte] ^= 1;
            assert!(!opens(&a, &changed) && !opens(&a, &ticket[..byte]), "byte {byte}");
        }
        let other = Ticketer::new(Arc::clone(&a), &[CertificateDer::from(vec![1])]);
        assert_eq!(other.decrypt(&ticket), None);
    }
}

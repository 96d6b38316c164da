//! Requests for files with a head that came before, byte for byte: parsing one again takes a tenth of the CPU time of a
//! small download.
//!
//! An entry is never out of date: it depends on these bytes and on one listener's options, and on nothing else.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::dialect::asked::Asked;
use crate::dialect::http::handler::Exchange;
use crate::dialect::http::methods::get::Get;

/// Entries. Direct-mapped: a colliding entry replaces the old one.
const ENTRIES: usize = 64;
/// Longest head that is cached, in bytes: those of browsers are shorter.
const HEAD_LEN_MAX: usize = 1024;

/// The requests of recent heads. Only the loop thread locks this; the mutex is uncontended.
pub(super) struct HeadCache(Mutex<[Entry; ENTRIES]>);

#[derive(Default)]
struct Entry {
    cached: Option<(Box<[u8]>, Arc<Exchange>)>,
    /// Hash of the last head that was not found here: a head is cached when it comes for the second time.
    missed: u64,
}

impl Default for HeadCache {
    fn default() -> Self {
        Self(Mutex::new(std::array::from_fn(|_| Entry::default())))
    }
}

impl HeadCache {
    /// Memory of all entries at most, the names in the requests included.
    pub(super) const BYTES_MAX: usize = ENTRIES
        * (size_of::<Entry>()
            + HEAD_LEN_MAX
            + size_of::<Exchange>()
            + size_of::<Get>()
            + HEAD_LEN_MAX
            + size_of::<Asked>()
            + HEAD_LEN_MAX);

    /// The request, if `input` is one cached head and nothing more.
    pub(super) fn find(&self, input: &[u8]) -> Option<Arc<Exchange>> {
        if input.len() > HEAD_LEN_MAX {
            return None;
        }
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (head, exchange) = entries[index(hash(input))].cached.as_ref()?;
        (**head == *input).then(|| Arc::clone(exchange))
    }

    /// Caches the request of a head that was parsed, if the head came before.
    pub(super) fn record(&self, head: &[u8], exchange: &Arc<Exchange>) {
        if head.len() > HEAD_LEN_MAX {
            return;
        }
        let hash = hash(head);
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = &mut entries[index(hash)];
        // A cached head is parsed all the same where others follow it in one read.
        let is_cached = entry.cached.as_ref().is_some_and(|(cached, _)| **cached == *head);
        if entry.missed == hash && !is_cached {
            entry.cached = Some((head.into(), Arc::clone(exchange)));
        }
        entry.missed = hash;
    }
}

fn hash(head: &[u8]) -> u64 {
    let (words, _) = head.as_chunks();
    words.iter().fold(head.len() as u64, |hash, word| {
        (hash ^ u64::from_le_bytes(*word)).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29)
    })
}

fn index(hash: u64) -> usize {
    usize::try_from(hash >> 32).unwrap_or(0) % ENTRIES
}

impl fmt::Debug for HeadCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeadCache").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Access;
    use crate::dialect::http::{Http, Listener};
    use crate::dialect::protocol::{Action, Phase, Protocol as _};
    use crate::dialect::testing::call_protocol;
    use crate::error::Failure;

    /// Entries in use.
    fn cached_count(listener: &Listener) -> usize {
        let entries = listener.head_cache.0.lock().expect("no panic");
        entries.iter().filter(|entry| entry.cached.is_some()).count()
    }

    /// The action for a head, the bytes used, and whether it is the last request.
    fn decoded(listener: &Arc<Listener>, input: &[u8], phase: Phase, access: &Access) -> (usize, Action, bool) {
        let mut http = Http::new(Arc::clone(listener));
        call_protocol(phase, access, |context| {
            let (used, action) = http.decode(input, context);
            (used, action, http.was_last_request())
        })
        .result
    }

    #[test]
    fn a_repeated_head_gets_the_same_action_every_time() {
        let open = Access::default();
        for (fields, is_cached) in [
            ("", true),
            ("Accept: */*\r\n", true),
            ("Connection: close\r\n", true),
            ("If-None-Match: \"x\"\r\n", false),
            ("Range: bytes=0-1\r\n", false),
            ("Content-Length: 0\r\n", false),
            ("Expect: 100-continue\r\n", false),
        ] {
            for target in ["/a", "/a/b.txt?query", "/%61"] {
                let listener = Arc::new(Listener::default());
                let head = format!("GET {target} HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
                let first = decoded(&listener, head.as_bytes(), Phase::Serving, &open);
                assert!(matches!(first.1, Action::Run(_)), "{first:?}");
                assert_eq!(cached_count(&listener), 0, "a head that comes once is not cached");
                for _ in 0..3 {
                    assert_eq!(decoded(&listener, head.as_bytes(), Phase::Serving, &open), first, "{head}");
                    assert_eq!(cached_count(&listener), usize::from(is_cached), "{head}");
                }
            }
        }
    }

    #[test]
    fn a_request_that_depends_on_more_than_its_head_is_not_cached() {
        let secret = Access::new(Some(b"s".to_vec()), false);
        let listener = Arc::new(Listener::default());
        let admitted: &[u8] = b"GET /a HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer s\r\n\r\n";
        let plain: &[u8] = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n";
        for head in
            [admitted, b"GET /.filewharf/health HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /a/ HTTP/1.1\r\nHost: x\r\n\r\n"]
        {
            for _ in 0..3 {
                let _ = decoded(&listener, head, Phase::Serving, &secret);
            }
        }
        assert_eq!(cached_count(&listener), 0);
        for _ in 0..3 {
            assert!(matches!(decoded(&listener, plain, Phase::Serving, &Access::default()).1, Action::Run(_)));
        }
        assert_eq!(cached_count(&listener), 1);
        let (_, action, _) = decoded(&listener, plain, Phase::Serving, &secret);
        assert!(!matches!(action, Action::Run(_)), "without the secret: {action:?}");
        let (_, action, _) = decoded(&listener, plain, Phase::Draining, &Access::default());
        assert!(!matches!(action, Action::Run(_)), "while draining: {action:?}");
    }

    #[test]
    fn a_cached_head_is_decoded_alike_at_every_split_and_with_bytes_after_it() {
        let head: &[u8] = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n";
        let listener = Arc::new(Listener::default());
        let whole = decoded(&listener, head, Phase::Serving, &Access::default());
        let _ = decoded(&listener, head, Phase::Serving, &Access::default());
        assert_eq!((cached_count(&listener), whole.0), (1, head.len()));
        let two = [head, head].concat();
        let address = |listener: &Listener| {
            let entries = listener.head_cache.0.lock().expect("no panic");
            entries.iter().find_map(|entry| entry.cached.as_ref()).map(|(head, _)| head.as_ptr())
        };
        let before = address(&listener);
        for len in 0..=two.len() {
            let mut http = Http::new(Arc::clone(&listener));
            call_protocol(Phase::Serving, &Access::default(), |context| {
                let (used, action) = http.decode(&two[..len], context);
                match len < head.len() {
                    true => assert_eq!((used, action), (0, Action::More)),
                    false => assert_eq!((used, action), (whole.0, whole.1.clone())),
                }
                if len < head.len() {
                    assert_eq!(http.decode(head, context), (whole.0, whole.1.clone()), "split at {len}");
                }
            });
        }
        assert_eq!(address(&listener), before, "it is cached once");
    }

    #[test]
    fn a_failure_of_one_exchange_does_not_change_the_cached_one() {
        let head: &[u8] = b"GET /a?q HTTP/1.1\r\nHost: x\r\n\r\n";
        let listener = Arc::new(Listener::default());
        let mut said = Vec::new();
        for failure in [Failure::NotFound, Failure::NotFound, Failure::TimedOut, Failure::NotFound, Failure::NotFound] {
            let mut http = Http::new(Arc::clone(&listener));
            let heard = call_protocol(Phase::Serving, &Access::default(), |context| {
                let _ = http.decode(head, context);
                http.answered(Err(failure), context)
            });
            said.push(heard.said);
        }
        assert_eq!(cached_count(&listener), 1);
        assert!(said.iter().enumerate().all(|(at, text)| (*text == said[0]) == (at != 2)), "{said:?}");
    }

    #[test]
    fn a_long_head_is_not_cached_and_the_number_of_entries_is_bounded() {
        let listener = Arc::new(Listener::default());
        for len in [HEAD_LEN_MAX, HEAD_LEN_MAX + 1] {
            let mut head = b"GET /a HTTP/1.1\r\nHost: x\r\nX: ".to_vec();
            head.resize(len - 4, b'x');
            head.extend_from_slice(b"\r\n\r\n");
            for _ in 0..3 {
                let _ = decoded(&listener, &head, Phase::Serving, &Access::default());
            }
            assert_eq!(cached_count(&listener), 1);
        }
        for name in 0..10 * ENTRIES {
            let head = format!("GET /{name} HTTP/1.1\r\nHost: x\r\n\r\n");
            for _ in 0..2 {
                let (_, action, _) = decoded(&listener, head.as_bytes(), Phase::Serving, &Access::default());
                assert!(format!("{action:?}").contains(&format!("\"{name}\"")), "{action:?}");
            }
        }
        assert!(
            (ENTRIES / 2..=ENTRIES).contains(&cached_count(&listener)),
            "heads hash to few entries: {}",
            cached_count(&listener)
        );
    }
}

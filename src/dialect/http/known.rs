//! Requests for files that come again letter by letter, as those of every client that asks for the same
//! thing once more do: what they mean is kept, as to find it out anew takes a fifth of the instructions of a
//! small download.
//!
//! Decides nothing, and can never be out of date: what is kept belongs to these very bytes and to one listener,
//! and means the same for as long as the server runs. What depends on more than that is not to be kept here.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::dialect::http::Exchange;

/// Heads that are kept. Two that fall on the same place drive each other out.
const PLACES: usize = 64;
/// Longest head that is kept, in bytes: those of browsers are.
const HEAD_LEN_MAX: usize = 1024;

/// What was asked lately.
pub(super) struct Known(Mutex<[Place; PLACES]>);

/// A head, and the request that it is; and which head was not found here before, so that one that never
/// comes again costs no memory.
#[derive(Default)]
struct Place {
    kept: Option<(Box<[u8]>, Arc<Exchange>)>,
    missed: u64,
}

impl Default for Known {
    fn default() -> Self {
        Self(Mutex::new(std::array::from_fn(|_| Place::default())))
    }
}

impl Known {
    /// Memory of all of it at most, the names in the requests included.
    pub(super) const BYTES_MAX: usize =
        PLACES * (size_of::<Place>() + HEAD_LEN_MAX + size_of::<Exchange>() + HEAD_LEN_MAX);

    /// What is asked, if just these bytes were asked lately, and nothing is behind them.
    pub(super) fn find(&self, input: &[u8]) -> Option<Arc<Exchange>> {
        if input.len() > HEAD_LEN_MAX {
            return None;
        }
        // One thread only comes here, so nobody ever waits.
        let places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (head, request) = places[place(mixed(input))].kept.as_ref()?;
        (**head == *input).then(|| Arc::clone(request))
    }

    /// Keeps what this head asks, if it has come before.
    pub(super) fn came(&self, head: &[u8], request: &Arc<Exchange>) {
        if head.len() > HEAD_LEN_MAX {
            return;
        }
        let mixed = mixed(head);
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = &mut places[place(mixed)];
        // Before others of its kind in one piece, it is not found though it is kept.
        let is_kept = place.kept.as_ref().is_some_and(|(kept, _)| **kept == *head);
        if place.missed == mixed && !is_kept {
            place.kept = Some((head.into(), Arc::clone(request)));
        }
        place.missed = mixed;
    }
}

/// A number that hardly any other head has.
fn mixed(head: &[u8]) -> u64 {
    let (words, _) = head.as_chunks();
    words.iter().fold(head.len() as u64, |mixed, word| {
        (mixed ^ u64::from_le_bytes(*word)).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29)
    })
}

fn place(mixed: u64) -> usize {
    usize::try_from(mixed >> 32).unwrap_or(0) % PLACES
}

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Known").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Access;
    use crate::dialect::http::{Http, Listener};
    use crate::dialect::testing::talking;
    use crate::dialect::{Action, Phase, Protocol as _};
    use crate::error::Failure;

    /// Heads that mean something, and are found where they came before.
    fn kept(listener: &Listener) -> usize {
        let places = listener.known.0.lock().expect("nobody panicked");
        places.iter().filter(|place| place.kept.is_some()).count()
    }

    /// What becomes of a head, and how much of the input it took.
    fn decoded(listener: &Arc<Listener>, input: &[u8], phase: Phase, access: &Access) -> (usize, Action, bool) {
        let mut http = Http::new(Arc::clone(listener));
        talking(phase, access, |context| {
            let (used, action) = http.decode(input, context);
            (used, action, http.was_last_request())
        })
        .result
    }

    #[test]
    fn a_request_means_the_same_however_often_it_comes() {
        let open = Access::default();
        for (fields, is_kept) in [
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
                assert_eq!(kept(&listener), 0, "who comes once costs nothing");
                for _ in 0..3 {
                    assert_eq!(decoded(&listener, head.as_bytes(), Phase::Serving, &open), first, "{head}");
                    assert_eq!(kept(&listener), usize::from(is_kept), "{head}");
                }
            }
        }
    }

    #[test]
    fn what_depends_on_more_than_the_head_is_not_kept() {
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
        assert_eq!(kept(&listener), 0);
        for _ in 0..3 {
            assert!(matches!(decoded(&listener, plain, Phase::Serving, &Access::default()).1, Action::Run(_)));
        }
        assert_eq!(kept(&listener), 1);
        let (_, action, _) = decoded(&listener, plain, Phase::Serving, &secret);
        assert!(!matches!(action, Action::Run(_)), "without the secret: {action:?}");
        let (_, action, _) = decoded(&listener, plain, Phase::Draining, &Access::default());
        assert!(!matches!(action, Action::Run(_)), "while draining: {action:?}");
    }

    #[test]
    fn every_split_and_every_follower_of_a_known_head_is_read_as_ever() {
        let head: &[u8] = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n";
        let listener = Arc::new(Listener::default());
        let whole = decoded(&listener, head, Phase::Serving, &Access::default());
        let _ = decoded(&listener, head, Phase::Serving, &Access::default());
        assert_eq!((kept(&listener), whole.0), (1, head.len()));
        let two = [head, head].concat();
        let room = |listener: &Listener| {
            let places = listener.known.0.lock().expect("nobody panicked");
            places.iter().find_map(|place| place.kept.as_ref()).map(|(head, _)| head.as_ptr())
        };
        let before = room(&listener);
        for len in 0..=two.len() {
            let mut http = Http::new(Arc::clone(&listener));
            talking(Phase::Serving, &Access::default(), |context| {
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
        assert_eq!(room(&listener), before, "it is kept once");
    }

    #[test]
    fn how_one_of_them_ends_is_nothing_to_the_others() {
        let head: &[u8] = b"GET /a?q HTTP/1.1\r\nHost: x\r\n\r\n";
        let listener = Arc::new(Listener::default());
        let mut said = Vec::new();
        for failure in [Failure::NotFound, Failure::NotFound, Failure::TimedOut, Failure::NotFound, Failure::NotFound] {
            let mut http = Http::new(Arc::clone(&listener));
            let heard = talking(Phase::Serving, &Access::default(), |context| {
                let _ = http.decode(head, context);
                http.answered(Err(failure), context)
            });
            said.push(heard.said);
        }
        assert_eq!(kept(&listener), 1);
        assert!(said.iter().enumerate().all(|(at, text)| (*text == said[0]) == (at != 2)), "{said:?}");
    }

    #[test]
    fn a_long_head_is_not_kept_and_many_keep_to_their_places() {
        let listener = Arc::new(Listener::default());
        for len in [HEAD_LEN_MAX, HEAD_LEN_MAX + 1] {
            let mut head = b"GET /a HTTP/1.1\r\nHost: x\r\nX: ".to_vec();
            head.resize(len - 4, b'x');
            head.extend_from_slice(b"\r\n\r\n");
            for _ in 0..3 {
                let _ = decoded(&listener, &head, Phase::Serving, &Access::default());
            }
            assert_eq!(kept(&listener), 1);
        }
        for name in 0..10 * PLACES {
            let head = format!("GET /{name} HTTP/1.1\r\nHost: x\r\n\r\n");
            for _ in 0..2 {
                let (_, action, _) = decoded(&listener, head.as_bytes(), Phase::Serving, &Access::default());
                assert!(format!("{action:?}").contains(&format!("\"{name}\"")), "{action:?}");
            }
        }
        assert!((PLACES / 2..=PLACES).contains(&kept(&listener)), "heads fall on few places: {}", kept(&listener));
    }
}

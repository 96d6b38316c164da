//! How the bytes of a body are cut into framing and content, in every grammar that has bodies.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyPart {
    /// This many bytes are framing, to be dropped.
    pub skip: usize,
    /// This many bytes after them are content.
    pub payload: usize,
    /// What comes after those.
    pub then: Then,
}

impl BodyPart {
    /// All of the `shown` bytes, but at most `payload_max`, of content with an end that they do not tell.
    pub fn content(shown: usize, payload_max: usize) -> Self {
        let payload = shown.min(payload_max);
        Self { skip: 0, payload, then: if payload == shown { Then::Wait } else { Then::Look } }
    }
}

/// What comes after a [`BodyPart`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// More of the body: look again at the bytes that are left.
    Look,
    /// More of the body, for which more bytes are needed than were shown.
    Wait,
    /// The body is complete; what follows is the next request.
    End,
}

/// How many of the `shown` bytes are content where `left` bytes of it are to come, at most
/// `payload_max` of them; those are taken off `left`.
pub fn take(left: &mut u64, shown: usize, payload_max: usize) -> usize {
    let payload = shown.min(payload_max).min(usize::try_from(*left).unwrap_or(usize::MAX));
    *left -= payload as u64;
    payload
}

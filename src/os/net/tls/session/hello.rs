//! Whether the first message of a client is whole: from then on rustls answers it, which uses the private key. Never
//! judges it.

/// The type of a record of a handshake (RFC 8446 §5.1).
pub(super) const HANDSHAKE: u8 = 22;
/// Bytes of the longest content of a record.
const CONTENT_BYTES_MAX: usize = 16 * 1024;
/// Bytes of the longest message that rustls takes.
const MESSAGE_BYTES_MAX: usize = 0xffff;

/// True once `bytes`, which begin with the first record, hold the first message, or what cannot become one.
pub(super) fn is_whole(bytes: &[u8]) -> bool {
    let mut header = [0; 4];
    let mut received = 0;
    let mut rest = bytes;
    while let Some((&[kind, major, _, high, low], after)) = rest.split_first_chunk() {
        let len = usize::from(u16::from_be_bytes([high, low]));
        if kind != HANDSHAKE || major != 3 || len == 0 || len > CONTENT_BYTES_MAX {
            return true;
        }
        let content = &after[..len.min(after.len())];
        // The header of a message may be cut by the end of a record.
        for (to, from) in header.iter_mut().skip(received).zip(content) {
            *to = *from;
        }
        received += content.len();
        if received >= header.len() {
            let [_, high, middle, low] = header;
            let len = header.len() + u32::from_be_bytes([0, high, middle, low]) as usize;
            if received >= len || len > MESSAGE_BYTES_MAX {
                return true;
            }
        }
        if after.len() < len {
            return false;
        }
        rest = &after[len..];
    }
    rest.first().is_some_and(|kind| *kind != HANDSHAKE)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The message in records of this many bytes.
    fn records(message: &[u8], len: usize) -> Vec<u8> {
        message.chunks(len).flat_map(|part| [&[22, 3, 1, 0, part.len() as u8], part].concat()).collect()
    }

    #[test]
    fn a_message_is_whole_with_its_last_byte_however_its_records_cut_it() {
        let message = [&[1, 0, 0, 60][..], &[7; 60]].concat();
        for len in 1..=message.len() {
            let bytes = records(&message, len);
            for cut in 0..bytes.len() {
                assert!(!is_whole(&bytes[..cut]), "records of {len} bytes, cut at {cut}");
            }
            assert!(is_whole(&bytes), "records of {len} bytes");
            assert!(is_whole(&[&bytes[..], &[0]].concat()), "records of {len} bytes, and more");
        }
    }

    #[test]
    fn what_cannot_become_a_message_is_not_waited_for() {
        for bytes in [
            &b"P"[..],
            b"\x15",
            b"\x16\x02\x01\x00\x05",
            b"\x16\x03\x01\x00\x00",
            b"\x16\x03\x01\x40\x01",
            b"\x16\x03\x01\x00\x04\x01\xff\xff\xff",
            b"\x16\x03\x01\x00\x01\x01\x17",
        ] {
            assert!(is_whole(bytes), "{bytes:?}");
        }
    }
}

//! Heads at every split, of pieces at random, and any bytes at all.

use proptest::prelude::*;

use super::*;

#[test]
fn the_end_is_found_at_every_split() {
    let head = b"\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n";
    let stream = [&head[..], b"GET /next"].concat();
    for first in 0..stream.len() {
        for second in first..=stream.len() {
            let mut from = 0;
            let mut found = None;
            for shown in [first, second, stream.len()] {
                found = end(&stream[..shown], from).expect("good");
                assert_eq!(found, (shown >= head.len()).then_some(head.len()), "{first} {second} {shown}");
                if found.is_some() {
                    break;
                }
                from = shown;
            }
            assert_eq!(found, Some(head.len()));
        }
    }
}

#[test]
fn what_is_refused_at_once_is_refused_at_every_split() {
    for bad in ["GET / HTTP/1.1\n", "GET /\rX", "GET /\0", "\n", "\r\r", "\r\n\n", "\r\n\r\n", "A: b\r\n\n", "A\r\n\rB"]
    {
        let bytes = bad.as_bytes();
        for split in 0..bytes.len() {
            assert_eq!(end(&bytes[..split], 0), Ok(None), "{bad:?} at {split}");
            assert!(matches!(end(bytes, split), Err(HeadError::BadRequest(_))), "{bad:?} at {split}");
        }
    }
}

/// Pieces of which heads are made, good and bad.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let known = prop::sample::select(vec![
        "GET",
        "PUT",
        " ",
        "/",
        "/a%2e",
        "HTTP/1.1",
        "HTTP/1.0",
        "\r\n",
        "\r\n",
        "\r",
        "\n",
        "\0",
        ":",
        ": ",
        "Host: h",
        "Content-Length: ",
        "Transfer-Encoding: ",
        "chunked",
        ",",
        "5",
        "\r\n\r\n",
        "\t",
        "Connection: close",
        "Expect: ",
    ]);
    prop_oneof![9 => known.prop_map(|text| text.as_bytes().to_vec()), 1 => prop::collection::vec(any::<u8>(), 0..4)]
}

proptest! {
    // covers: smuggled-heads
    #[test]
    fn a_head_that_is_taken_is_unambiguous(pieces in prop::collection::vec(piece(), 0..16)) {
        let lines = [&b"PUT /a HTTP/1.1\r\nHost: h\r\n"[..], &pieces.concat(), b"\r\n\r\n"].concat();
        for input in [&pieces.concat(), &lines] {
            let Ok(Some(len)) = end(input, 0) else { continue };
            let Ok(head) = parse(&input[..len]) else { continue };
            let text = String::from_utf8_lossy(&input[..len]).to_lowercase();
            let count = |name: &str| text.split("\r\n").filter(|line| line.starts_with(name)).count();
            let (lengths, codings) = (count("content-length"), count("transfer-encoding"));
            prop_assert_eq!(matches!(head.framing, Framing::Length(_)), lengths == 1);
            prop_assert_eq!(head.framing == Framing::Chunked, codings == 1);
            prop_assert!(lengths + codings <= 1);
            prop_assert!(head.path.starts_with('/') || head.path == "*");
        }
    }

    #[test]
    fn no_bytes_break_it_and_splits_do_not_matter(
        pieces in prop::collection::vec(piece(), 0..16), split in 0_usize..60,
    ) {
        let input = pieces.concat();
        let split = split.min(input.len());
        let whole = end(&input, 0);
        match end(&input[..split], 0) {
            Ok(None) => prop_assert_eq!(end(&input, split), whole),
            early => prop_assert_eq!(early, whole),
        }
        let _ = (parse(&input), overlong(&input), looks_like_http(&input));
    }
}

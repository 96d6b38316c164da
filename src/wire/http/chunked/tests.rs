//! Bodies at every split, and framing that parsers disagree about.

use proptest::prelude::*;

use super::*;

/// The content of `stream` and how many bytes the body took, shown in pieces of `cut` bytes;
/// `None` while the body is not complete.
fn decode(stream: &[u8], cut: usize, payload_max: usize) -> Result<Option<(Vec<u8>, usize)>, Failure> {
    let (mut chunked, mut content, mut used, mut shown) = (Chunked::default(), Vec::new(), 0, 0);
    loop {
        let left_min = chunked.left_min();
        let step = chunked.step(&stream[used..shown], payload_max)?;
        content.extend_from_slice(&stream[used + step.skip..used + step.skip + step.payload]);
        used += step.skip + step.payload;
        match step.then {
            Then::End => {
                assert!(left_min <= (step.skip + step.payload) as u64, "it was nearer than it said");
                return Ok(Some((content, used)));
            }
            Then::Look => assert!(used < shown, "nothing is left to look at"),
            Then::Wait => {
                assert_eq!(used, shown, "every byte is used");
                if shown == stream.len() {
                    return Ok(None);
                }
                shown = (shown + cut).min(stream.len());
            }
        }
    }
}

fn good(stream: &str) -> (String, usize) {
    let whole = decode(stream.as_bytes(), usize::MAX / 2, usize::MAX).unwrap_or_else(|bad| panic!("{stream:?}: {bad}"));
    for cut in 1..5 {
        for payload_max in [1, 2, usize::MAX] {
            assert_eq!(decode(stream.as_bytes(), cut, payload_max), Ok(whole.clone()), "{stream:?}");
        }
    }
    let (content, used) = whole.expect("complete");
    (String::from_utf8(content).expect("UTF-8"), used)
}

#[test]
fn the_content_is_what_stands_between_the_framing() {
    for (stream, content) in [
        ("0\r\n\r\n", ""),
        ("5\r\nhello\r\n0\r\n\r\n", "hello"),
        ("2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", "hello"),
        ("0000000000000005\r\nhello\r\n000\r\n\r\n", "hello"),
        ("a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", "01234567890123456789"),
        ("4\r\n\r\n\r\n\r\n0\r\n\r\n", "\r\n\r\n"),
        ("5;a=b;c=\"d e\"\r\nhello\r\n0;x\r\n\r\n", "hello"),
        ("5;\r\nhello\r\n0\r\n\r\n", "hello"),
        ("5 ; x = y\r\nhello\r\n0\t ;z\r\n\r\n", "hello"),
        ("0\r\nDigest: x\r\nEmpty:\r\n\r\n", ""),
    ] {
        assert_eq!(good(stream), (content.to_owned(), stream.len()), "{stream:?}");
        let followed = format!("{stream}GET / HTTP/1.1\r\n");
        assert_eq!(good(&followed), (content.to_owned(), stream.len()), "the next request is not touched");
    }
}

#[test]
fn what_is_not_complete_is_waited_for() {
    let stream = b"5;x=y\r\nhello\r\n0\r\nTrailer: x\r\n\r\n";
    for len in 0..stream.len() {
        assert_eq!(decode(&stream[..len], 1, usize::MAX), Ok(None), "{len}");
    }
}

// covers: lying-chunks
#[test]
fn framing_that_could_be_read_in_two_ways_is_refused() {
    for stream in [
        "\r\n",
        "\n",
        " 5\r\n",
        "5 \r\n",
        "5\t\r\n",
        "5 x;y\r\n",
        "5 0;y\r\n",
        " 5;x\r\n",
        "+5\r\n",
        "-1\r\n",
        "0x5\r\n",
        "x\r\n",
        "g\r\n",
        ";x\r\n",
        "5,\r\n",
        "5\n",
        "5\rx",
        "5;x\n",
        "5;x\rx",
        "5;\0\r\n",
        "5;\x7f\r\n",
        "5_0\r\n",
        "00000000000000005\r\n",
        "fffffffffffffffff\r\n",
        "5\r\nhelloX",
        "5\r\nhello\n",
        "5\r\nhello\rX",
        "5\r\nhello0\r\n\r\n",
        "0\r\n\n",
        "0\n",
        "0\r\n\rX",
        "0\r\n folded\r\n",
        "0\r\nA: b\r\n folded\r\n",
        "0\r\nA: b\n",
        "0\r\nA b: c\r\n",
        "0\r\nA : c\r\n",
        "0\r\n: c\r\n",
        "0\r\nA\r\n",
        "0\r\nA: \0\r\n",
        "0\r\nA: b\rX",
        "0\r\nGET / HTTP/1.1\r\n",
    ] {
        for cut in [1, 2, usize::MAX / 2] {
            assert!(matches!(decode(stream.as_bytes(), cut, usize::MAX), Err(Failure::Malformed(_))), "{stream:?}");
        }
    }
}

#[test]
fn after_an_error_there_is_only_that() {
    let mut chunked = Chunked::default();
    assert!(chunked.step(b"5\r\nhello", 100).is_ok());
    assert!(chunked.step(b"X", 100).is_err());
    for again in [&b""[..], b"\r\n0\r\n\r\n", b"0\r\n\r\n"] {
        assert!(chunked.step(again, 100).is_err());
    }
    assert_eq!(chunked.left_min(), 0);
}

// covers: lying-chunks
#[test]
fn extensions_and_trailers_are_bounded() {
    let whole = |stream: &str| decode(stream.as_bytes(), 1000, usize::MAX);
    let long = EXTENSION_LEN_MAX as usize;
    assert_eq!(good(&format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(long - 1))).0, "a");
    assert!(whole(&format!("1;{}", "x".repeat(long))).is_err());
    assert!(whole(&format!("1{}", " ".repeat(long + 1))).is_err());
    let chunks = EXTRAS_LEN_MAX as usize / long;
    let filled = format!("1;{}\r\na\r\n", "x".repeat(long - 1)).repeat(chunks);
    assert!(whole(&format!("{filled}0\r\n\r\n")).is_ok_and(|end| end.is_some()));
    assert!(whole(&format!("{filled}1;")).is_err());
    assert!(whole(&format!("{filled}0\r\nA")).is_err());
    let most = "A: b\r\n".repeat(usize::from(TRAILERS_MAX));
    assert_eq!(good(&format!("0\r\n{most}\r\n")).0, "");
    assert!(whole(&format!("0\r\n{most}A")).is_err());
    assert!(whole(&format!("0\r\nA:{}", "x".repeat(EXTRAS_LEN_MAX as usize))).is_err());
}

// covers: lying-chunks
#[test]
fn a_size_may_have_sixteen_digits() {
    let mut chunked = Chunked::default();
    assert_eq!(chunked.step(b"ffffffffffffffff\r\nab", 100), Ok(BodyPart { skip: 18, payload: 2, then: Then::Wait }));
    assert_eq!(chunked.left_min(), u64::MAX);
}

proptest! {
    #[test]
    fn what_was_encoded_is_decoded(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6),
        cut in 1_usize..60, payload_max in 1_usize..60,
    ) {
        let mut stream = Vec::new();
        for piece in &pieces {
            chunk_head(piece.len() as u64, &mut stream);
            stream.extend_from_slice(piece);
            stream.extend_from_slice(CHUNK_END);
        }
        stream.extend_from_slice(END);
        prop_assert_eq!(decode(&stream, cut, payload_max), Ok(Some((pieces.concat(), stream.len()))));
    }

    #[test]
    fn splits_do_not_matter_and_no_bytes_break_it(
        stream in "([0-9a-f]{1,2}|\r\n|\r|\n|;|[a-z]{1,4}|: | |0\r\n\r\n|1\r\nx\r\n){0,12}", cut in 1_usize..20,
    ) {
        let whole = decode(stream.as_bytes(), usize::MAX / 2, usize::MAX);
        let cut = decode(stream.as_bytes(), cut, 3);
        prop_assert_eq!(cut, whole);
    }
}

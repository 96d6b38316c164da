use super::*;
use proptest::prelude::*;

fn head(len: usize) -> Vec<u8> {
    let mut out = Vec::new();
    write_header(len as u64, &mut out);
    out
}

/// The bytes of the first message in `stream`, with a header that says `len`, and whether it took a
/// silence to find its end; shown in pieces of `cut` bytes, unused ones again.
fn extent(len: u64, stream: &[u8], cut: usize) -> Result<Option<(usize, bool)>, Failure> {
    let (mut extent, mut used, mut shown) = (Extent::new(len), 0, 0);
    loop {
        match extent.step(&stream[used..shown], usize::MAX)? {
            Step::Last(n) => return Ok(Some((used + n, false))),
            Step::Part(n) if used + n < shown => used += n,
            Step::Part(n) if shown < stream.len() => (used, shown) = (used + n, (shown + cut).min(stream.len())),
            Step::Look if shown < stream.len() => shown = (shown + cut).min(stream.len()),
            Step::Part(n) if n > 0 => used += n,
            Step::Part(_) | Step::Look => match extent.silence() {
                Decided::Over => return Ok(Some((used, true))),
                Decided::LookAgain => {}
                Decided::Nothing => return Ok(None),
            },
        }
    }
}

// covers: two-readings
#[test]
fn headers_are_digits_among_blanks() {
    let padded = |text: &str| format!("{text:<64}").into_bytes();
    assert_eq!(header(&padded("14")), Ok(Header::Len(14)));
    assert_eq!(header(&padded("  007")), Ok(Header::Len(7)));
    assert_eq!(header(format!("{:>64}", 5).as_bytes()), Ok(Header::Len(5)));
    assert_eq!(header(format!("5{}", "\0".repeat(63)).as_bytes()), Ok(Header::Len(5)));
    assert_eq!(header(&padded("16777216")), Ok(Header::Len(MESSAGE_LEN_MAX)));
    for bad in ["", "-5", "+3", "1_0", "0x1", "1 2", "5\n", "16777217", "99999999999999999999999", "\0 5"] {
        assert!(matches!(header(&padded(bad)), Err(Failure::Malformed(_))), "{bad:?}");
    }
    assert_eq!(header(b""), Ok(Header::Partial));
    assert_eq!(header(&padded("5")[..63]), Ok(Header::Partial));
    assert!(header(b"GET / HTTP/1.1").is_err(), "hopeless before 64 bytes have come");
}

#[test]
fn a_text_in_doubt_is_decided_by_what_follows() {
    let two = "grüße".as_bytes(); // 5 characters, 7 bytes
    let more = [two, &head(3), b"abc"].concat();
    for cut in [1, 3, 64, 200] {
        assert_eq!(extent(7, two, cut), Ok(Some((7, true))), "bytes, then silence");
        assert_eq!(extent(5, two, cut), Ok(Some((7, false))), "characters: five bytes end inside one");
        assert_eq!(extent(7, &more, cut), Ok(Some((7, false))));
        assert_eq!(extent(5, &more, cut), Ok(Some((7, false))));
    }
    // Three bytes are whole characters here; the tail decides.
    for (text, chars) in [("üab", 3), ("ü1", 2), ("ü 7", 3), ("ü12", 3)] {
        let alone = text.as_bytes();
        let more = [alone, &head(3), b"abc"].concat();
        for cut in [1, 3, 64, 200] {
            assert_eq!(extent(chars, alone, cut).map(|end| end.map(|(n, _)| n)), Ok(Some(alone.len())), "{text}");
            assert_eq!(extent(chars, &more, cut), Ok(Some((alone.len(), false))), "{text}");
            let bytes = alone.len() as u64;
            assert_eq!(extent(bytes, &more, cut), Ok(Some((alone.len(), false))), "{text}");
        }
    }
}

#[test]
fn a_header_whose_end_looks_like_one_is_not_taken_for_the_end_of_a_text() {
    let more = ["üab".as_bytes(), &head(123), &[b'a'; 123]].concat();
    for cut in [1, 64, 300] {
        assert_eq!(extent(4, &more, cut), Ok(Some((4, false))));
    }
}

#[test]
fn the_first_and_the_last_of_every_length_are_characters() {
    let ends = ['\0', '\x7f', '\u{80}', '\u{7ff}', '\u{800}', '\u{fff}', '\u{1000}', '\u{d7ff}', '\u{e000}'];
    for char in ends.into_iter().chain(['\u{ffff}', '\u{10000}', '\u{3ffff}', '\u{40000}', '\u{10ffff}']) {
        let mut utf8 = Utf8::default();
        utf8.push(char.to_string().as_bytes());
        assert_eq!((utf8.chars, utf8.char_state), (1, CharState::Between), "{char:?}");
    }
    for bytes in [&b"\xc1\xbf"[..], b"\xe0\x9f\xbf", b"\xed\xa0\x80", b"\xf0\x8f\xbf\xbf", b"\xf4\x90\x80\x80"] {
        let mut utf8 = Utf8::default();
        utf8.push(bytes);
        assert_eq!(utf8.char_state, CharState::Broken, "{}", bytes.escape_ascii());
    }
}

#[test]
fn what_is_no_text_counts_bytes() {
    for cut in [1, 64, 200] {
        assert_eq!(extent(4, &[b"caf\xe9", &head(2)[..]].concat(), cut), Ok(Some((4, false))));
        assert_eq!(extent(3, &[b"\xff\xfe\xfd", &head(2)[..]].concat(), cut), Ok(Some((3, false))));
        assert_eq!(extent(4, b"caf\xe9", cut), Ok(None), "more of the character must come");
        assert!(extent(3, b"a\xe9\xa0\xa0\xa0", cut).is_err());
    }
}

proptest! {
    #[test]
    fn both_readings_find_the_end_at_every_cut(
        text in "[a-z0-9 üß€😀*]{1,40}", next in "[a-zü*][a-z ]{0,9}", cut in 1_usize..90,
    ) {
        let stream = [text.as_bytes(), &head(next.len()), next.as_bytes()].concat();
        let by_bytes = extent(text.len() as u64, &stream, cut);
        prop_assert_eq!(by_bytes, Ok(Some((text.len(), false))));
        let by_chars = extent(text.chars().count() as u64, &stream, cut);
        prop_assert_eq!(by_chars, Ok(Some((text.len(), false))));
    }

    #[test]
    fn the_pieces_of_a_text_have_its_characters(text in "[ -~üß€😀\u{d7ff}\u{e000}\u{10ffff}]{0,20}", cut in 1_usize..5) {
        let mut utf8 = Utf8::default();
        text.as_bytes().chunks(cut).for_each(|piece| utf8.push(piece));
        prop_assert_eq!((utf8.chars, utf8.char_state), (text.chars().count() as u64, CharState::Between));
    }

    #[test]
    fn what_the_standard_library_refuses_is_no_text(bytes in prop::collection::vec(any::<u8>(), 0..6)) {
        let mut utf8 = Utf8::default();
        utf8.push(&bytes);
        prop_assert_eq!(utf8.char_state == CharState::Between, std::str::from_utf8(&bytes).is_ok());
    }

    #[test]
    fn no_bytes_break_it(len in 0_u64..50, bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 1_usize..90) {
        if let Ok(Some((end, _))) = extent(len, &bytes, cut) {
            prop_assert!(end <= bytes.len() && end as u64 >= len);
        }
    }
}

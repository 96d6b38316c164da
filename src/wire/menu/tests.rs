use super::*;
use proptest::prelude::*;

#[test]
fn the_bytes_of_a_name_of_media_are_bounded() {
    assert_eq!(media_name(&[b'a'; NAME_LEN_MAX], Following::Unknown), NameEnd::Open);
    assert_eq!(media_name(&[b'a'; NAME_LEN_MAX + 1], Following::Unknown), NameEnd::Never);
}

#[test]
fn no_word_begins_like_another() {
    let words = || CLASSES.iter().map(|(word, _)| *word);
    for (n, one) in words().enumerate() {
        assert!(words().skip(n + 1).all(|other| !one.starts_with(other) && !other.starts_with(one)));
    }
    let first = [GREETING, VERBS[0].0, VERBS[1].0];
    assert!(first.iter().enumerate().all(|(n, a)| first[n + 1..].iter().all(|b| a[0] != b[0] || a[1] != b[1])));
}

#[test]
fn words_are_found_in_front_of_anything() {
    assert_eq!(verb(b"sendimage"), Word::Known(Verb::Send, 4));
    assert_eq!(verb(b"rec"), Word::Partial);
    assert_eq!(verb(b"Send"), Word::Unknown);
    assert_eq!(greeting(b"Receive Datasend"), Word::Known((), 12));
    assert_eq!(class(b"vedioa.mp4"), Word::Known(Class::Video, 5));
    assert_eq!(class(b"pdf"), Word::Unknown);
    assert_eq!(Class::other(b"pdf").map(|class| class.word().to_owned()), Some("pdf".to_owned()));
    for bad in [&b""[..], b"a b", b"a\n", b"\xff", &[b'a'; 33]] {
        assert_eq!(Class::other(bad), None);
    }
}

#[test]
fn a_class_knows_its_files() {
    assert_eq!(Class::Image.stem("a.b.JPG"), Some("a.b"));
    assert_eq!(Class::Image.stem(".jpg"), None);
    assert_eq!(Class::Image.stem("jpg"), None);
    assert_eq!(Class::Image.stem("ajpg"), None);
    assert_eq!(Class::Text.stem("é.txt"), Some("é"));
    assert_eq!(Class::Text.stem("éé"), None);
}

#[test]
fn the_name_of_a_text_ends_at_its_extension_or_in_silence() {
    let text = |input: &[u8], following| text_name(input, &Class::Text, following);
    assert_eq!(text(b"g.txthello text", Following::Unknown), NameEnd::At(5));
    assert_eq!(text(b"g.TXT\nhello", Following::Unknown), NameEnd::At(5));
    assert_eq!(text(b"g.txt", Following::Unknown), NameEnd::Open);
    assert_eq!(text(b"g.txt", Following::Silence), NameEnd::At(5));
    assert_eq!(text(b"g.txt", Following::Nothing), NameEnd::At(5));
    assert_eq!(text(b"notes", Following::Silence), NameEnd::At(5));
    assert_eq!(text(b"notes", Following::Nothing), NameEnd::Never);
    assert_eq!(text(b"notes\nhello", Following::Unknown), NameEnd::Never);
    assert_eq!(text(b"\xc3", Following::Silence), NameEnd::Open);
    assert_eq!(text(b"", Following::Silence), NameEnd::Open);
    assert_eq!(text(&[b'x'; 1025], Following::Unknown), NameEnd::Never);
}

#[test]
fn the_name_of_a_picture_ends_where_the_picture_begins() {
    for (input, end) in [
        (&b"a.jpg\xff\xd8\xff"[..], 5),
        (b"a.png\x89PNG", 5),
        (b"a.gifGIF89a", 5),
        (b"a.jpg.gifGIF89a", 9),
        (b"a.tiffII*\0", 6),
        (b"a.tifII*\0", 5),
        (b"a.tiffMM\0*", 6),
        (b"a.mp3ID3", 5),
        (b"a.mp4\0\0\0\x18ftyp", 5),
        (b"a.wavRIFF", 5),
        (b"a.heic\0\0", 6),
        (b"\xc3\xa9.jpg\xff", 6),
    ] {
        assert_eq!(media_name(input, Following::Unknown), NameEnd::At(end), "{}", input.escape_ascii());
    }
    for input in [&b"a.tif"[..], b"a.tiff", b"a.tiffMM\0", b"a.jpg\xc3", b"a.bmpB", b"a.jpghello"] {
        assert_eq!(media_name(input, Following::Unknown), NameEnd::Open, "{}", input.escape_ascii());
    }
    assert_eq!(media_name(b"a.tif", Following::Silence), NameEnd::At(5));
    assert_eq!(media_name(b"a.tiff", Following::Silence), NameEnd::At(6));
    assert_eq!(media_name(b"a.tiffM", Following::Silence), NameEnd::Open);
    assert_eq!(media_name(b"a.jpghello", Following::Silence), NameEnd::Open);
    assert_eq!(media_name(b"a.jpghello", Following::Nothing), NameEnd::Never);
    assert_eq!(media_name(b"\xff\xd8", Following::Unknown), NameEnd::Never);
    assert_eq!(media_name(&[b'x'; 1025], Following::Unknown), NameEnd::Never);
}

fn pieces() -> impl Strategy<Value = Vec<u8>> {
    const PIECES: [&[u8]; 17] = [
        b".tif",
        b"f",
        b".jpg",
        b".txt",
        b"GIF8",
        b"B",
        b"M",
        b"I",
        b"*",
        b"\0",
        b"\xff\xd8",
        b"\xc3",
        b"\xa9",
        b"a",
        b"\n",
        b".mp3ID3",
        &[b'x'; 500],
    ];
    let piece = proptest::sample::select(&PIECES[..]);
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn what_was_decided_stays_so_with_more_bytes(input in pieces()) {
        for cut in 0..input.len() {
            for (part, whole) in [
                (media_name(&input[..cut], Following::Unknown), media_name(&input, Following::Unknown)),
                (text_name(&input[..cut], &Class::Text, Following::Unknown),
                 text_name(&input, &Class::Text, Following::Unknown)),
            ] {
                prop_assert!(part == NameEnd::Open || part == whole, "{:?} then {:?} at {}", part, whole, cut);
            }
        }
    }

    #[test]
    fn an_end_lies_within_and_what_is_before_it_is_text(input in pieces()) {
        for following in [Following::Unknown, Following::Silence, Following::Nothing] {
            for end in [media_name(&input, following), text_name(&input, &Class::Text, following)] {
                if let NameEnd::At(end) = end {
                    prop_assert!(end > 0 && std::str::from_utf8(&input[..end]).is_ok());
                }
            }
        }
    }
}

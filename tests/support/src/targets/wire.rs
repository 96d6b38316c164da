//! Every wire parser of the line protocol and of HTTP: never a panic, and what is accepted is
//! written back unchanged.

use filewharf::object::ExpectedKind;
use filewharf::wire::body::Then;
use filewharf::wire::http::chunked::Chunked;
use filewharf::wire::http::conditional::{EntityTags, Preconditions};
use filewharf::wire::http::head::{self, Framing};
use filewharf::wire::http::{accept, basic, date, digest, target};
use filewharf::wire::range::{ByteRange, Ranges};
use filewharf::wire::{key, line};

/// Every parser over the same bytes.
pub fn all(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(path) = key::absolute(text)
    {
        let mut back = path.key.to_string();
        if path.expected_kind == ExpectedKind::Dir && !path.key.is_root() {
            back.push('/');
        }
        assert_eq!(back.as_bytes(), data);
    }
    let _ = (line::cut(data), line::request(data), line::trailer(data), line::chunk_len(data));
    if let Ok(text) = std::str::from_utf8(data) {
        assert_eq!(line::unescape(&line::escape(text)).expect("own escaping"), text);
        let _ = line::Reply::parse(text);
        if let Some(range) = ByteRange::parse(text) {
            for len in [0, 1, 1000, u64::MAX] {
                if let Ok(range) = range.resolve(len) {
                    assert!(range.start < range.end && range.end <= len);
                }
            }
        }
    }
    http_head(data);
    http_body(data);
    if let Ok(text) = std::str::from_utf8(data) {
        http_values(text);
    }
}

/// A head is found at every split alike, and one that is taken can be read in one way only.
fn http_head(data: &[u8]) {
    let whole = head::end(data, 0);
    let split = data.len() / 2;
    match head::end(&data[..split], 0) {
        Ok(None) => assert_eq!(head::end(data, split), whole),
        early => assert_eq!(early, whole),
    }
    let _ = (head::overlong(data), head::looks_like_http(data), head::parse(data));
    let Ok(Some(len)) = whole else { return };
    let Ok(head) = head::parse(&data[..len]) else { return };
    let text = String::from_utf8_lossy(&data[..len]).to_ascii_lowercase();
    let count = |name: &str| text.split("\r\n").filter(|line| line.starts_with(name)).count();
    let (lengths, codings) = (count("content-length:"), count("transfer-encoding:"));
    assert!(lengths + codings <= 1);
    assert_eq!(matches!(head.framing, Framing::Length(_)), lengths == 1);
    assert_eq!(head.framing == Framing::Chunked, codings == 1);
    let _ = (
        Preconditions::parse(&head.fields),
        target::path(head.path),
        head.query.map(|query| target::query(query, &["fw"])),
    );
}

/// A body is the same at every split.
fn http_body(data: &[u8]) {
    let decode = |cut: usize| {
        let (mut chunked, mut content, mut used, mut shown) = (Chunked::default(), Vec::new(), 0, 0);
        loop {
            let step = chunked.step(&data[used..shown], cut)?;
            content.extend_from_slice(&data[used + step.skip..used + step.skip + step.payload]);
            used += step.skip + step.payload;
            match step.then {
                Then::End => return Ok(Some((content, used))),
                Then::Look => assert!(used < shown),
                Then::Wait if shown == data.len() => return Ok(None),
                Then::Wait => shown = (shown + cut).min(data.len()),
            }
        }
    };
    let whole: Result<_, filewharf::error::Failure> = decode(data.len().max(1));
    assert_eq!(decode(3), whole);
}

fn http_values(text: &str) {
    let lines: Vec<&str> = text.split('\n').collect();
    let _ = (
        EntityTags::parse(&lines),
        digest::wants_sha256(&lines),
        accept::listing_format(&lines),
        basic::credentials(text).is_some(),
    );
    if let Ok(Some(sha256)) = digest::sha256(&lines) {
        assert_eq!(digest::sha256(&[&digest::format(&sha256)]), Ok(Some(sha256)));
    }
    if let Some(seconds) = date::parse(text) {
        let mut written = Vec::new();
        date::write(seconds, &mut written);
        assert_eq!(std::str::from_utf8(&written).ok().and_then(date::parse), Some(seconds));
    }
    if let Ok(path) = target::path(text) {
        let mut raw = Vec::new();
        target::encode_path(&path.key, &mut raw);
        let raw = String::from_utf8(raw).expect("ASCII");
        assert_eq!(target::path(&raw).expect("own escaping").key, path.key);
    }
    for len in [0, 1, 1000, u64::MAX] {
        match Ranges::parse(text, len) {
            Ranges::Whole | Ranges::Unsatisfiable => {}
            Ranges::One(part) => assert!(part.start < part.end && part.end <= len),
            Ranges::Several(parts) => {
                assert!(parts.iter().all(|part| part.start < part.end && part.end <= len));
                assert!(parts.iter().map(|part| u128::from(part.end - part.start)).sum::<u128>() <= u128::from(len));
            }
        }
    }
}

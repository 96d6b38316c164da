//! What the decoder agrees with Python about, and what it refuses.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

use proptest::prelude::*;

use super::*;
use crate::error::Failure;

const LEN_MAX: usize = 1 << 20;

/// A text that says everything about a value, which `corpus.py` below also writes.
fn canonical(document: &Document, id: Id) -> String {
    let all = |ids: &[Id]| ids.iter().map(|id| canonical(document, *id)).collect::<Vec<_>>();
    let hex = |bytes: &[u8]| {
        bytes.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    };
    let sorted = |ids: &[Id]| {
        let mut texts = all(ids);
        texts.sort();
        texts.concat()
    };
    match document.at(id) {
        Value::None => "N".into(),
        Value::Bool(true) => "T".into(),
        Value::Bool(false) => "F".into(),
        Value::Int(number) => format!("i{number};"),
        Value::Big(digits) => format!("i{digits};"),
        Value::Float(number) => format!("f{}", hex(&number.to_be_bytes())),
        Value::Text(text) => format!("s{};", hex(text.as_bytes())),
        Value::Bytes(bytes) => format!("b{};", hex(bytes)),
        Value::List(ids) => format!("[{}]", all(ids).concat()),
        Value::Tuple(ids) => format!("({})", all(ids).concat()),
        Value::Set(ids) => format!("<{}>", sorted(ids)),
        Value::Frozen(ids) => format!("z<{}>", sorted(ids)),
        Value::Dict(pairs) => {
            let pairs = pairs.iter().map(|(key, value)| canonical(document, *key) + &canonical(document, *value));
            format!("{{{}}}", pairs.collect::<String>())
        }
    }
}

fn read(message: &[u8]) -> Result<String, Failure> {
    assert_eq!(Scanner::default().find(message, LEN_MAX)?, Some(message.len()), "the scanner finds the same end");
    decode(message).map(|document| canonical(&document, document.root))
}

#[test]
fn the_same_message_in_every_protocol() {
    for message in [
        &b"(dp0\nVclientid\np1\nI50851\ns."[..],
        b"(dp0\nS'clientid'\np1\nI50851\ns.",
        b"}q\0X\x08\0\0\0clientidq\x01M\xa3\xc6s.",
        b"\x80\x02}q\0U\x08clientidq\x01M\xa3\xc6s.",
        b"\x80\x02}q\0X\x08\0\0\0clientidq\x01M\xa3\xc6s.",
        b"\x80\x03}q\0X\x08\0\0\0clientidq\x01M\xa3\xc6s.",
        b"\x80\x04\x95\x12\0\0\0\0\0\0\0}\x94\x8c\x08clientid\x94M\xa3\xc6s.",
        b"\x80\x05\x95\x12\0\0\0\0\0\0\0}\x94\x8c\x08clientid\x94M\xa3\xc6s.",
    ] {
        assert_eq!(read(message).as_deref(), Ok("{s636c69656e746964;i50851;}"), "{}", message.escape_ascii());
    }
}

#[test]
fn python_2_is_recognized_by_its_byte_strings() {
    let strings = |message: &[u8]| decode(message).expect("plain data").strings();
    assert_eq!(strings(b"(dp0\nS'get'\np1\nS'a'\np2\ns."), Strings::EightBit);
    assert_eq!(strings(b"\x80\x02}X\x03\0\0\0getX\x01\0\0\0as."), Strings::Apart);
    assert_eq!(read(b"S'a\\x00\\\\\\'\\n\\xff'\n.").as_deref(), Ok("b61005c270aff;"));
    assert_eq!(read(b"S'\\r\\t'\n.").as_deref(), Ok("s0d09;"));
    assert_eq!(read(b"S\"it's\"\n.").as_deref(), Ok("s69742773;"));
    // Two halves of a character beyond U+FFFF, and a backslash that begins nothing.
    assert_eq!(read(b"V\\ud83d\\ude00\\\\u0041\n.").as_deref(), Ok("sf09f98805c5c7530303431;"));
}

#[test]
fn every_width_of_a_length_and_of_a_place_is_read() {
    assert_eq!(read(b"T\x02\0\0\0ab.").as_deref(), Ok("s6162;"));
    // Two places that differ in their second byte only.
    assert_eq!(read(b"\x80\x04\x8c\x01ar\0\x01\0\0\x30\x8c\x01br\0\0\0\0\x30j\0\x01\0\0.").as_deref(), Ok("s61;"));
    assert_eq!(read(b"(K\x01\x91.").as_deref(), Ok("z<i1;>"));
    assert_eq!(read(b"F1.5\n.").as_deref(), Ok("f3ff8000000000000"));
    let long = |len: usize| format!("F1.{}\n.", "0".repeat(len - 2)).into_bytes();
    assert!(read(&long(64)).is_ok() && read(&long(65)).is_err());
}

#[test]
fn every_way_to_write_a_plain_value_is_read() {
    for (message, value) in [
        (&b"I00\n."[..], "F"),
        (b"I01\n.", "T"),
        (b"\x80\x02\x89.", "F"),
        (b"\x80\x02\x88.", "T"),
        (b"J\xfe\xff\xff\xff.", "i-2;"),
        (b"M\x01\x02.", "i513;"),
        (b"K\xff.", "i255;"),
        (b"L123L\n.", "i123;"),
        (b"\x80\x02\x8a\x01\xfb.", "i-5;"),
        (b"\x80\x02\x8b\x02\0\0\0\xff\x7f.", "i32767;"),
        (b"\x80\x04\x8f(K\x01\x90.", "<i1;>"),
        (b"(K\x01K\x02K\x03K\x04t.", "(i1;i2;i3;i4;)"),
        (b"K\x07(0.", "i7;"),
        (&dict(&[]), "{}"),
    ] {
        assert_eq!(read(message).as_deref(), Ok(value), "{}", message.escape_ascii());
    }
    assert!(matches!(read(b"T\xff\xff\xff\xff."), Err(Failure::Malformed(_))), "a length below zero");
}

#[test]
fn the_values_that_are_made_are_bounded() {
    for (end, each) in [('l', 2), ('d', 4)] {
        // Each member is made, and is then a member; what is made and thrown away counts as well.
        let members = (ITEMS_MAX - 1) / each;
        for (more, is_read) in [(0, true), (1, false)] {
            let thrown_away = ITEMS_MAX - 1 - members * each + more;
            let message = format!("{}({}{end}.", "N0".repeat(thrown_away), "N".repeat(members * each / 2));
            assert_eq!(decode(message.as_bytes()).is_ok(), is_read, "{end} and {more}");
        }
    }
}

#[test]
fn lists_may_grow_after_they_were_put_somewhere() {
    assert_eq!(read(b"]q\0]q\x01ah\x01K\x07a0.").as_deref(), Ok("[[i7;]]"));
    assert_eq!(read(b"(]q\0h\0l.").as_deref(), Ok("[[][]]"));
    assert_eq!(read(b"K\x01K\x022\x87.").as_deref(), Ok("(i1;i2;i2;)"));
    assert!(read(b"K\x01(\x85t.").is_err(), "what is below a mark is not for later operations");
    assert!(read(b"}]\x85K\x01s.").is_err(), "what holds a list is no key");
    assert_eq!(read(b"N(K\x01K\x0210.").as_deref(), Err(&Failure::Malformed("the pickle takes more than it has made")));
}

// covers: pickle-calls
#[test]
fn what_is_not_plain_data_is_refused_by_its_opcode() {
    let forbidden = Failure::Denied("only plain data is taken, no classes and no calls");
    for message in [
        &b"cos\nsystem\n(S'id'\ntR."[..],
        b"(S'id'\nios\nsystem\n.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02id\x85R.",
        b"\x80\x02}(X\x01\0\0\0acos\nsystem\nu.",
        b"(Nb.",
        b"(No.",
        b"\x80\x02N)\x81.",
        b"\x80\x02N)}\x92.",
        b"\x80\x02\x82\x01.",
        b"\x80\x02\x83\x01\0.",
        b"\x80\x02\x84\x01\0\0\0.",
        b"(P1\n.",
        b"NQ.",
        b"\x80\x05\x97.",
        b"\x80\x05N\x98.",
    ] {
        assert_eq!(read(message), Err(forbidden), "{}", message.escape_ascii());
    }
    for message in [&b"hello\n"[..], b"GET / HTTP/1.1\r\n\r\n", b".", b"\0", b"{\"a\": 1}", b"\x80\x02\xff.", b"(\x99."]
    {
        assert!(Scanner::default().find(message, LEN_MAX).is_err(), "{}", message.escape_ascii());
    }
}

#[test]
fn a_broken_message_is_refused() {
    for message in [
        &b"\x80\x06N."[..],
        b"\x80\x02.",
        b"N0.",
        b"Ns.",
        b"NNs.",
        b"NNNs.",
        b"Na.",
        b"NNa.",
        b"(Ne.",
        b"N(Ne.",
        b"](Nu.",
        b"}(Nu.",
        b"(Nd.",
        b"N\x87.",
        b"N(\x85.",
        b"(N.",
        b"Ng0\n.",
        b"(g0\n.",
        b"Np-1\n.",
        b"Np99999999999\n.",
        b"(q\0.",
        b"}]NsN.",
        b"](}Nt.",
        b"}(]NNNu.",
        b"}(]\x85Ns.",
        b"(]\x91.",
        b"X\x01\0\0\0\xff.",
        b"X\x03\0\0\0\xed\xa0\x80.",
        b"V\\ud800\n.",
        b"V\\u12\n.",
        b"V\\U00110000\n.",
        b"S'\n.",
        b"Sa\n.",
        b"S'\\'\n.",
        b"S'\\q'\n.",
        b"I1.5\n.",
        b"F1,5\n.",
        b"L1\n\n.",
    ] {
        // Python does take some of these that no Python writes: a value below the message.
        let refused = decode(message).is_err() || message == b"}]NsN." || message == b"](}Nt.";
        assert!(refused, "{}", message.escape_ascii());
    }
}

#[test]
fn containers_that_hold_themselves_are_refused() {
    for message in [&b"]q\0h\0a."[..], b"}q\0K\x01h\0s.", b"]q\0h\0\x85a.", b"]q\0]q\x01h\0ah\x01a."] {
        assert_eq!(read(message), Err(Failure::Malformed("the pickle contains itself")), "{}", message.escape_ascii());
    }
}

// covers: pickle-bombs
#[test]
fn depth_is_bounded_however_it_is_made() {
    let nested = |depth: usize| [b"]".repeat(depth), b"a".repeat(depth - 1), b".".to_vec()].concat();
    assert!(read(&nested(DEPTH_MAX)).is_ok());
    let deep = Err(Failure::Malformed("the pickle is nested too deeply"));
    assert_eq!(read(&nested(DEPTH_MAX + 1)), deep);
    let around = |depth: usize| [b"(".repeat(depth), b"N".to_vec(), b"l".repeat(depth), b".".to_vec()].concat();
    assert!(read(&around(DEPTH_MAX)).is_ok(), "what holds nothing is no deeper");
    assert_eq!(read(&nested(50_000)), deep);
    assert_eq!(read(&[b")".to_vec(), b"\x85".repeat(50_000), b".".to_vec()].concat()), deep);
    // A deep list that is first seen at the top, then once more at the bottom of another.
    let shared =
        [&b"("[..], &b"]".repeat(40), &b"a".repeat(39), b"q\0", &b"]".repeat(40), b"h\0", &b"a".repeat(40), b"l."]
            .concat();
    assert_eq!(read(&shared), deep);
}

// covers: pickle-bombs
#[test]
fn a_thousand_laughs_cost_nothing() {
    let mut laughs = b"]q\0(NNNNNNNNNNe".to_vec();
    for level in 0..60_u8 {
        laughs.extend([b']', b'q', level + 1, b'(']);
        laughs.extend([b'h', level].repeat(10));
        laughs.push(b'e');
    }
    laughs.push(b'.');
    assert_eq!(read(&laughs), Err(Failure::TooLarge));
    // One long text in very many places.
    let text = [&b"("[..], b"X\0\0\x08\0", &[b'a'; 0x80000], b"q\0", &b"h\0".repeat(60_000), b"l."].concat();
    assert_eq!(read(&text), Err(Failure::TooLarge));
}

#[test]
fn a_document_is_as_heavy_as_its_limit_and_no_heavier() {
    // A list weighs one, and each member one and its bytes.
    let part = WEIGHT_MAX as usize / 8;
    for (first, code) in [(&b"("[..], b'X'), (b"\x80\x03(", b'B')] {
        let long = |len: usize| [&[code][..], &(len as u32).to_le_bytes(), &vec![b'a'; len]].concat();
        let message = |last: usize| [first, &long(part - 1), b"q\0", &b"h\0".repeat(6), &long(last), b"l."].concat();
        assert!(decode(&message(part - 2)).is_ok());
        assert!(matches!(decode(&message(part - 1)), Err(Failure::TooLarge)));
    }
}

// covers: pickle-bombs
#[test]
fn counts_and_lengths_are_bounded() {
    let many = Err(Failure::Malformed("the pickle has too many parts"));
    let around = |first: &[u8], middle: &[u8], times: usize, last: &[u8]| [first, &middle.repeat(times), last].concat();
    assert!(read(&around(b"(", b"N", 60_000, b"l.")).is_ok());
    assert_eq!(read(&around(b"(", b"N", 500_000, b"l.")), many);
    assert_eq!(read(&around(b"N", b"2", 1_000_000, b".")), many);
    assert_eq!(read(&around(b"", b"(", 1_000_000, b".")), many);
    assert_eq!(read(&around(b"N", b"\x94", 100_000, b".")), many);
    assert!(read(&around(b"N", b"\x94", MEMO_MAX, b".")).is_ok());
    assert_eq!(read(&around(b"N", b"\x94", MEMO_MAX + 1, b".")), many);
    for head in [
        &b"X\xff\xff\xff\xff"[..],
        b"\x80\x03B\xff\xff\xff\x7f",
        b"\x80\x02\x8b\xff\xff\xff\x7f",
        b"T\xff\xff\xff\x7f",
        b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x80\x04\x8e\0\0\0\0\0\0\0\x80",
        b"\x80\x05\x96\0\0\x10\0\0\0\0\0",
        b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f",
    ] {
        assert_eq!(Scanner::default().find(head, LEN_MAX), Err(Failure::TooLarge), "{}", head.escape_ascii());
    }
    for head in [&b"T\xff\xff\xff\xff"[..], b"L\0\0\0\x80"] {
        let refused = Scanner::default().find(&[head, b"\n."].concat(), LEN_MAX).is_err();
        assert!(refused || decode(&[head, b"\n."].concat()).is_err(), "{}", head.escape_ascii());
    }
}

#[test]
fn the_longest_message_is_as_long_as_the_limit() {
    let message = [b"X\xf0\x0f\0\0".to_vec(), vec![b'a'; 4080], b".".to_vec()].concat();
    assert_eq!(Scanner::default().find(&message, message.len()), Ok(Some(message.len())));
    assert_eq!(Scanner::default().find(&message, message.len() - 1), Err(Failure::TooLarge));
    let line = [b"V".to_vec(), vec![b'a'; 5000]].concat();
    assert_eq!(Scanner::default().find(&line, 5001), Err(Failure::TooLarge));
    assert_eq!(Scanner::default().find(&line, 5002), Ok(None));
}

/// Were it quadratic, this would be 5 * 10^11 steps.
#[test]
fn a_megabyte_byte_by_byte_is_looked_at_once() {
    let line = [b"V".to_vec(), vec![b'a'; LEN_MAX - 3], b"\n.".to_vec()].concat();
    let row = [b"(".to_vec(), b"K\x01".repeat(LEN_MAX / 2 - 2), b"l.".to_vec()].concat();
    for message in [line, row] {
        let mut scanner = Scanner::default();
        let found = (1..=message.len()).find_map(|n| scanner.find(&message[..n], LEN_MAX).expect("plain data"));
        assert_eq!(found, Some(message.len()));
    }
}

proptest! {
    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&bytes);
        let _ = Scanner::default().find(&bytes, 100);
    }

    #[test]
    fn any_row_of_opcodes_is_decoded_or_refused(
        picks in prop::collection::vec(0..OPS.len(), 0..60),
    ) {
        let message: Vec<u8> = picks.iter().flat_map(|n| OPS[*n].iter().copied()).chain(*b".").collect();
        if let Ok(document) = decode(&message) {
            let text = crate::wire::json::line(&document, 10_000);
            prop_assert!(text.is_ok() || text == Err(Failure::TooLarge));
            prop_assert!(canonical(&document, document.root).len() < 1 << 24);
        }
    }

    #[test]
    fn the_end_does_not_depend_on_the_cuts(
        picks in prop::collection::vec(0..OPS.len(), 1..60), after in prop::collection::vec(any::<u8>(), 0..9),
        cuts in prop::collection::vec(0_usize..300, 0..8), len_max in 20_usize..300,
    ) {
        let message: Vec<u8> = picks.iter().flat_map(|n| OPS[*n].iter().copied()).chain(*b".").chain(after).collect();
        let whole = Scanner::default().find(&message, len_max);
        let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut < message.len()).chain([message.len()]).collect();
        cuts.sort_unstable();
        let mut scanner = Scanner::default();
        let found = cuts.iter().map(|cut| scanner.find(&message[..*cut], len_max)).find(|found| *found != Ok(None));
        prop_assert_eq!(found.unwrap_or(Ok(None)), whole);
    }
}

/// Pieces that make sense together often enough.
const OPS: &[&[u8]] = &[
    b"(",
    b"0",
    b"1",
    b"2",
    b"N",
    b"I1\n",
    b"I01\n",
    b"L5L\n",
    b"F1.5\n",
    b"S'a'\n",
    b"Vb\n",
    b"X\x01\0\0\0c",
    b"K\x01",
    b"M\x01\x02",
    b"J\x01\x02\x03\xf4",
    b"G?\xf0\0\0\0\0\0\0",
    b"]",
    b"}",
    b")",
    b"\x8f",
    b"l",
    b"d",
    b"t",
    b"\x91",
    b"\x85",
    b"\x86",
    b"\x87",
    b"\x88",
    b"\x89",
    b"a",
    b"e",
    b"s",
    b"u",
    b"\x90",
    b"q\0",
    b"q\x01",
    b"h\0",
    b"h\x01",
    b"p0\n",
    b"g0\n",
    b"\x94",
    b"\x8a\x02\x01\xff",
    b"C\x02ab",
    b"\x8c\x01d",
    b"\x80\x04",
    b"\x96\x01\0\0\0\0\0\0\0x",
    b"U\x01\xff",
];

/// Makes random plain values in every protocol, each as a line of the pickle in hex and the
/// canonical text of what Python reads from it.
const CORPUS: &str = include_str!("corpus.py");

#[test]
#[ignore = "needs python3"]
fn decodes_what_python_writes_as_python_reads_it() {
    let seed = std::env::var("PICKLE_SEED").unwrap_or_else(|_| "1".into());
    let mut child = Command::new("python3")
        .args(["-c", CORPUS, &seed, "600"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is installed");
    let out = std::io::BufReader::new(child.stdout.take().expect("piped"));
    let mut count = 0;
    let mut refused = 0;
    for line in std::io::BufRead::lines(out) {
        let line = line.expect("text");
        let (hex, wanted) = line.split_once(' ').expect("two words");
        let message: Vec<u8> =
            (0..hex.len() / 2).map(|n| u8::from_str_radix(&hex[2 * n..2 * n + 2], 16).expect("hex")).collect();
        match read(&message) {
            Ok(text) => assert_eq!(text, wanted, "{}", message.escape_ascii()),
            // A value that is in very many places weighs too much.
            Err(Failure::TooLarge) => refused += 1,
            Err(failure) => panic!("{failure}: {}", message.escape_ascii()),
        }
        // Broken anywhere it is decoded or refused, too.
        for n in 0..message.len().min(20) {
            let mut broken = message.clone();
            let at = (n * 7919) % broken.len();
            broken[at] ^= 1 << (n % 8);
            let _ = read_any(&broken);
        }
        count += 1;
    }
    assert!(child.wait().expect("it ends").success());
    assert!(count > 2500 && refused * 100 < count, "{count} messages, {refused} too large");
}

fn read_any(message: &[u8]) -> Result<Document, Failure> {
    let end = Scanner::default().find(message, LEN_MAX)?.ok_or(Failure::TooLarge)?;
    decode(&message[..end])
}

#[test]
#[ignore = "needs python3"]
fn python_reads_what_is_written() {
    let head = bytes_entry("name", "ü", "data", 3, Strings::Apart);
    let messages = [
        (dict(&[("clientid", Item::Int(50_851))]), "{'clientid': 50851}"),
        (dict(&[]), "{}"),
        (dict(&[("a", Item::Int(u64::MAX)), ("b", Item::Text("é"))]), "{'a': 18446744073709551615, 'b': '\\xe9'}"),
        (text("server got the data"), "'server got the data'"),
        (NONE.to_vec(), "None"),
        ([head.before, vec![0, 255, 10], head.trailer].concat(), "{'name': '\\xfc', 'data': b'\\x00\\xff\\n'}"),
    ];
    let script = "import pickle, sys\nfor line in sys.stdin: print(ascii(pickle.loads(bytes.fromhex(line.strip()))))";
    let mut child = Command::new("python3")
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is installed");
    let mut input = child.stdin.take().expect("piped");
    for (message, _) in &messages {
        let hex = message.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        writeln!(input, "{hex}").expect("it reads");
    }
    drop(input);
    let said = child.wait_with_output().expect("it ends").stdout;
    let wanted: String = messages.iter().map(|(_, wanted)| format!("{wanted}\n")).collect();
    assert_eq!(String::from_utf8_lossy(&said), wanted);
}

//! The dialects of the older systems. Their clients prove nothing: they have the rights of anybody.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use filewharf::access::Access;
use filewharf::config::Limits;
use filewharf::dialect::{Kind, Listening};

use crate::access::oracle::all_rights;
use crate::access::rules;
use support::rig::{Mode, Rig};

const SECRET: &str = "what only a reader may know";
const NEW: &str = "new content";

/// A conversation: pieces that the client sends, each followed by this many milliseconds.
struct Story {
    kind: Kind,
    options: &'static [(&'static str, &'static str)],
    says: Vec<(Vec<u8>, u64)>,
    /// What a reader hears of it; empty where nothing is read.
    hears: &'static str,
    /// The file that it stores; empty where it stores none.
    stores: &'static str,
}

fn message(text: &str) -> Vec<u8> {
    format!("{:<64}{text}", text.len()).into_bytes()
}

fn stories() -> Vec<Story> {
    let story = |kind, says: &[(&str, u64)], hears, stores| {
        let says = says.iter().map(|(text, ms)| (text.as_bytes().to_vec(), *ms)).collect();
        Story { kind, options: &[], says, hears, stores }
    };
    let new_size = format!("new.txt {}{NEW}", NEW.len());
    let old_size = format!("old.txt {}{NEW}", NEW.len());
    let messages = |texts: &[&str], hears, stores| {
        let says = texts.iter().map(|text| (message(text), 100)).collect();
        Story { kind: Kind::LengthPrefix, options: &[], says, hears, stores }
    };
    let pickled = |message: &[u8], hears, stores| {
        let says = vec![(message.to_vec(), 400)];
        Story { kind: Kind::Pickle, options: &[], says, hears, stores }
    };
    let len = NEW.len();
    vec![
        story(Kind::NameSize, &[(&new_size, 0)], "", "new.txt"),
        story(Kind::NameSize, &[(&old_size, 0)], "", "old.txt"),
        story(Kind::NameChoice, &[("3new.txt:PUT", 100), (NEW, 0)], "", "new.txt"),
        story(Kind::NameChoice, &[("3old.txt:PUT", 100), (NEW, 0)], "", "old.txt"),
        story(Kind::NameChoice, &[("3old.txt:GET", 3000)], SECRET, ""),
        story(Kind::Menu, &[("sendtextnew.txt", 100), (NEW, 0)], "", "new.txt"),
        story(Kind::Menu, &[("sendtextold.txt", 100), (NEW, 0)], "", "old.txt"),
        story(Kind::Menu, &[("receivetext", 400), ("", 400), ("", 400), ("", 400)], SECRET, ""),
        pickled(b"\x80\x02}X\x03\x00\x00\x00getX\x07\x00\x00\x00old.txts.", SECRET, ""),
        pickled(
            b"\x80\x03}(X\x03\x00\x00\x00putX\x07\x00\x00\x00new.txtX\x04\x00\x00\x00dataC\x0bnew contentu.",
            "",
            "new.txt",
        ),
        pickled(
            b"\x80\x03}(X\x03\x00\x00\x00putX\x07\x00\x00\x00old.txtX\x04\x00\x00\x00dataC\x0bnew contentu.",
            "",
            "old.txt",
        ),
        Story { options: &[("inbox", "box")], ..pickled(b"\x80\x02}X\x03\x00\x00\x00sidK\x01s.", "", "") },
        messages(&["GET /old.txt"], SECRET, ""),
        messages(&[&format!("PUT {len} /new.txt"), NEW], "", "new.txt"),
        messages(&[&format!("PUT {len} /old.txt"), NEW], "", "old.txt"),
        messages(&["LIST /", "STAT /old.txt", "DELETE /other.bin", "MKDIR /x", "RENAME /other.bin\t/moved"], "", ""),
        Story {
            kind: Kind::LengthPrefix,
            options: &[("inbox", "box")],
            says: vec![(message("a message of people"), 100)],
            hears: "",
            stores: "",
        },
    ]
}

struct Seen {
    heard: String,
    files: BTreeMap<String, Vec<u8>>,
}

fn tell(story: &Story, access: Access) -> Seen {
    let options: Vec<_> = story.options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let listening = Listening::new(story.kind, &options, 0).expect("options");
    let mut rig = Rig::speaking(listening, Mode::PLAIN, Limits::default(), access);
    rig.place("old.txt", SECRET.as_bytes());
    rig.place("other.bin", b"other");
    let peer = rig.connect();
    for (bytes, ms) in &story.says {
        rig.send(&peer, bytes);
        rig.pass(Duration::from_millis(*ms));
    }
    rig.finish(&peer);
    rig.pass(Duration::from_secs(60));
    let heard = String::from_utf8_lossy(&peer.heard()).into_owned();
    assert_eq!(rig.open_files(), 0);
    let names = rig.names();
    Seen { heard, files: names.into_iter().map(|name| (name.clone(), rig.file(&name).expect("it is there"))).collect() }
}

#[test]
fn the_clients_of_older_systems_may_do_what_anybody_may() {
    let mut cases = 0;
    for story in stories() {
        let open = tell(&story, Access::default());
        if !story.stores.is_empty() {
            assert_eq!(open.files.get(story.stores).map(Vec::as_slice), Some(NEW.as_bytes()), "{:?}", story.kind);
        }
        assert!(open.heard.contains(story.hears), "{:?}: {}", story.kind, open.heard);
        for letters in all_rights() {
            let has = |letter| letters.contains(letter);
            let allows = format!("allow @ {letters} /\nallow anna rlcwd /\n");
            let seen = tell(&story, Access::with_rules(Arc::new(rules(&["anna"], &allows)), false));
            let what = format!("{:?} {letters}: {:?}, {:?}", story.kind, seen.heard, seen.files.keys());
            cases += 1;
            assert!(has('r') || !seen.heard.contains(SECRET), "{what}");
            if has('r') && has('l') {
                assert!(seen.heard.contains(story.hears), "{what}");
            }
            assert!(has('l') || has('r') || !seen.heard.contains("other.bin\t"), "{what}");
            let old = seen.files.get("old.txt").expect(&what);
            assert!(has('w') || old == SECRET.as_bytes(), "{what}");
            assert!(has('c') || seen.files.len() <= 2, "{what}");
            assert!(has('d') || seen.files.contains_key("other.bin"), "{what}");
            if has('c') && has('w') && !story.stores.is_empty() {
                assert_eq!(seen.files.get(story.stores), open.files.get(story.stores), "{what}");
            }
            if letters == "c" && !story.stores.is_empty() {
                let dropped = seen.files.iter().find(|(name, _)| name.starts_with("new-") || name.starts_with("old-"));
                assert_eq!(dropped.map(|(_, content)| content.as_slice()), Some(NEW.as_bytes()), "{what}");
            }
            if letters == "rlcwd" {
                assert_eq!((seen.heard, seen.files), (open.heard.clone(), open.files.clone()));
            }
        }
    }
    println!("access matrix: {cases} conversations of older systems, 0 wrong");
}

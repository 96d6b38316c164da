//! What a client that asks for a file is given: the default of its type, the newest, or its own
//! choice from a list.

use crate::dialect::spec::{OptionError, Options};
use crate::error::Failure;
use crate::object::{Key, Listing, Node};
use crate::wire::key;
use crate::wire::menu::Class;

/// The clients receive a name, a list or a text once, with room for this many bytes.
pub(super) const PACKET_LEN: usize = 1024;

/// What the connections of one listener share.
#[derive(Debug, Default)]
pub struct Listener {
    pub(super) offer: Offer,
    defaults: Vec<(Class, Key)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Offer {
    /// The default of its type, or else the newest.
    #[default]
    One,
    /// Its own choice of all there are.
    Choice,
}

impl Listener {
    pub(super) fn of(options: &Options) -> Result<Self, OptionError> {
        let mut this = Self::default();
        for (name, value) in options {
            let classes = match (name.as_str(), value.as_str()) {
                ("list", "choose") => {
                    this.offer = Offer::Choice;
                    continue;
                }
                ("list", _) => return Err(OptionError::invalid(name, value, "list is `choose` or left out")),
                ("text", _) => vec![Class::Text],
                ("code", file) => match [Class::C, Class::Python].into_iter().find(|c| c.stem(file).is_some()) {
                    Some(class) => vec![class],
                    None => vec![Class::C, Class::Python],
                },
                ("image", _) => vec![Class::Image],
                ("audio", _) => vec![Class::Audio],
                _ => vec![Class::Video],
            };
            let key = key::relative(value);
            let key = key.map_err(|failure| OptionError::invalid(name, value, failure.words()))?;
            this.defaults.extend(classes.into_iter().map(|class| (class, key.clone())));
        }
        Ok(this)
    }

    /// The file that its type stands for.
    pub(super) fn default_of(&self, class: &Class) -> Option<&Key> {
        self.defaults.iter().find(|(of, _)| of == class).map(|(_, key)| key)
    }
}

#[derive(Debug)]
pub(super) enum Found {
    /// The newest, with its time.
    Newest(Option<(i64, Box<str>)>),
    /// All, in byte order of names.
    All(Vec<Listed>),
}

/// What is on the list, and what it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) label: Box<str>,
    pub(super) key: Key,
}

impl Found {
    /// Looks through one page. False when the list is full.
    pub(super) fn look(&mut self, class: &Class, listing: &Listing) -> bool {
        for entry in &listing.entries {
            let (Some(Node::File(meta)), Some(stem)) = (entry.node, class.stem(&entry.name)) else { continue };
            match self {
                Self::Newest(best) if best.as_ref().is_none_or(|(newest, _)| meta.mtime >= *newest) => {
                    *best = Some((meta.mtime, entry.name.clone()));
                }
                Self::Newest(_) => {}
                Self::All(listed) => {
                    if !add(listed, stem, &entry.name) {
                        return false;
                    }
                }
            }
        }
        true
    }
}

/// Adds a file to the list, by its whole name if another has that stem. False when one packet
/// holds no more.
fn add(listed: &mut Vec<Listed>, stem: &str, name: &str) -> bool {
    let taken = listed.iter().any(|other| *other.label == *stem);
    let label: Box<str> = if taken { name.into() } else { stem.into() };
    let held: usize = listed.iter().map(|other| other.label.len() + 2).sum();
    if held + label.len() + 1 > PACKET_LEN {
        return false;
    }
    // Names that cannot be named are not listed.
    if let Ok(key) = key::relative(name) {
        listed.push(Listed { label, key });
    }
    true
}

/// `cat  dog `: a blank after each, another between, as the clients print it.
pub(super) fn list_text(listed: &[Listed]) -> String {
    let labels: Vec<&str> = listed.iter().map(|one| &*one.label).collect();
    labels.join("  ") + " "
}

/// The file that was picked: one of the list, or one that had no room on it.
pub(super) fn picked(class: &Class, listed: &[Listed], choice: &[u8]) -> Result<Key, Failure> {
    let choice = std::str::from_utf8(choice).map_err(|_| Failure::Malformed("the choice is not text"))?;
    let choice = choice.trim_matches([' ', '\r', '\n']);
    if let Some(one) = listed.iter().find(|one| *one.label == *choice) {
        return Ok(one.key.clone());
    }
    if class.stem(choice).is_some() {
        return key::relative(choice);
    }
    let extension = class.extensions().first().copied().unwrap_or_default();
    key::relative(&format!("{choice}.{extension}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::spec::Dialect as _;

    fn options(query: &str) -> Result<Listener, OptionError> {
        let options: Vec<(String, String)> = (query.split('&'))
            .map(|option| option.split_once('=').unwrap_or((option, "")))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Listener::TRAITS.check(&options)?;
        Listener::of(&options)
    }

    #[test]
    fn options_name_files_and_nothing_else() {
        let both = options("list=choose&code=x.py&image=a/logo.jpg").expect("good");
        assert_eq!(both.offer, Offer::Choice);
        assert_eq!(both.default_of(&Class::C), None);
        assert_eq!(both.default_of(&Class::Python).map(Key::as_str), Some("x.py"));
        assert_eq!(both.default_of(&Class::Image).map(Key::as_str), Some("a/logo.jpg"));
        for bad in ["list=all", "image=", "image=../x", "images=x", "text=/etc/passwd"] {
            assert!(options(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_list_fits_one_packet_and_what_does_not_can_still_be_picked() {
        let mut listed = Vec::new();
        let names: Vec<String> = (0..400).map(|n| format!("ser{n}.jpg")).collect();
        for name in &names {
            let _ = add(&mut listed, name.strip_suffix(".jpg").expect("jpg"), name);
        }
        let text = list_text(&listed);
        assert!(text.len() <= PACKET_LEN && text.starts_with("ser0  ser1  ") && text.ends_with(" "));
        let key = |choice: &[u8]| picked(&Class::Image, &listed, choice).map(|key| key.as_str().to_owned());
        assert_eq!(key(b"ser3\n"), Ok("ser3.jpg".to_owned()));
        assert_eq!(key(b"ser399"), Ok("ser399.jpg".to_owned()));
        assert_eq!(key(b"b.png"), Ok("b.png".to_owned()));
        assert!(key(b"../x").is_err() && key(b"\xff").is_err());
    }

    #[test]
    fn two_files_of_one_stem_are_distinguished() {
        let mut listed = Vec::new();
        assert!(add(&mut listed, "a", "a.jpg") && add(&mut listed, "a", "a.png"));
        assert_eq!(list_text(&listed), "a  a.png ");
    }
}

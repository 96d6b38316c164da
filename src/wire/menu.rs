//! The words of the `menu` dialect, and where its file names end.
//!
//! Nothing on this wire has a delimiter: a word ends because no other word begins like it, a name
//! ends at its extension, at the first byte that no name holds, or in silence. Every rule here
//! gives the same answer however the bytes were cut: once it has decided on some bytes, more
//! bytes after them change nothing.

#[cfg(test)]
mod tests;

/// Longest file name that is looked for, in bytes: what one packet of the old clients held.
pub const NAME_LEN_MAX: usize = 1024;
/// Longest type word that is not one of the known ones, in bytes.
pub const TYPE_LEN_MAX: usize = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Send,
    Receive,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Class {
    Text,
    C,
    Python,
    Image,
    Video,
    Audio,
    /// A word the menu does not know: its files are those with that extension.
    Other(Box<str>),
}

/// What the front of some bytes is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word<T> {
    /// This word, this many bytes long.
    Known(T, usize),
    /// It may become a word.
    Partial,
    /// No word begins so.
    Unknown,
}

/// Where a name ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameEnd {
    /// After this many bytes.
    At(usize),
    /// More bytes are needed to tell, or silence.
    Open,
    /// It cannot be known.
    Never,
}

/// What is known about the bytes after those that are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Following {
    /// They may follow at once.
    Unknown,
    /// None came for a while.
    Silence,
    /// There are none.
    Nothing,
}

const GREETING: &[u8] = b"Receive Data";
const VERBS: [(&[u8], Verb); 2] = [(b"send", Verb::Send), (b"receive", Verb::Receive)];
/// With the spellings of every client.
const CLASSES: [(&[u8], Class); 8] = [
    (b"text", Class::Text),
    (b"Ccode", Class::C),
    (b"cCode", Class::C),
    (b"PythonCode", Class::Python),
    (b"image", Class::Image),
    (b"video", Class::Video),
    (b"vedio", Class::Video),
    (b"audio", Class::Audio),
];
const IMAGES: &[&str] = &["jpg", "jpeg", "png", "gif", "bmp", "webp", "tif", "tiff"];
const VIDEOS: &[&str] = &["mp4", "mkv", "avi", "mov", "webm", "mpeg", "mpg"];
const AUDIOS: &[&str] = &["mp3", "mpeg", "wav", "ogg", "flac", "m4a", "aac"];
/// How media begin, where that could also be a part of a name. The others begin with a byte that
/// no name holds: JPEG, PNG, MP4, Matroska, MPEG, AAC.
const MAGICS: [&[u8]; 8] = [b"GIF8", b"BM", b"RIFF", b"ID3", b"OggS", b"fLaC", b"II*\0", b"MM\0*"];

impl Class {
    pub fn word(&self) -> &str {
        match self {
            Self::Text => "text",
            Self::C => "Ccode",
            Self::Python => "PythonCode",
            Self::Image => "image",
            Self::Video => "video",
            Self::Audio => "audio",
            Self::Other(word) => word,
        }
    }

    /// True where it is sent without a prompt and without a reply.
    pub const fn is_media(&self) -> bool {
        match self {
            Self::Image | Self::Video | Self::Audio => true,
            Self::Text | Self::C | Self::Python | Self::Other(_) => false,
        }
    }

    /// The extensions of its files; the first is the one that is meant where none is said.
    pub fn extensions(&self) -> Vec<&str> {
        match self {
            Self::Text => vec!["txt"],
            Self::C => vec!["c"],
            Self::Python => vec!["py"],
            Self::Image => IMAGES.to_vec(),
            Self::Video => VIDEOS.to_vec(),
            Self::Audio => AUDIOS.to_vec(),
            Self::Other(word) => vec![word],
        }
    }

    /// The stem of a file of this class; `None` if its name has another extension.
    pub fn stem<'a>(&self, name: &'a str) -> Option<&'a str> {
        self.extensions().into_iter().find_map(|extension| {
            let at = name.len().checked_sub(extension.len() + 1)?;
            let (stem, end) = name.split_at_checked(at)?;
            let end = end.strip_prefix('.')?;
            (!stem.is_empty() && end.eq_ignore_ascii_case(extension)).then_some(stem)
        })
    }

    /// A word the menu does not know, if it can be one.
    pub fn other(word: &[u8]) -> Option<Self> {
        let word = std::str::from_utf8(word).ok().filter(|_| may_be_type(word))?;
        Some(Self::Other(word.into()))
    }
}

/// True where this may become a type the menu does not know.
pub fn may_be_type(word: &[u8]) -> bool {
    (1..=TYPE_LEN_MAX).contains(&word.len())
        && word.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'+' | b'-'))
}

/// The greeting that newer clients send, or nothing of it.
pub fn greeting(input: &[u8]) -> Word<()> {
    word(input, &[(GREETING, ())])
}

pub fn verb(input: &[u8]) -> Word<Verb> {
    word(input, &VERBS)
}

pub fn class(input: &[u8]) -> Word<Class> {
    word(input, &CLASSES)
}

/// No word of a table begins like another, so the first that fits is the one.
fn word<T: Clone>(input: &[u8], table: &[(&[u8], T)]) -> Word<T> {
    for (word, meaning) in table {
        if input.starts_with(word) {
            return Word::Known(meaning.clone(), word.len());
        }
        if word.starts_with(input) {
            return Word::Partial;
        }
    }
    Word::Unknown
}

/// How far `input` could be a name, and whether a byte follows there that none holds.
fn name_run(input: &[u8]) -> (usize, NameStop) {
    let (valid, stop) = match std::str::from_utf8(input) {
        Ok(_) => (input.len(), NameStop::OutOfBytes),
        Err(error) if error.error_len().is_none() => (error.valid_up_to(), NameStop::OutOfBytes),
        Err(error) => (error.valid_up_to(), NameStop::Foreign),
    };
    match input[..valid].iter().position(|byte| *byte < 0x20 || *byte == 0x7f) {
        Some(at) => (at, NameStop::Foreign),
        None => (valid, stop),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NameStop {
    /// What follows, if anything, is an incomplete character.
    OutOfBytes,
    /// A byte that no name holds.
    Foreign,
}

/// Where the extensions in `name` end, the earliest first.
fn extension_ends<'a>(name: &'a [u8], extensions: &'a [&str]) -> impl Iterator<Item = usize> + 'a {
    let mut ends: Vec<usize> = memchr::memchr_iter(b'.', name)
        .flat_map(|dot| {
            let following = &name[dot + 1..];
            (extensions.iter())
                .filter(|ext| following.get(..ext.len()).is_some_and(|end| end.eq_ignore_ascii_case(ext.as_bytes())))
                .map(move |ext| dot + 1 + ext.len())
        })
        .collect();
    ends.sort_unstable();
    ends.into_iter()
}

/// The end of the name in front of a text: its extension, as soon as a byte follows; or all of
/// what came, once nothing follows.
pub fn text_name(input: &[u8], class: &Class, following: Following) -> NameEnd {
    let (run, stop) = name_run(input);
    let run = run.min(NAME_LEN_MAX);
    let first = extension_ends(&input[..run], &class.extensions()).next();
    match (first, following) {
        (Some(end), _) if end < input.len() => NameEnd::At(end),
        _ if run < input.len() && (stop == NameStop::Foreign || run == NAME_LEN_MAX) => NameEnd::Never,
        (Some(_), Following::Unknown) | (None, Following::Unknown) => NameEnd::Open,
        (Some(end), Following::Silence | Following::Nothing) => NameEnd::At(end),
        (None, Following::Silence) if run == input.len() && run > 0 => NameEnd::At(run),
        (None, Following::Silence) => NameEnd::Open,
        // Name and text came in one, and nothing tells them apart.
        (None, Following::Nothing) => NameEnd::Never,
    }
}

/// The end of the name in front of a picture, a film or music.
pub fn media_name(input: &[u8], following: Following) -> NameEnd {
    let (run, stop) = name_run(input);
    let foreign = (stop == NameStop::Foreign && run <= NAME_LEN_MAX).then_some(run);
    let name = &input[..run.min(NAME_LEN_MAX)];
    for end in extension_ends(name, &[IMAGES, VIDEOS, AUDIOS].concat()) {
        let is_last = end == input.len();
        match begins_content(&input[end..], foreign == Some(end)) {
            Word::Known((), _) => return NameEnd::At(end),
            Word::Partial if is_last && following != Following::Unknown => return NameEnd::At(end),
            Word::Partial if following == Following::Unknown => return NameEnd::Open,
            // In silence: what is all of the name here may be the end of a longer extension.
            Word::Partial | Word::Unknown => {}
        }
    }
    if following == Following::Silence {
        return NameEnd::Open;
    }
    match foreign {
        Some(0) => NameEnd::Never,
        Some(at) => NameEnd::At(at),
        None if run > NAME_LEN_MAX || following == Following::Nothing => NameEnd::Never,
        None => NameEnd::Open,
    }
}

/// Finds out whether content begins here.
fn begins_content(rest: &[u8], foreign: bool) -> Word<()> {
    if foreign {
        return Word::Known((), 1);
    }
    // An incomplete character may still turn out to be no character.
    let partial = rest.is_empty() || name_run(rest) == (0, NameStop::OutOfBytes);
    MAGICS.iter().fold(if partial { Word::Partial } else { Word::Unknown }, |found, magic| match found {
        Word::Known(..) => found,
        _ if rest.starts_with(magic) => Word::Known((), magic.len()),
        _ if magic.starts_with(rest) => Word::Partial,
        _ => found,
    })
}

//! A menu of send and receive, then a type of file.
//!
//! ```text
//! C  Receive Data                 a greeting, or not
//! C  send                         C  send                        C  receive
//! C  image                        C  text                        C  image
//! C  cat.jpg                      S  Give the filename           S  cat.jpg
//! C  the bytes                    C  notes.txt                   S  the bytes
//! C  closes                       C  the text                    S  closes
//!                                 S  File writted
//! ```
//!
//! With `list=choose` it is the older menu: `receive` is answered with what there is
//! (`cat  dog `, each followed by a blank, two between), the client picks one and gets its bytes;
//! the name of a text comes without a prompt and is answered `Filename given`.
//!
//! Nothing has a delimiter and each client reads each message with one `recv`, so what we say is
//! never glued: between a name and its content lies a pause. `wire::menu` tells where words and
//! names end. A text ends in silence, since its client keeps the connection open for the reply;
//! media end with the stream. What cannot be distinguished is refused and never stored under a
//! guessed name of text. Errors are said where the client expects a prompt, a name or a reply.
//!
//! One file, although it is long: options, refusals, limits and states of the dialect are read together.

mod offer;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::command::{Answer, Command, Put};
use crate::dialect::legacy::{close_reason, refuse_http};
use crate::dialect::protocol::{Action, BodyPart, Context, Finish, Hash, Protocol, Then};
use crate::dialect::spec::{Dialect, OptionError, Options, Traits};
use crate::error::{CloseReason, Failure};
use crate::object::{Details, Key, Listing, Meta, Stored};
use crate::order::Order;
use crate::wire::key;
use crate::wire::menu::{self, Class, Following, NameEnd, Verb, Word};
use offer::{Found, Listed, Offer, PACKET_LEN, list_text, picked};

pub use offer::Listener;

const PROMPT: &[u8] = b"Give the filename";
/// What the older menu says instead, after the name.
const NAMED: &[u8] = b"Filename given";
const WRITTEN: &[u8] = b"File writted";
/// How long a name or a choice must be followed by nothing to be complete.
const NAME_QUIET: Duration = Duration::from_millis(30);
/// The same for a type that the menu does not know.
const TYPE_QUIET: Duration = Duration::from_millis(200);
/// In the older menu: a client that has not named its text by then waits for a prompt.
const PROMPT_QUIET: Duration = Duration::from_secs(1);
/// How long a text must be followed by nothing to be complete.
const TEXT_QUIET: Duration = Duration::from_millis(300);
/// How long nothing must follow a name to be an empty text.
const EMPTY_QUIET: Duration = Duration::from_secs(3);
/// Between a name and its content, once the name has arrived.
const NAME_PAUSE: Duration = Duration::from_millis(120);
const NO_NAME: Failure = Failure::Malformed("cannot tell file name from content");

impl Dialect for Listener {
    type Protocol = Menu;

    const TRAITS: Traits = Traits {
        legacy_address: Some("127.0.0.1:4456"),
        options: &["list=choose", "text=FILE", "code=FILE", "image=FILE", "audio=FILE", "video=FILE"],
        end_means_success: true,
        ..Traits::named("menu")
    };

    fn listen(options: &Options, _started_s: u64) -> Result<Self, OptionError> {
        Self::of(options)
    }

    fn accept(self: Arc<Self>, peer: SocketAddr) -> Menu {
        Menu { listener: self, peer, exchange: Exchange::Greeting, quiet: None }
    }
}

#[derive(Debug)]
pub struct Menu {
    listener: Arc<Listener>,
    peer: SocketAddr,
    exchange: Exchange,
    /// The silence that would mean something now.
    quiet: Option<Duration>,
}

#[derive(Debug)]
enum Exchange {
    /// The greeting comes, or already the verb.
    Greeting,
    Verb,
    Type(Verb),
    /// The name of what the client sends comes.
    Name(Class, Prompt),
    /// It is being stored.
    Storing(Box<Storing>),
    /// The directory is looked through for what the client may get.
    Seeking(Class, Box<Found>),
    /// The client picks one of these.
    Picking(Class, Vec<Listed>),
    /// The file is being opened; its name is sent first, or not.
    Opening {
        class: Class,
        key: Key,
        offer: Offer,
    },
    /// The name was sent; this many bytes follow.
    Named(u64),
}

/// What the client is sent before or after it names its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Prompt {
    None,
    Prompted,
    /// It expects an acknowledgement of the name.
    Acknowledge,
}

#[derive(Debug)]
struct Storing {
    name: Box<str>,
    class: Class,
    prompt: Prompt,
    content: Content,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    None,
    Some,
}

impl Menu {
    fn enter(&mut self, exchange: Exchange, quiet: Option<Duration>) {
        self.exchange = exchange;
        self.quiet = quiet;
    }

    /// Reads the input. `following` says what is known about the bytes after it.
    fn look(&mut self, input: &[u8], following: Following, context: &mut Context<'_>) -> (usize, Action) {
        match &self.exchange {
            Exchange::Greeting => match menu::greeting(input) {
                Word::Known((), used) => {
                    self.enter(Exchange::Verb, None);
                    (used, Action::Proceed)
                }
                Word::Partial => (0, Action::More),
                Word::Unknown => self.verb(input, following, context),
            },
            Exchange::Verb => self.verb(input, following, context),
            Exchange::Type(verb) => {
                let verb = *verb;
                self.class(verb, input, following, context)
            }
            Exchange::Name(..) => self.name(input, following, context),
            Exchange::Picking(class, listed) => match following {
                Following::Unknown => {
                    if input.len() > PACKET_LEN {
                        return (0, refuse(Failure::TooLarge, Failure::TooLarge.words(), context));
                    }
                    self.quiet = Some(NAME_QUIET);
                    (0, Action::More)
                }
                Following::Silence | Following::Nothing if input.is_empty() => (0, Action::More),
                Following::Silence | Following::Nothing => {
                    let action = match picked(class, listed, input) {
                        Ok(key) => {
                            let class = class.clone();
                            self.get(class, key, Offer::Choice)
                        }
                        Err(failure) => refuse(failure, failure.words(), context),
                    };
                    (input.len(), action)
                }
            },
            // One transfer is all there is on a connection.
            Exchange::Storing(_) | Exchange::Seeking(..) | Exchange::Opening { .. } | Exchange::Named(_) => {
                (0, Action::Close(CloseReason::Malformed))
            }
        }
    }

    fn verb(&mut self, input: &[u8], following: Following, context: &mut Context<'_>) -> (usize, Action) {
        match menu::verb(input) {
            Word::Known(verb, used) => {
                let said = if verb == Verb::Send { "send is selected" } else { "receive is selected" };
                context.notes.push(said.to_owned());
                self.enter(Exchange::Type(verb), None);
                (used, Action::Proceed)
            }
            Word::Partial => (0, Action::More),
            Word::Unknown => {
                match refuse_http(input, context) {
                    Some(Action::More) if following != Following::Unknown => {}
                    Some(action) => return (0, action),
                    None => {}
                }
                let why = "expected send or receive";
                (0, refuse(Failure::Malformed(why), why, context))
            }
        }
    }

    fn class(&mut self, verb: Verb, input: &[u8], following: Following, context: &mut Context<'_>) -> (usize, Action) {
        let (class, used) = match (menu::class(input), following) {
            (Word::Known(class, used), _) => (class, used),
            (Word::Unknown, _) if !menu::may_be_type(input) => {
                let why = "expected text, Ccode, PythonCode, image, video or audio";
                return (0, refuse(Failure::Malformed(why), why, context));
            }
            (Word::Partial | Word::Unknown, Following::Unknown) => {
                self.quiet = Some(TYPE_QUIET);
                return (0, Action::More);
            }
            (Word::Partial | Word::Unknown, Following::Silence | Following::Nothing) => match Class::other(input) {
                Some(class) => (class, input.len()),
                None => return (0, Action::More),
            },
        };
        if let Err(failure) = context.check_serving() {
            return (used, refuse(failure, failure.words(), context));
        }
        (used, self.selected(verb, class, context))
    }

    fn selected(&mut self, verb: Verb, class: Class, context: &mut Context<'_>) -> Action {
        match (verb, self.listener.offer) {
            (Verb::Send, _) if class.is_media() => self.enter(Exchange::Name(class, Prompt::None), None),
            (Verb::Send, Offer::One) => {
                context.out.extend_from_slice(PROMPT);
                self.enter(Exchange::Name(class, Prompt::Prompted), None);
            }
            (Verb::Send, Offer::Choice) => self.enter(Exchange::Name(class, Prompt::Acknowledge), Some(PROMPT_QUIET)),
            (Verb::Receive, offer) => {
                let listener = Arc::clone(&self.listener);
                return match (listener.default_of(&class), offer) {
                    (Some(key), Offer::One) => self.get(class, key.clone(), Offer::One),
                    (Some(key), Offer::Choice) => {
                        let label = class.stem(key.name()).unwrap_or(key.name()).into();
                        self.say_list(class, vec![Listed { label, key: key.clone() }], context)
                    }
                    (None, Offer::One) => self.seek(class, Found::Newest(None), None, context),
                    (None, Offer::Choice) => self.seek(class, Found::All(Vec::new()), None, context),
                };
            }
        }
        Action::Proceed
    }

    fn name(&mut self, input: &[u8], following: Following, context: &mut Context<'_>) -> (usize, Action) {
        let Exchange::Name(class, prompt) = &self.exchange else { return (0, Action::Close(CloseReason::Internal)) };
        let (class, prompt) = (class.clone(), *prompt);
        if input.is_empty() {
            // Only the older menu asks about this silence.
            if prompt == Prompt::Acknowledge && following == Following::Silence {
                context.out.extend_from_slice(PROMPT);
                self.exchange = Exchange::Name(class, Prompt::Prompted);
            }
            return (0, Action::More);
        }
        let end = if class.is_media() {
            menu::media_name(input, following)
        } else {
            menu::text_name(input, &class, following)
        };
        let used = match end {
            NameEnd::At(used) => used,
            NameEnd::Open => {
                self.quiet = (following == Following::Unknown).then_some(NAME_QUIET);
                return (0, Action::More);
            }
            NameEnd::Never => return (0, refuse(NO_NAME, NO_NAME.words(), context)),
        };
        let named = std::str::from_utf8(&input[..used]).map_err(|_| NO_NAME);
        match named.and_then(|name| Ok((name, key::relative(name)?))) {
            Ok((name, key)) => {
                context.notes.push(format!("File name: {name}"));
                let quiet = (!class.is_media()).then_some(EMPTY_QUIET);
                let storing = Storing { name: name.into(), class, prompt, content: Content::None };
                self.enter(Exchange::Storing(Box::new(storing)), quiet);
                let put = Put::new(key, None);
                if following != Following::Nothing {
                    return (used, Action::Run(Command::Put(put)));
                }
                (input.len(), Action::Store(put, input[used..].to_vec()))
            }
            Err(failure) => (0, refuse(failure, failure.words(), context)),
        }
    }

    fn note_content(&mut self) {
        if let Exchange::Storing(storing) = &mut self.exchange {
            storing.content = Content::Some;
            if !storing.class.is_media() {
                self.quiet = Some(TEXT_QUIET);
            }
        }
    }

    fn get(&mut self, class: Class, key: Key, offer: Offer) -> Action {
        self.enter(Exchange::Opening { class, key: key.clone(), offer }, None);
        Action::Run(Command::Get { key })
    }

    fn seek(&mut self, class: Class, found: Found, after: Option<Box<str>>, context: &Context<'_>) -> Action {
        self.enter(Exchange::Seeking(class, Box::new(found)), None);
        Action::Run(Command::List {
            key: Key::root(),
            recursive: false,
            order: Order::default(),
            after,
            limit: context.limits.fixed.list_names_max,
            details: Details::default(),
        })
    }

    fn sought(&mut self, listing: Listing, context: &mut Context<'_>) -> Action {
        let Exchange::Seeking(class, found) = std::mem::replace(&mut self.exchange, Exchange::Greeting) else {
            return Action::Close(CloseReason::Internal);
        };
        let mut found = *found;
        let room = found.look(&class, &listing);
        let last = listing.entries.last().map(|entry| entry.name.clone());
        if listing.more && room && last.is_some() {
            return self.seek(class, found, last, context);
        }
        let found = match found {
            Found::Newest(Some((_, name))) => key::relative(&name).map(|key| self.get(class.clone(), key, Offer::One)),
            Found::All(listed) if !listed.is_empty() => {
                if listing.more || !room {
                    context.notes.push(format!("the list of {} files is cut: one packet holds no more", class.word()));
                }
                return self.say_list(class, listed, context);
            }
            Found::Newest(None) | Found::All(_) => Err(Failure::NotFound),
        };
        found.unwrap_or_else(|failure| refuse(failure, &format!("no {} file", class.word()), context))
    }

    fn say_list(&mut self, class: Class, listed: Vec<Listed>, context: &mut Context<'_>) -> Action {
        context.out.extend_from_slice(list_text(&listed).as_bytes());
        self.enter(Exchange::Picking(class, listed), None);
        Action::Next
    }

    fn opened_file(&mut self, meta: &Meta, context: &mut Context<'_>) -> Action {
        let Exchange::Opening { class, key, offer } = &self.exchange else {
            return Action::Close(CloseReason::Internal);
        };
        let name = key.name();
        if !class.is_media() && meta.len > PACKET_LEN as u64 {
            let told = format!("{name}: a client that receives once gets {PACKET_LEN} of {} bytes", meta.len);
            context.notes.push(told);
        }
        match offer {
            Offer::Choice => Action::Send { range: 0..meta.len, hash: Hash::None },
            Offer::One => {
                context.out.extend_from_slice(name.as_bytes());
                self.enter(Exchange::Named(meta.len), None);
                Action::Pause(NAME_PAUSE)
            }
        }
    }
}

impl Protocol for Menu {
    fn opened(&mut self, context: &mut Context<'_>) -> Action {
        context.notes.push(format!("[NEW CONNECTION] {}", self.peer));
        Action::More
    }

    fn decode(&mut self, input: &[u8], context: &mut Context<'_>) -> (usize, Action) {
        self.look(input, Following::Unknown, context)
    }

    fn quiet_after(&self) -> Option<Duration> {
        self.quiet
    }

    fn quiet(&mut self, held: &[u8], context: &mut Context<'_>) -> (usize, Action) {
        self.quiet = None;
        self.look(held, Following::Silence, context)
    }

    fn ended(&mut self, held: &[u8], context: &mut Context<'_>) -> Action {
        if held.is_empty() {
            return Action::Close(CloseReason::PeerClosed);
        }
        match self.look(held, Following::Nothing, context) {
            // A type without a name, or half a word.
            (_, Action::More | Action::Proceed | Action::Next) => {
                let why = "the connection ended in the middle of the menu";
                let _ = refuse(Failure::Malformed(why), why, context);
                Action::Close(CloseReason::CutShort)
            }
            (_, action) => action,
        }
    }

    fn answered(&mut self, answer: Result<Answer, Failure>, context: &mut Context<'_>) -> Action {
        match (answer, &self.exchange) {
            (Err(Failure::NotFound), Exchange::Opening { class, .. }) => {
                say_error(&format!("no {} file", class.word()), context);
                Action::Close(CloseReason::Refused)
            }
            (Err(failure), _) => {
                say_error(failure.words(), context);
                Action::Close(close_reason(failure))
            }
            (Ok(Answer::Created), Exchange::Storing(storing)) => {
                if storing.prompt == Prompt::Acknowledge {
                    context.out.extend_from_slice(NAMED);
                }
                Action::Receive
            }
            (Ok(Answer::Stored(Stored { meta, .. })), Exchange::Storing(storing)) => {
                context.notes.push(format!("File written {} ({} bytes)", storing.name, meta.len));
                // A client of media has gone: it would only be reset by a word of ours.
                if !storing.class.is_media() {
                    context.out.extend_from_slice(WRITTEN);
                }
                Action::Close(CloseReason::Finished)
            }
            (Ok(Answer::Opened(meta)), _) => self.opened_file(&meta, context),
            (Ok(Answer::Listed(listing)), _) => self.sought(listing, context),
            (Ok(_), _) => Action::Close(CloseReason::Internal),
        }
    }

    fn body(&mut self, raw: &[u8], payload_max: usize) -> Result<BodyPart, Failure> {
        let part = BodyPart::content(raw.len(), payload_max);
        if part.payload > 0 {
            self.note_content();
        }
        Ok(part)
    }

    fn body_quiet(&mut self) -> Then {
        if self.quiet.is_some() { Then::End } else { Then::Wait }
    }

    /// It ends with the stream, or in silence.
    fn body_left(&self) -> u64 {
        u64::MAX
    }

    fn body_ended(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    fn finish(&mut self, _digest: Option<[u8; 32]>) -> Result<Finish, Failure> {
        let Exchange::Storing(storing) = &self.exchange else { return Err(Failure::Internal) };
        let empty_text = !storing.class.is_media() && storing.content == Content::None;
        // A name without an extension may have been name and text in one.
        if empty_text && storing.class.stem(&storing.name).is_none() {
            return Err(NO_NAME);
        }
        Ok(Finish::default())
    }

    fn paused(&mut self, _context: &mut Context<'_>) -> Action {
        match self.exchange {
            Exchange::Named(len) => Action::Send { range: 0..len, hash: Hash::None },
            _ => Action::Close(CloseReason::Internal),
        }
    }

    fn sent(&mut self, _digest: Option<[u8; 32]>, _context: &mut Context<'_>) -> Action {
        Action::Close(CloseReason::Finished)
    }
}

fn say_error(words: &str, context: &mut Context<'_>) {
    context.out.extend_from_slice(b"ERROR ");
    context.out.extend_from_slice(words.as_bytes());
}

/// Says so where the client expects a prompt, a name or a reply.
fn refuse(failure: Failure, words: &str, context: &mut Context<'_>) -> Action {
    context.refused = Some(failure);
    say_error(words, context);
    Action::Close(close_reason(failure))
}

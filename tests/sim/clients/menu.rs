//! A client of `menu`, of both generations: sends a picture or a text, receives the newest of a
//! type or picks one from the list. What it sends ends with its stream or in silence, so any front
//! part of it may be taken for the whole while the network is bad.

use crate::clients::errand::{Errand, Errands, SHARED};
use crate::clients::{Client, Ended, Io, Plan};
use crate::model::{Extent, Fate};

#[derive(Debug)]
pub struct Menu {
    errands: Errands,
    /// Chooses from a list.
    chooses: bool,
    step: Step,
    cut: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Everything has been said; the reply, or the end, is awaited.
    Said,
    /// The prompt for the name of a text is awaited.
    Prompt,
    /// "Filename given" is awaited.
    Given,
    List,
    Content,
}

impl Menu {
    pub fn new(number: usize, chooses: bool) -> Self {
        let own = if number.is_multiple_of(2) { format!("own{number}.jpg") } else { format!("own{number}.txt") };
        Self { errands: Errands::new(own, Extent::AnyFront), chooses, step: Step::Said, cut: false }
    }
}

fn class(key: &str) -> &'static str {
    if key.ends_with(".txt") { "text" } else { "image" }
}

impl Client for Menu {
    fn begin(&mut self, io: &mut Io<'_>) -> Plan {
        self.cut = false;
        let greeting = if io.rng.chance(500) { "Receive Data" } else { "" };
        let chooses = self.chooses;
        let Some(errand) = self.errands.next(io, &SHARED, true) else { return Plan::Done };
        self.step = match errand {
            Errand::Put { key, content, .. } => {
                io.out.say(format!("{greeting}send{}", class(key)).as_bytes());
                match (class(key), chooses) {
                    ("image", _) => {
                        io.out.say(key.as_bytes());
                        io.out.say(content);
                        io.out.end();
                        Step::Said
                    }
                    (_, false) => Step::Prompt,
                    (_, true) => {
                        io.out.say(key.as_bytes());
                        Step::Given
                    }
                }
            }
            Errand::Get { key, .. } => {
                io.out.say(format!("{greeting}receive{}", class(key)).as_bytes());
                if chooses { Step::List } else { Step::Content }
            }
        };
        Plan::Connect
    }

    fn received(&mut self, io: &mut Io<'_>) {
        let wanted: &[u8] = match self.step {
            Step::Prompt => b"Give the filename",
            Step::Given => b"Filename given",
            Step::List => return self.listed(io),
            Step::Said | Step::Content => return,
        };
        if *io.inbox == wanted
            && let Some(Errand::Put { key, content, .. }) = self.errands.current()
        {
            io.inbox.clear();
            if self.step == Step::Prompt && !self.cut {
                io.out.say(key.as_bytes());
            }
            if !self.cut {
                io.out.say(content);
            }
            self.step = Step::Said;
        }
    }

    fn ended(&mut self, io: &mut Io<'_>, how: Ended) {
        let said = std::mem::take(io.inbox);
        match self.errands.current() {
            Some(Errand::Put { key, .. }) => {
                let good: &[u8] = if class(key) == "text" { b"File writted" } else { b"" };
                match how {
                    Ended::InOrder { all_sent } if !self.cut && said == good && self.step == Step::Said => {
                        // A text's client does not end its stream.
                        let sure = io.prompt && (all_sent || !good.is_empty());
                        self.errands.put_ended(io, if sure { Fate::Acked } else { Fate::Lost });
                    }
                    _ => self.errands.give_up(io),
                }
            }
            Some(Errand::Get { key, .. }) if matches!(how, Ended::InOrder { .. }) && !self.cut => {
                let key = key.to_string();
                if said.starts_with(b"ERROR") || said.is_empty() || self.step != Step::Content {
                    return self.errands.give_up(io);
                }
                if !io.prompt {
                    // A gap in a word or a name may have made another of it.
                    return self.errands.give_up(io);
                }
                if self.chooses {
                    // The end of the list may have come after the choice.
                    let content = said.iter().position(|byte| *byte == 0xFF);
                    let start =
                        content.map(|at| said[..at].iter().rposition(|byte| *byte == b' ').map_or(0, |at| at + 1));
                    return match start {
                        Some(start) => self.errands.got(io, Some(&said[start..])),
                        None => self.errands.give_up(io),
                    };
                }
                let end: &[u8] = if class(&key) == "text" { b".txt" } else { b".jpg" };
                let Some(at) = said.windows(end.len()).position(|part| part == end) else {
                    return io.model.wrong(format!("menu: no name before the content: {said:?}"));
                };
                let (name, content) = said.split_at(at + end.len());
                let name = String::from_utf8_lossy(name).into_owned();
                // Names that bad networks have cut belong to no client.
                if SHARED.contains(&&*name) || name.starts_with("own") && io.calm {
                    self.errands.got_other(io, &name, content);
                } else {
                    self.errands.give_up(io);
                }
            }
            _ => self.errands.give_up(io),
        }
    }

    fn was_cut(&mut self, io: &mut Io<'_>) {
        self.cut = true;
        self.errands.was_cut(io);
    }
}

impl Menu {
    /// The list came, or a part of it: picks at once, as its people do.
    fn listed(&mut self, io: &mut Io<'_>) {
        let Some(Errand::Get { key, .. }) = self.errands.current() else { return };
        if self.cut || io.inbox.starts_with(b"ERROR") || !io.inbox.ends_with(b" ") {
            return;
        }
        let stem = key.split('.').next().unwrap_or_default();
        io.inbox.clear();
        io.out.say(stem.as_bytes());
        self.step = Step::Content;
    }
}

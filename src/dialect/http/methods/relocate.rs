//! COPY and MOVE of a file or a directory (RFC 4918 §9.8, §9.9).

use std::fmt::Display;

use crate::command::{Answer, Command, Copying, DirCopy, Whole};
use crate::dialect::http::handler::Handler;
use crate::dialect::http::response::{Refusal, ResponseMeta};
use crate::dialect::protocol::{Action, Context};
use crate::error::{CloseReason, Failure};
use crate::object::{Key, MissingParents, Placed, Precondition};
use crate::wire::http::head::Head;
use crate::wire::http::relocation::{self, Depth, Destination, Overwrite};
use crate::wire::http::target;

/// The names that such a request is about, and what must hold at the second.
pub(super) struct Relocation {
    pub(super) from: Key,
    pub(super) to: Key,
    pub(super) precondition: Precondition,
}

impl Relocation {
    pub(super) fn of(head: &Head<'_>) -> Result<Self, Refusal<'static>> {
        let from = target::path(head.path)?.key;
        let to = match relocation::destination(head)? {
            Destination::Here(path) => path.key,
            Destination::Elsewhere => {
                let failure = Failure::NotImplemented("Destination is on another server");
                return Err(Refusal { status: 502, failure, field: None });
            }
        };
        if from.is_root() || to.is_root() {
            return Err(Failure::Denied("the served folder itself stays where it is").into());
        }
        if from == to {
            return Err(Failure::Denied("the source is the Destination").into());
        }
        if !head.fields.if_match.lines().is_empty() || head.fields.if_unmodified_since.is_some() {
            return Err(Failure::NotImplemented("this method takes no If-Match and no If-Unmodified-Since").into());
        }
        let precondition = match relocation::overwrite(head)? {
            Overwrite::Replace => Precondition::None,
            Overwrite::Refuse => Precondition::Absent,
        };
        Ok(Self { from, to, precondition })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Copy,
    Move,
}

/// A COPY or a MOVE, with its source once that is known.
#[derive(Debug)]
pub(super) struct Relocate {
    verb: Verb,
    from: Option<Key>,
}

impl Relocate {
    pub(super) const fn copy() -> Self {
        Self { verb: Verb::Copy, from: None }
    }

    pub(super) const fn moving() -> Self {
        Self { verb: Verb::Move, from: None }
    }
}

impl Handler for Relocate {
    fn command(
        &mut self,
        head: &Head<'_>,
        _response: &mut ResponseMeta,
        _context: &mut Context<'_>,
    ) -> Result<Action, Refusal<'static>> {
        let Relocation { from, to, precondition } = Relocation::of(head)?;
        self.from = Some(from.clone());
        let depth = relocation::depth(head)?.unwrap_or(Depth::Infinity);
        let (parents, replaces_dir, len_max) = (MissingParents::Refuse, true, None);
        let command = match (self.verb, depth) {
            (Verb::Move, Depth::Infinity) => {
                Command::Run(Whole::Rename { from, to, precondition, parents, replaces_dir, len_max })
            }
            (Verb::Copy, Depth::Zero | Depth::Infinity) => {
                let dir = if depth == Depth::Zero { DirCopy::Empty } else { DirCopy::Whole };
                Command::Copy(Box::new(Copying { from, to, precondition, parents, dir, replaces_dir, len_max }))
            }
            (Verb::Move, _) => return Err(Failure::Malformed("a MOVE has no Depth but infinity").into()),
            (Verb::Copy, Depth::One) => return Err(Failure::Malformed("the Depth of a COPY is 0 or infinity").into()),
        };
        Ok(Action::Run(command))
    }

    fn answered(&mut self, answer: Answer, response: &mut ResponseMeta, context: &mut Context<'_>) -> Action {
        match answer {
            Answer::Moved(Placed::New) => response.created(context),
            Answer::Moved(Placed::Replaced) => response.no_content(context),
            _ => Action::Reset(CloseReason::Internal),
        }
    }

    fn name(&self) -> Option<&dyn Display> {
        self.from.as_ref().map(|key| key as &dyn Display)
    }
}

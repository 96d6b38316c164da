//! MOVE of a file or a directory (RFC 4918 §9.9).

use std::fmt::Display;

use crate::command::{Answer, Command, Whole};
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

/// A MOVE, with its source once that is known.
#[derive(Debug, Default)]
pub(super) struct Move(Option<Key>);

impl Handler for Move {
    fn command(
        &mut self,
        head: &Head<'_>,
        _response: &mut ResponseMeta,
        _context: &mut Context<'_>,
    ) -> Result<Action, Refusal<'static>> {
        let Relocation { from, to, precondition } = Relocation::of(head)?;
        self.0 = Some(from.clone());
        if relocation::depth(head)?.is_some_and(|depth| depth != Depth::Infinity) {
            return Err(Failure::Malformed("a MOVE has no Depth but infinity").into());
        }
        let parents = MissingParents::Refuse;
        Ok(Action::Run(Command::Run(Whole::Rename {
            from,
            to,
            precondition,
            parents,
            replaces_dir: true,
            len_max: None,
        })))
    }

    fn answered(&mut self, answer: Answer, response: &mut ResponseMeta, context: &mut Context<'_>) -> Action {
        match answer {
            Answer::Moved(Placed::New) => response.created(context),
            Answer::Moved(Placed::Replaced) => response.no_content(context),
            _ => Action::Reset(CloseReason::Internal),
        }
    }

    fn name(&self) -> Option<&dyn Display> {
        self.0.as_ref().map(|key| key as &dyn Display)
    }
}

//! DELETE of a file or a directory: one that is not empty only with `Depth: infinity`.

use std::fmt::Display;

use crate::command::{Answer, Command, Whole};
use crate::dialect::http::handler::Handler;
use crate::dialect::http::response::{Refusal, ResponseMeta};
use crate::dialect::protocol::{Action, Context};
use crate::error::{CloseReason, Failure};
use crate::object::Key;
use crate::wire::http::conditional::Preconditions;
use crate::wire::http::head::Head;
use crate::wire::http::relocation::{self, Depth};
use crate::wire::http::target;
use crate::wire::key::Path;

/// A DELETE, with its name once that is known.
#[derive(Debug, Default)]
pub(super) struct Delete(Option<Key>);

impl Handler for Delete {
    fn command(
        &mut self,
        head: &Head<'_>,
        _response: &mut ResponseMeta,
        _context: &mut Context<'_>,
    ) -> Result<Action, Refusal<'static>> {
        let Path { key, expected_kind } = target::path(head.path)?;
        if key.is_root() {
            return Err(Failure::Denied("the served folder itself cannot be deleted").into());
        }
        let precondition = Preconditions::parse(&head.fields)?.for_change();
        let is_recursive = relocation::depth(head)? == Some(Depth::Infinity);
        self.0 = Some(key.clone());
        Ok(Action::Run(Command::Run(Whole::Delete { key, is_recursive, expected_kind, precondition })))
    }

    fn answered(&mut self, answer: Answer, response: &mut ResponseMeta, context: &mut Context<'_>) -> Action {
        match answer {
            Answer::Done => response.no_content(context),
            _ => Action::Reset(CloseReason::Internal),
        }
    }

    fn name(&self) -> Option<&dyn Display> {
        self.0.as_ref().map(|key| key as &dyn Display)
    }
}

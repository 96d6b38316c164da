//! DELETE of a file or a directory. One that is not empty is removed with all that is in it, but with `Depth: 0`; without
//! WebDAV, only with `Depth: infinity`.

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
pub(super) struct Delete {
    key: Option<Key>,
    /// What is asked for next, where the directory is not empty: most requests need no place in the trash.
    then: Option<Whole>,
}

impl Handler for Delete {
    fn command(
        &mut self,
        head: &Head<'_>,
        response: &mut ResponseMeta,
        _context: &mut Context<'_>,
    ) -> Result<Action, Refusal<'static>> {
        let Path { key, expected_kind } = target::path(head.path)?;
        if key.is_root() {
            return Err(Failure::Denied("the served folder itself cannot be deleted").into());
        }
        let precondition = Preconditions::parse(&head.fields)?.for_change();
        let depth = relocation::depth(head)?;
        self.key = Some(key.clone());
        let delete = |is_recursive| Whole::Delete {
            key: key.clone(),
            is_recursive,
            expected_kind,
            precondition: precondition.clone(),
        };
        // RFC 4918 §9.6.1: without the field, all that is in a directory is removed with it.
        self.then = (depth.is_none() && response.offers_webdav).then(|| delete(true));
        Ok(Action::Run(Command::Run(delete(depth == Some(Depth::Infinity)))))
    }

    fn failed(&mut self, failure: Failure, response: &mut ResponseMeta, context: &mut Context<'_>) -> Action {
        match (failure, self.then.take()) {
            (Failure::Conflict(_), Some(recursive)) => Action::Run(Command::Run(recursive)),
            _ => self.refuse(failure.into(), response, context),
        }
    }

    fn answered(&mut self, answer: Answer, response: &mut ResponseMeta, context: &mut Context<'_>) -> Action {
        match answer {
            Answer::Done => response.no_content(context),
            _ => Action::Reset(CloseReason::Internal),
        }
    }

    fn name(&self) -> Option<&dyn Display> {
        self.key.as_ref().map(|key| key as &dyn Display)
    }
}

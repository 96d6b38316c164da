//! MKCOL: makes one directory (RFC 4918 §9.3).

use std::fmt::Display;

use crate::command::{Answer, Command, Whole};
use crate::dialect::http::handler::Handler;
use crate::dialect::http::incoming::Incoming;
use crate::dialect::http::methods::options;
use crate::dialect::http::response::{Refusal, ResponseMeta};
use crate::dialect::protocol::{Action, Context};
use crate::error::{CloseReason, Failure};
use crate::object::{Key, MissingParents};
use crate::wire::http::head::Head;
use crate::wire::http::target;

/// A MKCOL, with its name once that is known.
#[derive(Debug)]
pub(super) struct MkCol {
    key: Option<Key>,
    incoming: Incoming,
}

impl MkCol {
    pub(super) fn new(head: &Head<'_>) -> Self {
        Self { key: None, incoming: Incoming::new(head) }
    }
}

impl Handler for MkCol {
    fn command(
        &mut self,
        head: &Head<'_>,
        _response: &mut ResponseMeta,
        _context: &mut Context<'_>,
    ) -> Result<Action, Refusal<'static>> {
        let key = target::path(head.path)?.key;
        self.key = Some(key.clone());
        if !self.incoming.is_over() {
            let failure = Failure::NotImplemented("MKCOL makes an empty folder: send it without a body");
            return Err(Refusal { status: 415, failure, field: None });
        }
        Ok(Action::Run(Command::Run(Whole::MakeDir { key, parents: MissingParents::Refuse })))
    }

    fn answered(&mut self, answer: Answer, response: &mut ResponseMeta, context: &mut Context<'_>) -> Action {
        match answer {
            Answer::DirMade { .. } => response.created(context),
            _ => Action::Reset(CloseReason::Internal),
        }
    }

    fn failed(&mut self, failure: Failure, response: &mut ResponseMeta, context: &mut Context<'_>) -> Action {
        let refusal = match failure {
            Failure::PreconditionFailed => {
                let failure = Failure::Conflict("something has that name");
                Refusal { status: 405, failure, field: Some(options::allow(response, context)) }
            }
            failure => failure.into(),
        };
        self.refuse(refusal, response, context)
    }

    fn name(&self) -> Option<&dyn Display> {
        self.key.as_ref().map(|key| key as &dyn Display)
    }

    fn incoming(&mut self) -> Option<&mut Incoming> {
        Some(&mut self.incoming)
    }

    fn body_left(&self) -> u64 {
        self.incoming.left()
    }
}

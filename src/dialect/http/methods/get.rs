//! GET and HEAD: of a file; or of a directory, which is listed, or has a page of its own.

use crate::access::Rights;
use crate::command::{Answer, Command};
use crate::dialect::http::file::{File, INDEX};
use crate::dialect::http::handler::Handler;
use crate::dialect::http::login;
use crate::dialect::http::methods::listing::{HAS_PAGE, List, UploadPage};
use crate::dialect::http::response::{Refusal, ResponseMeta};
use crate::dialect::protocol::{Action, Context};
use crate::error::{CloseReason, Failure};
use crate::object::ExpectedKind;
use crate::wire::http::head::Head;
use crate::wire::http::target;
use crate::wire::key::Path;

/// A GET or HEAD.
#[derive(Debug)]
pub(crate) enum Get {
    /// The target has not been read.
    Unread,
    File(File),
    /// The page that is stored for a directory, and the listing where there is none.
    Index(File, Box<(List, Command)>),
    List(List),
    /// Of a drop box.
    UploadPage(List, UploadPage),
}

impl Get {
    fn begin_upload_page(&mut self, list: List, response: &mut ResponseMeta, context: &mut Context<'_>) -> Action {
        *self = Self::UploadPage(list, UploadPage::default());
        self.sent(None, response, context)
    }
}

impl Handler for Get {
    fn respond(
        &mut self,
        head: &Head<'_>,
        response: &mut ResponseMeta,
        context: &mut Context<'_>,
    ) -> Result<Option<Action>, Failure> {
        login::respond(head, response, context)
    }

    fn command(
        &mut self,
        head: &Head<'_>,
        response: &mut ResponseMeta,
        context: &mut Context<'_>,
    ) -> Result<Action, Refusal<'static>> {
        let Path { key, expected_kind } = target::path(head.path)?;
        let command;
        if expected_kind != ExpectedKind::Dir {
            let file = File::new(head, key)?;
            command = file.command();
            *self = Self::File(file);
            return Ok(Action::Run(command));
        }
        let (list, of_list) = List::new(head, key.clone(), context)?;
        let has_index = response.serve_active && list.may_be_replaced();
        // A site that may be read goes before the page of its drop box.
        let reads_index = has_index && context.rights(&key.child(INDEX)).has(Rights::READ);
        if !reads_index && list.is_drop_box(context) {
            return Ok(self.begin_upload_page(list, response, context));
        }
        if has_index {
            let file = File::index(head, &key)?;
            command = file.command();
            *self = Self::Index(file, Box::new((list, of_list)));
        } else {
            command = of_list;
            *self = Self::List(list);
        }
        Ok(Action::Run(command))
    }

    fn answered(&mut self, answer: Answer, response: &mut ResponseMeta, context: &mut Context<'_>) -> Action {
        match (answer, self) {
            (Answer::Opened(meta), Self::File(file) | Self::Index(file, _)) => file.opened(&meta, response, context),
            (Answer::Listed(listing), Self::List(list)) => list.listed(&listing, response, context),
            _ => Action::Reset(CloseReason::Internal),
        }
    }

    fn failed(&mut self, failure: Failure, response: &mut ResponseMeta, context: &mut Context<'_>) -> Action {
        match self {
            Self::Unread => self.refuse(failure.into(), response, context),
            Self::File(file) => file.failed(failure, response, context),
            Self::Index(_, listing) if is_absent(failure) => {
                let (list, command) = *listing.clone();
                if list.is_drop_box(context) {
                    return self.begin_upload_page(list, response, context);
                }
                *self = Self::List(list);
                Action::Run(command)
            }
            Self::Index(file, _) => file.failed(failure, response, context),
            Self::List(list) => list.failed(failure, response, context),
            Self::UploadPage(..) => Action::Reset(CloseReason::SourceFailed),
        }
    }

    fn sent(&mut self, digest: Option<[u8; 32]>, response: &mut ResponseMeta, context: &mut Context<'_>) -> Action {
        match self {
            Self::File(file) | Self::Index(file, _) => file.sent(digest, response, context),
            // Builds without the page do not link it.
            Self::UploadPage(list, progress) if HAS_PAGE => list.send_upload_page(progress, response, context),
            Self::Unread | Self::List(_) | Self::UploadPage(..) => Action::Reset(CloseReason::Internal),
        }
    }

    fn plain(&self) -> Option<&File> {
        match self {
            Self::File(file) if file.is_plain() => Some(file),
            _ => None,
        }
    }
}

/// True where there is no file to send in place of a listing.
const fn is_absent(failure: Failure) -> bool {
    matches!(
        failure,
        Failure::NotFound | Failure::Conflict(_) | Failure::Denied(_) | Failure::Malformed(_) | Failure::Unauthorized
    )
}

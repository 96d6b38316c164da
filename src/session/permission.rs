//! Asks the rules, before a command goes to the store and again before an upload gets its name: the one place where all
//! dialects come by. What the rules are is decided in `access`.

use std::borrow::Cow;
use std::sync::Arc;

use crate::access::{Asking, DENIED, Rights};
use crate::command::{Answer, Command, Whole};
use crate::dialect::Secret;
use crate::error::Failure;
use crate::object::{Key, Precondition};
use crate::platform::{Hides, Outcome, Permit};
use crate::session::common::Common;
use crate::session::cx::Cx;
use crate::session::report::Request;
use crate::session::step::Step;
use crate::upload::UploadId;

impl Common {
    /// Opens the report of a request, and checks whether it is allowed. The command may be changed so that it is.
    pub(super) fn permit(&mut self, command: Command, cx: &Cx<'_>) -> Result<Command, Failure> {
        let word = command.word();
        let (asked, upload) = (command.key().cloned(), upload_of(&command));
        // Without rules, no more than this is looked at: it is on the way of every small request.
        let permitted = match cx.access.rules() {
            None => cx.access.permit_without_rules(&command, &self.data.caller).map(|()| command),
            Some(rules) => cx.access.permit(command, rules, &self.asking(cx)),
        };
        if self.data.request.is_none() {
            let stored = permitted.as_ref().ok().filter(|_| cx.access.rules().is_some()).and_then(Command::key);
            let key = stored.cloned().or(asked).or_else(|| upload.map(shown)).unwrap_or_else(Key::root);
            self.data.request = Some(Request::new(word, key, self.data.caller.clone(), cx.now));
        }
        permitted.map_err(|failure| self.challenged(failure))
    }

    /// The caller and its request, for the rules.
    fn asking(&self, cx: &Cx<'_>) -> Asking<'_> {
        Asking {
            caller: &self.data.caller,
            from: self.client(),
            peer: self.peer,
            wall_clock_s: cx.wall_clock_s,
            requests: cx.counters.requests.iter().sum::<u64>() + cx.counters.failed,
        }
    }

    /// `Unauthorized` in place of a refusal for a client that has proved nothing and can.
    fn challenged(&self, failure: Failure) -> Failure {
        let can_prove = self.dialect.kind().traits().secret != Secret::Unknown;
        let is_refused = failure == DENIED || failure == Failure::NotFound;
        if is_refused && can_prove && self.data.caller.is_anybody() { Failure::Unauthorized } else { failure }
    }

    fn denied(&self) -> Step {
        Step::Refuse(self.challenged(DENIED), Cow::Borrowed("not permitted by the rules"))
    }

    /// For a worker of the store, which alone knows the names of uploads.
    pub(super) fn upload_permit(&self, cx: &Cx<'_>) -> Permit {
        let Some(rules) = cx.access.rules() else { return Permit::default() };
        let (rules, caller, from) = (Arc::clone(rules), self.data.caller.clone(), self.client());
        let (denied, len_max) = (self.challenged(DENIED), cx.limits.live.request_bytes_max);
        Permit(Some(Arc::new(move |key: &Key| {
            let bound = rules.upload_bound(&caller, from, key).ok_or(denied)?;
            Ok(bound.min(len_max))
        })))
    }

    /// What is not shown to the caller in the listing of a directory; `None` where that is nothing.
    pub(super) fn hides(&self, dir: &Key, recursive: bool, cx: &Cx<'_>) -> Option<Hides> {
        let rules = cx.access.rules().filter(|rules| rules.has_rule_under(dir))?;
        let (rules, caller) = (Arc::clone(rules), self.data.caller.clone());
        let (from, dir) = (self.client(), dir.clone());
        if recursive {
            return Some(Hides(Arc::new(move |path| match path.strip_suffix('/') {
                Some(path) => !rules.may_list(&caller, from, &dir.child(path)),
                None => !rules.lists(&caller, from, &dir.child(path)),
            })));
        }
        if rules.rights(&caller, from, &dir).has(Rights::LIST) {
            Some(Hides(Arc::new(move |name| !rules.shows(&caller, from, &dir.child(name)))))
        } else {
            Some(Hides(Arc::new(move |name| !rules.may_list(&caller, from, &dir.child(name)))))
        }
    }

    /// What the caller may be sent of an answer; or what follows if that is nothing.
    pub(super) fn filter(&self, asked: Command, outcome: Outcome, cx: &Cx<'_>) -> Result<Outcome, Step> {
        match (asked, outcome) {
            (Command::Run(Whole::Stat { key }), Outcome::Answered(Answer::Found(node)))
                if cx.access.permits_found(&key, &node, &self.asking(cx)) =>
            {
                Ok(Outcome::Answered(Answer::Found(node)))
            }
            (Command::Run(Whole::Describe { key }), Outcome::Answered(Answer::Described(mut entry)))
                if entry.node.is_some_and(|node| cx.access.permits_found(&key, &node, &self.asking(cx))) =>
            {
                cx.access.filter_details(&key, &mut entry, &self.asking(cx));
                Ok(Outcome::Answered(Answer::Described(entry)))
            }
            // The rules may be others than when the listing began.
            (Command::List { key, recursive, .. }, Outcome::Listed(mut listing)) => {
                let may_have = cx.access.filter(&key, recursive, &mut listing, &self.asking(cx));
                if may_have { Ok(Outcome::Listed(listing)) } else { Err(self.denied()) }
            }
            _ => Err(self.denied()),
        }
    }

    /// The name and the precondition with which an upload may become visible now.
    pub(super) fn permit_commit(
        &self,
        key: Key,
        precondition: Precondition,
        is_new_name: bool,
        cx: &Cx<'_>,
    ) -> Result<(Key, Precondition), Failure> {
        let permitted = cx.access.permit_commit(key, precondition, is_new_name, &self.asking(cx));
        permitted.map_err(|failure| self.challenged(failure))
    }

    /// What the request moves counts for the rate that the rules permit its client there.
    pub(super) fn keep_rate(&mut self, key: &Key, cx: &mut Cx<'_>) {
        let rules = cx.access.rules();
        let rate = rules.and_then(|rules| rules.rate(&self.data.caller, self.client(), key));
        let Some((prefix, bytes_per_s)) = rate else { return };
        let group = self.group(cx.groups, cx.now);
        let whole = cx.groups.parent_of(group);
        let scope = cx.groups.join_scope(whole, prefix, bytes_per_s, cx.now);
        self.data.group = Some(scope);
        cx.groups.leave(group);
    }

    /// Bytes that an upload of this name may have.
    pub(super) fn upload_len_max(&self, key: &Key, cx: &Cx<'_>) -> u64 {
        let len_max = cx.access.upload_len_max(key, &self.asking(cx));
        len_max.map_or(cx.limits.live.request_bytes_max, |len_max| len_max.min(cx.limits.live.request_bytes_max))
    }
}

/// What the log has of an upload until its name is known.
fn shown(id: UploadId) -> Key {
    // The whole id would be the right to continue it.
    let UploadId([first, second, ..]) = id;
    Key::root().child(&format!(".filewharf/uploads/{first:02x}{second:02x}…"))
}

/// The upload that a command is about and does not name.
fn upload_of(command: &Command) -> Option<UploadId> {
    match command {
        Command::CancelUpload { id } | Command::StatUpload { id, .. } => Some(*id),
        Command::Append(append) => append.upload.id(),
        _ => None,
    }
}

//! Signed links that callers ask for: what a caller may pass on, and until when. Never gives more than the caller has,
//! and keeps nothing: a link holds all that it gives.

use crate::access::caller::{Caller, Identity};
use crate::access::link::Link;
use crate::access::rights::Rights;
use crate::access::rules::{LinkKey, Rules};
use crate::object::Key;

/// What links that callers ask for may give.
const SHARED: Rights = Rights::READ.with(Rights::LIST);

impl Rules {
    /// What the caller may pass on by a link for this name. Only named callers may: a link that made links would never
    /// end. Rules with `from=` do not count, because a link is valid from every address.
    pub fn shareable(&self, caller: &Caller, key: &Key) -> Rights {
        if !self.may_share(caller) {
            return Rights::NONE;
        }
        let held = self.grants_to(caller, key).filter(|grant| grant.from.is_none());
        held.fold(Rights::NONE, |rights, grant| rights | grant.rights).and(SHARED)
    }

    /// A link that passes on those of these rights that the caller has, for at most this long; and its expiry. `None`
    /// if the caller may not read there. It ends with what proved the caller at the latest.
    pub fn share(
        &self,
        caller: &Caller,
        key: &Key,
        rights: Rights,
        lifetime_s: u64,
        now_s: u64,
    ) -> Option<(String, u64)> {
        let rights = self.shareable(caller, key).and(rights);
        let signing = self.signing().filter(|_| rights.has(Rights::READ) && self.is_current(caller, now_s))?;
        let expires_s = now_s.saturating_add(lifetime_s).min(self.expiry_s(caller).unwrap_or(u64::MAX));
        let link = Link { key_id: signing.id.clone(), expires_s, rights, prefix: key.clone() };
        Some((link.sign(&signing.secret), expires_s))
    }

    /// True if a key signs the links that callers ask for.
    pub fn has_signing_key(&self) -> bool {
        self.signing().is_some()
    }

    /// True if there are links for this caller, be it only somewhere.
    pub fn may_share(&self, caller: &Caller) -> bool {
        self.has_signing_key() && matches!(caller.identity(), Some(Identity::Named { .. }))
    }

    fn signing(&self) -> Option<&LinkKey> {
        self.link_key(self.credentials.signing_key.as_deref()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::file::parse;
    use crate::wire::key;

    const FILE: &str = "key new base64:MDEyMzQ1Njc4OWFiY2RlZg==\nkey old base64:ZmVkY2JhOTg3NjU0MzIxMA==\n\
        user anna proxy\nuser brief proxy expires=2027-01-31\n\
        allow anna rlcwd /home/\nallow anna r /near/ from=10.0.0.0/8\nallow anna l /names/\nallow anna - /home/closed/\n\
        allow brief rl /home/\nallow @ r /pub/\n";

    fn key(path: &str) -> Key {
        key::absolute(path).expect("a path").key
    }

    #[test]
    fn a_caller_passes_on_what_it_may_read_and_nothing_else() {
        let rules = parse(FILE).expect("rules");
        let anna = rules.as_if("anna").expect("a name");
        for (path, want) in [
            ("/home/", "rl"),
            ("/home/a/b", "rl"),
            ("/pub/a", "r"),
            ("/names/a", "l"),
            ("/near/a", "-"),
            ("/home/closed/a", "-"),
            ("/HOME/a", "-"),
            ("/", "-"),
        ] {
            let rights = rules.shareable(&anna, &key(path));
            assert_eq!(rights, Rights::parse(want).expect("rights"), "{path}");
            let made = rules.share(&anna, &key(path), Rights::ALL, 60, 1000);
            assert_eq!(made.is_some(), rights.has(Rights::READ), "{path}");
            let Some((text, expires_s)) = made else { continue };
            let holder = rules.link(&text, 1000).expect("the link is valid");
            let link = holder.link().expect("a link");
            assert_eq!((&*link.key_id, link.rights, link.expires_s, expires_s), ("new", rights, 1060, 1060), "{path}");
            assert_eq!(rules.shareable(&holder, &key(path)), Rights::NONE, "a link makes no links");
        }
        assert_eq!(rules.shareable(&Caller::ANYBODY, &key("/pub/a")), Rights::NONE);
        let without = parse(&FILE.replace("key ", "# ")).expect("rules");
        assert_eq!(without.shareable(&without.as_if("anna").expect("a name"), &key("/home/")), Rights::NONE);
    }

    #[test]
    fn a_link_ends_with_the_credential_of_its_maker() {
        let rules = parse(FILE).expect("rules");
        let brief = rules.as_if("brief").expect("a name");
        let end_s = 1_801_353_600; // 2027-01-31
        let expiry =
            |lifetime_s, now_s| rules.share(&brief, &key("/home/"), Rights::READ, lifetime_s, now_s).map(|(_, at)| at);
        assert_eq!(expiry(60, end_s - 100), Some(end_s - 40));
        assert_eq!(expiry(101, end_s - 100), Some(end_s));
        assert_eq!(expiry(u64::MAX, end_s - 100), Some(end_s));
    }
}

//! The user of the process and its capabilities (capabilities(7)). Given up, never asked for.

use nix::errno::Errno;
use nix::unistd::{Gid, Group, Uid, User, geteuid, getgroups, getresgid, getresuid, setgroups, setresgid, setresuid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, no_new_privs as has_no_new_privs,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};

/// The user and group that a word names: `USER`, with `:GROUP` or without, names or numbers.
pub(super) fn find(text: &str) -> Result<(Uid, Gid), String> {
    let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
    let group = group.map(find_group).transpose()?;
    let known = match user.parse().map(Uid::from_raw) {
        Ok(uid) => match group {
            Some(group) => return Ok((uid, group)),
            None => User::from_uid(uid),
        },
        Err(_) => User::from_name(user),
    };
    let known = known.map_err(|error| format!("{user}: {error}"))?;
    let known = known.ok_or_else(|| format!("there is no user {user:?}; write UID:GID for one without a name"))?;
    Ok((known.uid, group.unwrap_or(known.gid)))
}

fn find_group(text: &str) -> Result<Gid, String> {
    if let Ok(gid) = text.parse() {
        return Ok(Gid::from_raw(gid));
    }
    let known = Group::from_name(text).map_err(|error| format!("{text}: {error}"))?;
    known.map(|group| group.gid).ok_or_else(|| format!("there is no group {text:?}"))
}

/// Becomes this user, without further groups, for ever. A process that has the UID already gives up what else it has;
/// one that is in groups which only root can leave is refused.
pub(super) fn become_user(text: &str) -> Result<String, String> {
    let (uid, gid) = find(text)?;
    if uid.is_root() || gid.as_raw() == 0 {
        return Err(format!("{text:?} is root, or of its group: name a user that may do less"));
    }
    let is_root = geteuid().is_root();
    if !is_root && geteuid() != uid {
        return Err("the program must be started as root".to_owned());
    }
    let told = |what: &'static str| move |error: Errno| format!("{what}: {error}");
    match setgroups(&[]) {
        // Without the privilege, the groups are looked at below.
        Err(Errno::EPERM) if !is_root => {}
        done => done.map_err(told("setgroups"))?,
    }
    match setresgid(gid, gid, gid) {
        Err(Errno::EPERM) if !is_root => return Err(format!("the program has another group than {gid}")),
        done => done.map_err(told("setresgid"))?,
    }
    setresuid(uid, uid, uid).map_err(told("setresuid"))?;
    check_is_final(uid, gid)?;
    Ok(format!("uid-{uid}"))
}

/// Looks whether all else is really given up: a call that says so may have left a way back.
fn check_is_final(uid: Uid, gid: Gid) -> Result<(), String> {
    let users = getresuid().map_err(|error| format!("getresuid: {error}"))?;
    let groups = getresgid().map_err(|error| format!("getresgid: {error}"))?;
    let more = getgroups().map_err(|error| format!("getgroups: {error}"))?;
    if let Some(other) = more.iter().find(|other| **other != gid) {
        return Err(format!("the program is also in group {other}: start it without, or as root"));
    }
    let all = [users.real, users.effective, users.saved].iter().all(|one| *one == uid)
        && [groups.real, groups.effective, groups.saved].iter().all(|one| *one == gid);
    let root = Uid::from_raw(0);
    if !all || setresuid(root, root, root).is_ok() {
        return Err("the process could become root again".to_owned());
    }
    Ok(())
}

/// Programs that this process starts get no capability, whatever their files say. That takes a privilege.
pub(super) fn empty_bounding_set() {
    for capability in CapabilitySet::all().iter() {
        // It may be unknown to this kernel.
        let _ = remove_capability_from_bounding_set(capability);
    }
}

pub(super) fn no_new_privs() -> Result<String, String> {
    set_no_new_privs(true).map_err(|error| error.to_string())?;
    match has_no_new_privs() {
        Ok(true) => Ok("no-new-privs".to_owned()),
        _ => Err("the kernel does not keep it".to_owned()),
    }
}

pub(super) fn no_capabilities() -> Result<String, String> {
    // Kernels before 4.3 have no ambient set.
    let _ = clear_ambient_capability_set();
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    set_capabilities(None, sets).map_err(|error| error.to_string())?;
    match capabilities(None) {
        Ok(left) if left == sets => Ok("no-caps".to_owned()),
        _ => Err("the kernel has left some".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_named_or_numbered_with_a_group_or_without() {
        let of = |text: &str| find(text).map(|(uid, gid)| (uid.as_raw(), gid.as_raw()));
        assert_eq!(of("4242:4343"), Ok((4242, 4343)));
        assert_eq!(of("root"), Ok((0, 0)));
        assert_eq!(of("0"), Ok((0, 0)));
        assert_eq!(of("root:77"), Ok((0, 77)));
        assert_eq!(of("77:root"), Ok((77, 0)));
        for (bad, why) in [
            ("4242:no-such-group", "there is no group"),
            ("4242:", "there is no group"),
            ("no-such-user", "there is no user"),
            ("", "there is no user"),
            ("4294967290", "there is no user"),
        ] {
            let error = of(bad).expect_err(bad);
            assert!(error.contains(why), "{bad}: {error}");
        }
    }

    #[test]
    fn root_is_not_become() {
        for bad in ["0:0", "4242:0", "0:4242"] {
            assert!(become_user(bad).expect_err(bad).contains("is root"));
        }
    }
}

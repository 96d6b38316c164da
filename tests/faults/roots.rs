//! Roots that are not one plain local directory: with second names, and on file systems of other machines.

use std::fs;

use crate::outside::{run, text};
use crate::server::{Served, dir};

/// A bind mount stands for the short name that a file system such as vfat gives, and for letters that
/// another takes for the same. Only the portable walk would enter one.
// covers: own-files
#[test]
#[ignore = "needs root and a release build"]
fn the_reserved_directory_is_not_served_under_a_second_name() {
    let root = dir();
    let own = root.path().join(".filewharf");
    fs::create_dir(&own).expect("a folder");
    let others = [".FILEWHARF", "FI12AB~1"].map(|name| root.path().join(name));
    for other in &others {
        fs::create_dir(other).expect("a folder");
        run(&["mount", "--bind", &text(&own), &text(other)]);
    }
    let server = Served::start(root.path(), &["--portable"]);
    let mut client = server.client();
    let mut upload = server.client();
    upload.send("PUT 100 /secret\nhalf");
    let staging = fs::read_dir(own.join("staging")).expect("a folder").next().expect("an entry").expect("an entry");
    let staging = staging.file_name().into_string().expect("text");
    let requests = [
        format!("GET /FI12AB~1/staging/{staging}/LOCK"),
        format!("GET /.FILEWHARF/staging/{staging}/LOCK"),
        "STAT /FI12AB~1".to_owned(),
        "LIST /FI12AB~1/staging".to_owned(),
        "MKDIR /FI12AB~1/new".to_owned(),
        "RENAME /FI12AB~1\t/other".to_owned(),
        "DELETE /FI12AB~1".to_owned(),
    ];
    let replies = requests.each_ref().map(|request| client.ask(request));
    let write = server.client().try_put("/FI12AB~1/new", b"x");
    drop((client, upload, server));
    for other in &others {
        run(&["umount", &text(other)]);
    }
    for reply in replies.iter().chain([&write]) {
        assert!(reply.starts_with("ERR 403 "), "{requests:?}: {replies:?} {write:?}");
    }
}

/// NTFS by FUSE, which takes any case for the same name. A kernel with vfat is rare where tests run.
// covers: own-files
#[test]
#[ignore = "needs root, ntfs-3g and a release build"]
fn on_a_file_system_that_takes_names_for_one_no_spelling_leads_to_what_is_closed() {
    let (image, root) = (dir(), dir());
    let disk = text(&image.path().join("disk"));
    run(&["truncate", "-s", "64M", &disk]);
    run(&["mkfs.ntfs", "--quiet", "--fast", "--force", &disk]);
    run(&["lowntfs-3g", "-o", "ignore_case", &disk, &text(root.path())]);
    let access = image.path().join("access");
    fs::write(&access, "allow @ rlcwd /\nallow @ - /closed/\n").expect("a file");
    run(&["chmod", "600", &text(&access)]);
    fs::create_dir(root.path().join("closed")).expect("a folder");
    fs::write(root.path().join("closed/f"), "closed").expect("a file");
    let server = Served::start(root.path(), &["--access", &text(&access)]);
    let replies: Vec<_> =
        [".filewharf", ".FILEWHARF", ".filewharf.", ".filewharf. .", "FILEWH~1", "Closed", "closed.", "CLOSED .."]
            .iter()
            .flat_map(|dir| [format!("GET /{dir}/LOCK"), format!("GET /{dir}/f"), format!("MKDIR /{dir}/new/")])
            .map(|request| (server.client().ask(&request), request))
            .collect();
    let same = fs::read(root.path().join("CLOSED/F")).expect("the same file");
    drop(server);
    run(&["umount", &text(root.path())]);
    assert_eq!(same, b"closed", "the file system takes names for one");
    for (reply, request) in replies {
        assert!(reply.starts_with("ERR 403 ") || reply.starts_with("ERR 401 "), "{request}: {reply}");
    }
}

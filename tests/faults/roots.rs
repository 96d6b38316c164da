//! Roots that are not one plain local directory: with second names, and on file systems of other machines.

use std::fs;

use crate::outside::{run, text};
use crate::server::{Served, dir};

/// A bind mount stands for the short name that a file system such as vfat gives, and for letters that
/// another takes for the same. Only the portable walk would enter one.
// covers: S7
#[test]
#[ignore = "needs root and a release build"]
fn the_reserved_directory_is_not_served_under_a_second_name() {
    let root = dir();
    let own = root.path().join(".filewharf");
    fs::create_dir(&own).expect("a folder");
    let others = [".FILEWHARF", "FILEWH~1"].map(|name| root.path().join(name));
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
        format!("GET /FILEWH~1/staging/{staging}/LOCK"),
        format!("GET /.FILEWHARF/staging/{staging}/LOCK"),
        "STAT /FILEWH~1".to_owned(),
        "LIST /FILEWH~1/staging".to_owned(),
        "MKDIR /FILEWH~1/new".to_owned(),
        "RENAME /FILEWH~1\t/other".to_owned(),
        "DELETE /FILEWH~1".to_owned(),
    ];
    let replies = requests.each_ref().map(|request| client.ask(request));
    let write = server.client().try_put("/FILEWH~1/new", b"x");
    drop((client, upload, server));
    for other in &others {
        run(&["umount", &text(other)]);
    }
    for reply in replies.iter().chain([&write]) {
        assert!(reply.starts_with("ERR 403 "), "{requests:?}: {replies:?} {write:?}");
    }
}

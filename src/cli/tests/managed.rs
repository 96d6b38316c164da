//! What the client's commands leave out, plan and find by patterns, and the commands that move no content.

use super::*;

/// The names on the server.
fn names(fake: &Fake) -> Vec<String> {
    fake.state().files.keys().cloned().collect()
}

/// True if a request that changes something was made.
fn has_changed(fake: &Fake) -> bool {
    let verbs = ["PUT", "DELETE", "RENAME", "COPY", "MKDIR"];
    fake.state().log.iter().any(|line| verbs.iter().any(|verb| line.starts_with(verb)))
}

#[test]
fn patterns_leave_out_files_and_directories_both_ways() {
    let (fake, dir) = (Fake::start(), tempfile::tempdir().expect("a folder"));
    let (from, to) = (dir.path().join("x"), dir.path().join("to"));
    for name in ["a.c", "a.o", "sub/b.c", "sub/b.o", "sub/keep.o", "target/t", "sub/target"] {
        write(&from.join(name), "1");
    }
    let flags = "--include keep.o --exclude *.o --exclude target/ --exclude sub/b.?";
    assert_end(&format!("put -r {flags} {} {}", from.display(), fake.address), DONE);
    assert_eq!(names(&fake), ["/x/a.c", "/x/sub/keep.o", "/x/sub/target"]);
    assert_end(&format!("get -r --include *.c --exclude * {}/x {}", fake.address, to.display()), DONE);
    assert_eq!(contents(&to), ["a.c=1"]);
    fs::remove_dir_all(&to).expect("removed");
    assert_end(&format!("put --exclude *.c {0}/a.c {0}/a.o {1}/two", from.display(), fake.address), DONE);
    assert_eq!(names(&fake)[0], "/two/a.o");
    assert_end(&format!("get -r --exclude keep.* --exclude /a.c {}/x {}", fake.address, to.display()), DONE);
    assert_eq!(contents(&to), ["sub/target=1"]);
    assert_end(&format!("get -r --exclude a** {}/x {}", fake.address, to.display()), ExitCode::from(WRONG_USAGE));
}

#[test]
fn a_plan_changes_nothing() {
    let (fake, dir) = (Fake::start(), tempfile::tempdir().expect("a folder"));
    let (here, address) = (dir.path(), &fake.address);
    write(&here.join("x/f"), "1");
    fs::create_dir(here.join("x/empty")).expect("a folder");
    fake.store("/d/f", b"2");
    let before = (names(&fake), contents(here));
    for line in [
        format!("put -r -n {}/x {address}", here.display()),
        format!("get -r --dry-run {address}/d {}/new/", here.display()),
        format!("get -n {address}/d/f {}/new", here.display()),
        format!("rm -n {address}/d/f"),
        format!("mkdir -n {address}/new"),
        format!("mv -n {address}/d/f {address}/g"),
        format!("cp -n {address}/d/f {address}/g"),
        format!("cp -r -n {address}/d {address}/g"),
    ] {
        assert_end(&line, DONE);
        assert_eq!((names(&fake), contents(here)), before, "{line}");
        assert!(!has_changed(&fake), "{line}");
    }
    for line in [
        format!("put -n {}/x/f {address}/d", here.display()),
        format!("get -n {address}/d/f {}", here.display()),
        format!("get -n {address}/missing {}/m", here.display()),
        format!("rm -n {address}/d"),
        format!("rm -n {address}/missing"),
        format!("mkdir -n {address}/d"),
        format!("mv -n {address}/missing {address}/m"),
        format!("cp -n {address}/d {address}/m"),
    ] {
        assert_end(&line, FAILED);
        assert!(!has_changed(&fake), "{line}");
    }
}

#[test]
fn what_is_there_is_left_as_it_is_without_clobbering() {
    let (fake, dir) = (Fake::start(), tempfile::tempdir().expect("a folder"));
    let (from, address) = (dir.path().join("x"), &fake.address);
    for name in ["a", "b"] {
        write(&from.join(name), "local");
    }
    fake.store("/x/a", b"there");
    fake.store("/y", b"other");
    assert_end(&format!("put -r --no-clobber {} {address}", from.display()), DONE);
    assert_eq!(fake.content("/x/a").expect("there"), b"there");
    assert_eq!(fake.content("/x/b").expect("there"), b"local");
    fake.store("/x/b", b"there");
    fake.store("/x/c", b"there");
    assert_end(&format!("get -r --no-clobber {address}/x {}", from.display()), DONE);
    assert_eq!(contents(&from), ["a=local", "b=local", "c=there"]);
    assert_end(&format!("mv --no-clobber {address}/x/a {address}/y"), DONE);
    assert_eq!((fake.content("/y").expect("there"), fake.content("/x/a").is_some()), (b"other".to_vec(), true));
}

#[test]
fn patterns_match_names_on_the_server_unless_a_name_has_their_characters() {
    let (fake, dir) = (Fake::start(), tempfile::tempdir().expect("a folder"));
    let (here, address) = (dir.path().display(), &fake.address);
    for name in ["/l/a.gz", "/l/b.gz", "/l/c.txt", "/l/.d.gz", "/m/a.gz", "/m/odd*", "/m/odd1"] {
        fake.store(name, b"1");
    }
    fake.state().page = Some(2);
    assert_end(&format!("get {address}/l/*.gz {here}/one"), DONE);
    assert_eq!(contents(&dir.path().join("one")), ["a.gz=1", "b.gz=1"]);
    assert_end(&format!("get {address}/?/odd1 {here}/two"), DONE);
    assert_eq!(contents(&dir.path().join("two")), ["odd1=1"]);
    assert_end(&format!("get {address}/l/[a-b].?? {here}/three/"), DONE);
    assert_eq!(contents(&dir.path().join("three")), ["a.gz=1", "b.gz=1"]);
    assert_end(&format!("get {address}/l/*.png {here}/four"), FAILED);
    assert_end(&format!("rm {address}/m/odd*"), DONE);
    assert_end(&format!("rm {address}/l/*"), DONE);
    assert_eq!(names(&fake), ["/l/.d.gz", "/m/a.gz", "/m/odd1"]);
    assert_end(&format!("cat {address}/m/*"), DONE);
    assert_end(&format!("ls {address}/m/*"), DONE);
    assert_end(&format!("stat {address}/m/* {address}/m"), DONE);
    assert_end(&format!("mv {address}/m/* {address}/n"), DONE);
    assert_eq!(names(&fake), ["/l/.d.gz", "/n/a.gz", "/n/odd1"]);
}

#[test]
fn names_are_moved_and_directories_made() {
    let fake = Fake::start();
    let address = &fake.address;
    fake.store("/a", b"a");
    fake.store("/d/f", b"f");
    assert_end(&format!("mv {address}/a {address}/b"), DONE);
    assert_end(&format!("mv {address}/b {address}/d/"), DONE);
    assert_end(&format!("mv {address}/d {address}/e"), DONE);
    assert_eq!(names(&fake), ["/e/b", "/e/f"]);
    fake.store("/a", b"a");
    assert_end(&format!("mv {address}/a {address}/e"), FAILED);
    assert_end(&format!("mv {address}/a {address}"), FAILED);
    assert_end(&format!("mv {address}/a 127.0.0.1:1/a"), ExitCode::from(WRONG_USAGE));
    assert_end(&format!("mv {address}/a"), ExitCode::from(WRONG_USAGE));
    assert_eq!(names(&fake), ["/a", "/e/b", "/e/f"]);
    assert_end(&format!("mkdir {address}/new"), DONE);
    assert_end(&format!("mkdir {address}/new"), FAILED);
    assert_end(&format!("mkdir -p {address}/new {address}/x/y"), DONE);
    assert_end(&format!("rm {address}/new/ {address}/e"), FAILED);
    assert_end(&format!("rm {address}/new"), FAILED);
    assert_end(&format!("rm -f {address}/new"), DONE);
    assert_end(&format!("rm -r -n {address}/e"), DONE);
    assert_eq!(names(&fake), ["/a", "/e/b", "/e/f"]);
    assert_end(&format!("rm -r {address}/e {address}/a"), DONE);
    assert!(names(&fake).is_empty());
    fake.store("/a", b"a");
    assert_end(&format!("cat {address}/a {address}/missing"), FAILED);
    assert_end(&format!("stat {address}/a {address}/missing"), FAILED);
}

#[test]
fn files_and_directories_are_copied_on_the_server() {
    let fake = Fake::start();
    let address = &fake.address;
    for name in ["/a", "/d/f", "/d/g"] {
        fake.store(name, name.as_bytes());
    }
    assert_end(&format!("cp {address}/a {address}/b"), DONE);
    assert_end(&format!("cp {address}/a {address}/e/"), DONE);
    assert_end(&format!("cp {address}/d {address}/copy"), FAILED);
    assert_end(&format!("cp -r {address}/d {address}/copy"), DONE);
    assert_end(&format!("cp -r {address}/d {address}/copy"), FAILED);
    assert_end(&format!("cp {address}/a {address}/copy"), FAILED);
    assert_end(&format!("cp -r {address}/d {address}/a {address}/copy"), DONE);
    assert_end(&format!("cp {address}/d/* {address}/flat"), DONE);
    assert_end(&format!("cp --no-clobber {address}/a {address}/d/f"), DONE);
    assert_end(&format!("cp {address}/missing {address}/m"), FAILED);
    assert_end(&format!("cp {address}/a 127.0.0.1:1/a"), ExitCode::from(WRONG_USAGE));
    let copies = ["/copy/a", "/copy/d/f", "/copy/d/g", "/copy/f", "/copy/g"];
    let others = ["/a", "/b", "/d/f", "/d/g", "/e/a", "/flat/f", "/flat/g"];
    let mut wanted = [&copies[..], &others].concat();
    wanted.sort_unstable();
    assert_eq!(names(&fake), wanted);
    assert_eq!(fake.content("/d/f").expect("there"), b"/d/f");
}

#[test]
fn whether_a_file_can_be_executed_is_kept_where_that_is_asked_for() {
    use std::os::unix::fs::PermissionsExt as _;
    let (fake, dir) = (Fake::start(), tempfile::tempdir().expect("a folder"));
    let (from, address) = (dir.path().join("x"), &fake.address);
    write(&from.join("run"), "1");
    write(&from.join("large"), &"1".repeat(9 << 20));
    write(&from.join("plain"), "1");
    for name in ["run", "large"] {
        fs::set_permissions(from.join(name), fs::Permissions::from_mode(0o744)).expect("its owner");
    }
    let executable = |fake: &Fake| -> Vec<bool> { fake.state().files.values().map(|file| file.executable).collect() };
    assert_end(&format!("put -r {}/ {address}/x", from.display()), DONE);
    assert_eq!(executable(&fake), [false; 3]);
    assert_end(&format!("put -r --perms {}/ {address}/x", from.display()), DONE);
    assert_eq!(executable(&fake), [true, false, true]);
    let modes = |name: &str| {
        let mode = |file| fs::metadata(dir.path().join(name).join(file)).expect("there").permissions().mode() & 0o111;
        ["large", "plain", "run"].map(|file| mode(file) != 0)
    };
    assert_end(&format!("get -r {address}/x {}/one", dir.path().display()), DONE);
    assert_end(&format!("get -r -p {address}/x {}/two", dir.path().display()), DONE);
    assert_eq!((modes("one"), modes("two")), ([false; 3], [true, false, true]));
}

#[test]
fn everything_under_a_directory_is_listed_as_paths() {
    let fake = Fake::start();
    for name in ["/d/a/b", "/d/a-b", "/d/a/c/d", "/d/z"] {
        fake.store(name, b"1");
    }
    fake.state().page = Some(2);
    let mut client = Client::connect(&fake.address, Fake::options()).expect("up");
    let mut out = Vec::new();
    ls::list(&mut client, "/d", Depth::Everything, Form::Tabs, &mut out).expect("listed");
    let text = String::from_utf8(out).expect("UTF-8");
    let paths: Vec<_> = text.lines().map(|line| line.rsplit('\t').next().expect("a name")).collect();
    assert_eq!(paths, ["a/", "a/b", "a/c/", "a/c/d", "a-b", "z"]);
}

#[test]
fn completions_and_the_manual_have_every_command_and_flag() {
    let page = man::page(ABOUT, &described());
    for shell in ["bash", "zsh", "fish"] {
        let script = completions::script(shell, &described()).expect(shell);
        for Described { command, rows } in described() {
            assert!(script.contains(command.name), "{shell}: {}", command.name);
            assert!(page.contains(&format!(".SS {}\n", command.name)), "{}", command.name);
            for (_, flag, _) in rows {
                let (in_script, in_page) = (
                    if shell == "fish" { format!(" -l {}", flag.long) } else { format!("--{}", flag.long) },
                    format!("\\-\\-{}", flag.long.replace('-', "\\-")),
                );
                assert!(
                    script.contains(&in_script) && page.contains(&in_page),
                    "{shell}: {} {}",
                    command.name,
                    flag.long
                );
            }
        }
    }
    for line in ["completions bash", "man"] {
        assert!(typed(line.split(' ')).is_ok(), "{line}");
    }
    assert!(matches!(typed(["completions", "csh"].into_iter()), Err(ParseError::Usage(_))));
}

#[test]
fn a_line_to_type_is_quoted_where_a_shell_needs_it() {
    for (text, want) in [("h:1/a-b/é", "h:1/a-b/é"), ("h:1/a b", "'h:1/a b'"), ("it's", r"'it'\''s'"), ("*", "'*'")] {
        assert_eq!(args::shell_word(text), want);
    }
}

#[test]
fn a_pattern_matches_no_name_that_a_server_cannot_have() {
    let fake = Fake::start();
    fake.store("/a/b", b"1");
    fake.store("/good", b"1");
    fake.state().listing = Some("1 7 ab a/b\n1 7 ab ..\n1 7 ab good\n");
    assert_end(&format!("rm {}/*", fake.address), FAILED);
    assert_eq!(names(&fake), ["/a/b"]);
}

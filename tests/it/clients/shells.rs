//! The completions and the manual page, read by the shells and by mandoc.

use std::io::Write as _;
use std::process::{Command, Stdio};

/// What the program prints.
fn printed(words: &[&str]) -> Vec<u8> {
    let output = Command::new(env!("CARGO_BIN_EXE_filewharf")).args(words).output().expect("the program runs");
    assert!(output.status.success(), "{words:?}");
    output.stdout
}

/// Gives a text to a program, and returns what it printed. It must succeed.
fn read_by(program: &str, words: &[&str], text: &[u8]) -> String {
    let mut command = Command::new(program);
    let mut child = command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect(program);
    child.stdin.take().expect("a pipe").write_all(text).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{program}: {said}");
    said
}

#[test]
#[ignore = "needs bash, zsh and fish"]
fn every_shell_can_read_its_completions() {
    for (shell, words) in [("bash", &["-n"][..]), ("zsh", &["-n"]), ("fish", &["--no-execute"])] {
        read_by(shell, words, &printed(&["completions", shell]));
    }
}

#[test]
#[ignore = "needs bash"]
fn bash_completes_commands_and_flags() {
    let script = String::from_utf8(printed(&["completions", "bash"])).expect("UTF-8");
    for (words, wanted) in
        [("filewharf mk", "mkdir"), ("filewharf put --no-c", "--no-clobber"), ("filewharf help sta", "stat")]
    {
        let last = words.split(' ').count() - 1;
        let ask =
            format!("{script}\nCOMP_WORDS=({words}); COMP_CWORD={last}; _filewharf; echo \"${{COMPREPLY[*]}}\"\n");
        assert_eq!(read_by("bash", &[], ask.as_bytes()).trim(), wanted, "{words}");
    }
}

#[test]
#[ignore = "needs fish"]
fn fish_completes_commands_and_flags() {
    let script = String::from_utf8(printed(&["completions", "fish"])).expect("UTF-8");
    let ask = format!("{script}\ncomplete -C 'filewharf put --no-c'\n");
    assert!(read_by("fish", &[], ask.as_bytes()).starts_with("--no-clobber"));
}

#[test]
#[ignore = "needs mandoc"]
fn the_manual_page_has_no_mistakes() {
    let page = printed(&["man"]);
    let said = read_by("mandoc", &["-Tlint", "-Werror"], &page);
    assert_eq!(said, "");
    assert!(read_by("mandoc", &["-Tutf8"], &page).contains("filewharf put"));
}

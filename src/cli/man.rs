//! `filewharf man`: the manual page, written from the tables that `--help` is written from.

use std::fmt::Write as _;

use super::usage::{Command, Described, Usage};

pub(super) static USAGE: Usage<()> = Usage {
    command: Command {
        name: "man",
        about: "Print the manual page",
        line: "",
        operand: ("", "None"),
        operands: 0..=0,
        hints: &[],
        notes: "Example:
  filewharf man >~/.local/share/man/man1/filewharf.1

Without a file: filewharf man | man -l -",
    },
    flags: &[],
};

/// The page, for man(1).
pub(super) fn page(about: &str, commands: &[Described]) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let mut page = format!(".TH FILEWHARF 1 \"\" \"filewharf {version}\"\n.SH NAME\nfilewharf \\- {}\n", plain(about));
    page.push_str(".SH SYNOPSIS\n");
    for (index, Described { command, .. }) in commands.iter().enumerate() {
        let line_break = if index > 0 { ".br\n" } else { "" };
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(page, "{line_break}.B filewharf {}\n{}", command.name, plain(command.line));
    }
    page.push_str(".SH COMMANDS\n");
    for Described { command, rows } in commands {
        let _ = writeln!(page, ".SS {}\n{}.", command.name, plain(command.about));
        if *command.operands.end() > 0 {
            let _ = writeln!(page, ".TP\n.B {}\n{}.", plain(command.operand.0), plain(command.operand.1));
        }
        for (_, flag, default) in rows {
            let short = flag.short.map(|letter| format!("-{letter}, ")).unwrap_or_default();
            let default = default.as_ref().map(|default| format!(" [default: {default}]")).unwrap_or_default();
            let _ = writeln!(
                page,
                ".TP\n.B {}\n{}.",
                plain(&(short + &flag.usage())),
                plain(&(flag.help.to_owned() + &default))
            );
        }
        page.push_str(".PP\n");
        notes(command.notes, &mut page);
    }
    page.push_str(
        ".SH EXIT STATUS\n0: done. 1: something failed. 2: wrong usage. 130: ended by Ctrl\\-C.\n\
         .SH ENVIRONMENT\n.TP\n.B FILEWHARF_TOKEN\nThe server's secret, or a token.\n\
         .TP\n.B FILEWHARF_PASSWORD\nThe password of \\-\\-user.\n\
         .TP\n.B FILEWHARF_MAX_SIZE\nThe value of \\-\\-max\\-size of serve, and so on for its other flags.\n\
         .TP\n.B XDG_STATE_HOME\nWhere unfinished uploads are remembered, in its directory filewharf.\n",
    );
    page
}

/// The end of a help text: lines that are indented are examples, as they are.
fn notes(notes: &str, page: &mut String) {
    let mut in_examples = false;
    for line in notes.lines() {
        let is_example = line.starts_with(' ');
        if is_example != in_examples {
            page.push_str(if is_example { ".nf\n" } else { ".fi\n" });
            in_examples = is_example;
        }
        let _ = match line {
            "" => writeln!(page, ".PP"),
            line => writeln!(page, "{}", plain(line)),
        };
    }
    page.push_str(if in_examples { ".fi\n" } else { "" });
}

/// A text in which nothing is a request of roff.
fn plain(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    match text.strip_prefix(['.', '\'']) {
        Some(_) => format!("\\&{text}"),
        None => text,
    }
}

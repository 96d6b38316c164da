//! `filewharf completions`: scripts that complete commands and flags in a shell, written from the tables that `--help` is
//! written from.

use std::fmt::Write as _;

use super::usage::{Command, Described, Usage};

pub(super) static USAGE: Usage<()> = Usage {
    command: Command {
        name: "completions",
        about: "Print a script that completes commands and flags in a shell",
        line: "bash|zsh|fish",
        operand: ("bash|zsh|fish", "The shell"),
        operands: 1..=1,
        hints: &[],
        notes: "Examples:
  filewharf completions bash >~/.local/share/bash-completion/completions/filewharf
  filewharf completions zsh >~/.zfunc/_filewharf
  filewharf completions fish >~/.config/fish/completions/filewharf.fish

For zsh, the directory must be in fpath before compinit runs.",
    },
    flags: &[],
};

/// The script for a shell. `None` for one that is not known.
pub(super) fn script(shell: &str, commands: &[Described]) -> Option<String> {
    match shell {
        "bash" => Some(bash(commands)),
        "zsh" => Some(zsh(commands)),
        "fish" => Some(fish(commands)),
        _ => None,
    }
}

/// Flags only: where there is none, bash completes the names of files.
fn bash(commands: &[Described]) -> String {
    let names: Vec<&str> = commands.iter().map(|described| described.command.name).collect();
    let names = names.join(" ");
    let mut cases = String::new();
    for Described { command, rows } in commands {
        let mut flags = String::new();
        for (_, flag, _) in rows {
            if let Some(letter) = flag.short {
                let _ = write!(flags, "-{letter} "); // writing to a String cannot fail, here and below
            }
            let _ = write!(flags, "--{} ", flag.long);
        }
        let _ = writeln!(cases, "    {}) words='{flags}-h --help' ;;", command.name);
    }
    format!(
        r#"_filewharf() {{
  local word=${{COMP_WORDS[COMP_CWORD]}} words=
  COMPREPLY=()
  case ${{COMP_WORDS[1]}} in
{cases}    help) words='{names}' ;;
  esac
  if ((COMP_CWORD == 1)); then words='{names} help -h --help -V --version'
  elif [[ $word != -* && ${{COMP_WORDS[1]}} != help ]]; then return
  fi
  COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o default -F _filewharf filewharf
"#
    )
}

fn zsh(commands: &[Described]) -> String {
    // A colon ends a part, a bracket the description, an apostrophe the word.
    let plain = |text: &str| {
        text.replace('\\', "\\\\").replace(':', "\\:").replace('[', "\\[").replace(']', "\\]").replace('\'', "'\\''")
    };
    let (mut list, mut cases) = (String::new(), String::new());
    for Described { command, rows } in commands {
        let _ = writeln!(list, "    '{}:{}'", command.name, plain(command.about));
        let _ = writeln!(cases, "      {})\n        _arguments -s \\", command.name);
        for (_, flag, _) in rows {
            let value = flag
                .value_name
                .map(|name| format!(":{}:{}", plain(name), if flag.takes_path { "_files" } else { " " }));
            let (equals, value) = if value.is_some() { ("=", value.unwrap_or_default()) } else { ("", String::new()) };
            let repeat = if flag.is_repeatable { "*" } else { "" };
            let help = plain(flag.help);
            let _ = writeln!(cases, "          '{repeat}--{}{equals}[{help}]{value}' \\", flag.long);
            if let Some(letter) = flag.short {
                let _ = writeln!(cases, "          '{repeat}-{letter}[{help}]{value}' \\");
            }
        }
        cases.push_str("          '(-h --help)'{-h,--help}'[Print help]' '*:file:_files' ;;\n");
    }
    format!(
        r#"#compdef filewharf
_filewharf() {{
  local state line
  local -a commands=(
{list}    'help:Print the help of a command'
  )
  _arguments -C '(-h --help)'{{-h,--help}}'[Print help]' '(-V --version)'{{-V,--version}}'[Print version]' \
    '1: :->command' '*:: :->argument'
  case $state in
    command) _describe command commands ;;
    argument) case $line[1] in
{cases}      help) _describe command commands ;;
    esac ;;
  esac
}}
if [ "$funcstack[1]" = _filewharf ]; then _filewharf "$@"; else compdef _filewharf filewharf; fi
"#
    )
}

fn fish(commands: &[Described]) -> String {
    let plain = |text: &str| text.replace('\\', "\\\\").replace('\'', "\\'");
    let mut text = String::from(
        "complete -c filewharf -n __fish_use_subcommand -s h -l help -d 'Print help'\n\
         complete -c filewharf -n __fish_use_subcommand -s V -l version -d 'Print version'\n\
         complete -c filewharf -n __fish_use_subcommand -f -a help -d 'Print the help of a command'\n",
    );
    for Described { command, rows } in commands {
        let name = command.name;
        let about = plain(command.about);
        let _ = writeln!(text, "complete -c filewharf -n __fish_use_subcommand -f -a {name} -d '{about}'");
        let seen = format!("complete -c filewharf -n '__fish_seen_subcommand_from {name}'");
        for (_, flag, _) in rows {
            let short = flag.short.map(|letter| format!(" -s {letter}")).unwrap_or_default();
            let value = match (flag.value_name, flag.takes_path) {
                (None, _) => "",
                (Some(_), true) => " -r -F",
                (Some(_), false) => " -x",
            };
            let _ = writeln!(text, "{seen}{short} -l {}{value} -d '{}'", flag.long, plain(flag.help));
        }
        let _ = writeln!(text, "{seen} -s h -l help -d 'Print help'");
    }
    text
}

//! Names that a file system may take for one: it may ignore case, drop dots and blanks at the end of a name, or skip
//! characters that cannot be seen. Never looks at a file system.

/// Appends one name between slashes as such a file system would compare it. Two names with different folded forms are two
/// names for all of them, except for those that also normalise Unicode, or give names of 8 and 3 letters.
pub fn fold(component: &str, out: &mut String) {
    let start = out.len();
    // Upper case first: some letters of lower case share their capital.
    let visible = component.chars().filter(|c| !is_ignorable(*c));
    out.extend(visible.flat_map(char::to_uppercase).flat_map(char::to_lowercase));
    let len = out[start..].trim_end_matches(['.', ' ']).len();
    out.truncate(start + len);
}

/// Unicode's property `Default_Ignorable_Code_Point`: ext4 and f2fs with case folding, APFS and HFS+ skip these, or some
/// of them, when they compare names.
const fn is_ignorable(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}' | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}'
    )
}

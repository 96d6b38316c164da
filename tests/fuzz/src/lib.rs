//! What the targets share. Their bodies are in [`targets`], which plain `cargo test` runs as well,
//! over the files in `corpus`: see `tests/it/corpus.rs`.

#[allow(dead_code, reason = "shared with the integration tests")]
#[path = "../../it/rig/mod.rs"]
pub mod rig;
pub mod targets;

/// Runs the target of this name.
pub fn run(name: &str, data: &[u8]) {
    let (_, target) = targets::ALL.iter().find(|(own, _)| *own == name).expect("a target of that name");
    target(data);
}

//! The directory on disk while other programs use it too: changed files, replaced directories, links, races.

mod cached;
mod paths;
mod races;
mod root;
mod shared;
mod unlisted;
mod versions;

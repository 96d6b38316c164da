//! The older dialects, one file each: what takes more than a transcript.

mod length_prefix;
mod limits;
mod name_choice;
mod name_size;

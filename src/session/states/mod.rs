//! What each state does: one file for each, in which it implements [`Behavior`](super::behavior::Behavior).

mod await_header;
mod await_slot;
mod committing;
mod copying;
mod discarding;
mod done;
mod executing;
mod finishing_writes;
mod handshake;
mod lingering;
mod opening;
mod pausing;
mod proxy_header;
mod receiving_body;
mod saving;
mod sending_body;
mod sending_part;
mod sending_reply;
mod verifying;

//! Transfers that are cut off and resumed: the server by `resume=` of the line protocol, and the client of the built
//! binary. The clients of tus and of the IETF draft are in `clients::resumable`.

pub mod cut_client;
mod line;

//! What an operator is shown of the connections: those that do something first, and not all of a crowd.

use std::fmt::Write as _;

use crate::counters::Counters;
use crate::platform::Platform;
use crate::reactor::connections::Connection;
use crate::reactor::parts::Reactor;
use crate::session::state::Name;
use crate::session::{Event, Peer};
use crate::wire::json;

/// Longest text, in bytes.
pub const CONNECTION_LIST_BYTES: usize = 40 * 1024;
/// An entry is shorter than the rest.
const LEN_MAX: usize = CONNECTION_LIST_BYTES - 4096;
/// Most connections that are shown.
const SHOWN_MAX: usize = 256;

impl<P: Platform> Reactor<P> {
    /// Answers the sessions that want to be informed of all connections.
    pub(super) fn list_connections(&mut self) {
        while let Some(id) = self.scheduler.wants_connections.pop() {
            let text = self.connection_list().into();
            if let Some(mut driver) = self.driver(id) {
                driver.tell(Event::Connections(text));
            }
        }
    }

    /// As JSON.
    pub fn connection_list(&self) -> String {
        let (mut text, mut shown) = ("{\"connections\":[".to_owned(), 0);
        let is_idle = |connection: &Connection<P::Stream>| connection.session.state() == Name::AwaitHeader;
        let all = || self.connections.iter().map(|(_, connection)| connection);
        let in_order = all().filter(|c| !is_idle(c)).chain(all().filter(|c| is_idle(c)));
        for connection in in_order.take(SHOWN_MAX) {
            if text.len() > LEN_MAX {
                break;
            }
            text.push_str(if shown == 0 { "\n" } else { ",\n" });
            self.write(connection, &mut text);
            shown += 1;
        }
        // Writing to a String cannot fail.
        let _ = writeln!(text, "\n],\"shown\":{shown},\"open\":{}}}", self.connections.len());
        text
    }

    fn write(&self, connection: &Connection<P::Stream>, text: &mut String) {
        let Peer { address, speaks, user, request, entered, .. } = connection.session.peer();
        let now = self.env.clock.now;
        let state = Counters::STATES[connection.session.state() as usize];
        let age = now.saturating_duration_since(entered).as_secs();
        // Of a request that is younger than a millisecond, as much as if it were not.
        let rate = request.map_or(0, |(bytes, began)| {
            let ms = now.saturating_duration_since(began).as_millis().max(1);
            u64::try_from(u128::from(bytes) * 1000 / ms).unwrap_or(u64::MAX)
        });
        let _ = write!(text, "{{\"peer\":\"{address}\",\"dialect\":\"{speaks}\",\"state\":\"{state}\",");
        let _ = write!(text, "\"age\":{age},\"rate\":{rate},\"user\":");
        json::quote(user, text);
        text.push('}');
    }
}

//! Files that are read again while the server runs: on SIGHUP, or when a handle asks for it. Each is read on a thread of
//! its own, never by the loop, and replaces what was read before only if all of it is right. Others are looked at now and
//! then.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

/// Time between two looks.
const LOOK: Duration = Duration::from_secs(60);

/// Reads files again and puts what they say into effect. Returns what to log: what was read, or what is wrong and
/// therefore was not replaced.
pub type Reload = Box<dyn FnMut() -> Result<String, String> + Send>;

/// Looks at a file that others change.
pub type Look = Box<dyn FnMut() + Send>;

/// What is to be read again.
#[derive(Default)]
pub struct Reloads {
    reloads: Vec<Reload>,
    look: Option<Look>,
}

impl Reloads {
    pub fn push(&mut self, reload: impl FnMut() -> Result<String, String> + Send + 'static) {
        self.reloads.push(Box::new(reload));
    }

    /// Called once before the thread starts, and then by it once a minute.
    pub fn look(&mut self, look: impl FnMut() + Send + 'static) {
        self.look = Some(Box::new(look));
    }

    /// How to ask for all of it, once the reader was started. `None` if there is nothing to read.
    pub fn prepare(self) -> Option<(SyncSender<()>, Reader)> {
        // A request that comes while another one waits means the same.
        let (ask, asked) = sync_channel(1);
        let is_used = !self.reloads.is_empty();
        is_used.then_some((ask, Reader { reloads: self.reloads, look: self.look, asked }))
    }
}

/// What a thread is to do for [`Reloads`].
pub struct Reader {
    reloads: Vec<Reload>,
    look: Option<Look>,
    asked: Receiver<()>,
}

impl Reader {
    /// Looks for the first time, then starts the thread; it ends when the last sender is gone.
    pub fn start(mut self) -> io::Result<()> {
        if let Some(look) = &mut self.look {
            look();
        }
        thread::Builder::new().name("reload".to_owned()).spawn(move || self.run(LOOK)).map(drop)
    }

    fn run(mut self, every: Duration) {
        loop {
            // Without a file to look at, it wakes for nothing.
            let every = self.look.as_ref().map_or(Duration::MAX, |_| every);
            match (self.asked.recv_timeout(every), &mut self.look) {
                (Ok(()), _) => self.reload(),
                (Err(RecvTimeoutError::Timeout), Some(look)) => look(),
                (Err(RecvTimeoutError::Timeout), None) => {}
                (Err(RecvTimeoutError::Disconnected), _) => return,
            }
        }
    }

    fn reload(&mut self) {
        for reload in &mut self.reloads {
            match reload() {
                Ok(done) => log::info!("{done}"),
                Err(wrong) => log::error!("{wrong}; what was read before stays in effect"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_read_again_though_one_file_is_wrong() {
        let (say, said) = std::sync::mpsc::channel();
        let mut reloads = Reloads::default();
        let first = say.clone();
        reloads.push(move || {
            first.send(1).map_err(|_| "the receiver has ended")?;
            Err("a:1: wrong".to_owned())
        });
        reloads.push(move || {
            say.send(2).map_err(|_| "the receiver has ended")?;
            Ok("read b again".to_owned())
        });
        let (ask, reader) = reloads.prepare().expect("something to read");
        reader.start().expect("a thread");
        for _ in 0..2 {
            ask.send(()).expect("the thread runs");
            assert_eq!((said.recv(), said.recv()), (Ok(1), Ok(2)));
        }
        drop(ask);
        assert!(said.recv().is_err(), "the thread ends");
        assert!(Reloads::default().prepare().is_none());
    }

    #[test]
    fn a_file_that_others_change_is_looked_at_again_and_again() {
        let (say, said) = std::sync::mpsc::channel();
        let mut reloads = Reloads::default();
        reloads.push(|| Ok(String::new()));
        reloads.look(move || say.send(()).unwrap_or(()));
        let (ask, reader) = reloads.prepare().expect("something to read");
        thread::scope(|scope| {
            scope.spawn(|| reader.run(Duration::from_millis(1)));
            for _ in 0..3 {
                assert_eq!(said.recv(), Ok(()));
            }
            drop(ask);
        });
    }
}

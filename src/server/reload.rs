//! Files that are read again while the server runs: on SIGHUP, or when a handle asks for it. Each is read on a thread of
//! its own, never by the loop, and replaces what was read before only if all of it is right.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

/// Reads files again and puts what they say into effect. Returns what to log: what was read, or what is wrong and
/// therefore was not replaced.
pub type Reload = Box<dyn FnMut() -> Result<String, String> + Send>;

/// What is to be read again.
#[derive(Default)]
pub struct Reloads(Vec<Reload>);

impl Reloads {
    pub fn push(&mut self, reload: impl FnMut() -> Result<String, String> + Send + 'static) {
        self.0.push(Box::new(reload));
    }

    /// How to ask for all of it, once the reader was started. `None` if there is nothing to read.
    pub fn prepare(self) -> Option<(SyncSender<()>, Reader)> {
        // A request that comes while another one waits means the same.
        let (ask, asked) = sync_channel(1);
        (!self.0.is_empty()).then_some((ask, Reader { reloads: self.0, asked }))
    }
}

/// What a thread is to do for [`Reloads`].
pub struct Reader {
    reloads: Vec<Reload>,
    asked: Receiver<()>,
}

impl Reader {
    /// Starts the thread; it ends when the last sender is gone.
    pub fn start(self) -> io::Result<()> {
        thread::Builder::new().name("reload".to_owned()).spawn(move || run(self.reloads, &self.asked)).map(drop)
    }
}

fn run(mut reloads: Vec<Reload>, asked: &Receiver<()>) {
    while asked.recv().is_ok() {
        for reload in &mut reloads {
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
            first.send(1).map_err(|_| "nobody listens")?;
            Err("a:1: wrong".to_owned())
        });
        reloads.push(move || {
            say.send(2).map_err(|_| "nobody listens")?;
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
}

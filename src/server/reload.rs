//! Files that are read again while the server runs: on SIGHUP, or when a handle asks for it. All are read on a thread of
//! their own, never by the loop, and replace what was read before only if all of them are right. Others are looked at now
//! and then.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use crate::os::event_queue::Control;
use crate::server::systemd::Notifier;

/// Time between two looks.
const LOOK: Duration = Duration::from_secs(60);

/// Puts what was read into effect. Returns what to log.
pub type Apply<'a> = Box<dyn FnOnce(&Control) -> String + 'a>;

/// A file, or several that belong together.
pub trait Reload: Send {
    /// Reads it again, and changes nothing yet. The error says what is wrong, and where.
    fn read(&mut self) -> Result<Apply<'_>, String>;
}

/// Looks at a file that others change.
pub type Look = Box<dyn FnMut() + Send>;

/// What is to be read again.
pub struct Reloads {
    control: Arc<Control>,
    notifier: Option<Arc<Notifier>>,
    reloads: Vec<Box<dyn Reload>>,
    look: Option<Look>,
}

impl Reloads {
    pub fn new(control: Arc<Control>, notifier: Option<Arc<Notifier>>) -> Self {
        Self { control, notifier, reloads: Vec::new(), look: None }
    }

    pub fn push(&mut self, reload: Box<dyn Reload>) {
        self.reloads.push(reload);
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
        let Self { control, notifier, reloads, look } = self;
        is_used.then_some((ask, Reader { control, notifier, reloads, look, asked }))
    }
}

/// What a thread is to do for [`Reloads`].
pub struct Reader {
    control: Arc<Control>,
    notifier: Option<Arc<Notifier>>,
    reloads: Vec<Box<dyn Reload>>,
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
                (Ok(()), _) => {
                    self.notifier.iter().for_each(|notifier| notifier.reloading());
                    self.reload();
                    self.notifier.iter().for_each(|notifier| notifier.ready());
                }
                (Err(RecvTimeoutError::Timeout), Some(look)) => look(),
                (Err(RecvTimeoutError::Timeout), None) => {}
                (Err(RecvTimeoutError::Disconnected), _) => return,
            }
        }
    }

    fn reload(&mut self) {
        let (mut right, mut wrong) = (Vec::new(), Vec::new());
        for reload in &mut self.reloads {
            match reload.read() {
                Ok(apply) => right.push(apply),
                Err(reason) => wrong.push(reason),
            }
        }
        for reason in &wrong {
            log::error!("{reason}; what was read before stays in effect");
        }
        for apply in right.into_iter().filter(|_| wrong.is_empty()) {
            let done = apply(&self.control);
            log::info!("{done}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc::{Sender, channel};

    use super::*;
    use crate::os::event_queue::EventQueue;

    /// Says that it was read, and then that it is in effect.
    struct Told(Sender<&'static str>, &'static str, Arc<AtomicBool>);

    impl Reload for Told {
        fn read(&mut self) -> Result<Apply<'_>, String> {
            let is_wrong = self.2.load(Ordering::Relaxed);
            self.0.send(self.1).map_err(|_| "the receiver has ended")?;
            if is_wrong {
                return Err("a:1: wrong".to_owned());
            }
            Ok(Box::new(|_| {
                self.0.send("in effect").unwrap_or(());
                format!("read {} again", self.1)
            }))
        }
    }

    fn reloads() -> Reloads {
        Reloads::new(Arc::clone(EventQueue::new().expect("a queue").control()), None)
    }

    #[test]
    fn nothing_is_replaced_where_one_file_is_wrong() {
        let (say, said) = channel();
        let (is_wrong, never) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
        let mut reloads = reloads();
        reloads.push(Box::new(Told(say.clone(), "a", never)));
        reloads.push(Box::new(Told(say, "b", Arc::clone(&is_wrong))));
        let (ask, reader) = reloads.prepare().expect("something to read");
        reader.start().expect("a thread");
        let expect = |words: &[&str]| {
            ask.send(()).expect("the thread runs");
            for word in words {
                assert_eq!(said.recv(), Ok(*word));
            }
        };
        expect(&["a", "b"]);
        expect(&["a", "b"]);
        is_wrong.store(false, Ordering::Relaxed);
        expect(&["a", "b", "in effect", "in effect"]);
        drop(ask);
        assert!(said.recv().is_err(), "the thread ends");
    }

    #[test]
    fn a_file_that_others_change_is_looked_at_again_and_again() {
        let (say, said) = channel();
        let mut reloads = reloads();
        assert!(Reloads::new(Arc::clone(&reloads.control), None).prepare().is_none(), "nothing to read");
        reloads.push(Box::new(Told(channel().0, "", Arc::default())));
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

//! What the kernel tells about changes of files and directories (inotify(7)), in words of our own.
//!
//! An event is in the queue before the call that made it returns, in whatever process. Not reported are
//! stores through a mapping. Nothing here decides what an event means, and nothing here waits.

use std::os::fd::BorrowedFd;

use rustix::io::Errno;

/// One watched file or directory. A number is not used again for another one.
pub(crate) type WatchId = i32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event<'a> {
    /// Events were lost: nothing is known any more.
    Lost,
    /// The watch itself has ended.
    Ended(WatchId),
    /// A file or directory that is watched changed.
    Itself(WatchId),
    /// In this directory, a name of a file came, went, or stands for something else.
    Name(WatchId, &'a [u8]),
    /// In this directory, the name of a directory went or stands for something else.
    Dir(WatchId),
}

#[cfg(target_os = "linux")]
mod linux {
    use std::mem::MaybeUninit;
    use std::os::fd::{AsRawFd as _, OwnedFd};

    use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};

    use super::*;

    /// Room for events read at once.
    const EVENTS_BYTES: usize = 16 * 1024;

    /// A queue of events.
    #[derive(Debug)]
    pub(crate) struct Watch {
        queue: OwnedFd,
        events: Box<[MaybeUninit<u8>]>,
    }

    impl Watch {
        pub(crate) fn new() -> Result<Self, Errno> {
            let queue = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
            Ok(Self { queue, events: vec![MaybeUninit::uninit(); EVENTS_BYTES].into_boxed_slice() })
        }

        /// Watches the content and the properties of an open file, by whatever name it is changed.
        pub(crate) fn add_file(&self, file: BorrowedFd<'_>) -> Result<WatchId, Errno> {
            self.add(file, WatchFlags::MODIFY | WatchFlags::CLOSE_WRITE | WatchFlags::ATTRIB)
        }

        /// Watches the names in an open directory.
        pub(crate) fn add_dir(&self, dir: BorrowedFd<'_>) -> Result<WatchId, Errno> {
            let names = WatchFlags::CREATE | WatchFlags::DELETE | WatchFlags::MOVE;
            self.add(dir, names | WatchFlags::ATTRIB | WatchFlags::ONLYDIR)
        }

        /// There is no call that takes a descriptor; this name leads to exactly what is open.
        fn add(&self, what: BorrowedFd<'_>, flags: WatchFlags) -> Result<WatchId, Errno> {
            let gone = WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF;
            inotify::add_watch(&self.queue, format!("/proc/self/fd/{}", what.as_raw_fd()), flags | gone)
        }

        /// Ends a watch; events that are in the queue still come.
        pub(crate) fn remove(&self, id: WatchId) {
            // It may have ended by itself.
            let _ = inotify::remove_watch(&self.queue, id);
        }

        /// How many watches there are (proc_pid_fdinfo(5)).
        #[cfg(test)]
        pub(crate) fn len(&self) -> usize {
            let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", self.queue.as_raw_fd()));
            info.expect("its facts").lines().filter(|line| line.starts_with("inotify ")).count()
        }

        /// Hands out all that is in the queue.
        pub(crate) fn drain(&mut self, mut tell: impl FnMut(Event<'_>)) {
            let mut reader = Reader::new(&self.queue, &mut self.events);
            loop {
                match reader.next() {
                    Ok(event) => {
                        let name = event.file_name().map(std::ffi::CStr::to_bytes);
                        if let Some(event) = translate(event.wd(), event.events(), name) {
                            tell(event);
                        }
                    }
                    Err(Errno::AGAIN) => return,
                    Err(Errno::INTR) => {}
                    // What cannot be read may have said anything.
                    Err(_) => return tell(Event::Lost),
                }
            }
        }
    }

    fn translate(id: WatchId, flags: ReadFlags, name: Option<&[u8]>) -> Option<Event<'_>> {
        if flags.contains(ReadFlags::QUEUE_OVERFLOW) {
            return Some(Event::Lost);
        }
        if flags.contains(ReadFlags::IGNORED) {
            return Some(Event::Ended(id));
        }
        match name {
            None => Some(Event::Itself(id)),
            // A directory that is new cannot change what was known of its name: that there was none.
            Some(_) if flags.contains(ReadFlags::ISDIR | ReadFlags::CREATE) => None,
            Some(_) if flags.contains(ReadFlags::ISDIR) => Some(Event::Dir(id)),
            Some(name) => Some(Event::Name(id, name)),
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod linux {
    use super::*;

    /// Nothing can be watched, so there is no value of this type.
    #[derive(Debug)]
    pub(crate) enum Watch {}

    impl Watch {
        pub(crate) fn new() -> Result<Self, Errno> {
            Err(Errno::NOSYS)
        }

        pub(crate) fn add_file(&self, _: BorrowedFd<'_>) -> Result<WatchId, Errno> {
            match *self {}
        }

        pub(crate) fn add_dir(&self, _: BorrowedFd<'_>) -> Result<WatchId, Errno> {
            match *self {}
        }

        pub(crate) fn remove(&self, _: WatchId) {}

        #[cfg(test)]
        pub(crate) fn len(&self) -> usize {
            match *self {}
        }

        pub(crate) fn drain(&mut self, _: impl FnMut(Event<'_>)) {}
    }
}

pub(crate) use linux::Watch;

//! Messages between processes of one machine, which may carry open files (unix(7), `SCM_RIGHTS`). Knows nothing of what
//! they mean. A message is text that ends with an empty line.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

/// Most files of one message; the kernel takes 253.
pub const FILES_MAX: usize = 128;
/// Longest text.
const TEXT_MAX: usize = 64 * 1024;
const END: &[u8] = b"\n\n";

/// A message that has come.
#[derive(Debug)]
pub struct Message {
    /// Without the empty line at its end.
    pub text: String,
    pub files: Vec<OwnedFd>,
}

/// Sends `text`, which has no empty line, and the files with its first byte. Waits as long as the timeouts of the socket
/// permit.
pub fn send(socket: &UnixStream, text: &str, files: &[BorrowedFd<'_>]) -> io::Result<()> {
    debug_assert!(!text.is_empty() && !text.contains("\n\n") && files.len() <= FILES_MAX, "a message to send");
    let bytes = [text.trim_end_matches('\n').as_bytes(), END].concat();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES_MAX))];
    let mut carried = SendAncillaryBuffer::new(&mut space);
    if !files.is_empty() && !carried.push(SendAncillaryMessage::ScmRights(files)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let flags = SendFlags::NOSIGNAL;
    let mut sent = sendmsg(socket, &[io::IoSlice::new(&bytes)], &mut carried, flags)?;
    while sent < bytes.len() {
        sent += sendmsg(socket, &[io::IoSlice::new(&bytes[sent..])], &mut SendAncillaryBuffer::default(), flags)?;
    }
    Ok(())
}

/// The next message; `UnexpectedEof` where the other process has closed its end, or is gone.
pub fn receive(socket: &UnixStream) -> io::Result<Message> {
    let (mut bytes, mut files) = (Vec::new(), Vec::new());
    while !bytes.ends_with(END) {
        let mut part = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES_MAX))];
        let mut carried = RecvAncillaryBuffer::new(&mut space);
        let slices = &mut [io::IoSliceMut::new(&mut part)];
        let got = recvmsg(socket.as_fd(), slices, &mut carried, RecvFlags::CMSG_CLOEXEC)?;
        for message in carried.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                files.extend(rights);
            }
        }
        if got.bytes == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(&part[..got.bytes]);
        // Files that found no room, or no descriptor, are lost.
        if got.flags.contains(ReturnFlags::CTRUNC) || bytes.len() > TEXT_MAX || files.len() > FILES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it cannot be taken in whole"));
        }
    }
    bytes.truncate(bytes.len() - END.len());
    let text = String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    Ok(Message { text, files })
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read as _, Seek as _, Write as _};

    use super::*;

    #[test]
    fn a_message_comes_whole_with_its_files() {
        let (one, other) = UnixStream::pair().expect("a pair");
        let mut made = tempfile::tempfile().expect("a file");
        made.write_all(b"content").expect("space");
        let files = vec![made.as_fd(); 80];
        let text = "listener 127.0.0.1:7070\n".repeat(80);
        send(&one, &text, &files).expect("room");
        send(&one, "ready", &[]).expect("room");
        let message = receive(&other).expect("it was sent");
        assert_eq!((message.text.lines().count(), message.files.len()), (80, 80));
        let mut read = String::new();
        made.rewind().expect("a file");
        File::from(message.files.into_iter().next_back().expect("80")).read_to_string(&mut read).expect("readable");
        assert_eq!(read, "content");
        assert_eq!(receive(&other).expect("it was sent").text, "ready");
    }

    #[test]
    fn the_end_of_the_other_process_and_a_message_without_end_are_errors() {
        let (one, other) = UnixStream::pair().expect("a pair");
        drop(one);
        assert_eq!(receive(&other).expect_err("nothing comes").kind(), io::ErrorKind::UnexpectedEof);
        let (mut one, other) = UnixStream::pair().expect("a pair");
        one.write_all(&[b'x'; TEXT_MAX + 1]).expect("room");
        assert_eq!(receive(&other).expect_err("it is too long").kind(), io::ErrorKind::InvalidData);
    }
}

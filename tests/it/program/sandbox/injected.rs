//! A system call that a thread of another process is made to make, as code would that came into it (ptrace(2)).

use nix::libc::{c_long, c_void};
use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// An argument of a call.
pub enum Argument {
    Number(u64),
    /// The address of this text in the memory of the thread.
    Text(&'static str),
}

/// Makes a thread that waits in a system call make another one; what the kernel answers. `None` if it ends the process.
pub fn call(thread: u32, number: c_long, arguments: &[Argument]) -> Option<i64> {
    let thread = Pid::from_raw(thread.cast_signed());
    let wait = || waitpid(thread, Some(WaitPidFlag::__WALL)).expect("a traced thread can be waited for");
    ptrace::attach(thread).expect("a child can be traced");
    assert!(matches!(wait(), WaitStatus::Stopped(..)));
    let before = ptrace::getregs(thread).expect("its registers");
    // It stands after the instruction that enters the kernel.
    let instruction = before.rip - 2;
    let code = ptrace::read(thread, instruction as *mut c_void).expect("its code");
    assert_eq!(code & 0xFFFF, 0x050F, "the thread waits in the kernel");
    let mut registers = before;
    registers.rip = instruction;
    registers.rax = number.cast_unsigned();
    // No call is to be made again.
    registers.orig_rax = u64::MAX;
    // Below what its functions use of the stack.
    let mut free = before.rsp - 2048;
    let places = [&mut registers.rdi, &mut registers.rsi, &mut registers.rdx, &mut registers.r10, &mut registers.r8];
    for (place, argument) in places.into_iter().zip(arguments) {
        *place = match argument {
            Argument::Number(number) => *number,
            Argument::Text(text) => {
                let at = free;
                for word in [text.as_bytes(), &[0; 8]].concat().chunks_exact(8) {
                    let word = c_long::from_le_bytes(word.try_into().expect("8 bytes"));
                    ptrace::write(thread, free as *mut c_void, word).expect("its memory");
                    free += 8;
                }
                at
            }
        };
    }
    ptrace::setregs(thread, registers).expect("its registers");
    ptrace::step(thread, None).expect("one instruction");
    let WaitStatus::Stopped(..) = wait() else { return None };
    let result = ptrace::getregs(thread).expect("its registers").rax.cast_signed();
    ptrace::setregs(thread, before).expect("its registers");
    ptrace::detach(thread, None).expect("it continues");
    Some(result)
}

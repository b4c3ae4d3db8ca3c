//! A part of a file in memory, without a copy of its bytes, that stays readable when the file becomes shorter.
//!
//! Reading a page of a mapping beyond the end of its file raises SIGBUS, which ends a process. While a mapping is read,
//! a handler puts a page of zeros in the place of such a page and notes it, and whoever reads finds the note afterwards:
//! what was computed is thrown away then. Everything else that raises SIGBUS goes to whom it went before.
//!
//! Another process may also change bytes while they are read. The hash is then that of no state that the file had, as it
//! is for one who reads it in parts.

use std::cell::Cell;
use std::io::{Error, Result};
use std::mem;
use std::ptr;
use std::slice;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Mutex;

/// A read-only mapping of bytes of a file; unmapped when it is dropped.
pub struct Mapped {
    start: *mut libc::c_void,
    length: usize,
    /// Whether a page was missing.
    torn: AtomicBool,
    page: usize,
}

// Nothing writes through the pointer.
unsafe impl Send for Mapped {}
unsafe impl Sync for Mapped {}

thread_local! {
    /// What this thread reads at the moment; the handler runs on the thread that reads.
    static READING: Cell<*const Mapped> = const { Cell::new(ptr::null()) };
}

/// How many calls need the handler, and whom SIGBUS went to before the first of them.
static HANDLER: Mutex<(usize, Option<libc::sigaction>)> = Mutex::new((0, None));
/// The same for the handler itself, which must not wait for a lock; written before the handler is installed.
static mut FORMER: mem::MaybeUninit<libc::sigaction> = mem::MaybeUninit::uninit();

impl Mapped {
    /// `length` bytes from `offset`, a multiple of the page size; `length` is not 0. The descriptor may be closed meanwhile.
    pub fn new(descriptor: i32, offset: u64, length: usize) -> Result<Self> {
        let offset = libc::off_t::try_from(offset).map_err(|_| Error::from_raw_os_error(libc::EOVERFLOW))?;
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
        hold_handler()?;
        let start =
            unsafe { libc::mmap(ptr::null_mut(), length, libc::PROT_READ, libc::MAP_SHARED, descriptor, offset) };
        if start == libc::MAP_FAILED {
            let error = Error::last_os_error();
            release_handler();
            return Err(error);
        }
        Ok(Mapped { start, length, torn: AtomicBool::new(false), page })
    }

    /// Whether bytes were missing in what was read so far: they were read as zeros.
    pub fn torn(&self) -> bool {
        self.torn.load(Ordering::Relaxed)
    }

    /// Calls `use_bytes` with bytes [from, to). It must read them on this thread only.
    pub fn read<T>(&self, from: usize, to: usize, use_bytes: impl FnOnce(&[u8]) -> T) -> T {
        assert!(from <= to && to <= self.length);
        let reading = Reading::begin(self);
        let start = unsafe { self.start.cast::<u8>().add(from) };
        self.populate(start, to - from);
        let result = use_bytes(unsafe { slice::from_raw_parts(start, to - from) });
        drop(reading);
        result
    }

    /// Fills in the page tables of a part in one call; without it every few pages are a fault. Kernels before 5.14 refuse, which
    /// is no error. A file that is shorter makes it
    /// fail without SIGBUS, but may become shorter right after.
    fn populate(&self, start: *mut u8, length: usize) {
        #[cfg(target_os = "linux")]
        // Safety: changes no byte; the range lies in the mapping.
        unsafe {
            libc::madvise(start.cast(), length, libc::MADV_POPULATE_READ);
        }
        #[cfg(not(target_os = "linux"))]
        let _ = (start, length);
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        unsafe { libc::munmap(self.start, self.length) };
        release_handler();
    }
}

/// Takes the note of what a thread reads back, also when a panic unwinds.
struct Reading;

impl Reading {
    fn begin(mapped: &Mapped) -> Self {
        READING.set(mapped);
        Reading
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        READING.set(ptr::null());
    }
}

fn hold_handler() -> Result<()> {
    let mut held = HANDLER.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if held.0 == 0 {
        unsafe {
            let mut action: libc::sigaction = mem::zeroed();
            action.sa_sigaction = on_missing_page as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            libc::sigemptyset(&mut action.sa_mask);
            let mut former: libc::sigaction = mem::zeroed();
            libc::sigaction(libc::SIGBUS, ptr::null(), &mut former);
            (*ptr::addr_of_mut!(FORMER)).write(former);
            if libc::sigaction(libc::SIGBUS, &action, ptr::null_mut()) != 0 {
                return Err(Error::last_os_error());
            }
            held.1 = Some(former);
        }
    }
    held.0 += 1;
    Ok(())
}

fn release_handler() {
    let mut held = HANDLER.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    held.0 -= 1;
    if held.0 == 0 {
        if let Some(former) = held.1.take() {
            unsafe { libc::sigaction(libc::SIGBUS, &former, ptr::null_mut()) };
        }
    }
}

/// Async-signal-safe: reads thread-local and static memory that was there before, calls mmap and sigaction.
extern "C" fn on_missing_page(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    unsafe {
        if let Some(mapped) = READING.get().as_ref() {
            let address = (*info).si_addr() as usize;
            let start = mapped.start as usize;
            if (start..start + mapped.length).contains(&address) {
                mapped.torn.store(true, Ordering::Relaxed);
                let page = (address & !(mapped.page - 1)) as *mut libc::c_void;
                let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
                if libc::mmap(page, mapped.page, libc::PROT_READ, flags, -1, 0) != libc::MAP_FAILED {
                    return;
                }
            }
        }
        let former = (*ptr::addr_of!(FORMER)).assume_init_ref();
        if former.sa_sigaction == libc::SIG_DFL || former.sa_sigaction == libc::SIG_IGN {
            // The read is tried again and ends the process, as it would have without this file.
            libc::sigaction(signal, former, ptr::null_mut());
        } else if former.sa_flags & libc::SA_SIGINFO != 0 {
            let call: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) =
                mem::transmute(former.sa_sigaction);
            call(signal, info, context);
        } else {
            let call: extern "C" fn(libc::c_int) = mem::transmute(former.sa_sigaction);
            call(signal);
        }
    }
}

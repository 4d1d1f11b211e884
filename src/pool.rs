//! The threads of the host executor and the encoders: one pool of the process, as many threads as there are cores.
//!
//! Not rayon's global pool: that panics where the system refuses a thread, and in a Rust program that links this crate it
//! belongs to the program.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::sync::mpsc::{self, Sender};
use std::sync::{Mutex, PoisonError};
use std::{io, process, thread};

use rayon::{ThreadBuilder, ThreadPool, ThreadPoolBuilder};

use crate::log::{self, Level};

/// Enough for every task, and stated so that the environment has no say.
const STACK_BYTES: usize = 2 << 20;

/// The pool, and the process that made it: a forked child has none of its threads.
static POOL: Mutex<Option<(u32, &'static ThreadPool)>> = Mutex::new(None);

thread_local! {
    /// Whether this thread has been made a pool of itself.
    static ALONE: Cell<bool> = const { Cell::new(false) };
}

/// Does `work`, and shares among the pool's threads what it gives to rayon. A thread of a pool of the caller's stays in
/// that one. Where the system refuses every thread, the calling thread does all by itself.
pub fn run<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    let alone = ALONE.get();
    if rayon::current_thread_index().is_some() && !alone {
        return work();
    }
    if let Some(pool) = pool() {
        return pool.install(work);
    }
    if !alone {
        // Without a pool around it rayon would turn to the global one. This one of the calling thread lasts as long as
        // the thread, and is never freed; the next call asks for threads again.
        let mine = ThreadPoolBuilder::new().num_threads(1).use_current_thread().build();
        ALONE.set(mine.map(|pool| Box::leak(Box::new(pool))).is_ok());
    }
    work()
}

/// The pool of this process, if it has threads.
fn pool() -> Option<&'static ThreadPool> {
    let me = process::id();
    let mut kept = POOL.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, pool)) = kept.filter(|&(maker, _)| maker == me) {
        return Some(pool);
    }
    let wanted = thread::available_parallelism().map_or(1, usize::from);
    let pool = build(wanted).map(|pool| &*Box::leak(Box::new(pool)));
    *kept = pool.map(|pool| (me, pool));
    drop(kept);
    let threads = pool.map_or(0, ThreadPool::current_num_threads);
    if threads < wanted {
        log::log(Level::Hint, "threads", || {
            format!("the system lets {threads} threads run of the {wanted} that the host would use")
        });
    }
    pool
}

/// A pool of `wanted` threads, or of as many as there may be. rayon gives up all of them for one that is refused, so
/// they are started before it is asked.
fn build(wanted: usize) -> Option<ThreadPool> {
    let start = |index| {
        let (sender, worker) = mpsc::channel::<ThreadBuilder>();
        let name = format!("flash_llm {index}");
        let thread = thread::Builder::new().name(name).stack_size(STACK_BYTES);
        let serve = move || worker.recv().map_or((), ThreadBuilder::run);
        thread.spawn(serve).ok().map(|_| sender)
    };
    let started: Vec<Sender<ThreadBuilder>> = (0..wanted).map_while(start).collect();
    if started.is_empty() {
        // To rayon no threads are as many as it likes.
        return None;
    }
    let pool = ThreadPoolBuilder::new().num_threads(started.len());
    let mut waiting = started.into_iter();
    let spawn = |worker| {
        let sent = waiting.next().map(|thread| thread.send(worker));
        sent.and_then(Result::ok).ok_or_else(|| io::Error::other("the thread has ended"))
    };
    pool.spawn_handler(spawn).build().ok()
}

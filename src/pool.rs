//! The threads of the host executor and the encoders: one pool of the process, as many threads as there are cores.
//!
//! Not rayon's global pool: that panics where the system refuses a thread, and in a Rust program that links this crate it
//! belongs to the program.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::sync::mpsc::{self, Sender};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::{io, process, thread};

use rayon::prelude::*;
use rayon::{ThreadBuilder, ThreadPool, ThreadPoolBuilder};

use crate::error::Result;
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
    if in_another_pool() {
        return work();
    }
    if let Some(pool) = pool() {
        return pool.install(work);
    }
    if !ALONE.get() {
        // Without a pool around it rayon would turn to the global one. This one of the calling thread lasts as long as
        // the thread, and is never freed; the next call asks for threads again.
        let mine = ThreadPoolBuilder::new().num_threads(1).use_current_thread().build();
        ALONE.set(mine.map(|pool| Box::leak(Box::new(pool))).is_ok());
    }
    work()
}

/// Threads that share what is run from this one.
pub fn threads() -> usize {
    if in_another_pool() {
        return rayon::current_num_threads();
    }
    pool().map_or(1, ThreadPool::current_num_threads)
}

/// Whether this thread is one of a pool, and not only of the one of itself.
fn in_another_pool() -> bool {
    rayon::current_thread_index().is_some() && !ALONE.get()
}

/// The pool of this process, if it has threads.
fn pool() -> Option<&'static ThreadPool> {
    let me = process::id();
    let mut kept = lock(&POOL);
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
    let spawn = |worker| match waiting.next().map(|thread| thread.send(worker)) {
        Some(Ok(())) => Ok(()),
        _ => Err(io::Error::other("the thread has ended")),
    };
    pool.spawn_handler(spawn).build().ok()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Buffers of the tasks that run at the same time. A thread has its own again, which lies in its cache.
pub struct Spare<S, F> {
    idle: Vec<Mutex<Option<S>>>,
    new: F,
}

impl<S: Send, F: Fn() -> Result<S> + Sync> Spare<S, F> {
    /// None yet, for the threads of the pool that this is called in; `new` makes one.
    pub fn new(new: F) -> Self {
        Self { idle: (0..rayon::current_num_threads()).map(|_| Mutex::new(None)).collect(), new }
    }

    /// Makes what `tasks` tasks need, so that none of them fails for want of it.
    pub fn prepare(&self, tasks: usize) -> Result<()> {
        self.idle.par_iter().take(tasks).try_for_each(|slot| {
            *lock(slot) = Some((self.new)()?);
            Ok(())
        })
    }

    /// Does `task` with one of them, as the task before has left it.
    pub fn lend<T>(&self, task: impl FnOnce(&mut S) -> Result<T>) -> Result<T> {
        let mine = &self.idle[rayon::current_thread_index().unwrap_or(0) % self.idle.len()];
        let of_others = || self.idle.iter().find_map(|slot| slot.try_lock().ok()?.take());
        let kept = lock(mine).take();
        let mut own = kept.or_else(of_others).map_or_else(&self.new, Ok)?;
        let result = task(&mut own);
        *lock(mine) = Some(own);
        result
    }
}

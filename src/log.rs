//! Messages for whoever has to find out what a program does with the library. Off unless asked for, and then
//! one relaxed load a call.
//!
//! The environment is read once, when the first message could be due: `FLASHLLM_LOG_LEVEL`,
//! `FLASHLLM_LOG_MASK`, and `FLASHLLM_LOG_FILE`, in which `%i` is the process id.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// What a message is about. Each level has a bit of the mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Level {
    /// The sentence of a call that failed.
    Error = 1,
    /// Handles that begin and end.
    Trace = 2,
    /// Products: their arguments and plans.
    Hint = 3,
    /// Launches.
    Info = 4,
    /// Every call, its status and its time.
    Api = 5,
}

impl Level {
    /// The highest.
    pub const LAST: u32 = Self::Api as u32;

    const fn bit(self) -> u32 {
        1 << (self as u32 - 1)
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Trace => "trace",
            Self::Hint => "hint",
            Self::Info => "info",
            Self::Api => "api",
        }
    }
}

/// Where messages go instead of a file: level, function, message.
pub type Callback = Arc<dyn Fn(Level, &str, &str) + Send + Sync>;

/// The environment has not been read.
const UNREAD: u32 = u32::MAX;
/// Logging is off for good.
const FORBIDDEN: u32 = 1 << 31;

static MASK: AtomicU32 = AtomicU32::new(UNREAD);
static SINK: Mutex<Sink> =
    Mutex::new(Sink { file: None, wished: None, callback: None, started: false });

struct Sink {
    file: Option<File>,
    /// The environment's file, until the first message opens it.
    wished: Option<PathBuf>,
    callback: Option<Callback>,
    started: bool,
}

thread_local! {
    /// A callback may call the library: what that has to say is not for the same callback.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Whether messages of this level are wanted.
#[inline]
pub fn enabled(level: Level) -> bool {
    let mask = MASK.load(Ordering::Relaxed);
    if mask == UNREAD { start().1 & level.bit() != 0 } else { mask & level.bit() != 0 }
}

/// Says something, if it is wanted: `message` is only made then.
#[inline]
pub fn log(level: Level, function: &str, message: impl FnOnce() -> String) {
    if enabled(level) {
        write(level, function, &message());
    }
}

/// The mask of a level: itself and all below.
pub fn mask_of(level: u32) -> u32 {
    (1 << level.min(Level::LAST)) - 1
}

/// Which levels are wanted from now on.
pub fn set_mask(mask: u32) {
    let (_sink, old) = start();
    if old & FORBIDDEN == 0 {
        MASK.store(mask & mask_of(Level::LAST), Ordering::Relaxed);
    }
}

/// Ends logging until the process ends.
pub fn forbid() {
    let (mut sink, _) = start();
    MASK.store(FORBIDDEN, Ordering::Relaxed);
    sink.file = None;
    sink.wished = None;
    sink.callback = None;
}

/// Sends messages to a callback, or back to the file or stderr.
pub fn set_callback(callback: Option<Callback>) {
    let old = std::mem::replace(&mut start().0.callback, callback);
    drop(old);
}

fn to_the_end_of(path: &Path) -> std::io::Result<File> {
    File::options().create(true).append(true).open(path)
}

/// Sends messages to the end of a file.
pub fn open_file(path: &Path) -> std::io::Result<()> {
    let file = to_the_end_of(path)?;
    let (mut sink, _) = start();
    sink.file = Some(file);
    sink.wished = None;
    Ok(())
}

/// Reads the environment, the first time; gives the sink and the mask.
#[cold]
fn start() -> (MutexGuard<'static, Sink>, u32) {
    let mut sink = SINK.lock().unwrap_or_else(PoisonError::into_inner);
    if !sink.started {
        sink.started = true;
        let number = |name: &str| {
            std::env::var(name).ok().and_then(|value| value.trim().parse::<u32>().ok())
        };
        let mask = number("FLASHLLM_LOG_MASK")
            .or_else(|| number("FLASHLLM_LOG_LEVEL").map(mask_of))
            .unwrap_or(0)
            & mask_of(Level::LAST);
        let path = std::env::var_os("FLASHLLM_LOG_FILE").filter(|path| !path.is_empty());
        sink.wished = path.map(|path| {
            path.to_string_lossy().replace("%i", &std::process::id().to_string()).into()
        });
        MASK.store(mask, Ordering::Relaxed);
    }
    (sink, MASK.load(Ordering::Relaxed))
}

#[cold]
fn write(level: Level, function: &str, message: &str) {
    let inside = INSIDE.try_with(|i| i.replace(true)).unwrap_or(true);
    if inside {
        return;
    }
    let callback = start().0.callback.clone();
    if let Some(callback) = callback {
        callback(level, function, message);
    } else {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let line = format!(
            "[{}.{:06}][flash_llm][{}][{}][{function}] {message}\n",
            now.as_secs(),
            now.subsec_micros(),
            std::process::id(),
            level.name()
        );
        // One write a line, so that lines of threads and processes stay whole. A full disk is no reason to fail.
        let (mut sink, _) = start();
        if let Some(path) = sink.wished.take() {
            // A file that cannot be opened leaves stderr: the wish was to see something.
            sink.file = to_the_end_of(&path).ok();
        }
        let _ = match &mut sink.file {
            Some(file) => file.write_all(line.as_bytes()),
            None => std::io::stderr().write_all(line.as_bytes()),
        };
    }
    let _ = INSIDE.try_with(|i| i.set(false));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_includes_those_below() {
        assert_eq!(mask_of(0), 0);
        assert_eq!(mask_of(1), Level::Error.bit());
        assert_eq!(mask_of(3), 7);
        assert_eq!(mask_of(5), 31);
        assert_eq!(mask_of(99), 31);
        let levels = [Level::Error, Level::Trace, Level::Hint, Level::Info, Level::Api];
        for (i, level) in levels.into_iter().enumerate() {
            assert_eq!(level as usize, i + 1);
            assert_eq!(mask_of(level as u32) & level.bit(), level.bit());
            assert_eq!(mask_of(level as u32 - 1) & level.bit(), 0);
        }
    }
}

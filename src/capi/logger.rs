//! Logging.

use std::ffi::{CStr, CString, c_char, c_int};
use std::path::Path;
use std::sync::Arc;

use super::guard::{guard, null};
use super::status::flashllmStatus_t;
use crate::error::Error;
use crate::log::{self, Level};

/// Receives one message. logLevel is 1 to 5; both strings end in NUL and live until the callback returns.
pub type flashllmLoggerCallback_t = Option<
    unsafe extern "C" fn(logLevel: c_int, functionName: *const c_char, message: *const c_char),
>;

/// Sends messages to a callback instead of the log file.
///
/// @param callback  The function, or NULL to send them to the file (or stderr) again. It is called by the thread
///   that makes the call, several threads at once if several do; it must not end by an exception or longjmp.
///   What the library would have to say about calls that it makes itself is dropped.
/// @return FLASHLLM_STATUS_SUCCESS.
/// @note Thread-safe. A message that is under way may still reach the former callback.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashllmLoggerSetCallback(
    callback: flashllmLoggerCallback_t,
) -> flashllmStatus_t {
    guard("flashllmLoggerSetCallback", || {
        let sink = callback.map(|call| -> log::Callback {
            Arc::new(move |level: Level, function: &str, message: &str| {
                let text = |s: &str| CString::new(s.replace('\0', "")).unwrap_or_default();
                let (function, message) = (text(function), text(message));
                // SAFETY: the caller gave a function of this type that lives until it is replaced; both strings
                // outlive the call.
                unsafe { call(level as c_int, function.as_ptr(), message.as_ptr()) };
            })
        });
        log::set_callback(sink);
        Ok(())
    })
}

/// Sends messages to the end of a file, which is created if need be and stays open.
///
/// @param logFile  Path of the file, ending in NUL.
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_NULL_POINTER: logFile is NULL;
///   FLASHLLM_STATUS_INVALID_VALUE: the file cannot be opened for writing; messages go where they went.
/// @note Thread-safe. A callback, as long as one is set, comes first. The level is as it was: see
///   flashllmLoggerSetLevel().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn flashllmLoggerOpenFile(logFile: *const c_char) -> flashllmStatus_t {
    guard("flashllmLoggerOpenFile", || {
        if logFile.is_null() {
            return Err(null("logFile"));
        }
        // SAFETY: not NULL; the caller gives a string that ends in NUL.
        let path = unsafe { CStr::from_ptr(logFile) };
        let path = path.to_str().map_err(|_| Error::invalid("logFile is not UTF-8"))?;
        log::open_file(Path::new(path)).map_err(|error| {
            Error::invalid(format!("logFile = {path:?} cannot be opened: {error}"))
        })
    })
}

/// Sets what is logged. The default is 0, or the environment's FLASHLLM_LOG_LEVEL. Without a callback and a file
/// (FLASHLLM_LOG_FILE, in which %i is the process id) messages go to stderr.
///
/// @param level  0: nothing; 1: the sentence of every call that fails; 2: handles that begin and end too; 3:
///   arguments and plan of every product too; 4: every launch too; 5: every call, its status and time too.
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_INVALID_VALUE: level is not 0 to 5.
/// @note Thread-safe. At level 0 a call costs one relaxed load.
#[unsafe(no_mangle)]
pub extern "C" fn flashllmLoggerSetLevel(level: c_int) -> flashllmStatus_t {
    guard("flashllmLoggerSetLevel", || {
        let level = u32::try_from(level).ok().filter(|&l| l <= Level::LAST).ok_or_else(|| {
            Error::invalid(format!("level = {level} is not 0 to {}", Level::LAST))
        })?;
        log::set_mask(log::mask_of(level));
        Ok(())
    })
}

/// Sets what is logged, level by level. The environment's FLASHLLM_LOG_MASK is the same.
///
/// @param mask  A sum of 1 (errors), 2 (handles), 4 (products), 8 (launches) and 16 (calls).
/// @return FLASHLLM_STATUS_SUCCESS;
///   FLASHLLM_STATUS_INVALID_VALUE: mask is not 0 to 31.
/// @note Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn flashllmLoggerSetMask(mask: c_int) -> flashllmStatus_t {
    guard("flashllmLoggerSetMask", || {
        let all = log::mask_of(Level::LAST);
        let mask = u32::try_from(mask)
            .ok()
            .filter(|&m| m <= all)
            .ok_or_else(|| Error::invalid(format!("mask = {mask} is not 0 to {all}")))?;
        log::set_mask(mask);
        Ok(())
    })
}

/// Ends logging for as long as the process lives, whatever is set later.
///
/// @return FLASHLLM_STATUS_SUCCESS.
/// @note Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn flashllmLoggerForceDisable() -> flashllmStatus_t {
    guard("flashllmLoggerForceDisable", || {
        log::forbid();
        Ok::<(), Error>(())
    })
}

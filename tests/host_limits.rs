//! What a host handle does where the system refuses it threads or memory. Each test runs in a process of its own, since
//! limits and the pool of threads are the process's.

mod support;

use std::process::Command;
use std::thread;

use support::api::{self, DnMat, Handle, SpMat};
use support::plan_cases;

const CHILD: &str = "FLASH_LLM_LIMITS_TEST";

/// Whether this is the child that runs the body; else it has run, and what it printed is checked.
fn in_child(test: &str) -> bool {
    if std::env::var_os(CHILD).is_some() {
        return true;
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(CHILD, "1");
    let output = command.output().unwrap();
    let (out, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{errors}{out}", output.status);
    assert!(out.contains("1 passed"), "{out}");
    assert!(!errors.contains("panicked"), "{errors}");
    for line in errors.lines().filter(|line| line.starts_with("ignored")) {
        eprintln!("{test}: {line}");
    }
    false
}

fn limit(resource: libc::__rlimit_resource_t) -> libc::rlimit {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a place for the answer.
    assert_eq!(unsafe { libc::getrlimit(resource, &raw mut limit) }, 0);
    limit
}

fn set_limit(resource: libc::__rlimit_resource_t, most: u64) {
    let limit = libc::rlimit { rlim_cur: most, ..limit(resource) };
    // SAFETY: a limit of this process, which ends with the test.
    assert_eq!(unsafe { libc::setrlimit(resource, &raw const limit) }, 0);
}

/// A number in /proc/self/status.
fn status(name: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_start_matches(':').split_whitespace().next().unwrap().parse().unwrap()
}

/// Becomes a user who has no other processes; root has no limit of threads. False where that is not allowed.
fn become_nobody_else() -> bool {
    // Another one for every child that runs at the same time.
    let user = 64_000 + std::process::id() % 1000;
    // SAFETY: of this process alone, which ends with the test.
    unsafe { libc::geteuid() == 0 && libc::setuid(user) == 0 }
}

fn no_thread_can_be_started() -> bool {
    thread::Builder::new().spawn(|| ()).is_err()
}

/// Compresses, multiplies, prunes and decompresses, and compares everything.
fn everything_is_right() {
    let handle = Handle::host().unwrap();
    plan_cases::plain(&handle, false);
    let (m, k) = (300, 500);
    let mut values: Vec<u16> = (0..m * k).map(|i| 0x3c00 + i as u16 % 101).collect();
    let pointer = values.as_mut_ptr().cast();
    let dense = DnMat::new(m, k, k, pointer, api::R_16F, api::ORDER_ROW).unwrap();
    let none = handle.alloc(0).unwrap();
    dense.prune(&handle, &dense, api::PRUNE_MATRIX, 0.75, &none).unwrap();
    assert_eq!(values.iter().filter(|&&v| v == 0).count(), m * k * 3 / 4);
    let (sparse, _buffer) =
        SpMat::compress(&handle, m, k, k, api::ORDER_ROW, pointer, api::FORMAT_AUTO).unwrap();
    assert!(sparse.agrees(&handle, &dense).unwrap());
}

#[test]
fn where_no_thread_can_be_started_the_calling_thread_computes() {
    if !in_child("where_no_thread_can_be_started_the_calling_thread_computes") {
        return;
    }
    become_nobody_else();
    let most = limit(libc::RLIMIT_NPROC).rlim_cur;
    set_limit(libc::RLIMIT_NPROC, 1);
    if !no_thread_can_be_started() {
        eprintln!("ignored: this user's threads are not limited here");
        return;
    }
    let threads = status("Threads");
    everything_is_right();
    assert_eq!(status("Threads"), threads);
    // A thread that has computed alone has help as soon as there is some.
    set_limit(libc::RLIMIT_NPROC, most);
    everything_is_right();
    let cores = thread::available_parallelism().unwrap().get() as u64;
    assert_eq!(status("Threads"), threads + cores);
}

#[test]
fn where_one_thread_can_be_started_the_pool_has_one() {
    if !in_child("where_one_thread_can_be_started_the_pool_has_one") {
        return;
    }
    if !become_nobody_else() {
        eprintln!("ignored: only root can become a user with no other processes");
        return;
    }
    let threads = status("Threads");
    set_limit(libc::RLIMIT_NPROC, threads + 1);
    everything_is_right();
    assert_eq!(status("Threads"), threads + 1);
    assert!(no_thread_can_be_started());
}

#[test]
fn the_global_pool_of_a_program_that_uses_rayon_stays_its_own() {
    if !in_child("the_global_pool_of_a_program_that_uses_rayon_stays_its_own") {
        return;
    }
    everything_is_right();
    rayon::ThreadPoolBuilder::new().num_threads(3).build_global().unwrap();
    assert_eq!(rayon::current_num_threads(), 3);
    everything_is_right();
}

#[test]
fn a_forked_child_computes_with_threads_of_its_own() {
    if !in_child("a_forked_child_computes_with_threads_of_its_own") {
        return;
    }
    everything_is_right();
    // SAFETY: no other thread of this process does anything, so that no lock is held.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: it ends the child if that waits for threads it does not have; so does the end below.
        unsafe { libc::alarm(60) };
        let right = std::panic::catch_unwind(everything_is_right).is_ok();
        // SAFETY: as above. The rest of the test is the parent's.
        unsafe { libc::_exit(i32::from(!right)) };
    }
    let mut how = -1;
    // SAFETY: the child that was just made, and a place for the answer.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut how, 0) }, child);
    assert_eq!(how, 0, "the child's status");
    everything_is_right();
}

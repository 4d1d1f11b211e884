//! What a host handle does where the system refuses it threads or memory. Each test runs in a process of its own, since
//! limits and the pool of threads are the process's.

mod support;

use std::io::{self, Write};
use std::process::Command;
use std::thread;

use support::api::{self, CsrMat, DnMat, Handle, SpMat, Spmm};
use support::plan_cases;

const CHILD: &str = "FLASH_LLM_LIMITS_TEST";

/// Whether this is the child that runs the body; else it has run, and what it printed is checked.
fn in_child(test: &str) -> bool {
    if std::env::var_os(CHILD).is_some() {
        return true;
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(CHILD, "1");
    // All threads take their memory from one heap, which grows by what the limit lets it have and nothing else.
    command.env("MALLOC_ARENA_MAX", "1").env("MALLOC_MMAP_THRESHOLD_", "33554432");
    let output = command.output().unwrap();
    let (out, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{errors}{out}", output.status);
    assert!(out.contains("1 passed"), "{out}");
    assert!(!errors.contains("panicked"), "{errors}");
    for line in errors.lines().filter(|line| line.starts_with("ignored")) {
        // libtest cannot say so of a test that has begun; what goes past print!() is not captured.
        let _ = writeln!(io::stdout(), "test {test} ... {line}");
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

/// Compresses, multiplies, prunes, decompresses and takes a checksum, and compares everything.
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
    let bytes = vec![7; 2 << 20];
    let one_thread = xxhash_rust::xxh3::xxh3_64(&bytes);
    assert_eq!(flash_llm::store::xxh3::xxh3_64(&bytes), one_thread);
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
        eprintln!("ignored, this user's threads are not limited here");
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
        eprintln!("ignored, only root can become a user with no other processes");
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

/// All memory that this process may have, in pieces that can be given back.
struct Hoard(Vec<Vec<u8>>);

impl Hoard {
    const MOST: u64 = 8 << 20;
    const LARGE: usize = 16 << 10;
    const SMALL: usize = 2 << 10;

    /// Leaves single pieces of 2 KiB: enough for sentences, descriptors and what rayon has to note.
    fn take() -> Self {
        let mut all = Vec::with_capacity(1 << 16);
        let fill = |size: usize, all: &mut Vec<Vec<u8>>| {
            let mut piece = Vec::new();
            while all.len() < all.capacity() && piece.try_reserve_exact(size).is_ok() {
                all.push(std::mem::take(&mut piece));
            }
        };
        set_limit(libc::RLIMIT_AS, 1024 * status("VmSize") + Self::MOST);
        fill(Self::LARGE, &mut all);
        all.truncate(all.len() - 16);
        fill(Self::SMALL, &mut all);
        assert!(all.len() < all.capacity(), "there is more");
        for piece in all.iter_mut().rev().step_by(2).take(24) {
            *piece = Vec::new();
        }
        Self(all)
    }

    /// Gives so many pieces back. Where none are left, there is no limit any more.
    fn release(&mut self, pieces: usize) {
        if self.0.is_empty() {
            set_limit(libc::RLIMIT_AS, limit(libc::RLIMIT_AS).rlim_max);
        }
        self.0.truncate(self.0.len().saturating_sub(pieces));
    }
}

/// Calls again and again with more and more memory, until that is enough.
fn with_ever_more_memory<T>(name: &str, call: impl Fn() -> api::Result<T>) -> T {
    const ALLOC_FAILED: i32 = 2;
    let mut hoard = Hoard::take();
    for failures in 0..1000 {
        let failure = match call() {
            Ok(result) => {
                set_limit(libc::RLIMIT_AS, limit(libc::RLIMIT_AS).rlim_max);
                drop(hoard);
                assert!(failures > 0, "{name}: needs no memory");
                return result;
            }
            Err(failure) => failure,
        };
        let right = failure.status == ALLOC_FAILED && failure.text.contains("bytes of host memory");
        // Closely at first, where most of what a call needs is small.
        hoard.release(1 + failures / 4);
        assert!(right, "{name}: {failure}");
    }
    panic!("{name}: never has enough");
}

#[test]
fn where_memory_is_short_every_call_says_so_and_nothing_ends() {
    if !in_child("where_memory_is_short_every_call_says_so_and_nothing_ends") {
        return;
    }
    // The pool, and room for as many objects as there will be.
    everything_is_right();
    let handle = Handle::host().unwrap();
    let none = handle.alloc(0).unwrap();
    // What grows with the matrix is larger than the pieces that are left.
    let (m, k, n) = (40_000, 70, 40);
    let mut values = vec![0_u16; m * k];
    values.iter_mut().step_by(61).for_each(|v| *v = 0x3c00);
    let pointer = values.as_mut_ptr().cast();
    let dense = DnMat::new(m, k, k, pointer, api::R_16F, api::ORDER_ROW).unwrap();
    let mut back = vec![1_u16; m * k];
    let decoded =
        DnMat::new(m, k, k, back.as_mut_ptr().cast(), api::R_16F, api::ORDER_ROW).unwrap();
    let mut b: Vec<u16> = (0..k * n).map(|i| [0x3c00, 0xc000, 0x4200][i % 3]).collect();
    let b = DnMat::new(k, n, k, b.as_mut_ptr().cast(), api::R_16F, api::ORDER_COL).unwrap();
    let mut sums = vec![0_f32; m * n];
    let c = DnMat::new(m, n, m, sums.as_mut_ptr().cast(), api::R_32F, api::ORDER_COL).unwrap();
    let offsets: Vec<i32> = (0..=m * k).step_by(k).map(|end| end.div_ceil(61) as i32).collect();
    let columns: Vec<i32> = (0..m * k).step_by(61).map(|i| (i % k) as i32).collect();
    let mut ones = vec![0x3c00_u16; columns.len()];
    let csr = CsrMat::new(
        (m, k, ones.len()),
        (offsets.as_ptr().cast_mut().cast(), api::INDEX_32I),
        (columns.as_ptr().cast_mut().cast(), api::INDEX_32I),
        ones.as_mut_ptr().cast(),
        0,
    )
    .unwrap();
    let mut product = Vec::new();
    for format in [api::FORMAT_AUTO].into_iter().chain(api::FORMATS) {
        let name = |call: &str| format!("{call}, format {format}");
        let compress = || SpMat::compress(&handle, m, k, k, api::ORDER_ROW, pointer, format);
        let (a, buffer) = with_ever_more_memory(&name("compress"), compress);
        with_ever_more_memory(&name("compare"), || {
            a.agrees(&handle, &dense).map(|same| assert!(same))
        });
        // Tiled-CSL is checked on the stack.
        if a.format().unwrap() != api::FORMAT_TILED_CSL {
            let adopt = || SpMat::adopt(&handle, m, k, format, &buffer);
            with_ever_more_memory(&name("adopt"), adopt);
        }
        with_ever_more_memory(&name("decode"), || a.decompress(&handle, &decoded));
        assert!(back == values, "format {format}");
        back.fill(1);
        sums.fill(f32::NAN);
        let spmm = Spmm {
            handle: &handle,
            op_b: api::NON_TRANSPOSE,
            alpha: 1.0,
            a: &a,
            b: &b,
            beta: 0.0,
            c: &c,
        };
        with_ever_more_memory(&name("multiply"), || {
            let done = spmm.run(none.pointer());
            assert!(done.is_ok() || sums.iter().all(|sum| sum.is_nan()), "C was written to");
            done
        });
        if product.is_empty() {
            product.clone_from(&sums);
        }
        assert!(sums == product, "format {format}");
        let from_csr = || SpMat::compress_csr(&handle, m, k, &csr, format);
        let (a, _buffer) = with_ever_more_memory(&name("compress CSR"), from_csr);
        assert!(a.agrees(&handle, &dense).unwrap());
    }
    for (alg, zeros) in [(api::PRUNE_MATRIX, m * k / 100 * 99), (api::PRUNE_ROW, m * 69)] {
        with_ever_more_memory("prune", || dense.prune(&handle, &decoded, alg, 0.99, &none));
        assert_eq!(back.iter().filter(|&&value| value == 0).count(), zeros);
    }
}

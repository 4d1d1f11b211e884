//! Plans on a host handle, through the C symbols. tests/gpu_plan.rs runs the same bodies on a device.

mod support;

use std::ffi::{CStr, c_char, c_int};
use std::process::Command;
use std::sync::Mutex;

use support::api::{self, Handle};
use support::plan::{Case, Extra, R_16BF, RELU, check};
use support::plan_cases;

fn host() -> Handle {
    Handle::host().unwrap()
}

#[test]
fn every_format_type_and_width_is_exact() {
    plan_cases::plain(&host(), false);
}

#[test]
fn activations_and_biases_follow_the_product() {
    plan_cases::activations(&host(), false);
}

#[test]
fn a_gate_is_activated_and_multiplies() {
    plan_cases::gates(&host(), false);
}

#[test]
fn residuals_are_added_at_the_end_and_may_be_c() {
    plan_cases::residuals(&host(), false);
}

#[test]
fn scalars_are_read_in_device_mode_too() {
    plan_cases::device_scalars(&host(), false);
}

#[test]
fn batches_are_products_of_one_a() {
    plan_cases::batches(&host(), false);
}

#[test]
fn a_batch_that_does_not_fold_is_its_products_bit_for_bit() {
    plan_cases::batches_together(&host(), false);
}

#[test]
fn groups_are_products_of_many_a() {
    plan_cases::groups(&host(), false);
}

#[test]
fn algorithms_and_splits_can_be_forced() {
    plan_cases::algorithms_and_splits(&host(), false);
}

#[test]
fn workspace_limits_are_kept() {
    plan_cases::workspace_limits(&host());
}

#[test]
fn anything_goes_with_anything() {
    plan_cases::mixtures(&host(), 200);
}

#[test]
fn attributes_are_read_back_and_refusals_change_nothing() {
    plan_cases::attributes(&host());
}

#[test]
fn a_plan_serves_other_matrices() {
    plan_cases::other_matrices(&host());
}

#[test]
fn sixteen_threads_with_handles_of_their_own_and_one_shared_handle() {
    let shared = host();
    let shared = &shared;
    std::thread::scope(|scope| {
        for thread in 0..16 {
            scope.spawn(move || {
                let mine = host();
                for round in 0..5 {
                    let case = Case {
                        m: 20 + thread,
                        n: 1 + round,
                        dtype: [api::R_16F, R_16BF][thread % 2],
                        activation: RELU,
                        residual: Extra::InPlace,
                        ..Case::PLAIN
                    };
                    check(&mine, &case);
                    check(shared, &case);
                }
            });
        }
    });
}

// The logger belongs to the process: what is seen of it is seen in children of this test.

const CHILD: &str = "FLASH_LLM_LOG_TEST";

unsafe extern "C" {
    fn flashllmLoggerSetCallback(
        callback: Option<unsafe extern "C" fn(c_int, *const c_char, *const c_char)>,
    ) -> c_int;
    fn flashllmLoggerSetLevel(level: c_int) -> c_int;
    fn flashllmLoggerSetMask(mask: c_int) -> c_int;
    fn flashllmLoggerOpenFile(path: *const c_char) -> c_int;
    fn flashllmLoggerForceDisable() -> c_int;
}

fn child(test: &str, environment: &[(&str, &str)]) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(CHILD, "1");
    for name in ["FLASHLLM_LOG_LEVEL", "FLASHLLM_LOG_MASK", "FLASHLLM_LOG_FILE"] {
        command.env_remove(name);
    }
    command.envs(environment.iter().copied());
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{errors}{}", String::from_utf8_lossy(&output.stdout));
    errors
}

/// A product, and a call that fails.
fn something() {
    let handle = host();
    check(&handle, &Case { activation: RELU, ..Case::PLAIN });
    assert!(api::SpMat::new(0, 4, api::FORMAT_AUTO).is_err());
}

#[test]
fn the_environment_says_what_is_logged_and_where() {
    const NAME: &str = "the_environment_says_what_is_logged_and_where";
    // Whether a call says the level.
    const BY_CALL: &str = "FLASH_LLM_TEST_BY_CALL";
    if std::env::var_os(CHILD).is_some() {
        if std::env::var_os(BY_CALL).is_some() {
            // SAFETY: it takes a number.
            assert_eq!(unsafe { flashllmLoggerSetLevel(1) }, 0);
        }
        something();
        return;
    }
    let lines = |text: &str, level: &str| {
        text.lines()
            .filter(|l| l.contains("[flash_llm]") && l.contains(&format!("[{level}]")))
            .count()
    };
    let silent = child(NAME, &[]);
    assert!(!silent.contains("flash_llm]"), "{silent}");
    let errors = child(NAME, &[("FLASHLLM_LOG_LEVEL", "1")]);
    assert_eq!(lines(&errors, "error"), 1, "{errors}");
    assert!(
        errors.contains("[flashllmCreateSpMat] FLASHLLM_STATUS_INVALID_VALUE: rows = 0"),
        "{errors}"
    );
    assert_eq!(lines(&errors, "hint") + lines(&errors, "api") + lines(&errors, "trace"), 0);
    let hints = child(NAME, &[("FLASHLLM_LOG_LEVEL", "3")]);
    assert_eq!(lines(&hints, "hint"), 1, "{hints}");
    assert!(hints.contains("1 of 16 columns") && hints.contains("on the host"), "{hints}");
    assert!(lines(&hints, "trace") >= 2, "{hints}");
    assert_eq!(lines(&hints, "api"), 0);
    let calls = child(NAME, &[("FLASHLLM_LOG_LEVEL", "5")]);
    assert!(calls.contains("[flashllmSpMMPlanExecute] FLASHLLM_STATUS_SUCCESS after"), "{calls}");
    let only = child(NAME, &[("FLASHLLM_LOG_MASK", "4"), ("FLASHLLM_LOG_LEVEL", "5")]);
    assert_eq!((lines(&only, "hint"), lines(&only, "api"), lines(&only, "error")), (1, 0, 0));
    for nonsense in ["", "x", "-1", "99999999999"] {
        let text = child(NAME, &[("FLASHLLM_LOG_LEVEL", nonsense)]);
        assert!(!text.contains("flash_llm]"), "{nonsense}: {text}");
    }

    for level in ["FLASHLLM_LOG_LEVEL", BY_CALL] {
        let file = std::env::temp_dir().join(format!("flash_llm-log-{}-%i", std::process::id()));
        let text = child(NAME, &[(level, "1"), ("FLASHLLM_LOG_FILE", file.to_str().unwrap())]);
        assert!(!text.contains("flash_llm]"), "{text}");
        let prefix = format!("flash_llm-log-{}-", std::process::id());
        let written: Vec<_> = std::fs::read_dir(std::env::temp_dir())
            .unwrap()
            .flatten()
            .filter(|e| e.file_name().to_string_lossy().starts_with(&prefix))
            .collect();
        assert_eq!(written.len(), 1, "{level}");
        assert!(!written[0].file_name().to_string_lossy().contains('%'));
        let text = std::fs::read_to_string(written[0].path()).unwrap();
        std::fs::remove_file(written[0].path()).unwrap();
        assert_eq!(lines(&text, "error"), 1, "{text}");
    }
}

static SEEN: Mutex<Vec<(c_int, String, String)>> = Mutex::new(Vec::new());

unsafe extern "C" fn collect(level: c_int, function: *const c_char, message: *const c_char) {
    // SAFETY: the library gives strings that end in NUL.
    let text = |p: *const c_char| unsafe { CStr::from_ptr(p) }.to_str().unwrap().to_owned();
    SEEN.lock().unwrap().push((level, text(function), text(message)));
    // A callback may call the library; what that logs is dropped.
    assert!(api::SpMat::new(0, 4, api::FORMAT_AUTO).is_err());
}

#[test]
fn a_callback_takes_the_place_of_the_file_until_logging_ends_for_good() {
    const NAME: &str = "a_callback_takes_the_place_of_the_file_until_logging_ends_for_good";
    if std::env::var_os(CHILD).is_none() {
        let text = child(NAME, &[]);
        assert!(!text.contains("flash_llm]"), "{text}");
        return;
    }
    let seen = || std::mem::take(&mut *SEEN.lock().unwrap());
    // SAFETY: a function that lives as long as the program, and strings that end in NUL.
    unsafe {
        assert_eq!(flashllmLoggerSetCallback(Some(collect)), 0);
        something();
        assert_eq!(seen(), [], "the level is 0");
        assert_eq!(flashllmLoggerSetLevel(1), 0);
        something();
        let messages = seen();
        assert_eq!(messages.len(), 1, "{messages:?}");
        assert_eq!((messages[0].0, messages[0].1.as_str()), (1, "flashllmCreateSpMat"));
        assert!(messages[0].2.contains("rows = 0"), "{messages:?}");
        assert_eq!(flashllmLoggerSetMask(16), 0);
        something();
        assert!(seen().iter().all(|m| m.0 == 5));
        assert_eq!(flashllmLoggerSetLevel(0), 0);
        assert_eq!(flashllmLoggerSetCallback(None), 0);
        let path = std::env::temp_dir().join(format!("flash_llm-open-{}", std::process::id()));
        let c_path = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
        assert_eq!(flashllmLoggerOpenFile(c_path.as_ptr()), 0);
        assert_eq!(flashllmLoggerSetLevel(3), 0);
        something();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(text.contains("[hint]") && text.contains("[error]"), "{text}");
        seen();
        assert_eq!(flashllmLoggerForceDisable(), 0);
        assert_eq!(flashllmLoggerSetCallback(Some(collect)), 0);
        assert_eq!(flashllmLoggerSetLevel(5), 0);
        something();
        assert_eq!(seen(), [], "logging has ended for good");
    }
}

#[test]
fn dense_rows_of_slots_are_exact() {
    plan_cases::dense_rows(&host(), true);
}

#[test]
fn a_search_finds_the_one_way_of_the_host() {
    plan_cases::searches(&host(), true);
}

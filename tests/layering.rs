//! The architecture's rules that the compiler cannot check: who may use whom, where `unsafe` may stand and
//! that each is explained, and that the library never prints.
//!
//! The table is explained in CONTRIBUTING.md.

mod build_support;

use build_support::{assert_golden, root};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// (module, what it may use of this crate).
const MAY_USE: &[(&str, &[&str])] = &[
    ("error", &[]),
    ("log", &[]),
    ("pool", &["error", "log"]),
    ("types", &["error"]),
    ("version", &["error", "types"]),
    ("format", &["error", "pool", "types"]),
    ("store", &["error", "pool", "types", "format"]),
    ("host", &["error", "pool", "types", "format"]),
    ("reference", &["error", "types", "format"]),
    ("plan", &["error", "types", "format"]),
    ("descr", &["error", "types", "format"]),
    ("gpu", &["error", "log", "pool", "types", "format", "plan", "descr"]),
    ("handle", &["error", "types", "format", "host", "plan", "gpu"]),
    (
        "capi",
        &[
            "error",
            "log",
            "types",
            "version",
            "format",
            "host",
            "store",
            "reference",
            "plan",
            "descr",
            "gpu",
            "handle",
        ],
    ),
];

/// The only module that may name the crate cust.
const DRIVER: &str = "gpu";

/// Where `unsafe` may stand: at the C boundary, at the driver, and for vector instructions.
const MAY_BE_UNSAFE: &[&str] = &["capi", "gpu", "host"];

/// One source file with comments and string literals blanked, so that a word found is code.
struct Source {
    module: String,
    path: PathBuf,
    text: String,
    code: String,
}

fn sources() -> Vec<Source> {
    fn walk(dir: &Path, out: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).expect("src is readable").flatten() {
            let path = entry.path();
            if path.is_dir() {
                walk(&path, out);
            } else if path.extension().is_some_and(|e| e == "rs") {
                out.push(path);
            }
        }
    }
    let src = root().join("src");
    let mut paths = Vec::new();
    walk(&src, &mut paths);
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).expect("a source file is UTF-8");
            let relative = path.strip_prefix(&src).expect("it lies below src");
            let first = relative.components().next().expect("a name").as_os_str().to_string_lossy();
            let module = first.trim_end_matches(".rs").to_owned();
            Source { module, code: blank(&text), text, path }
        })
        .filter(|source| source.module != "lib")
        .collect()
}

/// Replaces comments and literals by spaces; lines stay where they are.
fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    let mut i = 0;
    let keep_lines = |part: &str, out: &mut String| {
        out.extend(part.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
    };
    while i < bytes.len() {
        let rest = &text[i..];
        let end = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |n| n + 2)
        } else if rest.starts_with("r#\"") {
            rest.find("\"#").map_or(rest.len(), |n| n + 2)
        } else if rest.starts_with('"') {
            let mut n = 1;
            while n < rest.len() && rest.as_bytes()[n] != b'"' {
                n += if rest.as_bytes()[n] == b'\\' { 2 } else { 1 };
            }
            (n + 1).min(rest.len())
        } else if rest.starts_with("'\"'") || rest.starts_with("b'\"'") {
            rest.find("\"'").expect("just seen") + 2
        } else {
            0
        };
        if end > 0 {
            keep_lines(&rest[..end], &mut out);
            i += end;
        } else {
            let c = rest.chars().next().expect("not at the end");
            out.push(c);
            i += c.len_utf8();
        }
    }
    out
}

/// The part of a file before its unit tests, which may look further than the code.
fn without_tests(code: &str) -> &str {
    code.find("#[cfg(test)]").map_or(code, |at| &code[..at])
}

fn is_word_char(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Byte positions of `word` standing alone.
fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.match_indices(word).map(|(at, _)| at).filter(move |&at| {
        !code[..at].chars().next_back().is_some_and(is_word_char)
            && !code[at + word.len()..].chars().next().is_some_and(is_word_char)
    })
}

fn line_of(code: &str, at: usize) -> usize {
    code[..at].matches('\n').count() + 1
}

/// What follows `crate::`: one name, or the first names of a group in braces.
fn first_names(after: &str) -> Vec<String> {
    let name = |text: &str| text.trim_start().chars().take_while(|c| is_word_char(*c)).collect();
    let Some(group) = after.strip_prefix('{') else { return vec![name(after)] };
    let (mut depth, mut start, mut names) = (0, 0, Vec::new());
    for (i, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                names.push(name(&group[start..i]));
                start = i + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    names.retain(|n: &String| !n.is_empty());
    names
}

#[test]
fn modules_use_only_the_layers_below_them() {
    let mut wrong = Vec::new();
    for source in sources() {
        let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == source.module) else {
            wrong.push(format!("{}: the module is not in the table", source.path.display()));
            continue;
        };
        let code = without_tests(&source.code);
        for at in words(code, "crate").filter(|at| code[at + 5..].starts_with("::")) {
            for name in first_names(&code[at + 7..]) {
                if name != source.module && !allowed.contains(&name.as_str()) {
                    let place = format!("{}:{}", source.path.display(), line_of(code, at));
                    wrong.push(format!("{place}: {} may not use {name}", source.module));
                }
            }
        }
        // Of a file of the crate's root, and of a module's mod.rs, what is above is the root.
        let parent = source.path.parent().and_then(Path::file_name);
        let below_root = parent.is_some_and(|name| name == "src")
            || source.path.ends_with(format!("src/{}/mod.rs", source.module));
        for at in words(code, "super").filter(|at| below_root && code[at + 5..].starts_with("::")) {
            for name in first_names(&code[at + 7..]) {
                if MAY_USE.iter().any(|(module, _)| *module == name) {
                    let place = format!("{}:{}", source.path.display(), line_of(code, at));
                    wrong.push(format!("{place}: write crate::{name} instead of super::{name}"));
                }
            }
        }
        // `super` twice would leave the module unseen by the search above.
        for (at, _) in code.match_indices("super::super::") {
            let place = format!("{}:{}", source.path.display(), line_of(code, at));
            wrong.push(format!("{place}: write crate:: instead of super::super::"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_the_gpu_module_names_cust() {
    for source in sources().iter().filter(|s| s.module != DRIVER) {
        if let Some(at) = words(&source.code, "cust").next() {
            panic!(
                "{}:{}: cust outside {DRIVER}",
                source.path.display(),
                line_of(&source.code, at)
            );
        }
    }
}

/// Places of `unsafe` that make a claim: blocks and impls. (A declaration makes none itself, and
/// `#[unsafe(no_mangle)]` is an attribute.)
fn claims(code: &str) -> Vec<usize> {
    words(code, "unsafe")
        .filter(|at| {
            let next = code[at + 6..].trim_start();
            next.starts_with('{') || next.starts_with("impl")
        })
        .collect()
}

#[test]
fn unsafe_stands_only_at_the_boundaries() {
    for source in sources().iter().filter(|s| !MAY_BE_UNSAFE.contains(&s.module.as_str())) {
        if let Some(at) = words(&source.code, "unsafe").next() {
            panic!(
                "{}:{}: unsafe in {}",
                source.path.display(),
                line_of(&source.code, at),
                source.module
            );
        }
    }
}

#[test]
fn every_unsafe_says_why_it_is_sound() {
    let mut wrong = Vec::new();
    for source in sources() {
        let lines: Vec<&str> = source.text.lines().collect();
        for at in claims(&source.code) {
            let line = line_of(&source.code, at);
            // A comment may be long; between it and the word there may be three lines of one statement.
            let mut code_lines = 0;
            let explained = lines[..line].iter().rev().any(|text| {
                let seen = code_lines <= 3 && text.contains("SAFETY:");
                code_lines += usize::from(!text.trim_start().starts_with("//"));
                seen
            });
            if !explained {
                wrong.push(format!("{}:{line}: no SAFETY comment", source.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_number_of_unsafe_places_is_the_committed_one() {
    // Each new one should be seen in review.
    let mut counts: BTreeMap<String, usize> =
        MAY_BE_UNSAFE.iter().map(|module| ((*module).to_owned(), 0)).collect();
    for source in sources() {
        let n = claims(&source.code).len();
        if n > 0 {
            *counts.entry(source.module).or_default() += n;
        }
    }
    let text: String = counts.iter().map(|(module, n)| format!("{module} {n}\n")).collect();
    assert_golden(&root().join("tests/layering/unsafe.txt"), &text, "the number of unsafe places");
}

#[test]
fn safe_modules_forbid_unsafe_themselves() {
    for module in
        ["format/mod.rs", "store/mod.rs", "plan/mod.rs", "descr/mod.rs", "reference.rs", "pool.rs"]
    {
        let Ok(text) = fs::read_to_string(root().join("src").join(module)) else { continue };
        assert!(
            text.contains("#![forbid(unsafe_code)]"),
            "src/{module} does not forbid unsafe code"
        );
    }
}

#[test]
fn the_library_never_prints() {
    for source in sources() {
        let code = without_tests(&source.code);
        for name in ["println", "print", "eprintln", "eprint", "dbg"] {
            if let Some(at) = words(code, name).find(|at| code[at + name.len()..].starts_with('!'))
            {
                panic!("{}:{}: {name}!", source.path.display(), line_of(code, at));
            }
        }
    }
}

#[test]
fn the_search_sees_code_and_only_code() {
    let code =
        blank("// crate::gpu\nuse crate::{a, b::{c, d}, e};\nlet s = \"unsafe {\"; unsafe { x }\n");
    let at = words(&code, "crate").next().expect("the use");
    assert_eq!(line_of(&code, at), 2);
    assert_eq!(first_names(&code[at + 7..]), ["a", "b", "e"]);
    assert_eq!(claims(&code).len(), 1);
}

//! The tests of the C++ examples: the programs, files for them to read, and references in
//! double precision that know nothing of the programs. Used on the host by tests/cxx_examples.rs and on
//! the GPU by tests/gpu_examples.rs.

mod cases;
mod ft;
mod opt;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Where the programs are, and which device they are told to use.
pub struct Programs {
    pub folder: PathBuf,
    pub library: Option<PathBuf>,
    pub device: &'static str,
}

impl Programs {
    pub fn run(&self, program: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new(self.folder.join(program));
        command.args(["--device", self.device]).args(arguments);
        if let Some(library) = &self.library {
            command.env("LD_LIBRARY_PATH", library);
        }
        command.output().unwrap_or_else(|e| panic!("cannot run {command:?}: {e}"))
    }

    /// Runs to success and returns what was printed.
    pub fn succeed(&self, program: &str, arguments: &[&str]) -> String {
        let output = self.run(program, arguments);
        assert!(output.status.success(), "{program} {arguments:?}: {}", show(&output));
        String::from_utf8(output.stdout).expect("programs print UTF-8")
    }

    /// Runs to the exit status of a refusal, and checks that the sentence says why.
    pub fn refuse(&self, program: &str, arguments: &[&str], status: i32, sentence: &str) {
        let output = self.run(program, arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            output.status.code(),
            Some(status),
            "{program} {arguments:?}: {}",
            show(&output)
        );
        assert!(errors.contains(sentence), "'{sentence}' is not in:\n{errors}");
    }
}

pub fn show(output: &Output) -> String {
    format!(
        "{}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

pub fn text(path: &Path) -> &str {
    path.to_str().expect("scratch paths are UTF-8")
}

/// A tensor of a safetensors file.
pub struct Stored {
    pub name: String,
    pub dtype: &'static str,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

/// The bytes of a safetensors file.
pub fn safetensors(tensors: &[Stored], metadata: &str) -> Vec<u8> {
    let (mut entries, mut data) =
        (vec![format!(r#""__metadata__": {{{metadata}}}"#)], Vec::<u8>::new());
    for tensor in tensors {
        let begin = data.len();
        data.extend(&tensor.bytes);
        entries.push(format!(
            r#""{}": {{"dtype": "{}", "shape": {:?}, "data_offsets": [{begin}, {}]}}"#,
            tensor.name,
            tensor.dtype,
            tensor.shape,
            data.len()
        ));
    }
    let header = format!("{{{}}}", entries.join(", "));
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend(data);
    file
}

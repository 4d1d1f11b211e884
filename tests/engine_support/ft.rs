//! Small FasterTransformer weight folders with non-square matrices, split over ranks as its converters
//! split them, and the checks of ft_convert, ft_layers and the adapter.

use std::fs;
use std::path::{Path, PathBuf};

use half::{bf16, f16};

use super::{Programs, text};
use crate::support::Rng;
use crate::support::api::{DnMat, FORMAT_AUTO, Handle, ORDER_ROW, R_16F, SpMat};

const HEADS: usize = 6;
const SIZE_PER_HEAD: usize = 12;
const HIDDEN: usize = HEADS * SIZE_PER_HEAD;
const INTER: usize = 264;
const LAYERS: usize = 2;
const TOKENS: usize = 6;

/// A whole matrix, K x M row-major, of one layer: what all ranks have together.
struct Whole {
    name: &'static str,
    k: usize,
    m: usize,
    values: Vec<f64>,
    /// Ranks split the columns (M) in so many groups, or the rows (K) if that is 0.
    groups: usize,
}

impl Whole {
    /// The part of a rank, row-major, and its K and M.
    fn rank(&self, rank: usize, ranks: usize) -> (Vec<f64>, usize, usize) {
        if self.groups == 0 {
            let k = self.k / ranks;
            return (self.values[rank * k * self.m..(rank + 1) * k * self.m].to_vec(), k, self.m);
        }
        let (group, m) = (self.m / self.groups, self.m / ranks);
        let part = group / ranks;
        let columns = |g: usize| g * group + rank * part..g * group + (rank + 1) * part;
        let rows = self.values.chunks_exact(self.m);
        let values = rows.flat_map(|row| (0..self.groups).flat_map(|g| row[columns(g)].to_vec()));
        (values.collect(), self.k, m)
    }

    fn product(&self, input: &[f64]) -> Vec<f64> {
        let rows = input.chunks_exact(self.k);
        let dot = |row: &[f64], m: usize| {
            row.iter().enumerate().map(|(k, x)| x * self.values[k * self.m + m]).sum::<f64>()
        };
        rows.flat_map(|row| (0..self.m).map(move |m| dot(row, m))).collect()
    }
}

/// How the folder's files are written.
#[derive(Clone, Copy, PartialEq)]
pub enum Type {
    Fp32,
    Fp16,
    Bf16,
}

/// A folder in FasterTransformer's layout.
pub struct Folder {
    layers: Vec<Vec<Whole>>,
    gated: bool,
    pub path: PathBuf,
}

impl Folder {
    /// Weights of 70 % zeros, or none in the attention's output of layer 1, which so stays dense.
    pub fn write(path: &Path, ranks: usize, gated: bool, kind: Type) -> Self {
        let mut rng = Rng(5);
        let mut layers = Vec::new();
        for layer in 0..LAYERS {
            let mut matrices: Vec<(&'static str, usize, usize, usize)> = vec![
                ("attention.query_key_value", HIDDEN, 3 * HIDDEN, 3),
                ("attention.dense", HIDDEN, HIDDEN, 0),
            ];
            if gated {
                matrices.push(("mlp.gate_proj", HIDDEN, INTER, 1));
                matrices.push(("mlp.up_proj", HIDDEN, INTER, 1));
                matrices.push(("mlp.down_proj", INTER, HIDDEN, 0));
            } else {
                matrices.push(("mlp.dense_h_to_4h", HIDDEN, INTER, 1));
                matrices.push(("mlp.dense_4h_to_h", INTER, HIDDEN, 0));
            }
            let mut wholes = Vec::new();
            for (name, k, m, groups) in matrices {
                let dense = layer == 1 && name == "attention.dense";
                let mut value = || {
                    let value = rng.normal() / (k as f64).sqrt();
                    let kept = rng.below(100) < 30 || dense;
                    // Values that fp16 and bf16 both hold.
                    if kept { bf16::from_f64(value).to_f64() } else { 0.0 }
                };
                let values = (0..k * m).map(|_| value()).collect();
                wholes.push(Whole { name, k, m, values, groups });
            }
            layers.push(wholes);
        }
        let folder = Self { layers, gated, path: path.to_owned() };
        fs::create_dir_all(path).expect("a scratch folder can be made");
        let type_name = match kind {
            Type::Fp32 => "fp32",
            Type::Fp16 => "fp16",
            Type::Bf16 => "bf16",
        };
        let config = format!(
            "[gpt]\nmodel_name = small\nhead_num = {HEADS}\nsize_per_head={SIZE_PER_HEAD}\ninter_size = {INTER}\n\
             num_layer = {LAYERS}\nmax_pos_seq_len = 64\nweight_data_type = {type_name}\n"
        );
        fs::write(path.join("config.ini"), config).expect("a scratch file can be written");
        for (layer, wholes) in folder.layers.iter().enumerate() {
            for whole in wholes {
                for rank in 0..ranks {
                    let (values, ..) = whole.rank(rank, ranks);
                    let bytes: Vec<u8> = values
                        .iter()
                        .flat_map(|&v| match kind {
                            Type::Fp32 => (v as f32).to_le_bytes().to_vec(),
                            Type::Fp16 => f16::from_f64(v).to_le_bytes().to_vec(),
                            Type::Bf16 => bf16::from_f64(v).to_le_bytes().to_vec(),
                        })
                        .collect();
                    fs::write(folder.bin(layer, whole.name, rank), bytes)
                        .expect("a scratch file can be written");
                }
            }
        }
        folder
    }

    fn bin(&self, layer: usize, matrix: &str, rank: usize) -> PathBuf {
        self.path.join(format!("model.layers.{layer}.{matrix}.weight.{rank}.bin"))
    }

    fn whole(&self, layer: usize, name: &str) -> &Whole {
        self.layers[layer].iter().find(|w| w.name == name).expect("the layer has it")
    }

    /// A folder for ft_convert to write to.
    fn output(&self) -> PathBuf {
        let path = self.path.join("flash_llm");
        fs::create_dir_all(&path).expect("a scratch folder can be made");
        path
    }

    pub fn convert(&self, programs: &Programs, more: &[&str]) -> String {
        let output = self.output();
        let mut arguments = more.to_vec();
        arguments.extend([text(&self.path), text(&output)]);
        programs.succeed("ft_convert", &arguments)
    }
}

/// The elements of a compressed matrix of a file, row-major M x K; None if the file has no such matrix.
fn stored(path: &Path, name: &str, m: usize, k: usize) -> Option<Vec<u16>> {
    let bytes = fs::read(path).expect("ft_convert wrote the file");
    let header = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
    let text = std::str::from_utf8(&bytes[8..8 + header]).expect("the header is UTF-8");
    let entry = &text[text.find(&format!("\"{name}.flash_llm\""))?..];
    let offsets = &entry[entry.find("\"data_offsets\":[").expect("offsets") + 16..];
    let offsets = &offsets[..offsets.find(']').expect("a list ends")];
    let (begin, end) = offsets.split_once(',').expect("two offsets");
    let at = |offset: &str| 8 + header + offset.trim().parse::<usize>().expect("a number");
    let compressed = &bytes[at(begin)..at(end)];

    let handle = Handle::host().expect("the host always works");
    let buffer = handle.upload(compressed).expect("host memory");
    let matrix = SpMat::adopt(&handle, m, k, FORMAT_AUTO, &buffer).expect("the matrix is valid");
    let out = handle.upload(&vec![0xffffu16; m * k]).expect("host memory");
    let dense = DnMat::new(m, k, k, out.pointer(), R_16F, ORDER_ROW).expect("a descriptor");
    matrix.decompress(&handle, &dense).expect("it decompresses");
    Some(out.read::<u16>(0, m * k).expect("host memory"))
}

/// Every element of every rank's matrix is where the whole matrix has it: W[k][m] of the file is element
/// (m, k) of the compressed matrix, whatever the shape.
pub fn every_element_is_kept(programs: &Programs, scratch: &Path) {
    for (ranks, gated, kind) in [
        (2, false, Type::Fp16),
        (1, false, Type::Fp32),
        (3, true, Type::Fp32),
        (2, true, Type::Bf16),
    ] {
        let name = format!("elements-{ranks}-{gated}-{}", kind as u8);
        let folder = Folder::write(&scratch.join(name), ranks, gated, kind);
        let printed = folder.convert(programs, &["--type", "fp16"]);
        assert_eq!(printed.matches("read back and equal").count(), ranks, "{printed}");
        for (layer, wholes) in folder.layers.iter().enumerate() {
            for whole in wholes {
                for rank in 0..ranks {
                    let (values, k, m) = whole.rank(rank, ranks);
                    let path = folder.output().join(format!("flash_llm.{rank}.safetensors"));
                    let name = format!("model.layers.{layer}.{}.weight", whole.name);
                    let found = stored(&path, &name, m, k);
                    if layer == 1 && whole.name == "attention.dense" {
                        assert!(found.is_none(), "{name} of rank {rank} has no zeros");
                        continue;
                    }
                    let found = found.unwrap_or_else(|| panic!("{name} of rank {rank} is missing"));
                    for (row, column) in (0..m).flat_map(|r| (0..k).map(move |c| (r, c))) {
                        let expected = f16::from_f64(values[column * m + row]).to_bits();
                        let expected = if expected == 0x8000 { 0 } else { expected };
                        assert_eq!(found[row * k + column], expected, "{name} [{row}, {column}]");
                    }
                }
            }
        }
    }
}

/// The layers' calls, summed over the ranks, are the products of the whole matrices.
pub fn call_sites_multiply_what_the_ranks_have_together(programs: &Programs, scratch: &Path) {
    for (ranks, gated) in [(2, false), (2, true), (1, false), (3, true)] {
        let folder = Folder::write(
            &scratch.join(format!("calls-{ranks}-{gated}")),
            ranks,
            gated,
            Type::Fp16,
        );
        folder.convert(programs, &[]);
        let mut rng = Rng(9);
        let input: Vec<f64> =
            (0..TOKENS * HIDDEN).map(|_| f16::from_f64(rng.normal()).to_f64()).collect();
        let bytes: Vec<u8> = input.iter().flat_map(|&v| f16::from_f64(v).to_le_bytes()).collect();
        let (input_path, output_path) =
            (folder.path.join("input.f16"), folder.path.join("output.f32"));
        fs::write(&input_path, bytes).expect("a scratch file can be written");
        for layer in 0..LAYERS {
            let number = layer.to_string();
            let mut arguments = vec!["--layer", &number, "--batch", "2", "--length", "3"];
            let (converted, input_name, output_name) =
                (folder.output(), text(&input_path), text(&output_path));
            arguments.extend([text(&folder.path), text(&converted), input_name, output_name]);
            programs.succeed("ft_layers", &arguments);
            let written = fs::read(&output_path).expect("ft_layers wrote it");
            let values: Vec<f64> = written
                .chunks_exact(4)
                .map(|b| f64::from(f32::from_le_bytes(b.try_into().expect("four bytes"))))
                .collect();
            let (qkv_count, hidden_count) = (TOKENS * 3 * HIDDEN, TOKENS * HIDDEN);
            assert_eq!(values.len(), qkv_count + 2 * hidden_count);

            // A rank's qkv has q, k and v of its heads; put together they are the whole product.
            let qkv = folder.whole(layer, "attention.query_key_value").product(&input);
            let part = HIDDEN / ranks;
            let mut expected_qkv = Vec::new();
            for rank in 0..ranks {
                for token in 0..TOKENS {
                    for group in 0..3 {
                        let at = token * 3 * HIDDEN + group * HIDDEN + rank * part;
                        expected_qkv.extend(&qkv[at..at + part]);
                    }
                }
            }
            close(&values[..qkv_count], &expected_qkv, "qkv");

            let queries: Vec<f64> =
                qkv.chunks_exact(3 * HIDDEN).flat_map(|row| row[..HIDDEN].to_vec()).collect();
            let attention = folder.whole(layer, "attention.dense").product(&queries);
            close(&values[qkv_count..qkv_count + hidden_count], &attention, "attention");

            let name = |ungated, gated_name| if folder.gated { gated_name } else { ungated };
            let mut inner: Vec<f64> = folder
                .whole(layer, name("mlp.dense_h_to_4h", "mlp.gate_proj"))
                .product(&input)
                .iter()
                .map(|v| v.max(0.0))
                .collect();
            if folder.gated {
                let up = folder.whole(layer, "mlp.up_proj").product(&input);
                for (inner, up) in inner.iter_mut().zip(up) {
                    *inner *= up;
                }
            }
            let ffn =
                folder.whole(layer, name("mlp.dense_4h_to_h", "mlp.down_proj")).product(&inner);
            close(&values[qkv_count + hidden_count..], &ffn, "ffn");
        }
    }
}

/// Within what a few roundings to fp16 cost; a wrong element is a hundred times that.
fn close(got: &[f64], expected: &[f64], what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(0.0f64, |most, v| most.max(v.abs()));
    for (i, (g, e)) in got.iter().zip(expected).enumerate() {
        assert!((g - e).abs() <= 0.003 * scale, "{what}: element {i} is {g}, not {e}");
    }
}

/// The adapter's own test of every call.
pub fn every_call_is_exact(programs: &Programs) {
    let printed = programs.succeed("ft_self_test", &[]);
    assert!(printed.contains("every call is exact"), "{printed}");
}

/// What is wrong with a folder is said before anything is written, and nothing half-written stays.
pub fn refuses(programs: &Programs, scratch: &Path) {
    let folder = Folder::write(&scratch.join("refused"), 2, false, Type::Fp32);
    let output = folder.output();
    let files = || fs::read_dir(&output).expect("the folder is there").count();
    let arguments = [text(&folder.path), text(&output)];
    let refuse = |arguments: &[&str], sentence: &str| {
        programs.refuse("ft_convert", arguments, 2, sentence);
        assert_eq!(files(), 0, "{sentence}: something was written");
    };

    let bin = folder.bin(1, "mlp.dense_4h_to_h", 1);
    let good = fs::read(&bin).expect("it was written");
    fs::write(&bin, &good[..good.len() - 4]).expect("a scratch file can be written");
    refuse(&arguments, "has 38012 bytes: 132 x 72 elements of fp32 are 38016");
    refuse(&["--weight-type", "fp16", arguments[0], arguments[1]], "elements of fp16 are");
    fs::remove_file(&bin).expect("it can be removed");
    refuse(&arguments, "and rank 0 has one");
    fs::write(&bin, &good).expect("a scratch file can be written");
    // Found only when the matrix is read: what was begun is removed.
    let first = folder.bin(1, "mlp.dense_4h_to_h", 0);
    let kept = fs::read(&first).expect("it was written");
    let mut huge = kept.clone();
    huge[..4].copy_from_slice(&70_000.0f32.to_le_bytes());
    fs::write(&first, &huge).expect("a scratch file can be written");
    refuse(&arguments, "element 0 is 70000.000000, which fp16 cannot hold");
    fs::write(&first, &kept).expect("a scratch file can be written");

    let config = folder.path.join("config.ini");
    let ini = fs::read_to_string(&config).expect("it was written");
    for (from, to, sentence) in [
        ("inter_size = 264", "inter_size = many", "inter_size is 'many', not a number"),
        ("head_num = 6", "heads = 6", "has no head_num"),
        ("head_num = 6", "head_num = 5", "cannot be split over 2 ranks"),
        ("size_per_head=12", "size_per_head=14", "elements of fp32 are"),
        ("weight_data_type = fp32", "weight_data_type = fp8", "the weights' type is 'fp8'"),
        ("num_layer = 2", "num_layer = 3", "layer 2 of rank 0 has no matrix such as"),
    ] {
        assert!(ini.contains(from));
        fs::write(&config, ini.replace(from, to)).expect("a scratch file can be written");
        refuse(&arguments, sentence);
    }
    fs::write(&config, &ini).expect("a scratch file can be written");
    refuse(&["--matrix", "mlp.more", arguments[0], arguments[1]], "--matrix is NAME=K,M");
    programs.refuse("ft_convert", &[arguments[0], "/nonexistent"], 1, "FLASHLLM_STATUS_IO_ERROR");

    // Weights converted for two ranks do not fit a model of one.
    folder.convert(programs, &[]);
    let one = Folder::write(&scratch.join("one-rank"), 1, false, Type::Fp16);
    let input = one.path.join("input.f16");
    fs::write(&input, vec![0u8; 2 * HIDDEN]).expect("a scratch file can be written");
    let out = one.path.join("out.f32");
    let layers = [text(&one.path), text(&output), text(&input), text(&out)];
    programs.refuse("ft_layers", &layers, 1, "was it converted for another tensor_para_size?");
    // A damaged file is refused by its checksum.
    let path = output.join("flash_llm.0.safetensors");
    let mut bytes = fs::read(&path).expect("ft_convert wrote it");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&path, &bytes).expect("a scratch file can be written");
    let layers = [text(&folder.path), text(&output), text(&input), text(&out)];
    programs.refuse("ft_layers", &layers, 1, "FLASHLLM_STATUS_CORRUPT_DATA");
}

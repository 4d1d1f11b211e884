//! A small random OPT model, its forward pass in double precision, and the checks of opt_decoder.

use std::fs;
use std::path::{Path, PathBuf};

use half::f16;

use super::{Programs, Stored, safetensors, text};
use crate::support::Rng;
use crate::support::api::{FORMAT_AUTO, FORMAT_BITMAP, Handle, ORDER_ROW, SpMat};

/// Sizes that are no multiples of any tile, and an FFN that is not square.
pub const HIDDEN: usize = 72;
pub const FFN: usize = 200;
pub const HEADS: usize = 6;
pub const LAYERS: usize = 3;
pub const VOCABULARY: usize = 131;
pub const POSITIONS: usize = 48;

struct Tensor {
    name: String,
    shape: Vec<usize>,
    values: Vec<f64>,
}

/// The weights: fp16 values, kept as what they are exactly.
pub struct Model {
    tensors: Vec<Tensor>,
}

/// Names of the pruned matrices of a layer.
const MATRICES: [&str; 6] = [
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.out_proj",
    "fc1",
    "fc2",
];

impl Model {
    /// Weights of 70 % zeros, so large that attention and FFN change what comes out.
    pub fn random(seed: u64) -> Self {
        let mut model = Self { tensors: Vec::new() };
        let mut rng = Rng(seed);
        let mut add = |name: String, shape: &[usize], mean: f64, deviation: f64, keep: usize| {
            let values = (0..shape.iter().product::<usize>())
                .map(|_| {
                    let value = mean + deviation * rng.normal();
                    let kept = rng.below(100) < keep;
                    if kept { f16::from_f64(value).to_f64() } else { 0.0 }
                })
                .collect();
            model.tensors.push(Tensor { name, shape: shape.to_vec(), values });
        };
        let root = "model.decoder.";
        add(format!("{root}embed_tokens.weight"), &[VOCABULARY, HIDDEN], 0.0, 0.3, 100);
        add(format!("{root}embed_positions.weight"), &[POSITIONS + 2, HIDDEN], 0.0, 0.2, 100);
        add(format!("{root}final_layer_norm.weight"), &[HIDDEN], 1.0, 0.1, 100);
        add(format!("{root}final_layer_norm.bias"), &[HIDDEN], 0.0, 0.1, 100);
        for layer in 0..LAYERS {
            let root = format!("{root}layers.{layer}.");
            for norm in ["self_attn_layer_norm", "final_layer_norm"] {
                add(format!("{root}{norm}.weight"), &[HIDDEN], 1.0, 0.1, 100);
                add(format!("{root}{norm}.bias"), &[HIDDEN], 0.0, 0.1, 100);
            }
            for matrix in MATRICES {
                let (m, k) = Self::shape(matrix);
                let deviation = 1.5 / (0.3 * k as f64).sqrt();
                add(format!("{root}{matrix}.weight"), &[m, k], 0.0, deviation, 30);
                add(format!("{root}{matrix}.bias"), &[m], 0.0, 0.1, 100);
            }
        }
        model
    }

    fn shape(matrix: &str) -> (usize, usize) {
        match matrix {
            "fc1" => (FFN, HIDDEN),
            "fc2" => (HIDDEN, FFN),
            _ => (HIDDEN, HIDDEN),
        }
    }

    fn get(&self, name: &str) -> &[f64] {
        let found = self.tensors.iter().find(|t| t.name.ends_with(name));
        &found.unwrap_or_else(|| panic!("the model has no {name}")).values
    }

    /// The checkpoint as Hugging Face stores it.
    pub fn dense_file(&self) -> Vec<u8> {
        safetensors(&self.stored(|_| false), r#""format": "pt""#)
    }

    /// The same with every pruned matrix as the U8 tensor `NAME.flash_llm`.
    pub fn compressed_file(&self) -> Vec<u8> {
        let compressed =
            |t: &Tensor| MATRICES.iter().any(|m| t.name.ends_with(&format!("{m}.weight")));
        safetensors(&self.stored(compressed), r#""format": "pt""#)
    }

    fn stored(&self, compressed: impl Fn(&Tensor) -> bool) -> Vec<Stored> {
        let handle = Handle::host().expect("the host always works");
        let store = |tensor: &Tensor| {
            let bits: Vec<u16> =
                tensor.values.iter().map(|&v| f16::from_f64(v).to_bits()).collect();
            if !compressed(tensor) {
                let bytes = bits.iter().flat_map(|b| b.to_le_bytes()).collect();
                let (name, shape) = (tensor.name.clone(), tensor.shape.clone());
                return Stored { name, dtype: "F16", shape, bytes };
            }
            let (m, k) = (tensor.shape[0], tensor.shape[1]);
            // Two formats in one file: a reader must take each buffer at its word.
            let format = if tensor.name.contains("fc") { FORMAT_BITMAP } else { FORMAT_AUTO };
            let dense = handle.upload(&bits).expect("host memory");
            let (_matrix, buffer) =
                SpMat::compress(&handle, m, k, k, ORDER_ROW, dense.pointer(), format)
                    .expect("a random matrix compresses");
            let bytes = buffer.read::<u8>(0, buffer.bytes()).expect("host memory");
            let name = format!("{}.flash_llm", tensor.name);
            Stored { name, dtype: "U8", shape: vec![bytes.len()], bytes }
        };
        self.tensors.iter().map(store).collect()
    }

    /// Logits behind each position of one sequence, computed as the formulas say, without any rounding.
    pub fn logits(&self, tokens: &[usize]) -> Vec<Vec<f64>> {
        let (embed, places) = (self.get("embed_tokens.weight"), self.get("embed_positions.weight"));
        let mut x: Vec<Vec<f64>> = tokens
            .iter()
            .enumerate()
            .map(|(p, &t)| {
                (0..HIDDEN).map(|i| embed[t * HIDDEN + i] + places[(p + 2) * HIDDEN + i]).collect()
            })
            .collect();
        for layer in 0..LAYERS {
            let name = |part: &str| format!("layers.{layer}.{part}");
            let linear = |part: &str, input: &[f64]| {
                let weight = self.get(&name(&format!("{part}.weight")));
                let bias = self.get(&name(&format!("{part}.bias")));
                product(weight, bias, input)
            };
            let h: Vec<Vec<f64>> =
                x.iter().map(|x| self.norm(&name("self_attn_layer_norm"), x)).collect();
            let each =
                |part: &str| -> Vec<Vec<f64>> { h.iter().map(|h| linear(part, h)).collect() };
            let (q, k, v) =
                (each("self_attn.q_proj"), each("self_attn.k_proj"), each("self_attn.v_proj"));
            for p in 0..x.len() {
                let attended = attention(&q[p], &k[..=p], &v[..=p]);
                add(&mut x[p], &linear("self_attn.out_proj", &attended));
                let h = self.norm(&name("final_layer_norm"), &x[p]);
                let inner: Vec<f64> = linear("fc1", &h).iter().map(|v| v.max(0.0)).collect();
                add(&mut x[p], &linear("fc2", &inner));
            }
        }
        let norm = |x: &Vec<f64>| self.norm("decoder.final_layer_norm", x);
        x.iter().map(|x| product(embed, &[0.0; VOCABULARY], &norm(x))).collect()
    }

    fn norm(&self, name: &str, x: &[f64]) -> Vec<f64> {
        let (weight, bias) =
            (self.get(&format!("{name}.weight")), self.get(&format!("{name}.bias")));
        let mean = x.iter().sum::<f64>() / x.len() as f64;
        let variance = x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / x.len() as f64;
        let scale = (variance + 1e-5).sqrt();
        (0..x.len()).map(|i| (x[i] - mean) / scale * weight[i] + bias[i]).collect()
    }
}

fn product(weight: &[f64], bias: &[f64], input: &[f64]) -> Vec<f64> {
    let row = |r: usize| &weight[r * input.len()..(r + 1) * input.len()];
    let dot = |r: usize| row(r).iter().zip(input).map(|(w, x)| w * x).sum::<f64>();
    (0..bias.len()).map(|r| bias[r] + dot(r)).collect()
}

fn attention(query: &[f64], keys: &[Vec<f64>], values: &[Vec<f64>]) -> Vec<f64> {
    let width = HIDDEN / HEADS;
    let mut out = vec![0.0; HIDDEN];
    for head in 0..HEADS {
        let part = head * width..(head + 1) * width;
        let dot = |key: &Vec<f64>| {
            let pairs = query[part.clone()].iter().zip(&key[part.clone()]);
            pairs.map(|(q, k)| q * k).sum::<f64>() / (width as f64).sqrt()
        };
        let scores: Vec<f64> = keys.iter().map(dot).collect();
        let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = scores.iter().map(|s| (s - largest).exp()).collect();
        let total: f64 = weights.iter().sum();
        for (weight, value) in weights.iter().zip(values) {
            for i in part.clone() {
                out[i] += weight / total * value[i];
            }
        }
    }
    out
}

fn add(x: &mut [f64], y: &[f64]) {
    for (x, y) in x.iter_mut().zip(y) {
        *x += y;
    }
}

/// Files of the model in a folder.
pub struct Files {
    pub model: Model,
    pub dense: PathBuf,
    pub compressed: PathBuf,
    folder: PathBuf,
}

impl Files {
    pub fn write(folder: &Path) -> Self {
        let model = Model::random(SEED);
        let dense = folder.join("dense.safetensors");
        let compressed = folder.join("compressed.safetensors");
        fs::write(&dense, model.dense_file()).expect("a scratch file can be written");
        fs::write(&compressed, model.compressed_file()).expect("a scratch file can be written");
        Self { model, dense, compressed, folder: folder.to_owned() }
    }

    /// Three sequences of seven tokens each.
    fn prompts() -> [Vec<usize>; 3] {
        [vec![2, 90, 17, 33, 5, 130, 64], vec![2, 2, 101, 7, 88, 41, 19], vec![0, 1, 2, 3, 4, 5, 6]]
    }

    /// One run: the tokens of each sequence and the logits, [new tokens][batch][vocabulary].
    fn generate(&self, programs: &Programs, file: &Path, new: usize, more: &[&str]) -> Generated {
        let logits = self.folder.join("logits.f32");
        let lists = Self::prompts()
            .map(|prompt| prompt.iter().map(ToString::to_string).collect::<Vec<_>>().join(","));
        let (new, heads) = (new.to_string(), HEADS.to_string());
        let mut arguments =
            vec!["--heads", &heads, "--new-tokens", &new, "--logits", text(&logits)];
        for list in &lists {
            arguments.extend(["--prompt", list]);
        }
        arguments.extend(more);
        arguments.push(text(file));
        let printed = programs.succeed("opt_decoder", &arguments);
        let tokens =
            printed.lines().filter_map(|line| line.strip_prefix("sequence ")).map(|line| {
                let list = line.split_once(':').expect("a colon behind the number").1;
                list.split_whitespace().map(|t| t.parse().expect("a token")).collect()
            });
        let bytes = fs::read(&logits).expect("the logits were written");
        let values: Vec<f32> = bytes
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes(b.try_into().expect("four bytes")))
            .collect();
        Generated { tokens: tokens.collect(), logits: values }
    }
}

struct Generated {
    tokens: Vec<Vec<usize>>,
    logits: Vec<f32>,
}

impl Generated {
    /// How far the best token is ahead of the second best, where that is least.
    fn least_margin(&self) -> f32 {
        let margin = |logits: &[f32]| {
            let mut sorted = logits.to_vec();
            sorted.sort_by(f32::total_cmp);
            sorted[VOCABULARY - 1] - sorted[VOCABULARY - 2]
        };
        self.logits.chunks_exact(VOCABULARY).map(margin).fold(f32::INFINITY, f32::min)
    }
}

/// The logits follow the double-precision reference within what fp16 activations cost, and each chosen
/// token is the reference's own, unless its two best are closer than that.
pub fn agrees_with_the_reference(programs: &Programs, files: &Files, more: &[&str]) {
    let new = 20;
    for file in [&files.dense, &files.compressed] {
        let got = files.generate(programs, file, new, more);
        assert_eq!(got.tokens.len(), 3);
        assert_eq!(got.logits.len(), new * 3 * VOCABULARY);
        let mut settled = 0;
        for (b, prompt) in Files::prompts().iter().enumerate() {
            assert_eq!(got.tokens[b].len(), new);
            let mut all = prompt.clone();
            all.extend(&got.tokens[b]);
            let reference = files.model.logits(&all);
            for step in 0..new {
                let expected = &reference[prompt.len() - 1 + step];
                let at = (step * 3 + b) * VOCABULARY;
                let seen = &got.logits[at..at + VOCABULARY];
                let worst = expected
                    .iter()
                    .zip(seen)
                    .map(|(e, s)| (e - f64::from(*s)).abs())
                    .fold(0.0, f64::max);
                // The logits are about 2.5 wide; an error in a weight, a position or a mask is of
                // that size.
                assert!(worst <= TOLERANCE, "sequence {b}, step {step}: logits are off by {worst}");
                let mut order: Vec<usize> = (0..VOCABULARY).collect();
                order.sort_by(|&i, &j| expected[j].total_cmp(&expected[i]));
                if expected[order[0]] - expected[order[1]] > 2.0 * TOLERANCE {
                    assert_eq!(got.tokens[b][step], order[0], "sequence {b}, step {step}");
                    settled += 1;
                }
            }
        }
        assert!(settled >= 3 * new * 8 / 10, "only {settled} of the tokens are beyond doubt");
    }
}

const TOLERANCE: f64 = 0.02;

/// Chosen so that no token of these tests hangs on the rounding of an activation.
const SEED: u64 = 37;

/// Dense and compressed weights generate the same tokens, from either file and in every format; and a
/// matrix compressed by the program is the one compressed before, bit for bit in what comes out.
pub fn dense_and_sparse_generate_the_same(programs: &Programs, files: &Files) {
    let new = 24;
    let dense = files.generate(programs, &files.dense, new, &["--dense"]);
    assert!(f64::from(dense.least_margin()) > TOLERANCE, "a token hangs on rounding");
    let written_out = files.generate(programs, &files.compressed, new, &["--dense"]);
    assert!(
        dense.tokens == written_out.tokens,
        "dense weights from a compressed file are other weights"
    );
    for format in ["auto", "banked", "bitmap", "sell", "slots", "tiled-csl"] {
        let sparse = files.generate(programs, &files.dense, new, &["--format", format]);
        assert_eq!(sparse.tokens, dense.tokens, "{format}");
    }
    let sparse = files.generate(programs, &files.compressed, new, &[]);
    assert_eq!(sparse.tokens, dense.tokens);
    // A prompt in pieces fills the same cache.
    for chunk in ["1", "3"] {
        let sparse = files.generate(programs, &files.compressed, new, &["--chunk", chunk]);
        assert_eq!(sparse.tokens, dense.tokens, "{chunk} positions of the prompt at a time");
    }
    // Pruning comes before both: the same tokens again, and others than without.
    let pruned = ["--prune", "85"];
    let dense_pruned = files.generate(programs, &files.dense, new, &["--prune", "85", "--dense"]);
    assert!(f64::from(dense_pruned.least_margin()) > TOLERANCE, "a token hangs on rounding");
    let sparse_pruned = files.generate(programs, &files.dense, new, &pruned);
    assert_eq!(sparse_pruned.tokens, dense_pruned.tokens);
    assert_ne!(sparse_pruned.tokens, dense.tokens);
}

/// What is wrong with files and arguments is said in a sentence.
pub fn refuses(programs: &Programs, files: &Files) {
    let dense = text(&files.dense);
    let refuse = |arguments: &[&str], sentence: &str| {
        programs.refuse("opt_decoder", arguments, 2, sentence);
    };
    refuse(&["--heads", "6", "/nonexistent.safetensors"], "cannot be opened");
    refuse(&[dense], "there is no config.json beside the file: give --heads");
    refuse(&["--heads", "5", dense], "hidden size 72 is no multiple of 5 heads");
    refuse(
        &["--heads", "6", "--prompt", "131", dense],
        "token 131 of a prompt is beyond the vocabulary",
    );
    refuse(&["--heads", "6", "--new-tokens", "48", dense], "more than the model's 48 positions");
    refuse(&["--heads", "6", "--prompt", "1,2", "--prompt", "1", dense], "must have one length");
    refuse(
        &["--heads", "6", "--prune", "50", text(&files.compressed)],
        "--prune is for dense matrices",
    );

    let changed = |change: &dyn Fn(&mut Vec<Stored>)| {
        let mut tensors = files.model.stored(|t| t.name.ends_with("fc1.weight"));
        change(&mut tensors);
        let path = files.folder.join("changed.safetensors");
        fs::write(&path, safetensors(&tensors, "")).expect("a scratch file can be written");
        path
    };
    let find = |tensors: &mut Vec<Stored>, name: &str| {
        tensors.iter().position(|t| t.name.ends_with(name)).expect("the model has it")
    };
    let missing = changed(&|tensors| {
        let at = find(tensors, "layers.1.fc2.bias");
        tensors.remove(at);
    });
    refuse(&["--heads", "6", text(&missing)], "there is no tensor model.decoder.layers.1.fc2.bias");
    let transposed = changed(&|tensors| {
        let at = find(tensors, "layers.0.fc2.weight");
        tensors[at].shape.swap(0, 1);
    });
    refuse(&["--heads", "6", text(&transposed)], "layers.0.fc2.weight is 200 x 72, not 72 x 200");
    // What does not fit fp16 would be infinite.
    let large = changed(&|tensors| {
        let at = find(tensors, "layers.2.fc2.weight");
        tensors[at].dtype = "BF16";
        tensors[at].bytes[1] = 0x7f; // bf16 0x7f..: beyond 65504
    });
    refuse(
        &["--heads", "6", text(&large)],
        "layers.2.fc2.weight has weights that fp16 cannot hold",
    );
    // The library's own check of a buffer from a file: another matrix's, and a damaged one.
    let swapped = changed(&|tensors| {
        let at = find(tensors, "layers.0.fc1.weight.flash_llm");
        let handle = Handle::host().expect("the host always works");
        let dense = handle.upload(&vec![1u16; HIDDEN * FFN]).expect("host memory");
        let (_matrix, buffer) =
            SpMat::compress(&handle, HIDDEN, FFN, FFN, ORDER_ROW, dense.pointer(), FORMAT_AUTO)
                .expect("it compresses");
        tensors[at].bytes = buffer.read::<u8>(0, buffer.bytes()).expect("host memory");
        tensors[at].shape = vec![tensors[at].bytes.len()];
    });
    programs.refuse(
        "opt_decoder",
        &["--heads", "6", text(&swapped)],
        1,
        "FLASHLLM_STATUS_INVALID_VALUE",
    );
    let damaged = changed(&|tensors| {
        let at = find(tensors, "layers.0.fc1.weight.flash_llm");
        tensors[at].bytes[260] ^= 0xff; // the first entry of the table, which is 0
    });
    programs.refuse(
        "opt_decoder",
        &["--heads", "6", text(&damaged)],
        1,
        "FLASHLLM_STATUS_CORRUPT_DATA",
    );
}

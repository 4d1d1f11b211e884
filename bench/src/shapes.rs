//! Matrix shapes as data: one TOML file a model, all of them inside the binary.

use serde::Deserialize;

/// The weight matrices of one decoder layer.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Model {
    pub name: String,
    pub decoder_layers: usize,
    pub layer: Vec<Layer>,
}

/// One weight matrix: `m` output features, `k` input features.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Layer {
    pub name: String,
    pub m: usize,
    pub k: usize,
}

/// File stem and text of every list that is compiled in.
pub const LISTS: [(&str, &str); 9] = [
    ("paper", include_str!("../shapes/paper.toml")),
    ("opt-30b", include_str!("../shapes/opt-30b.toml")),
    ("opt-66b", include_str!("../shapes/opt-66b.toml")),
    ("opt-175b", include_str!("../shapes/opt-175b.toml")),
    ("llama-2-7b", include_str!("../shapes/llama-2-7b.toml")),
    ("llama-2-13b", include_str!("../shapes/llama-2-13b.toml")),
    ("llama-2-70b", include_str!("../shapes/llama-2-70b.toml")),
    ("llama-3-8b", include_str!("../shapes/llama-3-8b.toml")),
    ("llama-3-70b", include_str!("../shapes/llama-3-70b.toml")),
];

/// Parses one list.
pub fn parse(text: &str) -> Result<Model, String> {
    let model: Model = toml::from_str(text).map_err(|e| e.to_string())?;
    if model.layer.is_empty() {
        return Err(format!("{} has no layers", model.name));
    }
    if let Some(bad) = model.layer.iter().find(|l| l.m == 0 || l.k == 0) {
        return Err(format!("{} {}: m and k are at least 1", model.name, bad.name));
    }
    Ok(model)
}

/// The shapes that a comma-separated list asks for, each once: names of lists, `all`, paths of TOML
/// files, or plain `MxK`.
pub fn select(list: &str) -> Result<Vec<Layer>, String> {
    let mut layers: Vec<Layer> = Vec::new();
    for item in list.split(',').filter(|item| !item.is_empty()) {
        let mut models = Vec::new();
        if let Some((m, k)) = parse_dims(item) {
            let layer = Layer { name: item.to_owned(), m, k };
            models.push(Model { name: String::new(), decoder_layers: 1, layer: vec![layer] });
        } else if item == "all" {
            for (_, text) in LISTS {
                models.push(parse(text)?);
            }
        } else if let Some((_, text)) = LISTS.iter().find(|(name, _)| *name == item) {
            models.push(parse(text)?);
        } else if item.ends_with(".toml") {
            let text = std::fs::read_to_string(item).map_err(|e| format!("{item}: {e}"))?;
            models.push(parse(&text).map_err(|e| format!("{item}: {e}"))?);
        } else {
            let names: Vec<_> = LISTS.iter().map(|(name, _)| *name).collect();
            return Err(format!(
                "no shapes called {item}; there are {}, all, FILE.toml and MxK",
                names.join(", ")
            ));
        }
        for model in models {
            for layer in model.layer {
                if !layers.iter().any(|known| (known.m, known.k) == (layer.m, layer.k)) {
                    let name = format!("{} {}", model.name, layer.name).trim().to_owned();
                    layers.push(Layer { name, ..layer });
                }
            }
        }
    }
    if layers.is_empty() { Err("no shapes were asked for".to_owned()) } else { Ok(layers) }
}

fn parse_dims(text: &str) -> Option<(usize, usize)> {
    let (m, k) = text.split_once('x')?;
    let (m, k) = (m.parse().ok()?, k.parse().ok()?);
    (m > 0 && k > 0).then_some((m, k))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_list_parses_and_no_file_is_left_out() {
        for (name, text) in LISTS {
            let model = parse(text).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(model.name.to_lowercase(), name);
        }
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("shapes");
        assert_eq!(std::fs::read_dir(dir).unwrap().count(), LISTS.len());
    }

    #[test]
    fn opt_30b_has_the_paper_shape_and_equal_shapes_are_measured_once() {
        let paper = select("paper").unwrap();
        assert_eq!((paper[0].m, paper[0].k), (28672, 7168));
        assert_eq!(select("opt-30b").unwrap().len(), 4);
        assert_eq!(select("paper,opt-30b").unwrap().len(), 4);
        assert_eq!(select("llama-2-70b,llama-3-70b").unwrap().len(), 4);
    }

    #[test]
    fn plain_dimensions_are_a_shape() {
        let shapes = select("17x33,64x64").unwrap();
        assert_eq!((shapes[0].m, shapes[0].k), (17, 33));
        assert_eq!(shapes.len(), 2);
    }

    #[test]
    fn mistakes_are_named() {
        assert!(select("opt-31b").unwrap_err().contains("opt-31b"));
        assert!(select("").is_err());
        assert!(select("0x5").is_err());
        assert!(parse("name = \"x\"\ndecoder_layers = 1\nlayer = []").is_err());
        assert!(
            parse("name = \"x\"\ndecoder_layers = 1\n[[layer]]\nname = \"a\"\nm = 0\nk = 1")
                .is_err()
        );
        assert!(parse("name = \"x\"\ncolour = 1\n[[layer]]\nname = \"a\"\nm = 1\nk = 1").is_err());
    }
}

//! Links the artifacts that `SIMGROUND_ARTIFACTS` names (a path list, as `PATH` is); without it, the golden ones.
//!
//! Each is linked as a file, and as models that are proved here; what a firmware does not name is not in its flash.
//!
//! `NAME.csv` beside `NAME.sgnn` holds the window that the examples ask about: a header, then numbers, an empty cell
//! for a missing value. Without it every value is missing.

use std::path::{Path, PathBuf};
use std::{env, fs};

use simground_compile::{Contents, source};
use simground_runtime::Model;

fn main() {
    println!("cargo::rerun-if-env-changed=SIMGROUND_ARTIFACTS");
    let mut source =
        String::from("/// The artifacts in this image.\npub static LINKED: &[Linked] = &[\n");
    for path in artifacts() {
        let name = path.file_stem().expect("an artifact's file name").to_string_lossy();
        let csv = path.with_extension("csv");
        println!("cargo::rerun-if-changed={}", path.display());
        println!("cargo::rerun-if-changed={}", csv.display());
        source += &format!(
            "    Linked {{ name: {name:?}, bytes: simground_runtime::include_model!({path:?}), window: &{:?} }},\n",
            window_bits(&csv)
        );
    }
    source += "];\n";
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    fs::write(out.join("linked.rs"), source).expect("cannot write linked.rs");
    let compiled = compiled("WHOLE", Contents::Whole) + &compiled("ANSWERS", Contents::Answers);
    fs::write(out.join("compiled.rs"), compiled).expect("cannot write compiled.rs");
}

/// A list `name` of models, each in a module of its own. An artifact that is refused is left out: a test links one.
fn compiled(name: &str, contents: Contents) -> String {
    let (mut modules, mut list) = (String::new(), String::new());
    for (position, path) in artifacts().iter().enumerate() {
        let bytes = fs::read(path).expect("cannot read an artifact");
        let Ok(model) = Model::from_bytes(&bytes) else { continue };
        let module = format!("{}_{position}", name.to_lowercase());
        modules += &format!("mod {module} {{\n{}}}\n", source(&model, contents));
        let file = path.file_stem().expect("an artifact's file name").to_string_lossy();
        list += &format!("    ({file:?}, &{module}::MODEL),\n");
    }
    format!(
        "{modules}\n/// File names without their extension, and models.\n\
         pub static {name}: &[(&str, &simground_runtime::Model<'static>)] = &[\n{list}];\n"
    )
}

fn artifacts() -> Vec<PathBuf> {
    if let Some(list) = env::var_os("SIMGROUND_ARTIFACTS") {
        return env::split_paths(&list).collect();
    }
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden");
    println!("cargo::rerun-if-changed={}", golden.display());
    let entries = fs::read_dir(&golden).expect("cannot list tests/golden");
    let paths = entries.map(|entry| entry.expect("cannot list tests/golden").path());
    let mut paths: Vec<_> =
        paths.filter(|path| path.extension().is_some_and(|e| e == "sgnn")).collect();
    paths.sort();
    paths
}

/// The cells after the header as the bits of `f32`, which survive being written as source; NaN where a cell is empty.
fn window_bits(csv: &Path) -> Vec<u32> {
    let Ok(text) = fs::read_to_string(csv) else {
        return Vec::new();
    };
    let rows = text.lines().filter(|line| !line.starts_with('#')).skip(1);
    let cells = rows.filter(|row| !row.is_empty()).flat_map(|row| row.split(','));
    cells
        .map(|cell| match cell.trim() {
            "" => f32::NAN.to_bits(),
            cell => cell
                .parse::<f32>()
                .unwrap_or_else(|_| panic!("{}: `{cell}` is no number", csv.display()))
                .to_bits(),
        })
        .collect()
}

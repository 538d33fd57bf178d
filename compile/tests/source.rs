//! Written sources, compiled for this host against the runtime that this test is linked with.

use std::path::{Path, PathBuf};
use std::process::Command;

use simground_compile::{Contents, source};
use simground_runtime::Model;
use simground_runtime::artifact::{CRC_OFFSET, checksum};

const GOLDEN: [&str; 7] = ["bytes", "flow", "joint", "ratio", "ratio-bytes", "small", "wide"];

fn artifact(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden");
    std::fs::read(folder.join(name).with_extension("sgnn")).expect("a golden artifact")
}

/// Where Cargo puts this test and the libraries that it links.
fn libraries() -> PathBuf {
    let test = std::env::current_exe().expect("this test");
    test.parent().expect("a folder").to_path_buf()
}

/// The newest library of the runtime.
fn runtime() -> PathBuf {
    let libraries = std::fs::read_dir(libraries()).expect("a folder");
    let paths = libraries.map(|entry| entry.expect("an entry").path());
    let named = paths.filter(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.starts_with("libsimground_runtime-") && name.ends_with(".rlib")
    });
    let time = |path: &PathBuf| path.metadata().and_then(|m| m.modified()).expect("a time");
    named.max_by_key(time).expect("the runtime's library")
}

/// What `rustc` says of a program with these sources in modules; its output where it compiles and runs.
fn run(name: &str, modules: &[(&str, String)], main: &str) -> Result<String, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&folder).expect("a folder");
    let modules = modules.iter().map(|(name, text)| format!("mod {name} {{\n{text}}}\n"));
    let program =
        format!("#![deny(warnings)]\n{}fn main() {{\n{main}}}\n", modules.collect::<String>());
    let file = folder.join("main.rs");
    std::fs::write(&file, program).expect("written");
    let compiled = Command::new(std::env::var_os("RUSTC").unwrap_or("rustc".into()))
        .args(["--edition", "2024", "--out-dir"])
        .arg(&folder)
        .arg("--extern")
        .arg(format!("simground_runtime={}", runtime().display()))
        .arg("-L")
        .arg(format!("dependency={}", libraries().display()))
        .arg(&file)
        .output()
        .expect("rustc starts");
    if !compiled.status.success() {
        return Err(String::from_utf8_lossy(&compiled.stderr).into_owned());
    }
    let run = Command::new(folder.join("main")).output().expect("the program starts");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    Ok(String::from_utf8_lossy(&run.stdout).into_owned())
}

#[test]
fn compiled_models_are_the_artifacts() {
    let (mut modules, mut main) = (Vec::new(), String::new());
    for name in GOLDEN {
        let module = name.replace('-', "_");
        let bytes = artifact(name);
        let model = Model::from_bytes(&bytes).expect("a golden artifact");
        modules.push((module.clone(), source(&model, Contents::Whole)));
        modules.push((format!("{module}_answers"), source(&model, Contents::Answers)));
        main += &format!(
            "let mut scratch = vec![0; {module}::MODEL.scratch_words()];\n\
             {module}::MODEL.self_test(&mut scratch).unwrap();\n\
             for model in [&{module}::MODEL, &{module}_answers::MODEL] {{\n\
             let x: Vec<f32> = (0..model.d_values()).map(|i| 1.5 * i as f32).collect();\n\
             let checksums = model.infer(&x, &mut scratch).unwrap().checksums();\n\
             println!(\"{{}} {{}} {{}}\", checksums.integers, checksums.answers, model.fingerprint());\n}}\n"
        );
    }
    let modules: Vec<_> = modules.iter().map(|(name, text)| (&**name, text.clone())).collect();
    let answers = run("whole", &modules, &main).unwrap_or_else(|error| panic!("{error}"));

    let expected = GOLDEN.map(|name| {
        let bytes = artifact(name);
        let model = Model::from_bytes(&bytes).expect("a golden artifact");
        let mut scratch = vec![0; model.scratch_words()];
        let x: Vec<f32> = (0..model.d_values()).map(|i| 1.5 * i as f32).collect();
        let checksums = model.infer(&x, &mut scratch).expect("a window").checksums();
        let fingerprint = model.fingerprint();
        format!("{} {} {fingerprint}\n", checksums.integers, checksums.answers).repeat(2)
    });
    assert_eq!(answers, expected.concat());
}

#[test]
fn names_stay_names() {
    let mut bytes = artifact("small");
    let manifest = Model::from_bytes(&bytes).expect("a golden artifact").manifest().name;
    let (name, hostile) = (manifest.to_owned(), "\"\n\\{`");
    assert_eq!(name.len(), hostile.len());
    let at = bytes.windows(name.len()).position(|window| window == name.as_bytes());
    bytes[at.expect("the name")..][..name.len()].copy_from_slice(hostile.as_bytes());
    let checksum = checksum(&bytes).to_le_bytes();
    bytes[CRC_OFFSET..][..4].copy_from_slice(&checksum);
    let model = Model::from_bytes(&bytes).expect("any text is a name");
    let text = source(&model, Contents::Whole);
    let main = "print!(\"{}\", model::MODEL.manifest().name);\n";
    assert_eq!(run("names", &[("model", text)], main).as_deref(), Ok(hostile));
}

#[test]
fn a_source_whose_layers_do_not_fit_does_not_compile() {
    let bytes = artifact("small");
    let model = Model::from_bytes(&bytes).expect("a golden artifact");
    let text = source(&model, Contents::Whole);
    let sound = run("fits", &[("model", text.clone())], "let _ = &model::MODEL;\n");
    assert_eq!(sound.as_deref(), Ok(""));

    let layer = model.manifest().trunk.at(0).expect("a layer");
    let (width, wider) = (layer.d_output, layer.d_output + 4);
    let wrong = text.replace(&format!("d_output: {width},"), &format!("d_output: {wider},"));
    assert_ne!(wrong, text);
    let offset = format!("offset: {}, length: {}", layer.stream.offset, layer.stream.length);
    let shifted = format!("offset: {}, length: {}", layer.stream.offset + 4, layer.stream.length);
    for wrong in [wrong, text.replace(&offset, &shifted)] {
        let error = run("misfits", &[("model", wrong)], "let _ = &model::MODEL;\n");
        let error = error.expect_err("does not compile");
        assert!(error.contains("layers fit their tensors"), "{error}");
    }
}

//! The command with a GPU, or with Mesa's software Vulkan in its place, and without either.

#![cfg(feature = "wgpu")]

mod place;

use std::process::Command;

use place::{Place, stderr};

const STUDY: &str = include_str!("data/tiny.toml");

/// A folder with a study that a processor in a GPU's place trains in a minute.
fn with_study() -> Place {
    Place::with("tiny.toml", &STUDY.replace("steps = 300", "steps = 40"))
}

#[test]
#[ignore = "compiles shaders for a minute where there is no GPU"]
fn wgpu_trains_a_study_to_its_artifact() {
    let place = with_study();
    let loss = |name: &str, arguments: &str| {
        let command = format!("train tiny.toml --allow-uncalibrated --out {name}.sgnn {arguments}");
        let made = place.json(&command);
        assert_eq!(made["training"]["steps"], 40);
        made["training"]["best_loss"].as_f64().unwrap()
    };
    let (cpu, gpu) = (loss("cpu", ""), loss("gpu", "--backend wgpu"));
    println!("best held-out loss: {gpu} on the GPU, {cpu} on the CPU");
    assert!((gpu - cpu).abs() < 1e-3 * cpu.abs());
    let judged = place.json("evaluate gpu.sgnn --count 500");
    assert_eq!(judged["num_simulations"], 500);
    let several = loss("three", "--backend wgpu --seeds 3");
    assert!(several <= gpu + 1e-3 * gpu.abs(), "{several}");
}

#[test]
#[ignore = "needs a loader of Vulkan that heeds its variables"]
fn wgpu_without_a_driver_is_an_error_that_names_what_works() {
    let place = with_study();
    for variable in ["VK_ICD_FILENAMES", "VK_DRIVER_FILES"] {
        let output = place
            .command("train tiny.toml --backend wgpu --out a.sgnn")
            .env(variable, "/nonexistent/driver.json")
            .output()
            .unwrap();
        let message = stderr(&output);
        println!("{message}");
        assert_eq!(output.status.code(), Some(2), "{message}");
        assert!(message.contains("error: backend wgpu: "), "{message}");
        assert!(message.contains("hint: `--backend flex` works without it"), "{message}");
        assert!(!message.contains("panicked"), "{message}");
        assert_eq!(place.names(), ["tiny.toml"]);
    }
}

/// A driver that ends the process when it is loaded.
#[cfg(target_os = "linux")]
#[test]
#[ignore = "needs a C compiler"]
fn wgpu_with_a_driver_that_crashes_is_an_error_that_names_what_works() {
    let place = with_study();
    place.write(
        "crash.c",
        "#include <stdlib.h>\n__attribute__((constructor)) static void crash(void) { abort(); }\n",
    );
    let compiler = Command::new("cc")
        .args(["-shared", "-fPIC", "crash.c", "-o", "crash.so"])
        .current_dir(place.path(""))
        .status();
    assert!(compiler.unwrap().success());
    let library = place.path("crash.so");
    place.write(
        "crash.json",
        format!(
            "{{\"file_format_version\": \"1.0.0\", \"ICD\": {{\"library_path\": {library:?}, \"api_version\": \"1.3.0\"}}}}"
        ),
    );
    let output = place
        .command("train tiny.toml --backend wgpu --out a.sgnn")
        .env("VK_ICD_FILENAMES", place.path("crash.json"))
        .output()
        .unwrap();
    let message = stderr(&output);
    println!("{message}");
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.contains("error: backend wgpu: its driver crashed"), "{message}");
    assert!(message.contains("hint: `--backend flex` works without it"), "{message}");
    assert!(!place.path("a.sgnn").exists());
}

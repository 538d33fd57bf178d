//! Check, host tests, firmware in QEMU; with `--slow` also what takes minutes.

use anyhow::Result;

use crate::stage::{Stages, cargo, execute};
use crate::{check, fuzz, gpu, miri};

/// Every test.
pub fn run(slow: bool) -> Result<()> {
    let mut stages = Stages::default();
    let outcome = stages_in(&mut stages, slow);
    stages.finish(outcome)
}

fn stages_in(stages: &mut Stages, slow: bool) -> Result<()> {
    check::run(stages)?;
    // Overflow checks and debug assertions are on in this profile.
    stages.run("runtime, dev profile", || {
        execute(&mut cargo(&["test", "--package", "simground-runtime", "--quiet"]))?;
        execute(&mut cargo(&["test", "--package", "simground-c", "--quiet"]))?;
        let library = ["test", "--package", "simground-runtime", "--lib", "--quiet"];
        execute(cargo(&library).args(["--features", "micromath", "math::tests::logarithm"]))?;
        let hostile = ["test", "--package", "simground-tests", "--test", "hostile", "--quiet"];
        execute(&mut cargo(&hostile))
    })?;
    stages.run("host", || {
        let arguments = ["test", "--workspace", "--exclude", "simground-tests", "--release"];
        execute(cargo(&arguments).arg("--quiet"))
    })?;
    stages.run("firmware in QEMU", || {
        execute(&mut cargo(&["test", "--package", "simground-tests", "--release", "--quiet"]))
    })?;
    if slow {
        stages.run("slow", || {
            let arguments = ["test", "--workspace", "--release", "--", "--ignored"];
            execute(cargo(&arguments).env("SIMGROUND_SLOW", "1"))
        })?;
        stages.run("training by wgpu", gpu::run)?;
        stages.run("miri", miri::run)?;
        stages.run("fuzz, 60 s a target", || fuzz::run(60))?;
    }
    Ok(())
}

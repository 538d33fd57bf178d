//! `tests/budgets.toml`: what each workload may cost. It fails the build when a figure grows by more than 2 %.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::board::BOARDS;
use crate::root;
use crate::size::Figure;

/// The file's content.
#[derive(Debug, Serialize, Deserialize)]
struct Budgets {
    figure: Vec<Figure>,
}

const HEADER: &str = "\
# Written by `cargo xtask size --bless`. `cargo xtask test` fails when a figure exceeds its line here by more than 2 %.
";

fn path() -> PathBuf {
    root().join("tests/budgets.toml")
}

/// The checked-in figures.
pub fn read() -> Result<Vec<Figure>> {
    let text = fs::read_to_string(path()).context("cannot read tests/budgets.toml")?;
    Ok(toml::from_str::<Budgets>(&text)?.figure)
}

/// Replaces the checked-in figures of the cores in `figures`; those of other cores stay.
pub fn write(figures: Vec<Figure>) -> Result<()> {
    let measured = |core: &str| figures.iter().any(|figure| figure.core == core);
    let mut all = read()?;
    all.retain(|budget| !measured(&budget.core));
    all.extend(figures);
    all.sort_by_key(|budget| BOARDS.iter().position(|board| board.core == budget.core));
    let text = toml::to_string(&Budgets { figure: all })?;
    fs::write(path(), format!("{HEADER}\n{text}")).context("cannot write tests/budgets.toml")
}

/// What exceeds its budget by more than 2 %, one line each.
pub fn exceeded(found: &[Figure], budgets: &[Figure]) -> Vec<String> {
    let mut lines = Vec::new();
    for figure in found {
        let name = format!("{}, workload {}", figure.core, figure.workload);
        let same = |b: &&Figure| b.core == figure.core && b.workload == figure.workload;
        let Some(budget) = budgets.iter().find(same) else {
            lines.push(format!("{name}: no budget; `cargo xtask size --bless` writes one"));
            continue;
        };
        for (what, found, budget) in [
            ("instructions", figure.instructions, budget.instructions),
            ("bytes of flash", figure.flash_bytes, budget.flash_bytes),
            ("bytes of RAM", figure.ram_bytes, budget.ram_bytes),
            ("bytes of stack", figure.stack_bytes, budget.stack_bytes),
        ] {
            if found * 100 > budget * 102 {
                lines.push(format!("{name}: {found} {what}, the budget is {budget}"));
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_percent_are_allowed() {
        let figure = |instructions| Figure {
            core: "cortex-m4".into(),
            workload: "A".into(),
            instructions,
            flash_bytes: 10_000,
            ram_bytes: 1_000,
            stack_bytes: 300,
        };
        assert!(exceeded(&[figure(1_020)], &[figure(1_000)]).is_empty());
        assert_eq!(
            exceeded(&[figure(1_021)], &[figure(1_000)]),
            ["cortex-m4, workload A: 1021 instructions, the budget is 1000"]
        );
        assert_eq!(exceeded(&[figure(1)], &[]).len(), 1);
    }
}

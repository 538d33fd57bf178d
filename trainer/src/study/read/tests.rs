use crate::study::{DeclaredParameter, Head, Prior, Study, StudyError, Transform};

const OUTBREAK: &str = include_str!("../../../studies/outbreak.toml");

#[test]
fn the_shipped_studies_are_valid() {
    let outbreak =
        Study::parse(OUTBREAK, "outbreak.toml").unwrap_or_else(|error| panic!("{error}"));
    let simulation = outbreak.simulation.as_ref().expect("it simulates");
    let epidemic = simulation.epidemic.as_ref().expect("compartments");
    assert_eq!((epidemic.steps, epidemic.forecast_steps, epidemic.population), (64, 14, 200_000));
    assert_eq!(simulation.mechanisms[2].priors[0], Prior::Uniform(0.15, 0.5));
    assert_eq!(outbreak.input.transform, Transform::Auto);
    assert!(
        matches!(&outbreak.heads[1], Head::Quantiles { targets, .. } if targets == &["R0", "cases"])
    );
    for text in [
        include_str!("../../../studies/boarding-school.toml"),
        include_str!("../../../studies/boarding-school-sir.toml"),
        include_str!("../../../studies/gaussian-linear.toml"),
        include_str!("../../../studies/gaussian-linear-uniform.toml"),
        include_str!("../../../studies/two-moons.toml"),
        include_str!("../../../studies/gaussian-field.toml"),
        include_str!("../../../studies/student-t-field.toml"),
        SIS,
    ] {
        Study::parse(text, "s").unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn a_study_for_a_foreign_corpus_has_no_simulator() {
    let study = Study::parse(
        "name = \"f\"\n[[head]]\nkind = \"quantiles\"\ntargets = [\"anything\"]\nlevels = [0.5]\n",
        "f",
    )
    .unwrap_or_else(|error| panic!("{error}"));
    assert!(study.simulator().is_none());
    assert_eq!(study.budget.flash_kib, 64);
}

/// What only a corpus can tell to be wrong is shown in the study all the same.
#[test]
fn a_complaint_points_at_a_name_in_the_list_of_its_head() {
    let text = "name = \"f\"\n[[head]]\nkind = \"quantiles\"\ntargets = [\"é\", \"b\"]\nlevels = [0.5]\n\n[[head]]\nkind = \"mixture\"\nparameters = [\"a\",\n  \"b\"]\n";
    let study = Study::parse(text, "f.toml").unwrap_or_else(|error| panic!("{error}"));
    let place = |head, name| {
        let found = study.complaint(head, name, "wrong\nhint: right");
        assert_eq!((&*found.message, found.hint.as_deref()), ("wrong", Some("right")));
        (found.line, found.column, found.width)
    };
    assert_eq!(place(Some(0), Some("b")), (4, 17, 3));
    assert_eq!(place(Some(1), Some("b")), (10, 3, 3));
    assert_eq!(place(None, Some("a")), (9, 15, 3));
    // A name that stands nowhere, and none.
    assert_eq!(place(Some(1), Some("c")).0, 7);
    assert_eq!(place(Some(0), None).0, 2);
}

#[test]
fn the_hash_is_of_the_simulator_alone() {
    let hash = |text: &str| {
        Study::parse(text, "s").unwrap_or_else(|error| panic!("{error}")).simulator_hash()
    };
    let base = hash(OUTBREAK);
    assert_eq!(base, hash(&OUTBREAK.replace("[128, 128, 64]", "[32]")));
    assert_eq!(base, hash(&format!("# a comment\n{OUTBREAK}")));
    assert_ne!(base, hash(&OUTBREAK.replace("200_000\n\n# Three", "200_001\n\n# Three")));
    assert_ne!(base, hash(&OUTBREAK.replace("max_days = 14", "max_days = 13")));
}

/// Replaces the first `from` of outbreak.toml by `to`; the complaint must point at `at` (or its first character) and contain
/// `says`.
#[track_caller]
fn check(from: &str, to: &str, at: &str, says: &str) {
    assert!(OUTBREAK.contains(from), "outbreak.toml has no {from}");
    let text = OUTBREAK.replacen(from, to, 1);
    let Err(StudyError::Invalid(found)) = Study::parse(&text, "bad.toml") else {
        panic!("{to} was accepted")
    };
    let shown = found.to_string();
    let start = OUTBREAK.find(from).expect("checked");
    let position = start + to.find(at).unwrap_or_else(|| panic!("{to} has no {at}"));
    let line = text[..position].matches('\n').count() + 1;
    let column = position - text[..position].rfind('\n').map_or(0, |at| at + 1) + 1;
    assert_eq!((found.line, found.column), (line, column), "{shown}");
    assert!(shown.contains(says), "{shown}\ndoes not contain: {says}");
    assert!(shown.starts_with(&format!("bad.toml:{line}:{column}: ")), "{shown}");
    let caret = shown
        .lines()
        .find(|l| l.trim_end().ends_with('^'))
        .unwrap_or_else(|| panic!("no caret in {shown}"));
    assert_eq!(caret.find('^').expect("found"), line.to_string().len() + 3 + column - 1, "{shown}");
}

#[test]
fn every_fault_is_told_with_its_place() {
    let beta = "beta = { uniform = [0.15, 0.45], unit = \"1/day\" }";
    let table: &[(&str, &str, &str, &str)] = &[
        (
            beta,
            "beta = { uniform = [-0.15, 0.45], unit = \"1/day\" }",
            "-0.15",
            "`beta` is negative (-0.15); it lies in 0 to 100 1/day",
        ),
        (beta, "beta = { uniform = [0.15, 450], unit = \"1/day\" }", "450", "out of range"),
        (
            beta,
            "beta = { uniform = [0.45, 0.15], unit = \"1/day\" }",
            "[0.45",
            "the lower one comes first",
        ),
        (
            beta,
            "beta = { uniform = [0.15, 0.15], unit = \"1/day\" }",
            "[0.15",
            "hint: for a known value write `fixed = 0.15`",
        ),
        (beta, "beta = { uniform = [0.15], unit = \"1/day\" }", "[0.15", "write two"),
        (beta, "beta = { uniform = [0.15, inf], unit = \"1/day\" }", "inf", "not finite"),
        (
            beta,
            "beta = { uniform = [0.15, \"a\"], unit = \"1/day\" }",
            "\"a\"",
            "is a string; write a number",
        ),
        (
            beta,
            "beta = { uniform = [0.15, 0.45], unit = \"1/week\" }",
            "\"1/week\"",
            "hint: divide the values by 7",
        ),
        (beta, "beta = { uniform = [0.15, 0.45] }", "{", "`beta` has no unit; it is in `1/day`"),
        (
            beta,
            "beta = { unifrom = [0.15, 0.45], unit = \"1/day\" }",
            "unifrom",
            "hint: is `uniform` meant?",
        ),
        (
            beta,
            "beta = { fixed = 1, uniform = [0.15, 0.45], unit = \"1/day\" }",
            "uniform",
            "two distributions",
        ),
        (
            beta,
            "beta = { log_uniform = [0.0, 0.45], unit = \"1/day\" }",
            "0.0",
            "positive lower bound",
        ),
        (beta, "beta = 0.3", "0.3", "is not a prior"),
        (
            beta,
            "bta = { uniform = [0.15, 0.45], unit = \"1/day\" }",
            "bta",
            "hint: is `bta` meant to be `beta`?",
        ),
        (
            beta,
            "beta = { uniform = [0.15, 1.5], unit = \"1/day\" }",
            "{",
            "hint: add `steps_per_day = 2`",
        ),
        ("[5, 49]", "[5, 49.5]", "49.5", "whole number"),
        (
            "initial_infected = { uniform = [5, 49]",
            "initial_infected = { uniform = [5, 300000]",
            "{",
            "more than the 200000 people",
        ),
        ("kind = \"SEIR\"", "kind = \"SIER\"", "\"SIER\"", "hint: is `SEIR` meant?"),
        (
            "kind = \"SEIR\"",
            "kind = \"SEIR\"\nname = \"SIR\"",
            "\"SIR\"",
            "two mechanisms are named `SIR`",
        ),
        ("steps = 64", "steps = 0", "0", "a whole number from 1 to 4096"),
        ("steps = 64", "steps = 6.4", "6.4", "is a float; write a whole number"),
        ("steps = 64", "step = 64", "step", "unknown key `step` in [input]"),
        (
            "period = \"1 day\"",
            "period = \"1 week\"",
            "\"1 week\"",
            "hint: the mechanisms advance by days",
        ),
        ("transform = \"auto\"", "transform = \"log\"", "\"log\"", "`auto`, `identity`, `log1p`"),
        ("size = 200_000", "sizes = 200_000", "sizes", "hint: is `sizes` meant to be `size`?"),
        ("size = 200_000", "size = -5", "-5", "write a whole number"),
        (
            "series = \"incidence\"",
            "series = \"incidences\"",
            "\"incidences\"",
            "hint: is `incidence` meant?",
        ),
        (
            "{ uniform = [0.5, 0.8], unit = \"1\" }",
            "{ uniform = [0.5, 1.8], unit = \"1\" }",
            "1.8",
            "it lies in 0 to 1",
        ),
        (
            "{ uniform = [0.5, 0.8], unit = \"1\" }",
            "{ uniform = [0.5, 0.8], unit = \"%\" }",
            "\"%\"",
            "divide the values by 100",
        ),
        ("overdispersion =", "over_dispersion =", "over", "hint: is `overdispersion` meant?"),
        (
            "overdispersion =",
            "missing_fraction = { fixed = 0.1 }\noverdispersion =",
            "missing_fraction",
            "hint: add `missing = \"allow\"`",
        ),
        (
            "max_days = 14",
            "max_days = 14, shape = 2",
            "shape",
            "unknown key `shape` in `reporting_delay`",
        ),
        ("\"R0\", \"cases\"", "\"R0\", \"case\"", "\"case\"", "hint: is `cases` meant?"),
        (
            "\"R0\", \"cases\"",
            "\"R0\", \"sigma\"",
            "\"sigma\"",
            "not a parameter of mechanism `SIR`",
        ),
        ("\"R0\", \"cases\"", "\"R0\", 'R0'", "'R0'", "appears twice"),
        (
            "[forecast]\nsteps = 14",
            "[[head]]\nkind = \"points\"",
            "\"points\"",
            "hint: is `point` meant?",
        ),
        (
            "[[head]]\nkind = \"quantiles\"",
            "[[head]]\nkind = \"mixture\"\nparameters = [\"sigma\"]\n[[head]]\nkind = \"quantiles\"",
            "\"sigma\"",
            "parameter `sigma` is not a parameter of mechanism `SIR`",
        ),
        (
            "[[head]]\nkind = \"quantiles\"",
            "[[head]]\nkind = \"point\"\nparameters = [\"R0\"]\n[[head]]\nkind = \"quantiles\"",
            "\"R0\"",
            "unknown parameter `R0`; write one of `asymptomatic_fraction`, `beta`",
        ),
        (
            "[[head]]\nkind = \"quantiles\"",
            "[[head]]\nkind = \"mixture\"\ncomponents = 17\n[[head]]\nkind = \"quantiles\"",
            "17",
            "write a whole number from 1 to 16",
        ),
        (
            "[bank]\n",
            "[parameters]\nbeta = { low = 0.0 }\n[bank]\n",
            "parameters",
            "supports are those of the priors",
        ),
        ("[0.05, 0.25,", "[0.05, 0.040,", "0.040", "does not increase"),
        ("[0.05, 0.25,", "[0.0, 0.25,", "0.0", "no probability"),
        ("[0.05, 0.25,", "[0.1, 0.25,", "0.1", "add 0.9"),
        ("neighbors = 5", "neighbors = 50\nkib = 20", "kib", "not valid TOML"),
        ("kib = 16", "kib = 16\nprototypes = 20", "16", "write one of the two"),
        ("kib = 16", "kib = 0", "0", "write a whole number from 1"),
        (
            "kib = 16\nembedding = 16\nneighbors = 5",
            "prototypes = 3\nneighbors = 9",
            "9",
            "9 neighbors of 3 prototypes",
        ),
        ("flash_kib = 64", "flash_kib = true", "true", "is a boolean; write a whole number"),
        (
            "simulations = 1_500_000\nsteps = 50_000\nbatch = 512",
            "simulations = 10\nbatch = 20",
            "20",
            "more than the 10 `simulations`",
        ),
        ("learning_rate = 2e-3", "learning_rate = -1", "-1", "write a number from"),
        (
            "simulations = 1_500_000",
            "simulation = 3",
            "simulation",
            "hint: is `simulations` meant?",
        ),
        ("hidden = [128, 128, 64]", "hidden = []", "[]", "write 1 to 8 widths"),
        ("[budget]", "[buget]", "buget", "hint: is `budget` meant?"),
        ("name = \"outbreak\"", "name = 7", "7", "is an integer; write a text in double quotes"),
        ("name = \"outbreak\"", "name = \"\"", "\"\"", "is empty"),
    ];
    for (from, to, at, says) in table {
        check(from, to, at, says);
    }
}

#[test]
fn supports_of_a_foreign_corpus_are_declared() {
    let study = |parameters: &str| {
        let head = "name = \"f\"\n[[head]]\nkind = \"mixture\"\nparameters = [\"b\", \"a\"]\n";
        Study::parse(&format!("{head}[parameters]\n{parameters}"), "s")
    };
    let declared = study("a = { low = -1, high = 2.5, unit = \"\" }\nb = { low = 0.0 }\n").unwrap();
    let parameter = |name: &str, low, high| DeclaredParameter {
        name: name.into(),
        low,
        high,
        unit: String::new(),
    };
    let expected = [parameter("a", Some(-1.0), Some(2.5)), parameter("b", Some(0.0), None)];
    assert_eq!(declared.parameters, expected);
    let names = Some(vec!["b".into(), "a".into()]);
    assert_eq!(declared.heads, [Head::Mixture { parameters: names, components: None }]);
    for (text, says) in [
        ("a = { low = 1.0, high = 1.0 }", "s:6:25: `a` reaches from 1 to 1"),
        ("a = { lowest = 1.0 }", "s:6:7: unknown key `lowest` in `a` of [parameters]"),
        ("a = 3", "s:6:5: `a` is an integer; write a table"),
        ("a = { low = 1e30 }", "s:6:13: `low` is 1"),
    ] {
        let message = study(text).unwrap_err().to_string();
        assert!(message.starts_with(says), "{message}");
    }
}

#[test]
fn sections_must_agree() {
    let message = |text: &str| Study::parse(text, "s").expect_err("a fault").to_string();
    let orphan = "name = \"f\"\nhead = [{ kind = \"categorical\" }]\n[population]\nsize = 5\n";
    assert!(
        message(orphan).starts_with("s:3:2: [population] without any [[mechanism]]"),
        "{}",
        message(orphan)
    );
    let blind = OUTBREAK.replacen("[forecast]\nsteps = 14\n", "", 1);
    assert!(message(&blind).contains("target `cases` is the forecast"), "{}", message(&blind));
    let missing = Study::load("/nonexistent/study.toml").expect_err("no file").to_string();
    assert!(missing.starts_with("/nonexistent/study.toml: cannot read the study"), "{missing}");
}

const SIS: &str = include_str!("../../../studies/sis.toml");

/// Replaces `from` of sis.toml by `to`; the complaint must be at the line of `at` and contain `says`.
#[track_caller]
fn check_sis(from: &str, to: &str, at: &str, says: &str) {
    assert!(SIS.contains(from), "sis.toml has no {from}");
    let text = SIS.replacen(from, to, 1);
    let Err(StudyError::Invalid(found)) = Study::parse(&text, "bad.toml") else {
        panic!("{to} was accepted")
    };
    let line = text[..text.find(at).expect("in the text")].matches('\n').count() + 1;
    assert_eq!(found.line, line, "{found}");
    assert!(found.to_string().contains(says), "{found}\ndoes not contain: {says}");
}

#[test]
fn faults_of_mechanisms_that_come_to_their_x_by_themselves_are_told() {
    let head = "[network]\nhidden";
    let second = "[[mechanism]]\nkind = \"gaussian-field\"\nside = 5\nreplicates = 1\nlength_scale = { fixed = 2, unit = \"cell\" }\nnugget_variance = { fixed = 1 }\n[network]\nhidden";
    let sir = "[[mechanism]]\nkind = \"SIR\"\n[network]\nhidden";
    let table: &[(&str, &str, &str, &str)] = &[
        (
            "observations = 20\n",
            "",
            "[[mechanism]]",
            "`observations` is missing in [[mechanism]] SIS",
        ),
        ("observations = 20", "observations = 2.5", "2.5", "it is a whole number"),
        ("interval = 0.5", "interval = 0", "interval = 0\n", "it lies in 0.001 to 100 day"),
        (
            "infection_rate = { uniform = [0.4, 2.0]",
            "infection_rate = { normal = [0.4, 2.0]",
            "normal",
            "has no bounds; use `uniform`",
        ),
        (
            "seed = 1",
            "seed = 1\n[input]\nsteps = 20",
            "steps",
            "`steps` is for compartments; `SIS` comes to its x by itself",
        ),
        (
            "seed = 1",
            "seed = 1\n[population]\nsize = 20",
            "[population]",
            "`population` is for compartments",
        ),
        (head, second, "\"gaussian-field\"", "x has 25 values in `gaussian-field` and 20 in `SIS`"),
        (head, sir, "\"SIR\"", "`SIR` and `SIS` cannot be mixed"),
        (
            "\"recovery_rate\"]",
            "\"R0\"]",
            "\"R0\"",
            "unknown target `R0`; write one of `infection_rate`, `recovery_rate`",
        ),
        ("\"recovery_rate\"]", "\"cases\"]", "\"cases\"", "unknown target `cases`"),
    ];
    for (from, to, at, says) in table {
        check_sis(from, to, at, says);
    }
    let linear = include_str!("../../../studies/gaussian-linear.toml");
    let normal = "theta_3 = { normal = [0.0, 0.31622776601683794] }";
    for (to, says) in [
        ("theta_3 = { normal = [0.0] }", "`normal` has 1 values; write two"),
        (
            "theta_3 = { normal = [0.0, 0.0] }",
            "the standard deviation of `theta_3` is 0; it is positive",
        ),
    ] {
        assert!(linear.contains(normal));
        let fault = Study::parse(&linear.replace(normal, to), "s").expect_err("a fault");
        assert!(fault.to_string().contains(says), "{fault}");
    }
}

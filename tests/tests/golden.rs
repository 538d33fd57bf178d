//! Golden artifacts on the host.

use simground_tests::{builder, golden};

#[test]
fn the_host_answers_as_recorded() {
    let paths = golden::artifacts().expect("golden artifacts");
    assert!(!paths.is_empty());
    for path in paths {
        let recorded = golden::recorded(&path).expect("recorded");
        let expected = golden::expected(&path, recorded.command.clone()).expect("answers");
        assert_eq!(expected, recorded, "{}", path.display());
    }
}

#[test]
fn the_builder_repeats() {
    for shape in builder::GOLDEN {
        let path = golden::folder().join(format!("{}.sgnn", shape.name));
        assert!(builder::build(&shape) == std::fs::read(path).expect("golden"), "{}", shape.name);
    }
}

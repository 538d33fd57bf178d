use super::*;
use crate::corpus::{Corpus, simulate};

fn study(name: &str) -> Study {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("studies/{name}.toml"));
    Study::load(path).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn shards_partition_the_corpus() {
    for (count, shards) in [(10, 3), (1, 4), (0, 2), (1_000_003, 7)] {
        let mut next = 0;
        for shard in 0..shards {
            let range = shard_range(count, (shard, shards));
            assert_eq!(range.start, next);
            next = range.end;
        }
        assert_eq!(next, count);
    }
}

#[test]
fn a_stopped_job_resumes_and_a_foreign_one_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let study = study("boarding-school");
    let mut done = Vec::new();
    let count = ROW_GROUP + 500;
    let write = |seed, count, shard, progress: &mut dyn FnMut(u64)| {
        write_shard(&study, seed, count, shard, dir.path(), progress)
    };
    let first =
        write(1, count, (0, 1), &mut |n| done.push(n)).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(done, [ROW_GROUP, count]);
    let ShardOutcome::Written(path) = first else { panic!("{first:?}") };
    let bytes = std::fs::read(&path).expect("bytes");
    // What a killed process leaves behind is hidden and harms nobody.
    std::fs::write(dir.path().join(".shard-00000-of-00001.1.partial"), b"PAR1").expect("written");
    let again = write(1, count, (0, 1), &mut |_| ()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(again, ShardOutcome::Complete(path.clone()));
    assert_eq!(std::fs::read(&path).expect("bytes"), bytes);
    assert_eq!(Corpus::read(dir.path()).expect("readable").x, simulate(&study, 1, 0..count).x);

    let seed = write(2, count, (0, 1), &mut |_| ()).expect_err("another seed").to_string();
    assert!(
        seed.starts_with(&path.display().to_string()) && seed.contains("the seed is 1, and 2 here"),
        "{seed}"
    );
    let number = write(1, count + 1, (0, 1), &mut |_| ()).expect_err("another count").to_string();
    assert!(number.contains("the number of simulations"), "{number}");
    let other =
        write_shard(&self::study("boarding-school-sir"), 1, count, (0, 1), dir.path(), |_| ());
    assert!(matches!(other, Err(ShardError::Foreign { .. })));
    assert!(matches!(write(1, count, (1, 1), &mut |_| ()), Err(ShardError::NoSuchShard { .. })));
    let names: Vec<_> = std::fs::read_dir(dir.path())
        .expect("listed")
        .map(|e| e.expect("an entry").file_name())
        .collect();
    assert_eq!(names.len(), 2, "{names:?}");
}

#[test]
fn scores_are_stored_where_every_mechanism_has_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let sis = study("sis");
    write_shard(&sis, 3, 50, (0, 1), dir.path(), |_| ()).unwrap_or_else(|error| panic!("{error}"));
    let stored = Corpus::read(dir.path()).expect("readable");
    let simulator = sis.simulator().expect("a simulator");
    let mut here = simulator.simulate(3, 0..50);
    assert_ne!(here, stored);
    simulator.add_scores(&mut here);
    assert_eq!(here, stored);
    let other = tempfile::tempdir().expect("a directory");
    write_shard(&study("two-moons"), 3, 50, (0, 1), other.path(), |_| ())
        .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(Corpus::read(other.path()).expect("readable").score, None);
}

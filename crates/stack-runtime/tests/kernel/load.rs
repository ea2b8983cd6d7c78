//! Many starts: what one costs, and that nothing piles up.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::bed::{Bed, container, end};

const STARTS: usize = 300;
const THREADS: usize = 20;

pub(crate) fn many_starts_leave_nothing_behind(bed: &Bed) {
    // The first one pays for what is cached afterwards.
    start_one(bed, 0, 0);
    let (spawner, ours) = (spawner_descriptors(), PathBuf::from("/proc/self/fd"));
    let before = (count(&spawner), count(&ours));
    let (began, cpu) = (Instant::now(), cpu_time());
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || (0..STARTS / THREADS).for_each(|number| start_one(bed, thread, number)));
        }
    });
    let (wall, cpu) = (began.elapsed(), cpu_time() - cpu);
    let each = |total: Duration| total.as_micros() / STARTS as u128;
    println!(
        "  {STARTS} containers made, started, ended, removed: {} us each, {} us of processor",
        each(wall),
        each(cpu)
    );
    assert_eq!((count(&spawner), count(&ours)), before);
}

fn start_one(bed: &Bed, thread: usize, number: usize) {
    let mut quick = container(&format!("{thread}/{number}"));
    quick.process.argv = vec!["/bin/true".to_owned()];
    let started = bed.start(&quick).expect("it starts");
    assert_eq!(end(&started).code, Some(0));
    stack_runtime::remove_container(&bed.layout, &bed.project, &quick.id, &bed.hierarchy).expect("it can be removed");
}

fn count(directory: &PathBuf) -> usize {
    fs_err::read_dir(directory).expect("descriptors").count()
}

/// The spawner is the one child that this process always has.
fn spawner_descriptors() -> PathBuf {
    let children =
        fs_err::read_to_string(format!("/proc/self/task/{}/children", std::process::id())).expect("children");
    let spawner = children
        .split_whitespace()
        .find(|pid| fs_err::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "stack:spawner\n"));
    PathBuf::from(format!("/proc/{}/fd", spawner.expect("a spawner")))
}

/// Of this process and of all that it has waited for.
fn cpu_time() -> Duration {
    let text = fs_err::read_to_string("/proc/self/stat").expect("times");
    let fields: Vec<u64> = text.split_whitespace().filter_map(|field| field.parse().ok()).collect();
    // Fields 14 to 17, in ticks of 10 ms; the name and the state, fields 2 and 3, are no numbers.
    Duration::from_millis(fields[11..15].iter().sum::<u64>() * 10)
}

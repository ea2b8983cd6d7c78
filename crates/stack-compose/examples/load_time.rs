//! How long a large project takes to load: 400 services in about 5,000 lines.
//! Run: `cargo run --release --package stack-compose --example load_time`
#![expect(clippy::print_stdout, reason = "the result is what it is for")]

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use stack_compose::{Phases, SourceLoader, read};
use stack_model::ProjectSource;

const SERVICES: usize = 400;
const ROUNDS: usize = 20;

#[derive(Debug)]
struct OneFile(String);

impl SourceLoader for OneFile {
    fn read(&self, path: &Path, _: u64) -> io::Result<Vec<u8>> {
        if path.ends_with("compose.yaml") {
            Ok(self.0.clone().into_bytes())
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }

    fn exists(&self, path: &Path) -> bool {
        path.ends_with("compose.yaml")
    }

    fn is_directory(&self, _: &Path) -> bool {
        false
    }

    fn resolve(&self, _: &Path) -> Option<PathBuf> {
        None
    }
}

fn project() -> String {
    let mut text = String::from("name: large\nservices:\n");
    for number in 0..SERVICES {
        let _ = write!(
            text,
            "  s{number}:\n    image: nginx:${{TAG:-{number}}}\n    restart: unless-stopped\n    environment:\n      A: \"{number}\"\n      \
             B: ${{B:-{number}}}\n    ports:\n      - \"{}:80\"\n    volumes:\n      - ./d{number}:/data:ro\n    networks: [net]\n    \
             labels: [a=b]\n",
            10_000 + number
        );
        if number > 0 {
            let _ = writeln!(text, "    depends_on: [s{}]", number - 1);
        }
    }
    text + "networks:\n  net: {}\n"
}

fn main() {
    let loader = OneFile(project());
    let source = ProjectSource { working_dir: PathBuf::from("/p"), ..ProjectSource::default() };
    let mut times: Vec<Duration> = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let loaded = read(&source, &loader, Phases::default());
        times.push(start.elapsed());
        assert!(loaded.project.is_some(), "{:?}", loaded.diagnostics.first());
    }
    times.sort();
    println!(
        "{} lines, {SERVICES} services: median {:?}, worst {:?}",
        loader.0.lines().count(),
        times[ROUNDS / 2],
        times[ROUNDS - 1]
    );
}
